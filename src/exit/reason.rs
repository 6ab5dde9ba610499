//! [`ExitReason`]: why a process ended.

use std::error::Error;
use std::fmt::{self, Write};
use std::ops::Deref;

use super::cut::Cut;
use super::{PanicReason, Term, drop_quietly};
use crate::start_error::StartError;
use crate::sync::Arc;

/// Why a process ended; what its links, its monitors and those who wait for it are told. In OTP that is
/// any term; here it is one of OTP's own reasons, a panic, or an application's error.
///
/// | reason | in OTP | means | [abnormal](Self::is_abnormal) |
/// |---|---|---|---|
/// | [`Normal`](Self::Normal) | `normal` | it had done its work | no |
/// | [`Shutdown`](Self::Shutdown) | `shutdown`, `{shutdown,Term}` | it was told to stop, or stopped in an orderly way | no |
/// | [`Kill`](Self::Kill) | `kill` | the signal that cannot be trapped | yes |
/// | [`Killed`](Self::Killed) | `killed` | it was ended by that signal | yes |
/// | [`NoProc`](Self::NoProc) | `noproc` | there was no such process | yes |
/// | [`NoConnection`](Self::NoConnection) | `noconnection` | the node it lived on is out of reach | yes |
/// | [`Timeout`](Self::Timeout) | `timeout` | something took too long | yes |
/// | [`Panic`](Self::Panic) | `{Error,Stacktrace}` of an exception | its code panicked | yes |
/// | [`Error`](Self::Error) | any other term | its code returned an error | yes, but for one |
///
/// The one is [`StartError::Child`]: a supervisor that ends because a child did not start has stopped
/// in an orderly way, and OTP's reason is `{shutdown,{failed_to_start_child,Id,Reason}}`.
///
/// Abnormal is what restarts a [transient](https://www.erlang.org/doc/man/supervisor.html) child
/// and what is reported.
///
/// A reason is two words, and cloning it copies nothing else. Dropping it never panics, not even
/// if the `Drop` of the application's error does. Reasons are equal by content, but for
/// [`Error`](Self::Error): see [`ErrorReason`].
///
/// # Printing
/// `{}` prints the reason in words, on one line but for what a panic's message holds. An
/// application's error is the [`source`](Error::source) of its reason, so that `{}` prints just
/// `error` and leaves the rest to whoever walks the sources. Where nobody does, as in a log line,
/// use `{:#}`: it adds the error and all its causes, cut at 4 KiB.
///
/// # Examples
/// ```
/// use noex::{ExitReason, Term};
///
/// let reason = ExitReason::shutdown(Term::atom("upgrade"));
/// assert_eq!(reason.to_string(), "shutdown: upgrade");
/// assert!(reason.is_shutdown() && !reason.is_abnormal());
///
/// // `map_err(ExitReason::error)` takes any error, `?` alone a boxed one or one of std's.
/// fn parse(text: &str) -> Result<u16, ExitReason> {
///     Ok(text.trim().parse()?)
/// }
/// let reason = parse("65536").unwrap_err();
/// assert_eq!(format!("{reason}"), "error");
/// assert_eq!(format!("{reason:#}"), "error: number too large to fit in target type");
/// assert!(reason.is_abnormal());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It had done its work. OTP: `normal`.
    ///
    /// As a signal from another process it ends nobody: ignored, or a message if exits are trapped.
    Normal,
    /// It was told to stop, or stopped in an orderly way, and why if a term is given.
    /// OTP: `shutdown`, `{shutdown,Term}`.
    Shutdown(Option<Term>),
    /// The signal that cannot be trapped. OTP: `kill`.
    ///
    /// It ends a process with [`Killed`](Self::Killed). As the reason of a process that ended
    /// itself it is an ordinary one.
    Kill,
    /// It was ended by [`Kill`](Self::Kill). OTP: `killed`.
    Killed,
    /// There was no such process: it was dead before the link or the monitor came. OTP: `noproc`.
    NoProc,
    /// The node it lives on is out of reach, whether it still runs or not. OTP: `noconnection`.
    NoConnection,
    /// Something took too long. OTP: `timeout`.
    Timeout,
    /// Its code panicked. OTP: an exception's `{Error,Stacktrace}`.
    Panic(PanicReason),
    /// Its code returned an error. OTP: any other term.
    Error(ErrorReason),
}

const _: () = assert!(size_of::<ExitReason>() <= 16 && size_of::<Option<ExitReason>>() <= 16);

impl ExitReason {
    /// The reason of a process that ends with the error `error`.
    ///
    /// An `ExitReason` is an error too, and may have been boxed on its way here by `?`: such a one
    /// is not wrapped but comes out again.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// let reason = ExitReason::error("the disk is on fire");
    /// assert_eq!(format!("{reason:#}"), "error: the disk is on fire");
    ///
    /// let boxed: Box<dyn std::error::Error + Send + Sync> = ExitReason::Timeout.into();
    /// assert_eq!(ExitReason::error(boxed), ExitReason::Timeout);
    /// ```
    pub fn error(error: impl Into<Box<dyn Error + Send + Sync>>) -> ExitReason {
        match error.into().downcast::<ExitReason>() {
            Ok(reason) => *reason,
            Err(error) => ExitReason::Error(ErrorReason(Arc::new(Held(error)))),
        }
    }

    /// The reason of a process that stops in an orderly way because of `term`. OTP:
    /// `{shutdown,Term}`.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// assert_eq!(ExitReason::shutdown("idle").to_string(), r#"shutdown: <<"idle">>"#);
    /// ```
    pub fn shutdown(term: impl Into<Term>) -> ExitReason {
        ExitReason::Shutdown(Some(term.into()))
    }

    /// Whether the process had done its work: [`Normal`](Self::Normal) and nothing else.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// assert!(ExitReason::Normal.is_normal());
    /// assert!(!ExitReason::Shutdown(None).is_normal());
    /// ```
    pub fn is_normal(&self) -> bool {
        matches!(self, ExitReason::Normal)
    }

    /// Whether it is [`Shutdown`](Self::Shutdown), with or without a term, or the error
    /// [`StartError::Child`], which is OTP's `{shutdown,{failed_to_start_child,..}}`.
    ///
    /// ```
    /// # use noex::{ExitReason, StartError};
    /// assert!(ExitReason::shutdown(1).is_shutdown());
    /// assert!(!ExitReason::Killed.is_shutdown());
    ///
    /// let error = Box::new(StartError::Init(ExitReason::Killed));
    /// let reason = StartError::Child { id: "cache".into(), error }.into_reason();
    /// assert!(reason.is_shutdown() && !reason.is_abnormal());
    /// ```
    pub fn is_shutdown(&self) -> bool {
        match self {
            ExitReason::Shutdown(_) => true,
            _ => matches!(self.downcast_ref(), Some(StartError::Child { .. })),
        }
    }

    /// Whether a supervisor would restart a transient child that ended so: anything but `normal`,
    /// `shutdown` and `{shutdown,Term}` (see [`is_shutdown`](Self::is_shutdown)), as in OTP.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// assert!(ExitReason::Killed.is_abnormal());
    /// assert!(!ExitReason::Normal.is_abnormal());
    /// ```
    pub fn is_abnormal(&self) -> bool {
        !self.is_normal() && !self.is_shutdown()
    }

    /// The application's error, if that is the reason and it is an `E`.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// let reason = ExitReason::error(std::fmt::Error);
    /// assert_eq!(reason.downcast_ref(), Some(&std::fmt::Error));
    /// assert_eq!(reason.downcast_ref::<std::io::Error>().map(|e| e.kind()), None);
    /// ```
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        match self {
            ExitReason::Error(error) => error.downcast_ref(),
            _ => None,
        }
    }
}

impl Error for ExitReason {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ExitReason::Error(error) => Some(error.get()),
            _ => None,
        }
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitReason::Normal => f.write_str("normal"),
            ExitReason::Shutdown(None) => f.write_str("shutdown"),
            ExitReason::Shutdown(Some(term)) => write!(f, "shutdown: {term}"),
            ExitReason::Kill => f.write_str("kill"),
            ExitReason::Killed => f.write_str("killed"),
            ExitReason::NoProc => f.write_str("no such process"),
            ExitReason::NoConnection => f.write_str("no connection to the node"),
            ExitReason::Timeout => f.write_str("timeout"),
            ExitReason::Panic(panic) => panic.fmt(f),
            ExitReason::Error(_) if !f.alternate() => f.write_str("error"),
            ExitReason::Error(error) => {
                let mut out = Cut::new(f);
                out.write_str("error")?;
                let mut cause: Option<&dyn Error> = Some(error.get());
                while let Some(error) = cause {
                    write!(out, ": {error}")?;
                    // An error may name itself as its source; it is cut like any long chain.
                    cause = if out.is_full() { None } else { error.source() };
                }
                Ok(())
            }
        }
    }
}

/// An application's error, shared by all who learn of the exit: the content of
/// [`ExitReason::Error`].
///
/// One pointer; a clone shares it. It dereferences to the error. As an error cannot be compared,
/// two are equal only if they are clones of one: the same failure, not the same kind of failure.
/// `Display` and `Debug` are the error's own.
///
/// # Examples
/// ```
/// use noex::ExitReason;
/// use std::io;
///
/// let failed = ExitReason::error(io::Error::from(io::ErrorKind::BrokenPipe));
/// if let ExitReason::Error(error) = &failed {
///     assert_eq!(error.to_string(), "broken pipe");
///     assert_eq!(error.downcast_ref::<io::Error>().unwrap().kind(), io::ErrorKind::BrokenPipe);
/// }
/// assert_eq!(failed, failed.clone());
/// assert_ne!(failed, ExitReason::error(io::Error::from(io::ErrorKind::BrokenPipe)));
/// ```
#[derive(Clone)]
pub struct ErrorReason(Arc<Held>);

/// The error, kept so that its `Drop` cannot harm the thread that lets go of it last
/// (invariant 2 of [`super`]).
struct Held(Box<dyn Error + Send + Sync>);

impl Drop for Held {
    fn drop(&mut self) {
        /// Stands in for the error while that is dropped. Has no size, so takes no allocation.
        #[derive(Debug)]
        struct Gone;
        impl fmt::Display for Gone {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("gone")
            }
        }
        impl Error for Gone {}

        let error = std::mem::replace(&mut self.0, Box::new(Gone));
        // Nobody is left to be told: the reason it belonged to has gone its way.
        let _ = drop_quietly(error);
    }
}

impl ErrorReason {
    /// The error itself.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// # let ExitReason::Error(error) = ExitReason::error("no space") else { panic!() };
    /// assert_eq!(error.get().to_string(), "no space");
    /// ```
    pub fn get(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0.0
    }

    /// The error, if it is an `E`.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// # let ExitReason::Error(error) = ExitReason::error(std::fmt::Error) else { panic!() };
    /// assert_eq!(error.downcast_ref(), Some(&std::fmt::Error));
    /// ```
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.get().downcast_ref()
    }
}

impl Deref for ErrorReason {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        self.get()
    }
}

impl PartialEq for ErrorReason {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ErrorReason {}

impl fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.get(), f)
    }
}

impl fmt::Debug for ErrorReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.get(), f)
    }
}

impl From<Box<dyn Error + Send + Sync>> for ExitReason {
    /// Same as [`ExitReason::error`].
    fn from(error: Box<dyn Error + Send + Sync>) -> ExitReason {
        ExitReason::error(error)
    }
}

/// One by one: an `impl<E: Error> From<E>` would take in `ExitReason` itself, which is an error
/// and has the `From<T> for T` of std already.
macro_rules! from_errors {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for ExitReason {
            /// Same as [`ExitReason::error`].
            fn from(error: $error) -> ExitReason {
                ExitReason::error(error)
            }
        }
    )+};
}

from_errors! {
    std::char::ParseCharError,
    std::fmt::Error,
    std::io::Error,
    std::net::AddrParseError,
    std::num::ParseFloatError,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::time::SystemTimeError,
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::{TEXT_LIMIT, cut};
    use super::*;

    /// An error with a cause and a payload.
    #[derive(Debug, thiserror::Error)]
    #[error("cannot load {name}")]
    struct LoadError {
        name: &'static str,
        #[source]
        cause: io::Error,
    }

    fn load_error() -> LoadError {
        LoadError {
            name: "users",
            cause: io::Error::other("disk full"),
        }
    }

    fn all() -> [ExitReason; 10] {
        use ExitReason::*;
        [
            Normal,
            Shutdown(None),
            ExitReason::shutdown(Term::atom("upgrade")),
            Kill,
            Killed,
            NoProc,
            NoConnection,
            Timeout,
            ExitReason::panic("boom", None),
            ExitReason::error("broken"),
        ]
    }

    #[test]
    fn reasons_are_printed_in_words() {
        let words: Vec<String> = all().iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "normal",
                "shutdown",
                "shutdown: upgrade",
                "kill",
                "killed",
                "no such process",
                "no connection to the node",
                "timeout",
                "panic: boom",
                "error",
            ]
        );
    }

    #[test]
    fn only_normal_and_shutdown_are_not_abnormal() {
        let abnormal: Vec<bool> = all().iter().map(ExitReason::is_abnormal).collect();
        assert_eq!(abnormal, [[false; 3].as_slice(), &[true; 7]].concat());
        assert_eq!(all().iter().filter(|reason| reason.is_normal()).count(), 1);
        assert_eq!(
            all().iter().filter(|reason| reason.is_shutdown()).count(),
            2
        );
    }

    #[test]
    fn of_all_errors_only_a_child_that_did_not_start_is_a_shutdown() {
        let child = |error| StartError::Child {
            id: "a".into(),
            error: Box::new(error),
        };
        let crash = || StartError::Init(ExitReason::Killed);
        for (error, is_shutdown) in [
            (child(crash()), true),
            (child(child(crash())), true),
            (crash(), false),
            (StartError::DuplicateChild("a".into()), false),
        ] {
            let reason = error.into_reason();
            assert_eq!(reason.is_shutdown(), is_shutdown, "{reason:#}");
            assert_eq!(reason.is_abnormal(), !is_shutdown, "{reason:#}");
        }
    }

    #[test]
    fn each_reason_is_equal_to_its_clone_and_to_no_other() {
        let (one, same) = (all(), all().clone());
        for (i, a) in one.iter().enumerate() {
            assert_eq!(a, &a.clone());
            for (j, b) in same.iter().enumerate() {
                let both_are_the_error = i == 9 && j == 9;
                assert_eq!(a == b, i == j && !both_are_the_error, "{a} and {b}");
            }
        }
    }

    #[test]
    fn an_error_is_its_own_source_and_no_text_is_printed_twice_along_the_chain() {
        let reason = ExitReason::error(load_error());
        let mut chain = vec![reason.to_string()];
        let mut next = reason.source();
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        assert_eq!(chain, ["error", "cannot load users", "disk full"]);
        assert_eq!(format!("{reason:#}"), "error: cannot load users: disk full");
    }

    #[test]
    fn reasons_without_an_error_have_no_source_and_one_form() {
        for reason in &all()[..9] {
            assert!(reason.source().is_none());
            assert_eq!(format!("{reason:#}"), reason.to_string());
        }
    }

    #[test]
    fn debug_shows_the_error_itself() {
        let text = format!("{:?}", ExitReason::error(load_error()));
        assert!(
            text.starts_with("Error(LoadError { name: \"users\""),
            "{text}"
        );
    }

    #[test]
    fn an_error_is_found_by_its_type() {
        let reason = ExitReason::from(Box::<dyn Error + Send + Sync>::from(load_error()));
        assert_eq!(reason.downcast_ref::<LoadError>().unwrap().name, "users");
        assert!(reason.downcast_ref::<io::Error>().is_none());
        assert!(ExitReason::Normal.downcast_ref::<LoadError>().is_none());
        let ExitReason::Error(error) = &reason else {
            panic!("{reason:?}")
        };
        assert!(error.is::<LoadError>(), "by Deref");
        assert_eq!(format!("{error}"), "cannot load users");
    }

    #[test]
    fn a_reason_that_was_boxed_as_an_error_comes_out_again() {
        fn inner() -> Result<(), Box<dyn Error + Send + Sync>> {
            Err(ExitReason::shutdown(7))?
        }
        fn outer() -> Result<(), ExitReason> {
            Ok(inner()?)
        }
        assert_eq!(outer(), Err(ExitReason::shutdown(7)));
        assert_eq!(ExitReason::error(ExitReason::Normal), ExitReason::Normal);
    }

    #[test]
    fn an_error_that_is_its_own_source_is_cut() {
        #[derive(Debug)]
        struct Ouroboros;
        impl fmt::Display for Ouroboros {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                Ok(())
            }
        }
        impl Error for Ouroboros {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(self)
            }
        }
        let text = format!("{:#}", ExitReason::error(Ouroboros));
        assert_eq!(text.len(), TEXT_LIMIT + cut::MARK.len());
    }

    #[test]
    fn an_error_whose_drop_panics_does_no_harm_even_during_unwinding() {
        #[derive(Debug, thiserror::Error)]
        #[error("bomb")]
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        drop(ExitReason::error(Bomb));
        let caught = std::panic::catch_unwind(|| {
            let _dropped_by_unwinding = ExitReason::error(Bomb);
            panic!("first");
        });
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"first"));
    }

    #[test]
    fn the_last_owner_drops_the_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("counted")]
        struct Counted(Arc<()>);
        let count = Arc::new(());
        let reason = ExitReason::error(Counted(count.clone()));
        let clone = reason.clone();
        drop(reason);
        assert_eq!(Arc::strong_count(&count), 2);
        std::thread::spawn(move || drop(clone)).join().unwrap();
        assert_eq!(Arc::strong_count(&count), 1);
    }
}
