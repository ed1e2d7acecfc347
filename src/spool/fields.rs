//! Readers for columns of rows that may be damaged: one wrong byte hides neither its row nor the others.

use rusqlite::Row;
use rusqlite::types::ValueRef;

/// Reads any value as text, replacing invalid bytes; None for NULL.
pub fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
    })
}

/// Reads a text; None unless it is valid to the last byte.
pub fn sound_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
        _ => None,
    })
}

/// Reads a number; None if it does not fit `T`.
pub fn number<T: TryFrom<i64>>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => T::try_from(number).ok(),
        _ => None,
    })
}

/// Separator of names in a column.
const SEPARATOR: &str = ", ";

/// Returns names as they are stored in one column.
pub fn joined(names: &[String]) -> String {
    names.join(SEPARATOR)
}

/// Returns the names in a column.
pub fn split(column: &str) -> Vec<String> {
    let names = column.split(SEPARATOR).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

/// Serialises names as they are stored.
pub fn serialize_joined<S: serde::Serializer>(
    names: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&joined(names))
}
