//! The bytes of a table's file: heads and blocks, made and taken apart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crc32fast::Hasher;
use serde::{Deserialize, Serialize};

use super::error::TableFileError;
use crate::ets::codec::{encode, kind_code, kind_of, take};
use crate::ets::store::NEVER;
use crate::ets::{Access, TableType};
use crate::sync::Arc;

const MAGIC: [u8; 8] = *b"noex:tab";
/// Of the format; one more with each change that an older reader would misread.
const VERSION: u16 = 1;

/// Magic, version, length of the description, checksum.
pub(super) const PREFIX: usize = 8 + 2 + 4 + 4;
/// What the description can be long, names and all.
const LONGEST: u32 = 1 << 20;
/// Length, records, checksum.
pub(super) const BLOCK_HEAD: usize = 4 + 4 + 4;

/// What a file says about the table in it. OTP: `ets:tabfile_info/1`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TableFileInfo {
    /// The version of the file's format.
    pub version: u16,
    /// The name that the table had.
    pub name: Option<Arc<str>>,
    /// Of what kind it was.
    pub kind: TableType,
    /// The type of its keys.
    pub key: String,
    /// The type of its values.
    pub value: String,
    /// Who could use it.
    pub access: Access,
    /// How long objects stayed that were given no time of their own.
    pub ttl: Option<Duration>,
    /// How many objects are in the file. If others wrote the table while it was saved, one may be there
    /// twice, in two versions, of which the later one counts.
    pub objects: u64,
    /// When it was written, on the host's clock.
    pub saved: SystemTime,
    pub(super) body: Body,
}

/// How large the body of a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) blocks: u64,
    pub(super) bytes: u64,
}

/// What is known of a table before it is written.
pub(super) struct About<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) kind: TableType,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
    pub(super) access: Access,
    pub(super) ttl: Option<Duration>,
}

/// The description, as it is in the file.
#[derive(Serialize, Deserialize)]
struct Description {
    /// Of fixed length, as they are filled in last: little-endian.
    counts: [[u8; 8]; 3],
    kind: u8,
    access: u8,
    name: Option<String>,
    key: String,
    value: String,
    ttl: Option<Duration>,
    saved: Duration,
}

fn access_code(access: Access) -> u8 {
    match access {
        Access::Public => 0,
        Access::Protected => 1,
        Access::Private => 2,
    }
}

fn access_of(code: u8) -> Option<Access> {
    let all = [Access::Public, Access::Protected, Access::Private];
    all.into_iter().find(|access| access_code(*access) == code)
}

/// The head of a file. Its length does not depend on the numbers.
pub(super) fn head(
    about: &About<'_>,
    objects: u64,
    body: Body,
    saved: SystemTime,
) -> Result<Vec<u8>, TableFileError> {
    let description = Description {
        counts: [objects, body.blocks, body.bytes].map(u64::to_le_bytes),
        kind: kind_code(about.kind),
        access: access_code(about.access),
        name: about.name.map(str::to_owned),
        key: about.key.to_owned(),
        value: about.value.to_owned(),
        ttl: about.ttl,
        saved: saved.duration_since(UNIX_EPOCH).unwrap_or_default(),
    };
    let misfit = |error: postcard::Error| TableFileError::Encode(error.to_string());
    let description = encode(&description, Vec::new()).map_err(misfit)?;
    let length = u32::try_from(description.len()).ok();
    let length = length
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| TableFileError::Encode("the names are too long".into()))?;
    let mut head = Vec::with_capacity(PREFIX + description.len());
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend(length.to_le_bytes());
    head.extend(checksum(&[&head, &description]).to_le_bytes());
    head.extend(description);
    Ok(head)
}

/// How long the description is after the first [`PREFIX`] bytes of a file.
pub(super) fn description_length(prefix: &[u8; PREFIX]) -> Result<usize, TableFileError> {
    if prefix[..8] != MAGIC {
        return Err(TableFileError::NotATableFile);
    }
    let version = u16::from_le_bytes([prefix[8], prefix[9]]);
    if version != VERSION {
        return Err(TableFileError::Version(version));
    }
    match word(prefix, 10) {
        length if length <= LONGEST => Ok(length as usize),
        _ => Err(TableFileError::Corrupt("its head")),
    }
}

/// Takes a head apart.
pub(super) fn describe(
    prefix: &[u8; PREFIX],
    mut description: &[u8],
) -> Result<TableFileInfo, TableFileError> {
    const DAMAGED: TableFileError = TableFileError::Corrupt("its head");
    if checksum(&[&prefix[..14], description]) != word(prefix, 14) {
        return Err(DAMAGED);
    }
    let found: Description = take(&mut description).map_err(|_| DAMAGED)?;
    let [objects, blocks, bytes] = found.counts.map(u64::from_le_bytes);
    Ok(TableFileInfo {
        version: VERSION,
        name: found.name.map(Arc::from),
        kind: kind_of(found.kind).ok_or(DAMAGED)?,
        key: found.key,
        value: found.value,
        access: access_of(found.access).ok_or(DAMAGED)?,
        ttl: found.ttl,
        objects,
        saved: UNIX_EPOCH.checked_add(found.saved).ok_or(DAMAGED)?,
        body: Body { blocks, bytes },
    })
}

/// The head of a block.
pub(super) fn block_head(number: u64, records: u32, payload: &[u8]) -> Option<[u8; BLOCK_HEAD]> {
    let length = u32::try_from(payload.len()).ok()?;
    let mut head = [0; BLOCK_HEAD];
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..8].copy_from_slice(&records.to_le_bytes());
    let sum = checksum(&[&number.to_le_bytes(), &head[..8], payload]);
    head[8..].copy_from_slice(&sum.to_le_bytes());
    Some(head)
}

/// How many bytes follow the head of a block.
pub(super) fn block_length(head: &[u8; BLOCK_HEAD]) -> u64 {
    u64::from(word(head, 0))
}

/// How many records a block has, if it is whole.
pub(super) fn block_records(
    number: u64,
    head: &[u8; BLOCK_HEAD],
    payload: &[u8],
) -> Result<u32, TableFileError> {
    match checksum(&[&number.to_le_bytes(), &head[..8], payload]) == word(head, 8) {
        true => Ok(word(head, 4)),
        false => Err(TableFileError::Corrupt("a block of objects")),
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// How long from `now` until an object expires; [`NEVER`] if it does not.
pub(super) fn left(expires: u64, now: u64) -> u64 {
    match expires {
        NEVER => NEVER,
        expires => expires.saturating_sub(now),
    }
}

/// When it expires, if `left` is left from `now` on.
pub(super) fn due(left: u64, now: u64) -> u64 {
    match left {
        NEVER => NEVER,
        left => now.saturating_add(left).min(NEVER - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABOUT: About<'static> = About {
        name: Some("scores"),
        kind: TableType::Bag,
        key: "u8",
        value: "alloc::string::String",
        access: Access::Private,
        ttl: Some(Duration::from_millis(1500)),
    };

    fn parse(head: &[u8]) -> Result<TableFileInfo, TableFileError> {
        let prefix: &[u8; PREFIX] = head[..PREFIX].try_into().unwrap();
        let length = description_length(prefix)?;
        let description = head.get(PREFIX..PREFIX + length);
        describe(prefix, description.ok_or(TableFileError::Truncated)?)
    }

    #[test]
    fn a_head_says_what_was_put_in() {
        let saved = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        let body = Body {
            blocks: 3,
            bytes: 1 << 40,
        };
        let info = parse(&head(&ABOUT, 77, body, saved).unwrap()).unwrap();
        assert_eq!(info.name.as_deref(), Some("scores"));
        assert_eq!((info.kind, info.access), (TableType::Bag, Access::Private));
        assert_eq!(
            (info.key.as_str(), info.value.as_str()),
            (ABOUT.key, ABOUT.value)
        );
        assert_eq!((info.ttl, info.objects, info.saved), (ABOUT.ttl, 77, saved));
        assert_eq!(info.body, body);
    }

    #[test]
    fn the_numbers_do_not_change_the_length_of_a_head() {
        let length = |n| {
            head(
                &ABOUT,
                n,
                Body {
                    blocks: n,
                    bytes: n,
                },
                UNIX_EPOCH,
            )
            .unwrap()
            .len()
        };
        assert_eq!(length(0), length(u64::MAX));
    }

    #[test]
    fn no_bit_of_a_head_can_change_unnoticed() {
        let whole = head(&ABOUT, 77, Body::default(), UNIX_EPOCH).unwrap();
        for at in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(parse(&damaged).is_err(), "bit {at}");
        }
    }

    #[test]
    fn a_block_is_bound_to_its_place_and_its_bytes() {
        let head = block_head(4, 2, b"payload").unwrap();
        assert_eq!(block_length(&head), 7);
        assert_eq!(block_records(4, &head, b"payload").unwrap(), 2);
        assert!(block_records(5, &head, b"payload").is_err());
        assert!(block_records(4, &head, b"Payload").is_err());
        let mut more = head;
        more[4] += 1;
        assert!(block_records(4, &more, b"payload").is_err());
    }

    #[test]
    fn what_is_left_of_a_time_is_kept_from_one_clock_to_another() {
        assert_eq!(due(left(150, 100), 7), 57);
        assert_eq!(due(left(NEVER, 100), 7), NEVER);
        assert_eq!(left(100, 150), 0);
        // The end of all time is not never.
        assert_eq!(due(NEVER - 1, NEVER - 1), NEVER - 1);
    }
}
