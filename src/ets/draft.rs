//! Files that are there whole or not at all, whenever the power goes: written under another name in the same
//! directory, synced, and only then given their own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A file on its way to its name; without it, it is removed again.
pub(super) struct Draft {
    path: PathBuf,
    named: bool,
}

impl Draft {
    /// A new empty file, for what is to be at `path`.
    pub(super) fn new(path: &Path) -> io::Result<(Draft, File)> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        loop {
            let number = DRAFTS.fetch_add(1, Relaxed);
            let mut draft = name.to_owned();
            draft.push(format!(".{}-{number}.tmp", std::process::id()));
            let path = path.with_file_name(draft);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Draft { path, named: false }, file)),
                // Left behind by another program, that had the same id.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Where it is now.
    #[cfg(feature = "persist")]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file, which must be synced, its name. What had it is gone then.
    pub(super) fn publish(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.named = true;
        sync_directory(path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.named {
            // If it stays it is in nobody's way.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The directory a file is in.
pub(super) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Sees to it that the name of a file survives a loss of power.
fn sync_directory(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory(path))?.sync_all()?;
    // Elsewhere a directory cannot be opened as a file.
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_directory_is_in_the_current_one() {
        assert_eq!(directory(Path::new("file")), Path::new("."));
        assert_eq!(directory(Path::new("/a/file")), Path::new("/a"));
        assert_eq!(directory(Path::new("a/file")), Path::new("a"));
    }

    #[test]
    fn a_draft_that_gets_no_name_leaves_nothing() {
        let target = std::env::temp_dir().join(format!("noex-draft-{}", std::process::id()));
        let (draft, file) = Draft::new(&target).unwrap();
        let (other, _file) = Draft::new(&target).unwrap();
        let (path, second) = (draft.path.clone(), other.path.clone());
        assert!(path != second && path.exists() && second.exists());
        drop((draft, file));
        assert!(!path.exists() && !target.exists());
        other.publish(&target).unwrap();
        assert!(!second.exists() && target.exists());
        fs::remove_file(&target).unwrap();
    }
}
