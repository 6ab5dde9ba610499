//! What the rooms above the scheduler keep with a system: at most one value of each type, made when it
//! is first asked for.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use crate::sync::{Arc, Mutex};

#[derive(Default)]
pub(crate) struct Attached(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Attached {
    /// The system has ended: what is kept may hold the system itself.
    pub(crate) fn clear(&self) {
        let all = std::mem::take(&mut *self.0.lock());
        // User code may be in it.
        crate::process::deliver::guard(|| drop(all));
    }

    /// The system's `T`.
    pub(crate) fn get<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut all = self.0.lock();
        let entry = all.entry(TypeId::of::<T>());
        let value = entry.or_insert_with(|| Arc::<T>::default()).clone();
        value
            .downcast::<T>()
            .unwrap_or_else(|_| unreachable!("kept under its own type"))
    }
}
