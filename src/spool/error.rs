//! Reasons why the spool cannot do what it is asked to.

use std::fmt::{self, Display, Formatter};

use rusqlite::ErrorCode;

use super::rescue;

/// Reasons for which the spool cannot do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// `max_size` is reached; deleting finished entries can make room.
    Full,
    /// The disk has no room for new events.
    DiskFull,
    /// Another process holds the spool; the text names it.
    Held(String),
    /// Damage was found while the spool was in use.
    Damaged,
    Other(String),
}

impl std::error::Error for Error {}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Full => "the spool has reached its `max_size`",
            Error::DiskFull => "no space left on the spool's disk",
            Error::Damaged => {
                "the spool is damaged; the next start sets it aside and recovers what it can"
            }
            Error::Held(text) | Error::Other(text) => text,
        })
    }
}

impl Error {
    /// Converts to an error of SQLite, for work inside a transaction.
    pub fn into_sqlite(self) -> rusqlite::Error {
        rusqlite::Error::ToSqlConversionFailure(Box::new(self))
    }
}

impl From<&rusqlite::Error> for Error {
    fn from(error: &rusqlite::Error) -> Error {
        if let rusqlite::Error::ToSqlConversionFailure(inner) = error
            && let Some(inner) = inner.downcast_ref::<Error>()
        {
            return inner.clone();
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::DiskFull,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Error::Held("another program holds the spool".to_owned())
            }
            _ if rescue::says_damage(error) => Error::Damaged,
            Some(ErrorCode::ReadOnly) => Error::Other("the spool cannot be written".to_owned()),
            Some(ErrorCode::SystemIoFailure) => {
                Error::Other(format!("the disk reports an error: {error}"))
            }
            _ => Error::Other(error.to_string()),
        }
    }
}
