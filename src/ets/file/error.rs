//! What can go wrong with a table's file.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::CallError;
use crate::ets::{TableError, TableType};
use crate::sync::Arc;

/// Why a table was not written to a file, or not read from one. OTP: the reasons of `ets:tab2file/2` and
/// `ets:file2tab/1`.
///
/// A file that was there is left as it was, and no table is made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TableFileError {
    /// The operating system would not.
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
    /// The file is something else, or damaged at its very beginning.
    #[error("not a file of a table")]
    NotATableFile,
    /// The file was written in a version of the format that is not known: by a later noex.
    #[error("the file is of version {0} of its format, which is not known")]
    Version(u16),
    /// The file ends before it should.
    #[error("the file is cut off")]
    Truncated,
    /// A checksum is wrong, or something that it protects makes no sense.
    #[error("the file is damaged: {0}")]
    Corrupt(&'static str),
    /// The table in the file is of another kind.
    #[error("the table in the file is a {0}")]
    WrongKind(TableType),
    /// The table in the file has other types, by their names. If they were only moved or renamed, see
    /// [`load_from_file_of_any_types`](crate::ets::TableBuilder::load_from_file_of_any_types).
    #[error("the table in the file has keys of type {key} and values of type {value}")]
    WrongTypes {
        /// The type of its keys.
        key: String,
        /// The type of its values.
        value: String,
    },
    /// A key or a value could not be written: its `Serialize` failed.
    #[error("cannot encode a key or a value: {0}")]
    Encode(String),
    /// What was written is not such a key or value: their `Deserialize` failed, though the file is not
    /// damaged. Their types have changed.
    #[error("cannot decode a key or a value: {0}")]
    Decode(String),
    /// The table could not be read, or not be made.
    #[error("the table could not be used")]
    Table(#[source] TableError),
    /// There was no answer: [`CallError::Exited`] if a `Serialize` or the like panicked; or the caller did not
    /// wait so long, or must not.
    #[error("no answer")]
    NoAnswer(#[source] CallError),
}

impl From<TableError> for TableFileError {
    fn from(error: TableError) -> Self {
        TableFileError::Table(error)
    }
}

impl From<CallError> for TableFileError {
    fn from(error: CallError) -> Self {
        TableFileError::NoAnswer(error)
    }
}

impl TableFileError {
    /// Makes errors of the operating system's of one kind.
    pub(super) fn io(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| TableFileError::Io {
            doing,
            path: path.clone(),
            error: Arc::new(error),
        }
    }
}
