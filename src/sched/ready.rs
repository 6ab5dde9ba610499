//! Whether the host of a manual system was told that there is nothing to do, and so must be told
//! when there is again.
//!
//! # Invariant
//! After a look that found nothing, the first input calls the host, once: the host's thread arms and
//! then looks once more; whoever brings input pushes it and then claims; a full fence stands between
//! on both sides. So the look finds the input, or the claim finds it armed.

use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Relaxed, SeqCst},
    fence,
};

pub(crate) struct Ready {
    armed: AtomicBool,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Ready {
            armed: AtomicBool::new(false),
        }
    }

    /// Before the look that decides whether there is nothing to do.
    pub(crate) fn arm(&self) {
        // Relaxed: what came before is the host's own doing; the fence orders what comes after.
        self.armed.store(true, Relaxed);
        // Pairs with the fence in `claim`.
        fence(SeqCst);
    }

    /// After input was pushed. `true`: the caller must tell the host.
    #[must_use = "`true` leaves it to the caller to tell the host"]
    pub(crate) fn claim(&self) -> bool {
        // Pairs with the fence in `arm`.
        fence(SeqCst);
        // The load spares the swap where nothing is armed; of several swaps one reads `true`.
        self.armed.load(Relaxed) && self.armed.swap(false, Relaxed)
    }
}
