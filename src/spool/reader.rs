//! A look into the spool that waits for nobody, and that nobody waits for.

use std::path::Path;

use anyhow::{Result, ensure};
use rusqlite::{Connection, OpenFlags};

use super::folder::BUSY;
use super::{open, schema, wal};

/// A connection that only reads. Of a spool of this version only.
pub fn reader(folder: &Path) -> Result<Connection> {
    open::ensure_files(folder)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = folder.join("spool.db");
    // Whoever opens it first passes over what is damaged in the log, and leaves no trace of it.
    ensure!(wal::damage(&path).is_none(), "the log is damaged");
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    ensure!(schema::is_newest(&connection)?, "another version");
    Ok(connection)
}
