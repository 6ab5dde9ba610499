//! From a panic to an exit reason.
//!
//! [`catch`] is the boundary at which user code's panics end: what unwinds out of `body` becomes
//! a [`PanicReason`], and the payload, whose `Drop` may panic in its turn, is disposed of there.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use super::cut::{self, head};
use super::{ExitReason, TEXT_LIMIT, hook};
use crate::sync::Arc;

/// What a process panicked with, and where: the content of
/// [`ExitReason::Panic`].
///
/// One pointer; a clone shares it. Two are equal if message and location are. `Display` gives
/// `panic at src/cache.rs:3:5: message`, or `panic: message` where the location is not known.
#[derive(Clone, PartialEq, Eq)]
pub struct PanicReason(Arc<Panic>);

#[derive(PartialEq, Eq)]
struct Panic {
    message: Box<str>,
    location: Option<PanicLocation>,
}

/// Where in the source a panic arose; `Display` gives `src/cache.rs:3:5`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PanicLocation {
    file: Box<str>,
    line: u32,
    column: u32,
}

impl PanicReason {
    /// What the panic said, as text.
    ///
    /// At most 4 KiB of it, followed by a mark if there was more. A payload that is not text
    /// (thrown by [`std::panic::panic_any`]) is not kept; the message then says so.
    ///
    /// ```
    /// # use noex::ExitReason;
    /// fn describe(reason: &ExitReason) -> String {
    ///     match reason {
    ///         ExitReason::Panic(panic) => format!("a bug: {}", panic.message()),
    ///         other => other.to_string(),
    ///     }
    /// }
    /// # assert_eq!(describe(&ExitReason::Killed), "killed");
    /// ```
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it panicked.
    ///
    /// `None` if that is not known: noex's panic hook was not installed, or was replaced, or the
    /// panic was passed on by [`std::panic::resume_unwind`].
    ///
    /// ```
    /// # use noex::ExitReason;
    /// fn line(reason: &ExitReason) -> Option<u32> {
    ///     match reason {
    ///         ExitReason::Panic(panic) => Some(panic.location()?.line()),
    ///         _ => None,
    ///     }
    /// }
    /// # assert_eq!(line(&ExitReason::Normal), None);
    /// ```
    pub fn location(&self) -> Option<&PanicLocation> {
        self.0.location.as_ref()
    }
}

impl fmt::Display for PanicReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.location() {
            Some(location) => write!(f, "panic at {location}: {}", self.message()),
            None => write!(f, "panic: {}", self.message()),
        }
    }
}

impl fmt::Debug for PanicReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PanicReason")
            .field("message", &self.message())
            .field("location", &self.location())
            .finish()
    }
}

impl PanicLocation {
    /// The source file, as the compiler was given it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The line in it, from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in that line, from 1.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl From<&Location<'_>> for PanicLocation {
    fn from(location: &Location<'_>) -> Self {
        PanicLocation {
            file: location.file().into(),
            line: location.line(),
            column: location.column(),
        }
    }
}

impl fmt::Display for PanicLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl ExitReason {
    /// The reason of a process that panicked with `message`, cut if it is too long.
    #[cfg(test)]
    pub(crate) fn panic(message: &str, location: Option<PanicLocation>) -> ExitReason {
        let message = bounded(message);
        ExitReason::Panic(PanicReason(Arc::new(Panic { message, location })))
    }

    /// The reason of a process that panicked with `payload`, which is dropped here: what its
    /// `Drop` may throw goes no further.
    pub(crate) fn from_panic_payload(
        payload: Box<dyn Any + Send>,
        location: Option<PanicLocation>,
    ) -> ExitReason {
        let message = text_of_payload(&*payload);
        discard(payload);
        ExitReason::Panic(PanicReason(Arc::new(Panic { message, location })))
    }
}

/// Runs `body`; what it panics with is the `Err`, with its location if a poll is going on.
///
/// May be called within another `catch`, also while that one's panic unwinds. That `body` may
/// leave what it borrows half-changed is for the caller to consider.
#[inline]
pub(crate) fn catch<R>(body: impl FnOnce() -> R) -> Result<R, ExitReason> {
    hook::set_apart(|| {
        catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
            let location = hook::take_location();
            ExitReason::from_panic_payload(payload, location)
        })
    })
}

/// Drops `value`; should its `Drop` panic, that is the `Err` and nothing more comes of it.
#[inline]
pub(crate) fn drop_quietly<T>(value: T) -> Result<(), ExitReason> {
    catch(move || drop(value))
}

/// Drops a panic's payload, whose `Drop` may panic too, and so may that of what it throws.
fn discard(mut payload: Box<dyn Any + Send>) {
    const ATTEMPTS: usize = 8;
    hook::set_apart(|| {
        for _ in 0..ATTEMPTS {
            match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                Ok(()) => return,
                Err(thrown) => payload = thrown,
            }
        }
        // Leaked, as it seems to go on like that.
        std::mem::forget(payload);
    });
}

/// What a panic's payload says, if it is text.
pub(super) fn text_of_payload(payload: &(dyn Any + Send)) -> Box<str> {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        bounded(text)
    } else if let Some(text) = payload.downcast_ref::<String>() {
        bounded(text)
    } else if let Some(text) = payload.downcast_ref::<Box<str>>() {
        bounded(text)
    } else if let Some(text) = payload.downcast_ref::<Cow<'static, str>>() {
        bounded(text)
    } else {
        "(a payload that is not text)".into()
    }
}

fn bounded(text: &str) -> Box<str> {
    match head(text, TEXT_LIMIT) {
        all if all.len() == text.len() => all.into(),
        kept => [kept, cut::MARK].concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    fn reason_of(payload: impl Any + Send) -> PanicReason {
        match ExitReason::from_panic_payload(Box::new(payload), None) {
            ExitReason::Panic(reason) => reason,
            other => unreachable!("{other:?}"),
        }
    }

    fn here() -> PanicLocation {
        PanicLocation {
            file: "src/x.rs".into(),
            line: 3,
            column: 5,
        }
    }

    /// Throws another of its kind when it is dropped, as many times as it says.
    struct Thorny(u32);

    impl Drop for Thorny {
        fn drop(&mut self) {
            if self.0 > 0 {
                panic_any(Thorny(self.0 - 1));
            }
        }
    }

    #[test]
    fn a_payload_that_is_text_is_the_message() {
        assert_eq!(reason_of("static").message(), "static");
        assert_eq!(reason_of(String::from("owned")).message(), "owned");
        assert_eq!(reason_of(Box::<str>::from("boxed")).message(), "boxed");
        assert_eq!(reason_of(Cow::Borrowed("either")).message(), "either");
    }

    #[test]
    fn a_payload_that_is_not_text_is_said_to_be_so() {
        assert_eq!(reason_of(42).message(), "(a payload that is not text)");
    }

    #[test]
    fn a_message_of_4_kib_is_kept_whole() {
        let text = "é".repeat(TEXT_LIMIT / 2);
        assert_eq!(reason_of(text.clone()).message(), text);
    }

    #[test]
    fn a_longer_message_is_cut_between_characters_and_marked() {
        let text = format!("x{}", "é".repeat(TEXT_LIMIT));
        let kept = format!("x{}", "é".repeat((TEXT_LIMIT - 1) / 2));
        assert_eq!(
            reason_of(text.clone()).message(),
            format!("{kept}{}", cut::MARK)
        );
        assert_eq!(
            ExitReason::panic(&text, None),
            ExitReason::Panic(reason_of(text))
        );
    }

    #[test]
    fn a_payload_whose_drop_panics_does_no_harm() {
        assert_eq!(
            reason_of(Thorny(1)).message(),
            "(a payload that is not text)"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "leaks by design")]
    fn a_payload_that_throws_itself_again_and_again_is_given_up() {
        assert_eq!(
            reason_of(Thorny(u32::MAX)).message(),
            "(a payload that is not text)"
        );
    }

    #[test]
    fn panics_are_equal_by_content() {
        assert_eq!(
            ExitReason::panic("a", Some(here())),
            ExitReason::panic("a", Some(here()))
        );
        assert_ne!(
            ExitReason::panic("a", Some(here())),
            ExitReason::panic("b", Some(here()))
        );
        assert_ne!(
            ExitReason::panic("a", Some(here())),
            ExitReason::panic("a", None)
        );
    }

    #[test]
    fn a_panic_is_printed_with_its_place_if_that_is_known() {
        let placed = ExitReason::panic("no such key", Some(here()));
        assert_eq!(placed.to_string(), "panic at src/x.rs:3:5: no such key");
        assert_eq!(
            ExitReason::panic("no such key", None).to_string(),
            "panic: no such key"
        );
    }

    #[test]
    fn catch_gives_what_the_body_returns() {
        assert_eq!(catch(|| 5), Ok(5));
    }

    #[test]
    fn catch_outside_a_poll_knows_no_place() {
        assert_eq!(
            catch(|| panic!("n = {}", 5)),
            Err::<(), _>(ExitReason::panic("n = 5", None))
        );
    }

    #[test]
    fn what_a_drop_panics_with_is_given_back() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("boom");
            }
        }
        assert_eq!(drop_quietly(Bomb), Err(ExitReason::panic("boom", None)));
        assert_eq!(drop_quietly(5), Ok(()));
    }
}
