//! Room on the disk that is given up when nothing else is left: what became of the deliveries that the
//! spool holds can be recorded even then, and takes no new room afterwards.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::checkpoint::{Mode, checkpoint};

/// Room for the log, when it begins again.
const LOG: u64 = 1 << 20;
/// What is kept of it, so that the file can grow when the log has taken the rest.
const REST: u64 = 1 << 18;
static PIECE: [u8; 1 << 16] = [0; 1 << 16];

/// The file that takes up the room.
#[derive(Clone)]
pub struct Reserve {
    path: PathBuf,
    database: PathBuf,
}

impl Reserve {
    pub fn in_folder(folder: &Path) -> Reserve {
        Reserve {
            path: folder.join("reserve"),
            database: folder.join("spool.db"),
        }
    }

    /// Whether the disk is too full for the room that may be needed, with so many bytes that are new. It is
    /// taken up here unless it is already: as much as the log needs, and as the file is to grow by when the
    /// log is moved to it.
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

    /// Whether there is room for a log that begins with nothing.
    pub fn is_whole(&self) -> bool {
        self.length() >= LOG
    }

    fn length(&self) -> u64 {
        self.path.metadata().map_or(0, |metadata| metadata.len())
    }

    /// Bytes that are in the log only, and will make the file longer.
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
            // What there is of it is better than nothing, but no more than the log needs.
            let end = file.stream_position()?;
            file.set_len(end.min(from.max(LOG)))?;
        }
        grown
    }

    /// Gives room up, and moves what is in the log to the file proper, so that the log begins again. Where the
    /// file would need more room for that than there is, the log goes on in it instead. A rest is kept for the
    /// next time, when the log has taken the other room.
    pub fn spend(&self, connection: &Connection) {
        let length = self.length();
        if length > REST {
            // Where that fails, there is no room to be had.
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
