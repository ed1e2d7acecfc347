//! Read-only connection to the spool; it neither blocks writers nor waits for them.

use std::fmt::{self, Display, Formatter};
use std::path::Path;

use anyhow::{Result, ensure};
use rusqlite::{Connection, OpenFlags};

use super::folder::BUSY;
use super::{open, schema, wal};

/// Error for a log that the next writing process repairs.
#[derive(Debug)]
pub struct DamagedLog;

impl std::error::Error for DamagedLog {}

impl Display for DamagedLog {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("the log is damaged")
    }
}

/// Opens a read-only connection to a spool of this version; others are refused.
pub fn reader(folder: &Path) -> Result<Connection> {
    let connection = connect(folder)?;
    ensure!(schema::age(&connection)?.is_eq(), "another version");
    Ok(connection)
}

/// Opens a read-only connection to a spool of any version.
pub fn connect(folder: &Path) -> Result<Connection> {
    open::ensure_files(folder)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = folder.join("spool.db");
    // The first process to open the file skips the damaged part of its log, and leaves no trace of it.
    ensure!(wal::damage(&path).is_none(), DamagedLog);
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    Ok(connection)
}
