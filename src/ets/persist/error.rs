//! What can go wrong with a persistent table.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{CallError, StartError};
use crate::ets::{TableError, TableType};
use crate::exit::ExitReason;
use crate::sync::Arc;

/// Why a persistent table was not opened, or an operation on it not done.
///
/// An operation that fails has changed nothing, neither in memory nor in the file, with two exceptions that
/// say so: [`NoAnswer`](Self::NoAnswer) and [`TableError::Gone`]. OTP: the reasons of `dets`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum PersistError {
    /// The operating system would not: no room on the disk, for example.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        #[source]
        error: Arc<io::Error>,
    },
    /// The file is open already, as another persistent table, of this program or another one.
    #[error("the file is open already")]
    AlreadyOpen,
    /// The file holds something else.
    #[error("not a file of a persistent table")]
    NotATable,
    /// The file was written in a version of the format that is not known: by a later noex.
    #[error("the file is of version {0} of its format, which is not known")]
    Version(u16),
    /// The file is of a version of redb's format that this one does not know, older or newer. (Or what says of
    /// which it is was damaged: it is looked at before checksums are.)
    #[error("the file is of version {0} of redb's format, which is not known")]
    StoreVersion(u8),
    /// The file is damaged: a checksum is wrong, or something that it protects makes no sense.
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    /// The table in the file is of another kind.
    #[error("the table in the file is a {0}")]
    WrongKind(TableType),
    /// The table in the file has other types, by their names. If they were only moved or renamed, see
    /// [`any_types`](super::PersistentBuilder::any_types).
    #[error("the table in the file has keys of type {key} and values of type {value}")]
    WrongTypes {
        /// The type of its keys.
        key: String,
        /// The type of its values.
        value: String,
    },
    /// A key or a value could not be written: its `Serialize` failed, or it is larger than 3 GiB.
    #[error("cannot encode a key or a value: {0}")]
    Encode(String),
    /// What is in the file is not such a key or value: their `Deserialize` failed, though the file is not
    /// damaged. Their types have changed.
    #[error("cannot decode a key or a value: {0}")]
    Decode(String),
    /// A write has failed so that what the file holds is not certain (a sync failed): all further ones are
    /// refused, until the table is opened anew. It can still be read. The failure itself is the source.
    #[error("no write is accepted after one that left the file in doubt")]
    InDoubt(#[source] Arc<PersistError>),
    /// The closure that was given to the operation panicked; or `Serialize` or the like of a key or value did,
    /// or, as the table was opened, `Deserialize`.
    #[error("the closure, or what encodes, compares or decodes keys and values, panicked")]
    Panicked(#[source] ExitReason),
    /// The table could not be used: as the table's own operations say. [`TableError::Gone`]: it was closed, or
    /// its process has died; of a write that was under way then it is not known whether it is in the file.
    #[error("the table could not be used")]
    Table(#[source] TableError),
    /// The table's process was not started.
    #[error("the table's process was not started")]
    Start(#[source] StartError),
    /// There was no answer: the table's process has died, or the caller did not wait so long, or must not.
    /// Whether the operation was, or will be, done is not known.
    #[error("no answer")]
    NoAnswer(#[source] CallError),
}

impl From<TableError> for PersistError {
    fn from(error: TableError) -> Self {
        PersistError::Table(error)
    }
}

impl From<CallError> for PersistError {
    fn from(error: CallError) -> Self {
        PersistError::NoAnswer(error)
    }
}

impl From<StartError> for PersistError {
    fn from(error: StartError) -> Self {
        if let StartError::Init(reason) = &error {
            if let Some(error) = reason.downcast_ref::<PersistError>() {
                return error.clone();
            }
        }
        PersistError::Start(error)
    }
}

impl PersistError {
    pub(super) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        PersistError::Io {
            doing,
            path: path.to_owned(),
            error: Arc::new(error),
        }
    }

    /// What `redb` says, in words of ours: so that no user depends on its types.
    pub(super) fn of_store(doing: &'static str, path: &Path, error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => PersistError::io(doing, path, error),
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                PersistError::AlreadyOpen
            }
            redb::Error::UpgradeRequired(version) => PersistError::StoreVersion(version),
            redb::Error::Corrupted(what) => match newer(&what) {
                Some(version) => PersistError::StoreVersion(version),
                None => PersistError::Corrupt(what),
            },
            redb::Error::ValueTooLarge(size) => {
                PersistError::Encode(format!("{size} bytes are too many"))
            }
            redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::TableIsNotMultimap(_)
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableDoesNotExist(_) => PersistError::NotATable,
            other => PersistError::io(doing, path, io::Error::other(other)),
        }
    }
}

/// The version of the format that redb does not know yet, which it has no error of its own for.
fn newer(what: &str) -> Option<u8> {
    let version = what.strip_prefix("Expected file format version <= ")?;
    let (_known, version) = version.split_once(", found ")?;
    version.parse().ok()
}
