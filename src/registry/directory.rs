//! Where registries (and scopes of process groups) are found by their names.
//!
//! ```text
//!            start                       ends in order
//!   (none) ────────▶ OPEN ──────────────────────────────▶ CLOSED ──▶ (none), with the last handle
//!                     │ ▲   start: takes it over as it is    │
//!               crash └─┘                                    └─start─▶ OPEN, the same again, but empty
//! ```
//! So a handle leads to all incarnations of its registry: through crashes, where nothing is lost, and
//! through restarts in order, where it is empty again.

use std::any::Any;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Weak;

use crate::sched::core::CoreRef;
use crate::sync::{Arc, Mutex};

type Thing = dyn Any + Send + Sync;

enum Place {
    Open(Arc<Thing>),
    Closed(Weak<Thing>),
}

impl Place {
    fn thing(&self) -> Option<Arc<Thing>> {
        match self {
            Place::Open(thing) => Some(thing.clone()),
            Place::Closed(thing) => thing.upgrade(),
        }
    }
}

/// One kind of things, by name.
#[derive(Default)]
pub(crate) struct Directory(Mutex<Places>);

#[derive(Default)]
struct Places {
    places: HashMap<Arc<str>, Place>,
    /// With how many places the forgotten ones are looked for next.
    crowded: usize,
}

/// Something else has the name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OtherType;

/// Why nothing was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    NotFound,
    OtherType,
}

impl Directory {
    /// The `T` of that name that is open.
    pub(crate) fn find<T: Any + Send + Sync>(&self, name: &str) -> Result<Arc<T>, Missing> {
        let thing = match self.0.lock().places.get(name) {
            Some(Place::Open(thing)) => thing.clone(),
            Some(Place::Closed(_)) | None => return Err(Missing::NotFound),
        };
        thing.downcast().map_err(|_| Missing::OtherType)
    }

    /// The `T` that has the name, open or closed, if `fits` says so; else a new one, if the name is free.
    pub(crate) fn enter<T: Any + Send + Sync>(
        &self,
        name: &Arc<str>,
        fits: impl Fn(&T) -> bool,
        make: impl FnOnce() -> T,
    ) -> Result<Arc<T>, OtherType> {
        let mut places = self.0.lock();
        let there = places.places.get(name);
        let taken = matches!(there, Some(Place::Open(_)));
        let thing = there.and_then(Place::thing);
        let thing = thing.and_then(|thing| thing.downcast::<T>().ok());
        match thing.filter(|thing| fits(thing)) {
            Some(thing) => Ok(thing),
            None if taken => Err(OtherType),
            None => {
                let new = Arc::new(make());
                let place: Arc<Thing> = new.clone();
                places.put(name.clone(), Place::Closed(Arc::downgrade(&place)));
                Ok(new)
            }
        }
    }

    /// Opens a thing that `enter` gave, if `decide` says so and the name has not gone to another
    /// meanwhile. `decide` must not use the directory, nor run code of the user's.
    pub(crate) fn open<T: Any + Send + Sync, R, E>(
        &self,
        name: &Arc<str>,
        thing: &Arc<T>,
        decide: impl FnOnce() -> Result<R, E>,
    ) -> Result<Result<R, E>, OtherType> {
        let mut places = self.0.lock();
        let place: Arc<Thing> = thing.clone();
        match places.places.get(name) {
            Some(Place::Open(other)) if !Arc::ptr_eq(other, &place) => return Err(OtherType),
            _ => {}
        }
        let decided = decide();
        if decided.is_ok() {
            places.put(name.clone(), Place::Open(place));
        }
        Ok(decided)
    }

    /// The thing of that name is over, until it is opened again, if `decide` says so by giving what it
    /// leaves; to be dropped. As for `open`.
    pub(crate) fn close<R>(
        &self,
        name: &str,
        decide: impl FnOnce() -> Option<R>,
    ) -> Option<impl Sized> {
        let mut places = self.0.lock();
        let left = decide()?;
        let open = places.places.get_mut(name).and_then(|place| {
            let closed = Place::Closed(Arc::downgrade(&place.thing()?));
            Some(std::mem::replace(place, closed))
        });
        drop(places);
        Some((left, open))
    }
}

impl Places {
    fn put(&mut self, name: Arc<str>, place: Place) {
        self.places.insert(name, place);
        if self.places.len() > self.crowded {
            self.places.retain(
                |_, place| !matches!(place, Place::Closed(thing) if thing.strong_count() == 0),
            );
            self.crowded = 2 * self.places.len() + 16;
        }
    }
}

#[derive(Default)]
pub(crate) struct Registries(Directory);

/// The directory of a system's registries.
pub(crate) fn registries(core: &CoreRef) -> Arc<Registries> {
    core.attached.get()
}

#[derive(Default)]
pub(crate) struct Scopes(Directory);

/// The directory of a system's scopes of process groups.
pub(crate) fn scopes(core: &CoreRef) -> Arc<Scopes> {
    core.attached.get()
}

impl Deref for Registries {
    type Target = Directory;
    fn deref(&self) -> &Directory {
        &self.0
    }
}

impl Deref for Scopes {
    type Target = Directory;
    fn deref(&self) -> &Directory {
        &self.0
    }
}
