//! An application as the `main` of a program.

use std::error::Error;
use std::process::ExitCode;

use super::spec::ApplicationSpec;
use super::table::{ApplicationEnded, ApplicationKind};
use crate::error::Error as NoexError;
use crate::system::System;

impl ApplicationSpec {
    /// Runs this application as the whole program: a system of its own, `others` loaded beside it, and
    /// those that it depends on started first; all are permanent. Returns when one of them has ended, or
    /// when the system was shut down, by [`Handle::shutdown`](crate::Handle::shutdown) or (with the
    /// feature `signals`) by SIGTERM or SIGINT.
    ///
    /// The exit code is success if the application's tree ended with `Normal`, or if the system was shut
    /// down; else failure, with the cause on standard error in one line.
    ///
    /// ```no_run
    /// use noex::{Application, ApplicationSpec, Pid, ProcessContext, StartError};
    ///
    /// struct Shop;
    /// impl Application for Shop {
    ///     const NAME: &'static str = "shop";
    ///     type Env = ();
    ///     async fn start(_: (), cx: &ProcessContext) -> Result<(Self, Pid), StartError> {
    ///         let tree = noex::Supervisor::new(noex::Strategy::OneForOne).start_link(cx).await?;
    ///         Ok((Shop, tree.pid()))
    ///     }
    /// }
    ///
    /// fn main() -> std::process::ExitCode {
    ///     ApplicationSpec::new::<Shop>(()).main([])
    /// }
    /// ```
    pub fn main(self, others: impl IntoIterator<Item = ApplicationSpec>) -> ExitCode {
        match run(self, others) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let mut line = error.to_string();
                let mut source = error.source();
                while let Some(cause) = source {
                    line.push_str(": ");
                    line.push_str(&cause.to_string());
                    source = cause.source();
                }
                eprintln!("noex: {line}");
                ExitCode::FAILURE
            }
        }
    }
}

fn run(
    main: ApplicationSpec,
    others: impl IntoIterator<Item = ApplicationSpec>,
) -> Result<(), Box<dyn Error>> {
    let system = System::new()?;
    #[cfg(all(feature = "signals", unix))]
    let _signals = system.shutdown_on_signals()?;
    let applications = system.applications();
    let name = main.name.clone();
    applications.load(main)?;
    for other in others {
        applications.load(other)?;
    }
    let started = applications.ensure_all_started([name.clone()], ApplicationKind::Permanent);
    let outcome: Result<(), Box<dyn Error>> = match started.wait() {
        Ok(_) => match system.wait().wait() {
            Err(end) if is_its_normal_end(&end, &name) => Ok(()),
            ended => ended.map_err(Into::into),
        },
        Err(error) => Err(error.into()),
    };
    let stopped = system.shutdown().wait();
    outcome?;
    Ok(stopped?)
}

fn is_its_normal_end(end: &NoexError, name: &str) -> bool {
    let NoexError::Exited(cause) = end else {
        return false;
    };
    let ended = cause.downcast_ref::<ApplicationEnded>();
    ended.is_some_and(|ended| &*ended.name == name && ended.reason.is_normal())
}
