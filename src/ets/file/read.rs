//! Reading a table's file.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::TableFileError;
use super::format::{
    BLOCK_HEAD, PREFIX, TableFileInfo, block_length, block_records, describe, description_length,
    due,
};
use crate::ets::codec::{Stored, take, take_values};
use crate::ets::kind::Keeps;
use crate::ets::store::Entry;

/// What was in a file.
pub(super) struct Contents<K, C> {
    pub(super) info: TableFileInfo,
    pub(super) entries: Vec<Entry<K, C>>,
}

/// A file whose head was read.
pub(super) struct Opened {
    pub(super) info: TableFileInfo,
    path: PathBuf,
    file: BufReader<File>,
    /// How many bytes are left.
    left: u64,
}

/// Opens a file, and reads its head.
pub(super) fn open(path: &Path) -> Result<Opened, TableFileError> {
    let failed = TableFileError::io("open", path);
    let file = File::open(path).map_err(&failed)?;
    let mut left = file.metadata().map_err(&failed)?.len();
    let mut file = BufReader::new(file);
    let mut prefix = [0; PREFIX];
    // What is too short to say what it is is not a table's file.
    take_bytes(&mut file, &mut left, &mut prefix, path).map_err(|error| match error {
        TableFileError::Truncated => TableFileError::NotATableFile,
        other => other,
    })?;
    let mut description = vec![0; description_length(&prefix)?];
    take_bytes(&mut file, &mut left, &mut description, path)?;
    let info = describe(&prefix, &description)?;
    if left < info.body.bytes {
        return Err(TableFileError::Truncated);
    }
    if left > info.body.bytes {
        return Err(TableFileError::Corrupt("something follows its end"));
    }
    Ok(Opened {
        info,
        path: path.to_owned(),
        file,
        left,
    })
}

fn take_bytes(
    file: &mut impl Read,
    left: &mut u64,
    into: &mut [u8],
    path: &Path,
) -> Result<(), TableFileError> {
    *left = left
        .checked_sub(into.len() as u64)
        .ok_or(TableFileError::Truncated)?;
    file.read_exact(into).map_err(|error| match error.kind() {
        // Somebody cuts it off while it is read.
        io::ErrorKind::UnexpectedEof => TableFileError::Truncated,
        _ => TableFileError::io("read", path)(error),
    })
}

/// Reads all of a file; the times in it run from `now` on.
pub(super) fn load<K: Stored, V: Stored, Kind: Keeps<K, V>>(
    path: &Path,
    any_types: bool,
    now: u64,
) -> Result<Contents<K, Kind::Content<V>>, TableFileError> {
    let mut opened = open(path)?;
    let info = &opened.info;
    if info.kind != Kind::TYPE {
        return Err(TableFileError::WrongKind(info.kind));
    }
    let own = (std::any::type_name::<K>(), std::any::type_name::<V>());
    if !any_types && (info.key.as_str(), info.value.as_str()) != own {
        return Err(TableFileError::WrongTypes {
            key: info.key.clone(),
            value: info.value.clone(),
        });
    }
    let mut entries = Vec::new();
    let (mut blocks, mut payload) = (0, Vec::new());
    while opened.left > 0 {
        let records = opened.block(blocks, &mut payload)?;
        blocks += 1;
        let mut rest = payload.as_slice();
        for _ in 0..records {
            entries.push(record::<K, V, Kind>(&mut rest, now)?);
        }
        if !rest.is_empty() {
            return Err(TableFileError::Decode("more than was expected".into()));
        }
    }
    if blocks != opened.info.body.blocks {
        return Err(TableFileError::Corrupt("a block is missing"));
    }
    Ok(Contents {
        info: opened.info,
        entries,
    })
}

impl Opened {
    /// Reads a block; how many records are in it.
    fn block(&mut self, number: u64, payload: &mut Vec<u8>) -> Result<u32, TableFileError> {
        let mut head = [0; BLOCK_HEAD];
        take_bytes(&mut self.file, &mut self.left, &mut head, &self.path)?;
        let length = block_length(&head);
        if length > self.left {
            return Err(TableFileError::Corrupt("a block of objects"));
        }
        payload.clear();
        // No more than is there: `left` was the file's own.
        payload.resize(length as usize, 0);
        take_bytes(&mut self.file, &mut self.left, payload, &self.path)?;
        block_records(number, &head, payload)
    }
}

fn record<K: Stored, V: Stored, Kind: Keeps<K, V>>(
    bytes: &mut &[u8],
    now: u64,
) -> Result<Entry<K, Kind::Content<V>>, TableFileError> {
    let misfit = |error: postcard::Error| TableFileError::Decode(error.to_string());
    let key = take(bytes).map_err(misfit)?;
    let left = take(bytes).map_err(misfit)?;
    let content = take_values(bytes, Kind::TYPE).map_err(misfit)?;
    Ok(Entry {
        key,
        content,
        expires: due(left, now),
    })
}
