//! Room on the disk that is given up when nothing else is left: what became of the deliveries that the
//! spool holds can be recorded even then, and takes no new room afterwards.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

const BYTES: usize = 1 << 20;

/// The file that takes up the room.
#[derive(Clone)]
pub struct Reserve(PathBuf);

impl Reserve {
    pub fn in_folder(folder: &Path) -> Reserve {
        Reserve(folder.join("reserve"))
    }

    /// Whether the disk is too full to keep the room, which is taken up here unless it is already.
    pub fn is_short(&self) -> bool {
        if self
            .0
            .metadata()
            .is_ok_and(|metadata| metadata.len() == BYTES as u64)
        {
            return false;
        }
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.0)
            .and_then(|mut file| file.write_all(&[0; BYTES]));
        if made.is_err() {
            self.give_up();
        }
        made.is_err_and(|error| {
            [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&error.kind())
        })
    }

    fn give_up(&self) {
        // Where it is not there, or cannot be removed, there is no room to be had.
        let _ = std::fs::remove_file(&self.0);
    }

    /// Gives the room up, and moves what is in the WAL to the file proper, so that the WAL begins anew.
    pub fn spend(&self, connection: &Connection) {
        self.give_up();
        // Where that fails as well, the next write says so.
        let _ = connection.execute_batch("PRAGMA wal_checkpoint(RESTART)");
    }
}
