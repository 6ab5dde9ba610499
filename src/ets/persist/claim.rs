//! Who has which file open in this program.
//!
//! redb keeps other programs out by a lock on the file. Within one program more is needed: a table's process
//! that dies leaves its file to be finished and closed, by a thread of the dirty pool or by whoever wants the
//! file next, which a supervisor's child does at once.
//!
//! ```text
//!            claim                  its process dies                  finish, by the first who comes
//!   (free) ─────────▶ held ─────────────────────────▶ left behind ───────────────────────────────────▶ (free)
//!                      │          (while a thread of the pool still works for it: held by a dead one)    ▲
//!                      └─────────────────────────────────────────────────────────────────────────────────┘
//!                                                    closed
//! ```
//! # Invariant
//! Nobody waits for work that is queued behind him: who finds a file held by a dead process waits for a thread
//! that runs, or for the process's own end; what is left behind he finishes himself. So one thread of
//! the pool is enough.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::ets::draft::directory;
use crate::process::pid::Pid;
use crate::sched::core::CoreRef;
use crate::sync::{Condvar, Mutex};

/// The file is another living process's.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken;

/// What is to be done with a file whose process has died. It drops the claim.
pub(super) type Finish = Box<dyn FnOnce() + Send>;

struct Held {
    core: CoreRef,
    pid: Pid,
    left: Option<Finish>,
}

struct Claims {
    held: Mutex<BTreeMap<PathBuf, Held>>,
    /// A file is free, or left behind.
    changed: Condvar,
}

static CLAIMS: Claims = Claims {
    held: Mutex::new(BTreeMap::new()),
    changed: Condvar::new(),
};

/// The right to open a file, in this program, until it is dropped.
#[must_use = "the file is free again when this is dropped"]
pub(super) struct Claim(PathBuf);

impl Claim {
    /// Claims a file for a process. If it is still that of a dead one, this is after that one's last write
    /// and the closing of the file.
    pub(super) fn new(path: &Path, core: &CoreRef, pid: Pid) -> io::Result<Result<Claim, Taken>> {
        let path = canonical(path)?;
        let mut held = CLAIMS.held.lock();
        while let Some(holder) = held.get_mut(&path) {
            if let Some(finish) = holder.left.take() {
                drop(held);
                finish();
                held = CLAIMS.held.lock();
            } else if holder.core.is_alive(holder.pid) {
                return Ok(Err(Taken));
            } else {
                CLAIMS.changed.wait(&mut held);
            }
        }
        let holder = Held {
            core: core.clone(),
            pid,
            left: None,
        };
        held.insert(path.clone(), holder);
        Ok(Ok(Claim(path)))
    }

    /// The file that is claimed.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let claim = CLAIMS.held.lock().remove(&self.0);
        CLAIMS.changed.notify_all();
        drop(claim);
    }
}

/// Leaves a claimed file behind, for [`finish`] or the next claim.
pub(super) fn leave(path: &Path, finish: Finish) {
    let mut held = CLAIMS.held.lock();
    if let Some(holder) = held.get_mut(path) {
        holder.left = Some(finish);
    }
    drop(held);
    CLAIMS.changed.notify_all();
}

/// Finishes with a file that was left behind, unless that was done.
pub(super) fn finish(path: &Path) {
    let left = {
        let mut held = CLAIMS.held.lock();
        held.get_mut(path).and_then(|holder| holder.left.take())
    };
    if let Some(finish) = left {
        finish();
    }
}

/// One name for one file, which need not exist.
fn canonical(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found,
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs::canonicalize(directory(path))?.join(name))
}
