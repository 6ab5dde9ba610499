//! What can go wrong with a table.

use super::store::Nested;

/// Why an operation on a table was not done. OTP: `badarg`, for all of them.
///
/// An operation that fails has changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The table is no more: it was deleted, or its owner died and left it to nobody, or the system has
    /// ended.
    #[error("the table is gone")]
    Gone,
    /// The caller may not: the table is protected or private, or this is for its owner alone.
    #[error("the table is not open to this caller")]
    Access,
    /// The operation was tried from under a lock of the same table, or of one that was made later: in a
    /// closure that was given to a table, or in `Hash`, `Eq`, `Ord` or `Clone` of a key or value. Waiting
    /// for the lock could be for ever.
    #[error("a table was used from inside an operation on it, or on a table made later")]
    Nested,
    /// There is no object with this key; or, where a traversal goes on from a key, the table does not
    /// know it (any more).
    #[error("no object has this key")]
    BadKey,
    /// The result does not fit the counter's type.
    #[error("the result does not fit the counter")]
    Overflow,
    /// Of a dynamic table: the object is not a tuple, or has no element at the table's key position.
    #[error("not a tuple, or one without an element at the key's position")]
    BadObject,
    /// Of a dynamic table: the object has no element at this position, which are counted from 1.
    #[error("the object has no element at this position")]
    BadPosition,
    /// Of a dynamic table: the element that is to be added to is not an integer.
    #[error("the element to add to is not an integer")]
    NotAnInteger,
    /// Of a dynamic table: the key of an object would change; or, of a match specification that is to replace
    /// objects, it is not plain from how it is written that it would not.
    #[error("the key of an object would change")]
    KeyChanged,
    /// Of a dynamic table: a float is NaN or infinite, which in Erlang is no number.
    #[error("a float that is not finite")]
    NotFinite,
    /// Of a dynamic table: tables of its type cannot do this.
    #[error("tables of this type cannot do this")]
    WrongKind,
    /// Another table of the system has the name.
    #[error("another table has this name")]
    NameTaken,
    /// No table of the system has the name.
    #[error("no table has this name")]
    NoTable,
    /// The table with this name has keys or values of other types, or is of another kind.
    #[error("the table with this name has other types")]
    WrongType,
    /// The process that should get the table is dead.
    #[error("the process that should get the table is dead")]
    NoProc,
    /// The process that should get the table owns it.
    #[error("the process owns the table already")]
    AlreadyOwner,
}

impl From<Nested> for TableError {
    fn from(_: Nested) -> Self {
        TableError::Nested
    }
}
