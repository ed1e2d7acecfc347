//! A look into the spool that waits for nobody, and that nobody waits for.

use std::path::Path;

use anyhow::{Result, ensure};
use rusqlite::{Connection, OpenFlags};

use super::{BUSY, schema};

/// A connection that only reads. Of a spool of this version only.
pub fn reader(folder: &Path) -> Result<Connection> {
    super::ensure_files(folder)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(folder.join("spool.db"), flags)?;
    connection.busy_timeout(BUSY)?;
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON")?;
    ensure!(schema::is_newest(&connection)?, "another version");
    Ok(connection)
}
