//! Who has which file open in this program.
//!
//! redb keeps other programs out by a lock on the file. Within one program more is needed: a table's process
//! that dies leaves its file to a thread of the dirty pool, which finishes what was under way and closes
//! it. The next incarnation, which a supervisor starts at once, waits for that; but not for one that lives.

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

struct Claims {
    held: Mutex<BTreeMap<PathBuf, (CoreRef, Pid)>>,
    released: Condvar,
}

static CLAIMS: Claims = Claims {
    held: Mutex::new(BTreeMap::new()),
    released: Condvar::new(),
};

/// The right to open a file, in this program, until it is dropped.
#[must_use = "the file is free again when this is dropped"]
pub(super) struct Claim(PathBuf);

impl Claim {
    /// Claims a file for a process. Waits if it is still that of a dead one, for as long as that one's last
    /// write and the closing of the file take.
    pub(super) fn new(path: &Path, core: &CoreRef, pid: Pid) -> io::Result<Result<Claim, Taken>> {
        let path = canonical(path)?;
        let mut held = CLAIMS.held.lock();
        while let Some((core, pid)) = held.get(&path) {
            if core.is_alive(*pid) {
                return Ok(Err(Taken));
            }
            CLAIMS.released.wait(&mut held);
        }
        held.insert(path.clone(), (core.clone(), pid));
        Ok(Ok(Claim(path)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let claim = CLAIMS.held.lock().remove(&self.0);
        CLAIMS.released.notify_all();
        drop(claim);
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
