//! The folder of a spool: where it is, what it may take, and the files in it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::system::home;

/// How long another program may hold the file.
pub const BUSY: Duration = Duration::from_millis(500);

/// What a spool may take, and where it may be.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// The most that its file may take, in bytes.
    pub max_size: Option<u64>,
    /// In a full one, what waited longest makes room for what is new.
    pub drop_oldest: bool,
    /// It may be on a file system of another machine.
    pub on_network: bool,
    /// The file is looked through for damage first, if it is not large.
    pub check: bool,
}

/// The user's spool: `$XDG_STATE_HOME/ansible-notify`, or below `~/.local/state`.
pub fn default_folder() -> Option<PathBuf> {
    let state = home::variable("XDG_STATE_HOME")
        .or_else(|| Some(home::directory()?.join(".local/state")))?;
    Some(state.join("ansible-notify"))
}

/// Whether there is a spool in `folder`, or something that keeps from seeing it.
pub fn is_in(folder: &Path) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let found = folder.join("spool.db").symlink_metadata();
    !found.is_err_and(|error| matches!(error.kind(), NotFound | NotADirectory))
}

/// Opens a file that only its owner may read, and makes it where it is not there.
pub fn private_file(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Pages of the file that hold something.
pub fn pages_in_use(connection: &Connection) -> rusqlite::Result<i64> {
    let number = |name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
    };
    Ok(number("page_count")? - number("freelist_count")?)
}
