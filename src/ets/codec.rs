//! How keys, values and times are written in files and in persistent tables: postcard, whose format is
//! specified and stable, and says nothing about itself. What is read has passed a checksum before.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::engine::Holds;
use super::kind::TableType;

/// What a key or a value in a file has to be.
///
/// `Serialize` must write what `Deserialize` reads, in a format that does not describe itself: no
/// `#[serde(skip_serializing_if)]`, `#[serde(untagged)]` or `#[serde(flatten)]`.
pub trait Stored: Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Stored for T {}

/// Why bytes were not made, or not understood: postcard's words.
pub(super) type Misfit = postcard::Error;

pub(super) fn encode<T: Serialize + ?Sized>(
    value: &T,
    mut into: Vec<u8>,
) -> Result<Vec<u8>, Misfit> {
    into = postcard::to_extend(value, into)?;
    Ok(into)
}

/// Takes a value from the front of `bytes`.
pub(super) fn take<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, Misfit> {
    let (value, rest) = postcard::take_from_bytes(bytes)?;
    *bytes = rest;
    Ok(value)
}

/// The values of one key, as a list whatever the kind.
pub(super) fn encode_values<V: Serialize, C: Holds<V>>(
    content: &C,
    into: Vec<u8>,
) -> Result<Vec<u8>, Misfit> {
    encode(content.values(), into)
}

/// As [`encode_values`] wrote them. A list that this kind cannot have is a misfit.
pub(super) fn take_values<V: DeserializeOwned, C: Holds<V>>(
    bytes: &mut &[u8],
    kind: TableType,
) -> Result<C, Misfit> {
    let values: Vec<V> = take(bytes)?;
    let single = matches!(kind, TableType::Set | TableType::OrderedSet);
    if single && values.len() != 1 {
        return Err(Misfit::DeserializeBadEncoding);
    }
    content_of(values).ok_or(Misfit::DeserializeBadEncoding)
}

/// A content of these values, which in sets are one. `None`: there are none.
pub(super) fn content_of<V, C: Holds<V>>(values: Vec<V>) -> Option<C> {
    let mut values = values.into_iter();
    let mut content = C::of(values.next()?);
    for value in values {
        // It joins those before.
        let _left = content.push(C::of(value));
    }
    Some(content)
}

/// The kind as a number in a file. Never to be changed.
pub(super) fn kind_code(kind: TableType) -> u8 {
    match kind {
        TableType::Set => 0,
        TableType::OrderedSet => 1,
        TableType::Bag => 2,
        TableType::DuplicateBag => 3,
    }
}

pub(super) fn kind_of(code: u8) -> Option<TableType> {
    let all = [
        TableType::Set,
        TableType::OrderedSet,
        TableType::Bag,
        TableType::DuplicateBag,
    ];
    all.into_iter().find(|kind| kind_code(*kind) == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ets::store::{Many, One};

    #[test]
    fn each_kind_has_a_code_of_its_own() {
        for code in 0..4 {
            assert_eq!(kind_of(code).map(kind_code), Some(code));
        }
        assert_eq!(kind_of(4), None);
    }

    #[test]
    fn a_set_has_one_value_a_key_and_a_bag_at_least_one() {
        let write = |values: &[u32]| encode(values, Vec::new()).unwrap();
        let (none, one, two) = (write(&[]), write(&[7]), write(&[7, 8]));
        let set = |bytes: &[u8]| take_values::<u32, One<u32>>(&mut &*bytes, TableType::Set);
        assert_eq!(set(&one), Ok(One(7)));
        assert!(set(&none).is_err() && set(&two).is_err());
        let bag = |bytes: &[u8]| take_values::<u32, Many<u32>>(&mut &*bytes, TableType::Bag);
        assert_eq!(bag(&two), Ok(Many(vec![7, 8])));
        assert!(bag(&none).is_err());
    }
}
