//! What is noted about a registry as a whole.

use std::any::{Any, type_name};
use std::collections::HashMap;

use crate::sync::{Arc, RwLock};

type Value = Arc<dyn Any + Send + Sync>;

pub(super) type Note = (Arc<str>, Value);

/// Why there is no such metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// Nothing is noted under that key. Elixir: `:error`.
    #[error("no metadata `{0}`")]
    NotFound(Arc<str>),
    /// What is noted there is of another type.
    #[error("metadata `{key}` is not a `{wanted}`")]
    WrongType {
        /// The key.
        key: Arc<str>,
        /// The type that was asked for.
        wanted: &'static str,
    },
}

/// Values of any types, by key.
#[derive(Default)]
pub(super) struct Meta(RwLock<HashMap<Arc<str>, Value>>);

impl Meta {
    pub(super) fn get<T: Any + Send + Sync>(&self, key: &str) -> Result<Arc<T>, MetaError> {
        let value = self.0.read().get(key).cloned();
        let value = value.ok_or_else(|| MetaError::NotFound(key.into()))?;
        value.downcast::<T>().map_err(|_| MetaError::WrongType {
            key: key.into(),
            wanted: type_name::<T>(),
        })
    }

    /// What was there before comes back, to be dropped.
    pub(super) fn put(&self, key: Arc<str>, value: Value) -> Option<Value> {
        self.0.write().insert(key, value)
    }

    pub(super) fn delete(&self, key: &str) -> Option<Value> {
        self.0.write().remove(key)
    }

    pub(super) fn clear(&self) -> impl Sized + use<> {
        std::mem::take(&mut *self.0.write())
    }
}
