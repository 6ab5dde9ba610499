//! The operations that write. Each is that of [`Table`](crate::ets::Table) of the same name, with keys by value
//! and closures that are `Send + 'static`, as they go to the table's process.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::engine::{Operation, Request};
use super::error::PersistError;
use super::view::{Object, Persists, View};
use super::writer::Close;
use super::{PersistentTable, inside};
use crate::error::CallError;
use crate::ets::codec::{Stored, content_of};
use crate::ets::common::{Expiry, Need};
use crate::ets::counter::{Counter, CounterUpdate, Increment};
use crate::ets::engine::Holds;
use crate::ets::kind::{Replaces, Unique};
use crate::ets::store::{One, Store};
use crate::ets::{TableError, TableKind};
use crate::process::ask::{Answer, question};
use crate::process::call::Call;

/// A write that is under way: a future of its result, ready when it is done and on the disk, or has failed.
///
/// # Cancellation
/// Dropping it does not take the write back.
#[must_use = "the write is under way, but whether it succeeds is not looked at"]
#[derive(Debug)]
pub struct Writing<R> {
    state: State<R>,
}

#[derive(Debug)]
enum State<R> {
    Asked(Call<Result<R, PersistError>>),
    /// Closing: what comes back is the server's own answer.
    Refused(Option<PersistError>),
}

impl<R> Writing<R> {
    fn refused(error: impl Into<PersistError>) -> Self {
        Writing {
            state: State::Refused(Some(error.into())),
        }
    }

    /// Blocks the calling thread until it is done. On the thread that drives a manual system this runs the
    /// system meanwhile.
    ///
    /// # Errors
    /// As the future itself; also that the caller must not block, or that a manual system has nothing left
    /// to run.
    pub fn wait(self) -> Result<R, PersistError> {
        self.block(Call::wait)
    }

    /// As [`wait`](Self::wait), for at most `timeout` from now.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(self, timeout: Duration) -> Result<R, PersistError> {
        self.block(|call| call.wait_timeout(timeout))
    }

    fn block(
        self,
        wait: impl FnOnce(Call<Result<R, PersistError>>) -> Result<Result<R, PersistError>, CallError>,
    ) -> Result<R, PersistError> {
        match self.state {
            State::Asked(call) => flat(wait(call)),
            State::Refused(error) => Err(error.unwrap_or(PersistError::Table(TableError::Gone))),
        }
    }
}

fn flat<R>(answer: Result<Result<R, PersistError>, CallError>) -> Result<R, PersistError> {
    answer.unwrap_or_else(|error| Err(error.into()))
}

impl<R> Future for Writing<R> {
    type Output = Result<R, PersistError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            State::Asked(call) => Pin::new(call).poll(cx).map(flat),
            State::Refused(_) if crate::process::call::out_of_turn(cx) => Poll::Pending,
            State::Refused(error) => error
                .take()
                .map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
        }
    }
}

impl<R> Unpin for Writing<R> {}

/// An operation of a user's.
struct Asked<F, R> {
    work: Option<F>,
    result: Option<Result<R, PersistError>>,
    answer: Answer<Result<R, PersistError>>,
}

impl<K: 'static, V: 'static, Kind, F, R> Operation<K, V, Kind> for Asked<F, R>
where
    Kind: Persists<K, V>,
    F: FnOnce(&mut View<'_, K, V, Kind>) -> Result<R, PersistError> + Send,
    R: Send + 'static,
{
    fn work_out(&mut self, view: &mut View<'_, K, V, Kind>) -> Result<(), PersistError> {
        // Once.
        let Some(work) = self.work.take() else {
            return Ok(());
        };
        let result = work(view)?;
        self.result = Some(Ok(result));
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), PersistError>) {
        let never = Err(PersistError::NoAnswer(CallError::NoReply));
        let Asked { result, answer, .. } = *self;
        answer.send(Ok(outcome.and_then(|()| result.unwrap_or(never))));
    }
}

impl<K: Stored + Clone, V: Stored + Clone, Kind: Persists<K, V>> PersistentTable<K, V, Kind> {
    fn write<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut View<'_, K, V, Kind>) -> Result<R, PersistError> + Send + 'static,
    ) -> Writing<R> {
        self.request(|answer| {
            Request::One(Box::new(Asked {
                work: Some(work),
                result: None,
                answer,
            }))
        })
    }

    /// As [`write`](Self::write), with nobody else's write beside it.
    fn write_alone<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut View<'_, K, V, Kind>) -> Result<R, PersistError> + Send + 'static,
    ) -> Writing<R> {
        self.request(|answer| {
            Request::Alone(Box::new(Asked {
                work: Some(work),
                result: None,
                answer,
            }))
        })
    }

    fn request<R: Send + 'static>(
        &self,
        request: impl FnOnce(Answer<Result<R, PersistError>>) -> Request<K, V, Kind>,
    ) -> Writing<R> {
        if inside::is_inside() {
            return Writing::refused(TableError::Nested);
        }
        let core = &self.table.inner.common.core;
        let (answer, pending) = question();
        let call = Call::new(core, pending, None);
        match self.shared.ask(request(answer)) {
            Ok(()) => Writing {
                state: State::Asked(call),
            },
            Err(refused) => {
                drop(refused);
                Writing::refused(TableError::Gone)
            }
        }
    }

    fn expires(&self, expiry: Expiry) -> u64 {
        self.table.inner.expires(expiry)
    }

    /// As [`Table::insert`](crate::ets::Table::insert).
    pub fn insert(&self, key: K, value: V) -> Writing<()> {
        self.insert_with(key, value, Expiry::Default)
    }

    /// As [`Table::insert_with`](crate::ets::Table::insert_with).
    pub fn insert_with(&self, key: K, value: V, expiry: Expiry) -> Writing<()> {
        let expires = self.expires(expiry);
        self.write(move |view| insert(view, key, value, expires))
    }

    /// As [`Table::insert_new`](crate::ets::Table::insert_new).
    pub fn insert_new(&self, key: K, value: V) -> Writing<bool> {
        self.insert_new_with(key, value, Expiry::Default)
    }

    /// As [`Table::insert_new_with`](crate::ets::Table::insert_new_with).
    pub fn insert_new_with(&self, key: K, value: V, expiry: Expiry) -> Writing<bool> {
        self.insert_new_many_with([(key, value)], expiry)
    }

    /// As [`Table::insert_many`](crate::ets::Table::insert_many): all at once, in the file too.
    pub fn insert_many(&self, objects: impl IntoIterator<Item = (K, V)>) -> Writing<()> {
        self.insert_many_with(objects, Expiry::Default)
    }

    /// As [`Table::insert_many_with`](crate::ets::Table::insert_many_with).
    pub fn insert_many_with(
        &self,
        objects: impl IntoIterator<Item = (K, V)>,
        expiry: Expiry,
    ) -> Writing<()> {
        let (objects, expires) = (Vec::from_iter(objects), self.expires(expiry));
        self.write(move |view| {
            for (key, value) in objects {
                insert(view, key, value, expires)?;
            }
            Ok(())
        })
    }

    /// As [`Table::insert_new_many`](crate::ets::Table::insert_new_many).
    pub fn insert_new_many(&self, objects: impl IntoIterator<Item = (K, V)>) -> Writing<bool> {
        self.insert_new_many_with(objects, Expiry::Default)
    }

    /// As [`Table::insert_new_many_with`](crate::ets::Table::insert_new_many_with).
    pub fn insert_new_many_with(
        &self,
        objects: impl IntoIterator<Item = (K, V)>,
        expiry: Expiry,
    ) -> Writing<bool> {
        let (objects, expires) = (Vec::from_iter(objects), self.expires(expiry));
        self.write(move |view| {
            for (key, _) in &objects {
                if view.has(key)? {
                    return Ok(false);
                }
            }
            for (key, value) in objects {
                insert(view, key, value, expires)?;
            }
            Ok(true)
        })
    }

    /// As [`Table::delete`](crate::ets::Table::delete).
    pub fn delete(&self, key: K) -> Writing<bool> {
        self.write(move |view| {
            let there = view.has(&key)?;
            if there {
                view.remove(key)?;
            }
            Ok(there)
        })
    }

    /// As [`Table::delete_object`](crate::ets::Table::delete_object).
    pub fn delete_object(&self, key: K, value: V) -> Writing<usize>
    where
        V: PartialEq,
    {
        self.write(move |view| {
            let Some((key, (content, expires))) = view.get(&key)? else {
                return Ok(0);
            };
            let before = content.values();
            let kept = before.iter().filter(|candidate| **candidate != value);
            let kept = Vec::from_iter(kept.cloned());
            let gone = before.len() - kept.len();
            match content_of(kept) {
                _ if gone == 0 => {}
                None => view.remove(key)?,
                Some(content) => view.put(key, content, expires)?,
            }
            Ok(gone)
        })
    }

    /// As [`Table::take`](crate::ets::Table::take).
    pub fn take(&self, key: K) -> Writing<<Kind as TableKind>::Found<V>>
    where
        Kind::Found<V>: Send + 'static,
    {
        self.write(move |view| {
            let Some((key, (content, _))) = view.get(&key)? else {
                return Ok(Kind::taken(None));
            };
            view.remove(key)?;
            Ok(Kind::taken(Some(content)))
        })
    }

    /// As [`Table::expire`](crate::ets::Table::expire).
    pub fn expire(&self, key: K, expiry: Expiry) -> Writing<bool> {
        let expires = self.expires(expiry);
        self.write(move |view| {
            let Some((key, (content, _))) = view.get(&key)? else {
                return Ok(false);
            };
            view.put(key, content, expires)?;
            Ok(true)
        })
    }

    /// As [`Table::select_delete`](crate::ets::Table::select_delete), all at once in the file. It has a sync of the
    /// disk to itself, and clones the keys of what it deletes.
    pub fn select_delete(
        &self,
        mut wanted: impl FnMut(&K, &V) -> bool + Send + 'static,
    ) -> Writing<usize> {
        self.write_alone(move |view| {
            let (mut gone, inner) = (0, view.inner());
            each_entry(inner, |entry| {
                let values = entry.content.values();
                let kept: Vec<_> = values
                    .iter()
                    .filter(|value| !wanted(entry.key, value))
                    .collect();
                let picked = values.len() - kept.len();
                if picked == 0 {
                    return Ok(());
                }
                gone += picked;
                let kept = content_of(kept.into_iter().cloned().collect());
                view.change_entry(entry, kept)
            })?;
            Ok(gone)
        })
    }

    /// As [`Table::select_replace`](crate::ets::Table::select_replace), all at once in the file. It has a sync of
    /// the disk to itself.
    pub fn select_replace(
        &self,
        mut replace: impl FnMut(&K, &V) -> Option<V> + Send + 'static,
    ) -> Writing<usize>
    where
        Kind: Replaces,
    {
        self.write_alone(move |view| {
            let (mut replaced, inner) = (0, view.inner());
            each_entry(inner, |entry| {
                let values = entry.content.values();
                let new: Vec<_> = values
                    .iter()
                    .map(|value| replace(entry.key, value))
                    .collect();
                let count = new.iter().flatten().count();
                if count == 0 {
                    return Ok(());
                }
                replaced += count;
                let old = values.iter();
                let new = new
                    .into_iter()
                    .zip(old)
                    .map(|(new, old)| new.unwrap_or_else(|| old.clone()));
                view.change_entry(entry, content_of(new.collect()))
            })?;
            Ok(replaced)
        })
    }

    /// As [`Table::delete_all`](crate::ets::Table::delete_all). It has a sync of the disk to itself.
    pub fn delete_all(&self) -> Writing<()> {
        self.request(Request::Clear)
    }

    /// Ready when all writes that were asked for before, by the same process or thread, are on the disk; with
    /// [`Durability::Each`](super::Durability::Each) they are when they are ready themselves. OTP: `dets:sync/1`.
    pub fn sync(&self) -> Writing<()> {
        self.request(Request::Sync)
    }

    /// Closes the table, when all that was asked for before is done and on the disk: its process ends, and the
    /// table is gone. The file can then be opened again. OTP: `dets:close/1`.
    ///
    /// # Errors
    /// What was not on the disk yet could not be written there, with
    /// [`Durability::Interval`](super::Durability::Interval): the table stays open.
    pub fn close(&self) -> Writing<()> {
        if inside::is_inside() {
            return Writing::refused(TableError::Nested);
        }
        match self.shared.made() {
            None => Writing::refused(TableError::Gone),
            Some(made) => Writing {
                state: State::Asked(made.writer.call_with(Close, None)),
            },
        }
    }
}

impl<K, V, Kind> PersistentTable<K, V, Kind>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V> + Unique<K, V>,
{
    /// As [`Table::update`](crate::ets::Table::update).
    pub fn update<R: Send + 'static>(
        &self,
        key: K,
        change: impl FnOnce(&mut V) -> R + Send + 'static,
    ) -> Writing<Option<R>> {
        self.change(key, |value| Ok(change(value)))
    }

    /// As [`Table::update_or`](crate::ets::Table::update_or).
    pub fn update_or<R: Send + 'static>(
        &self,
        key: K,
        default: V,
        change: impl FnOnce(&mut V) -> R + Send + 'static,
    ) -> Writing<R> {
        self.change_or(key, default, |value| Ok(change(value)))
    }

    /// As [`Table::update_element`](crate::ets::Table::update_element).
    pub fn update_element<P: Send + 'static>(
        &self,
        key: K,
        part: impl FnOnce(&mut V) -> &mut P + Send + 'static,
        to: P,
    ) -> Writing<bool> {
        self.write(move |view| {
            let Some((key, (One(mut value), expires))) = view.get(&key)? else {
                return Ok(false);
            };
            *part(&mut value) = to;
            view.put(key, One(value), expires)?;
            Ok(true)
        })
    }

    /// As [`Table::update_element_or`](crate::ets::Table::update_element_or).
    pub fn update_element_or<P: Send + 'static>(
        &self,
        key: K,
        default: V,
        part: impl FnOnce(&mut V) -> &mut P + Send + 'static,
        to: P,
    ) -> Writing<()> {
        self.change_or(key, default, move |value| {
            *part(value) = to;
            Ok(())
        })
    }

    /// As [`Table::update_counter`](crate::ets::Table::update_counter).
    pub fn update_counter<N: Counter + Send + 'static>(
        &self,
        key: K,
        counter: impl FnOnce(&mut V) -> &mut N + Send + 'static,
        by: impl Into<Increment>,
    ) -> Writing<N> {
        let by = by.into();
        self.change_there(key, move |value| by.apply(counter(value)))
    }

    /// As [`Table::update_counter_or`](crate::ets::Table::update_counter_or).
    pub fn update_counter_or<N: Counter + Send + 'static>(
        &self,
        key: K,
        default: V,
        counter: impl FnOnce(&mut V) -> &mut N + Send + 'static,
        by: impl Into<Increment>,
    ) -> Writing<N> {
        let by = by.into();
        self.change_or(key, default, move |value| by.apply(counter(value)))
    }

    /// As [`Table::update_counters`](crate::ets::Table::update_counters).
    pub fn update_counters(
        &self,
        key: K,
        updates: impl IntoIterator<Item = CounterUpdate<V>>,
    ) -> Writing<Vec<i128>> {
        let updates = Vec::from_iter(updates);
        self.change_there(key, move |value| {
            updates.iter().map(|update| update.apply(value)).collect()
        })
    }

    /// As [`Table::update_counters_or`](crate::ets::Table::update_counters_or).
    pub fn update_counters_or(
        &self,
        key: K,
        default: V,
        updates: impl IntoIterator<Item = CounterUpdate<V>>,
    ) -> Writing<Vec<i128>> {
        let updates = Vec::from_iter(updates);
        self.change_or(key, default, move |value| {
            updates.iter().map(|update| update.apply(value)).collect()
        })
    }

    fn change<R: Send + 'static>(
        &self,
        key: K,
        change: impl FnOnce(&mut V) -> Result<R, TableError> + Send + 'static,
    ) -> Writing<Option<R>> {
        self.write(move |view| match view.get(&key)? {
            None => Ok(None),
            Some((key, object)) => replace(view, key, object, change).map(Some),
        })
    }

    fn change_there<R: Send + 'static>(
        &self,
        key: K,
        change: impl FnOnce(&mut V) -> Result<R, TableError> + Send + 'static,
    ) -> Writing<R> {
        self.write(move |view| match view.get(&key)? {
            None => Err(TableError::BadKey.into()),
            Some((key, object)) => replace(view, key, object, change),
        })
    }

    fn change_or<R: Send + 'static>(
        &self,
        key: K,
        default: V,
        change: impl FnOnce(&mut V) -> Result<R, TableError> + Send + 'static,
    ) -> Writing<R> {
        let expires = self.expires(Expiry::Default);
        self.write(move |view| {
            let there = view.get(&key)?;
            let (key, object) = there.unwrap_or((key, (One(default), expires)));
            replace(view, key, object, change)
        })
    }
}

/// Inserts an object as `ets:insert/2` does.
fn insert<K: Stored + Clone, V: Stored + Clone, Kind: Persists<K, V>>(
    view: &mut View<'_, K, V, Kind>,
    key: K,
    value: V,
    expires: u64,
) -> Result<(), PersistError> {
    let new = Kind::Content::<V>::of(value);
    if !Kind::JOINS {
        return view.put(key, new, expires);
    }
    match view.get(&key)? {
        None => view.put(key, new, expires),
        Some((key, (mut content, _))) => {
            if Kind::may_join(&content, &new) {
                // In a bag it joins those that are there.
                let _left = content.push(new);
            }
            view.put(key, content, expires)
        }
    }
}

/// Changes a value that is there, or would be.
fn replace<K, V, Kind, R>(
    view: &mut View<'_, K, V, Kind>,
    key: K,
    object: Object<V, Kind>,
    change: impl FnOnce(&mut V) -> Result<R, TableError>,
) -> Result<R, PersistError>
where
    K: Stored + Clone,
    V: Stored + Clone,
    Kind: Persists<K, V> + Unique<K, V>,
{
    let (One(mut value), expires) = object;
    let result = change(&mut value)?;
    view.put(key, One(value), expires)?;
    Ok(result)
}

/// Visits the entries of a table, until there is an error.
fn each_entry<K: 'static, V: 'static, Kind: Persists<K, V>>(
    inner: &crate::ets::table::Inner<K, V, Kind>,
    mut visit: impl FnMut(crate::ets::store::Item<'_, K, Kind::Content<V>>) -> Result<(), PersistError>,
) -> Result<(), PersistError> {
    use std::ops::ControlFlow::{Break, Continue};
    let mut visited = Ok(());
    let _at = inner
        .store
        .scan(&inner.common.pass(Need::Keep), None, |entry| {
            visited = visit(entry);
            match visited {
                Ok(()) => Continue(()),
                Err(_) => Break(()),
            }
        })?;
    visited
}
