//! Where a panic arose: known to the panic hook alone, and gone once the stack has unwound.
//!
//! The hook belongs to the whole program, which makes it the one global thing in noex. It acts
//! only on a thread that polls a process just then, where the panic is about to become an exit
//! reason that is reported in its own way; everywhere else the hook that was there before does
//! what it always did.
//!
//! ```text
//!            enter_poll            a panic
//!   OUTSIDE ────────────▶ INSIDE ────────────▶ CAPTURED      (and the place, in CAPTURE)
//!      ▲                   │  ▲                   │  │
//!      └───────────────────┘  └───────────────────┘  │ a panic: the later place replaces it
//!         end of the poll         take_location      └──▶ CAPTURED
//! ```
//! What a handler catches by itself stays `CAPTURED` until the poll ends or another panic comes;
//! so a reason made of a payload that was thrown without the hook (`resume_unwind`) may name the
//! place of a panic that went before it in the same poll.

use std::cell::Cell;
use std::io::Write;
use std::marker::PhantomData;
use std::panic::PanicHookInfo;

use super::panic::{PanicLocation, text_of_payload};
use crate::sync::Once;

/// This thread polls no process: the hook has nothing to do here.
const OUTSIDE: u8 = 0;
/// This thread polls a process, and nothing has panicked since.
const INSIDE: u8 = 1;
/// `INSIDE`, and `CAPTURE` holds what the last panic was.
const CAPTURED: u8 = 2;

/// A panic that is on its way to whoever catches it.
struct Capture {
    location: PanicLocation,
    /// Printed if the program aborts before anyone catches the panic; of no use otherwise, as the
    /// payload says the same.
    message: Box<str>,
}

impl Capture {
    fn print(&self) {
        // Without stderr there is nobody to tell.
        let Capture { location, message } = self;
        let _ = writeln!(
            std::io::stderr(),
            "noex: a process panicked at {location}: {message}"
        );
    }
}

thread_local! {
    /// Apart from `CAPTURE`, as it is touched at every poll: a constant without a destructor
    /// costs one access relative to the thread's own register.
    static STATE: Cell<u8> = const { Cell::new(OUTSIDE) };
    static CAPTURE: Cell<Option<Capture>> = const { Cell::new(None) };
}

/// While it lives, this thread polls a process: panics are captured and not printed.
///
/// Polls may nest, as when a handler ticks another system.
#[must_use = "the poll ends when this is dropped"]
#[derive(Debug)]
pub(crate) struct PanicCapture {
    before: u8,
    /// It speaks of the thread that made it.
    _not_send: PhantomData<*const ()>,
}

impl Drop for PanicCapture {
    #[inline]
    fn drop(&mut self) {
        STATE.set(self.before);
    }
}

/// Marks this thread as polling a process until the guard is dropped.
#[inline]
pub(crate) fn enter_poll() -> PanicCapture {
    // What an outer poll has captured and not taken by now is forgotten: it is `INSIDE` again.
    let before = STATE.replace(INSIDE).min(INSIDE);
    PanicCapture {
        before,
        _not_send: PhantomData,
    }
}

/// Where the last panic of this poll arose, once. To be called before the guard is dropped.
///
/// `None` if nothing panicked, or if noex's hook is not installed or was replaced.
pub(crate) fn take_location() -> Option<PanicLocation> {
    if STATE.get() != CAPTURED {
        return None;
    }
    STATE.set(INSIDE);
    take_capture().map(|capture| capture.location)
}

/// Runs `body`, which must not unwind, so that what panics in it is not taken for what was
/// captured before it: that is there again afterwards (invariant 5 of [`super`]).
#[inline]
pub(super) fn set_apart<R>(body: impl FnOnce() -> R) -> R {
    let before = STATE.get();
    if before == OUTSIDE {
        return body();
    }
    let capture = if before == CAPTURED {
        take_capture()
    } else {
        None
    };
    STATE.set(INSIDE);
    let result = body();
    STATE.set(before);
    if before == CAPTURED {
        put_capture(capture);
    }
    result
}

/// Installs noex's panic hook in front of the one there is, once in the life of the program.
///
/// Does nothing where panics abort: there nothing comes of a capture, and the previous hook must
/// have its say. Does nothing *yet* on a thread that is panicking, which may not change the hook:
/// the next system tries again.
///
/// A hook set between the two steps by another thread is lost; a hook set later replaces ours,
/// and panics then have no location unless it calls the hook it found.
pub(crate) fn install_panic_hook() {
    static INSTALLED: Once = Once::new();
    if cfg!(panic = "abort") || std::thread::panicking() {
        return;
    }
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !capture(info) {
                previous(info);
            }
        }));
    });
}

/// Keeps what `info` says if this thread polls a process. `false`: the previous hook must speak.
fn capture(info: &PanicHookInfo<'_>) -> bool {
    if STATE.get() == OUTSIDE {
        return false;
    }
    if !can_unwind(info) {
        // The program is about to abort, so nobody will report what was captured: typically a
        // `Drop` has panicked while a handler's panic unwound, and this says only that it did.
        if STATE.get() == CAPTURED {
            take_capture().inspect(Capture::print);
        }
        return false;
    }
    let Some(location) = info.location() else {
        return false;
    };
    let capture = Capture {
        location: location.into(),
        message: text_of_payload(info.payload()),
    };
    if put_capture(Some(capture)) {
        STATE.set(CAPTURED);
    }
    true
}

/// Whether the panic will unwind. What will not, aborts: a second panic during unwinding, one in
/// a function that cannot unwind, the checks for undefined behaviour of debug builds.
///
/// `PanicHookInfo::can_unwind` is not stable, but the `Debug` form shows the field. Should it go,
/// such a panic is kept silent and the abort is all there is to see: a test below would tell.
fn can_unwind(info: &PanicHookInfo<'_>) -> bool {
    !format!("{info:?}").contains("can_unwind: false")
}

/// Both fail only while the thread is being torn down, its thread-locals already gone.
fn take_capture() -> Option<Capture> {
    CAPTURE.try_with(Cell::take).ok().flatten()
}

fn put_capture(capture: Option<Capture>) -> bool {
    CAPTURE.try_with(|slot| slot.set(capture)).is_ok()
}

#[cfg(test)]
mod tests;
