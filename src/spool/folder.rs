//! Folder of a spool: its location, its limits and the files in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::system::home;

/// Time for which another program may hold the file.
pub const BUSY: Duration = Duration::from_millis(500);

/// Limits on the size and the location of a spool.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Maximum size of its file, in bytes.
    pub max_size: Option<u64>,
    /// True if the oldest pending deliveries make room for new ones when the spool is full.
    pub drop_oldest: bool,
    /// True if it may be on a network file system.
    pub on_network: bool,
    /// True if the file is checked for damage first, unless it is large.
    pub check: bool,
}

/// Returns the path of the user's spool: `$XDG_STATE_HOME/ansible-notify`, or below `~/.local/state`.
pub fn default_folder() -> Option<PathBuf> {
    let state = home::variable("XDG_STATE_HOME")
        .or_else(|| Some(home::directory()?.join(".local/state")))?;
    Some(state.join("ansible-notify"))
}

/// Returns true if there is a spool in `folder`, or if something prevents looking.
pub fn is_in(folder: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let found = folder.join("spool.db").symlink_metadata();
    !found.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

/// Opens a file that only its owner may read, creating it if missing.
pub fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Takes a folder for the one process that accepts events of other machines there, until the file is dropped; None if
/// another process has it.
pub fn take_alone(folder: &Path) -> std::io::Result<Option<File>> {
    let file = private_file(&folder.join("spool.relay"))?;
    Ok(match file.try_lock() {
        Err(TryLockError::WouldBlock) => None,
        // The file system may not support locks.
        Ok(()) | Err(TryLockError::Error(_)) => Some(file),
    })
}

/// Returns the number of pages of the file that are in use.
pub fn pages_in_use(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    Ok(number("page_count")? - number("freelist_count")?)
}
