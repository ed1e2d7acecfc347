//! Checkpointing: moves committed data from the log to the database file.

use std::time::Duration;

use rusqlite::Connection;

use super::folder::BUSY;

/// Extent to which the log is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The next transaction starts again at the beginning of the log, which keeps its size.
    Restart,
    /// The log file becomes empty.
    Truncate,
}

/// Moves the content of the log to the database file, except what is being read: it does not wait.
pub fn checkpoint(connection: &Connection, mode: Mode) {
    let statement = match mode {
        Mode::Restart => "PRAGMA wal_checkpoint(RESTART)",
        Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
    };
    // If this fails, everything stays in the log.
    let _ = connection.busy_timeout(Duration::ZERO);
    let _ = connection.execute_batch(statement);
    let _ = connection.busy_timeout(BUSY);
}
