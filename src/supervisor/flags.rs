//! What every kind of supervisor can be told of itself, and the builder methods for it.

use std::time::Duration;

use super::backoff::Backoff;
use super::strategy::Restarts;
use crate::gen_server::ServerOptions;
use crate::registry::Name;

/// OTP: `sup_flags()`, as far as all kinds of supervisors have them.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    pub(crate) intensity: u32,
    pub(crate) period: Duration,
    /// For children that have none of their own.
    pub(crate) backoff: Option<Backoff>,
    pub(crate) name: Option<Name>,
}

impl Default for Flags {
    fn default() -> Self {
        Flags {
            intensity: 3,
            period: Duration::from_secs(5),
            backoff: None,
            name: None,
        }
    }
}

impl Flags {
    pub(crate) fn restarts(&self) -> Restarts {
        Restarts::new(self.intensity, self.period)
    }

    /// How its process is started.
    pub(crate) fn options(&self) -> ServerOptions {
        match &self.name {
            Some(name) => ServerOptions::new().name(name.clone()),
            None => ServerOptions::new(),
        }
    }
}

/// The builder methods of a type that has [`Flags`] in its field `flags`.
macro_rules! flag_methods {
    () => {
        /// How many restarts are allowed within the [`period`](Self::period); one more ends the
        /// supervisor. Default: 3 (as in Elixir; OTP: 1).
        pub fn intensity(mut self, restarts: u32) -> Self {
            self.flags.intensity = restarts;
            self
        }

        /// Within what time restarts count together. Measured exactly (OTP: in whole seconds).
        /// Default: 5 s.
        pub fn period(mut self, period: ::std::time::Duration) -> Self {
            self.flags.period = period;
            self
        }

        /// Registers the supervisor under `name`. Default: none.
        pub fn name(mut self, name: impl Into<$crate::Name>) -> Self {
            self.flags.name = Some(name.into());
            self
        }
    };
    (backoff) => {
        $crate::supervisor::flags::flag_methods!();

        /// How long children wait before they are restarted that have no
        /// [`backoff`](crate::ChildSpec::backoff) of their own. Default: not at all.
        pub fn backoff(mut self, backoff: $crate::Backoff) -> Self {
            self.flags.backoff = Some(backoff);
            self
        }
    };
}
pub(crate) use flag_methods;
