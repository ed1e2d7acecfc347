//! The move of what was committed from the log to the file proper.

use std::time::Duration;

use rusqlite::Connection;

use super::folder::BUSY;

/// How far the log is brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The next transaction begins the log again; its room stays taken.
    Restart,
    /// Nothing is left of it.
    Truncate,
}

/// Moves all that is in the log to the file, as far as nobody reads it meanwhile: that is not waited for.
pub fn checkpoint(connection: &Connection, mode: Mode) {
    let statement = match mode {
        Mode::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    // Where it fails, all stays in the log.
    let _ = connection.busy_timeout(Duration::ZERO);
    let _ = connection.execute_batch(statement);
    let _ = connection.busy_timeout(BUSY);
}
