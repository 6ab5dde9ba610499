//! Signals of the operating system that end the program.

use std::io;
use std::thread::JoinHandle;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle as Closer, Signals};
use signal_hook::low_level::emulate_default_handler;

use super::Handle;

/// While it lives, SIGTERM and SIGINT shut a system down: [`Handle::shutdown_on_signals`].
#[must_use = "dropped, it listens no more"]
#[derive(Debug)]
pub struct SignalGuard {
    closer: Closer,
    thread: Option<JoinHandle<()>>,
}

impl Drop for SignalGuard {
    fn drop(&mut self) {
        self.closer.close();
        if let Some(thread) = self.thread.take() {
            // It ran no code that panics.
            let _ = thread.join();
        }
    }
}

impl Handle {
    /// Shuts the system down, as [`shutdown`](Self::shutdown) does, when the program gets SIGTERM or
    /// SIGINT; a second one ends the program at once, as if nobody had listened. Listens on a thread of
    /// its own until the guard is dropped; after that the program ignores both signals, so keep it as long
    /// as the program runs.
    ///
    /// Unix only; needs the feature `signals`.
    ///
    /// # Errors
    /// The operating system refuses the signal handler or the thread.
    pub fn shutdown_on_signals(&self) -> io::Result<SignalGuard> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let closer = signals.handle();
        let system = self.clone();
        let listen = move || {
            let mut told = false;
            for signal in signals.forever() {
                if told {
                    // Only an unknown signal is refused.
                    let _ = emulate_default_handler(signal);
                }
                told = true;
                drop(system.shutdown());
            }
        };
        let name = format!("{}-signals", self.core().settings.name);
        let thread = std::thread::Builder::new().name(name).spawn(listen)?;
        Ok(SignalGuard {
            closer,
            thread: Some(thread),
        })
    }
}
