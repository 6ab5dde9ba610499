//! Writing a table to a file.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::error::TableFileError;
use super::format::{About, BLOCK_HEAD, Body, block_head, head, left};
use crate::ets::codec::{encode, encode_values};
use crate::ets::draft::Draft;
use crate::ets::engine::Holds;
use crate::ets::kind::Keeps;
use crate::ets::store::{Item, Store, Terms};
use crate::ets::table::Inner;

/// A block is closed when it has so many bytes. The lock of a part of the table is held no longer.
const BLOCK: usize = 64 << 10;

/// Writes a table to `path`; how many objects.
pub(super) fn save<K: Serialize + 'static, V: Serialize + 'static, Kind: Keeps<K, V>>(
    inner: &Inner<K, V, Kind>,
    path: &Path,
) -> Result<u64, TableFileError> {
    let common = &inner.common;
    // Before there is a file: whether the caller may.
    common.read().admit()?;
    let name = common.rights.lock().name.clone();
    let about = About {
        name: name.as_deref(),
        kind: Kind::TYPE,
        key: std::any::type_name::<K>(),
        value: std::any::type_name::<V>(),
        access: common.access,
        ttl: common.ttl,
    };
    let saved = SystemTime::now();
    let failed = TableFileError::io("write", path);
    let (draft, mut file) = Draft::new(path).map_err(TableFileError::io("create", path))?;
    let place = head(&about, 0, Body::default(), saved)?;
    file.write_all(&place).map_err(&failed)?;

    let (mut body, mut objects) = (Body::default(), 0);
    let mut from = None;
    let mut block = Vec::with_capacity(BLOCK + BLOCK / 4);
    loop {
        let (mut records, mut misfit) = (0, None);
        block.clear();
        from = inner.store.scan(&common.read(), from.as_ref(), |entry| {
            let before = block.len();
            match record::<K, V, Kind>(entry, common.core.clock.now(), std::mem::take(&mut block)) {
                Ok(longer) => block = longer,
                Err(error) => {
                    misfit = Some(error.to_string());
                    return ControlFlow::Break(());
                }
            }
            debug_assert!(block.len() > before, "a record takes room");
            records += 1;
            objects += entry.content.values().len() as u64;
            match block.len() < BLOCK {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        if let Some(misfit) = misfit {
            return Err(TableFileError::Encode(misfit));
        }
        if records > 0 {
            let too_long = || TableFileError::Encode("an object of more than 4 GiB".into());
            let head = block_head(body.blocks, records, &block).ok_or_else(too_long)?;
            file.write_all(&head).map_err(&failed)?;
            file.write_all(&block).map_err(&failed)?;
            body.blocks += 1;
            body.bytes += (BLOCK_HEAD + block.len()) as u64;
        }
        if from.is_none() {
            break;
        }
    }

    let head = head(&about, objects, body, saved)?;
    finish(file, &head)
        .and_then(|()| draft.publish(path))
        .map_err(failed)?;
    Ok(objects)
}

/// Adds an entry to a block.
fn record<K: Serialize + 'static, V: Serialize + 'static, Kind: Keeps<K, V>>(
    entry: Item<'_, K, Kind::Content<V>>,
    now: u64,
    block: Vec<u8>,
) -> Result<Vec<u8>, postcard::Error> {
    let block = encode(entry.key, block)?;
    let block = encode(&left(entry.expires, now), block)?;
    encode_values(entry.content, block)
}

/// Puts the head where its place was kept, and all of the file on the disk.
fn finish(mut file: File, head: &[u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(head)?;
    file.sync_all()
}
