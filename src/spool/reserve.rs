//! Disk space that is released when no other is left: the results of deliveries in the spool can be recorded
//! even then, and take no new space afterwards.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::checkpoint::{Mode, checkpoint};

/// Space for the log when it starts again.
const LOG: u64 = 1 << 20;
/// Space kept back, so that the file can grow when the log has taken the rest.
const REST: u64 = 1 << 18;
static PIECE: [u8; 1 << 16] = [0; 1 << 16];

/// The file that occupies the space.
#[derive(Clone)]
pub struct Reserve {
    path: PathBuf,
    database: PathBuf,
}

impl Reserve {
    /// Returns the reserve of a spool's folder; nothing is created.
    pub fn in_folder(folder: &Path) -> Reserve {
        Reserve {
            path: folder.join("reserve"),
            database: folder.join("spool.db"),
        }
    }

    /// Returns true if the disk is too full for the space that may be needed, with `new` additional bytes.
    /// Unless it is occupied already, this occupies it: as much as the log needs, plus the growth of the file
    /// when the log is moved to it.
    pub fn is_short(&self, connection: &Connection, new: u64) -> bool {
        let needed = LOG + self.growth(connection) + new;
        let length = self.length();
        if length >= needed {
            return false;
        }
        let grown = self.grow(length, needed);
        grown.is_err_and(|error| {
            [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&error.kind())
        })
    }

    /// Returns true if there is room for a log that starts empty.
    pub fn is_whole(&self) -> bool {
        self.length() >= LOG
    }

    fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Returns the number of bytes that are only in the log and will make the file longer.
    fn growth(&self, connection: &Connection) -> u64 {
        let number = |name: &str| {
            connection.query_row(&format!("PRAGMA {name}"), [], |row| {
                row.get::<_, u32>(0).map(u64::from)
            })
        };
        let size = number("page_count").and_then(|pages| Ok(pages * number("page_size")?));
        let length = self
            .database
            .metadata()
            .map_or(0, |metadata| metadata.len());
        size.unwrap_or(0).saturating_sub(length)
    }

    fn grow(&self, from: u64, to: u64) -> Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let grown = fill(&mut file, to - from);
        if grown.is_err() {
            // A part of it is better than nothing, but not more than the log needs.
            let end = file.stream_position()?;
            file.set_len(end.min(from.max(LOG)))?;
        }
        grown
    }

    /// Releases space, and moves the content of the log to the database file, so that the log starts again.
    /// If the file needs more room for that than there is, the log uses the space instead. A rest is kept for
    /// the next time, when the log has taken the other space.
    pub fn spend(&self, connection: &Connection) {
        let length = self.length();
        if length > REST {
            // If this fails, there is no space to gain.
            let _ = File::options()
                .write(true)
                .open(&self.path)
                .and_then(|file| file.set_len(REST));
            if self.growth(connection) > length - REST {
                return;
            }
            return checkpoint(connection, Mode::Restart);
        }
        let _ = std::fs::remove_file(&self.path);
        checkpoint(connection, Mode::Restart);
        let _ = self.grow(0, REST);
    }
}

fn fill(file: &mut File, mut left: u64) -> Result<()> {
    while left > 0 {
        let piece = PIECE.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        file.write_all(&PIECE[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}
