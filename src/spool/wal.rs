//! Log of the spool file (WAL): finds committed frames that cannot be read, and recovers the others.
//!
//! SQLite reads a log up to the first damaged frame and silently ignores the rest. Format of the files:
//! <https://sqlite.org/walformat.html>

use std::fs::File;
use std::io::{BufReader, Read as _, Result, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

const HEADER: usize = 32;
const FRAME: usize = 24;
/// Magic number of the header without its last bit, the byte order of the checksums.
const MAGIC: u32 = 0x377f_0682;

type Checksum = (u32, u32);

/// A log with committed frames that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct Damage {
    page: usize,
    /// Size of the file after the last commit, in pages.
    pages: u32,
    /// Number of frames whose content is already in the database file.
    moved: u32,
    /// Readable frames, with the page that each of them holds.
    sound: Vec<(u32, u32)>,
}

/// Description of the log in SQLite's shared memory.
struct Index {
    big_endian: bool,
    page: usize,
    committed: u32,
    pages: u32,
    moved: u32,
    salt: [u8; 8],
}

/// Parameters for reading a log.
struct MessageFormat {
    page: usize,
    big_endian: bool,
    salt: [u8; 8],
    /// Checksum of the header, from which that of the first frame continues.
    checksum: Checksum,
    is_sound: bool,
}

fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn native(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn salt(bytes: &[u8]) -> [u8; 8] {
    let mut salt = [0; 8];
    salt.copy_from_slice(&bytes[..8]);
    salt
}

fn checksum(big_endian: bool, (mut first, mut second): Checksum, bytes: &[u8]) -> Checksum {
    let read = if big_endian {
        u32::from_be_bytes
    } else {
        u32::from_le_bytes
    };
    for pair in bytes.chunks_exact(8) {
        let left = read([pair[0], pair[1], pair[2], pair[3]]);
        let right = read([pair[4], pair[5], pair[6], pair[7]]);
        first = first.wrapping_add(left).wrapping_add(second);
        second = second.wrapping_add(right).wrapping_add(first);
    }
    (first, second)
}

fn index(database: &Path) -> Option<Index> {
    let mut bytes = [0; 100];
    let mut file = File::open(beside(database, "-shm")).ok()?;
    file.read_exact(&mut bytes).ok()?;
    let made = checksum(cfg!(target_endian = "big"), (0, 0), &bytes[..40]);
    let is_sound = bytes[..48] == bytes[48..96]
        && bytes[12] == 1
        && made == (native(&bytes, 40), native(&bytes, 44));
    let page = u16::from_ne_bytes([bytes[14], bytes[15]]);
    is_sound.then(|| Index {
        big_endian: bytes[13] == 1,
        page: if page == 1 { 1 << 16 } else { page.into() },
        committed: native(&bytes, 16),
        pages: native(&bytes, 20),
        moved: native(&bytes, 96).min(native(&bytes, 16)),
        salt: salt(&bytes[32..40]),
    })
}

/// Returns how to read the log, using shared memory if its own header is damaged.
fn form(header: &[u8; HEADER], index: Option<&Index>) -> Option<MessageFormat> {
    let big_endian = header[3] & 1 == 1;
    let stored = (word(header, 24), word(header, 28));
    let page = word(header, 8);
    let is_sound = word(header, 0) & !1 == MAGIC
        && checksum(big_endian, (0, 0), &header[..24]) == stored
        && (512..=1 << 16).contains(&page);
    if is_sound {
        return Some(MessageFormat {
            page: page as usize,
            big_endian,
            salt: salt(&header[16..24]),
            checksum: stored,
            is_sound,
        });
    }
    index.map(|index| MessageFormat {
        page: index.page,
        big_endian: index.big_endian,
        salt: index.salt,
        checksum: stored,
        is_sound,
    })
}

/// Checks the log before SQLite opens it. Returns None if everything committed can be read.
pub fn damage(database: &Path) -> Option<Damage> {
    // Shared memory first: what it calls committed was in the log before.
    let index = index(database);
    let mut log = BufReader::new(File::open(beside(database, "-wal")).ok()?);
    let mut header = [0; HEADER];
    let has_header = log.read_exact(&mut header).is_ok();
    let form = form(&header, index.as_ref())?;
    // A restarted log has a different salt; about a deleted one, shared memory no longer says anything.
    let index = index.filter(|index| index.salt == form.salt);
    if !has_header && index.as_ref().is_none_or(|index| index.committed == 0) {
        return None;
    }
    survey(&mut log, &form, index.as_ref())
}

fn survey(
    log: &mut BufReader<File>,
    form: &MessageFormat,
    index: Option<&Index>,
) -> Option<Damage> {
    let limit = index.map_or(u32::MAX, |index| index.committed);
    let mut sound = Vec::new();
    let (mut before, mut number) = (form.checksum, 0);
    // The last frame known to be committed, and the size of the file at that point.
    let (mut last, mut pages) = index.map_or((0, 0), |index| (index.committed, index.pages));
    // A commit followed by frames without a gap: the next one was written after it was synced.
    let mut commit = form.is_sound.then_some(0);
    let mut frame = vec![0; FRAME + form.page];
    while number < limit && log.read_exact(&mut frame).is_ok() {
        number += 1;
        let stored = (word(&frame, 16), word(&frame, 20));
        let made = checksum(form.big_endian, before, &frame[..8]);
        let made = checksum(form.big_endian, made, &frame[FRAME..]);
        before = stored;
        let is_sound = made == stored && frame[8..16] == form.salt && word(&frame, 0) > 0;
        if !is_sound {
            commit = None;
            continue;
        }
        sound.push((number, word(&frame, 0)));
        let size = word(&frame, 4);
        if size > 0 {
            if index.is_none() && commit.is_some() {
                (last, pages) = (number, size);
            }
            commit = Some(number);
        }
    }
    sound.retain(|(number, _)| *number <= last);
    let is_whole = form.is_sound && sound.len() == last as usize;
    (last > 0 && !is_whole).then_some(Damage {
        page: form.page,
        pages,
        moved: index.map_or(0, |index| index.moved),
        sound,
    })
}

impl Damage {
    /// Writes everything readable in a file and its log to a new file.
    pub fn merge(&self, database: &Path, merged: &Path) -> Result<()> {
        std::fs::copy(database, merged)?;
        let mut log = File::open(beside(database, "-wal"))?;
        let mut file = File::options().write(true).open(merged)?;
        let mut page = vec![0; self.page];
        let (length, frame) = (self.page as u64, (FRAME + self.page) as u64);
        for (number, of) in &self.sound {
            if *number <= self.moved || *of > self.pages {
                continue;
            }
            let start = HEADER as u64 + u64::from(number - 1) * frame + FRAME as u64;
            log.seek(SeekFrom::Start(start))?;
            log.read_exact(&mut page)?;
            file.seek(SeekFrom::Start(u64::from(of - 1) * length))?;
            file.write_all(&page)?;
        }
        file.set_len(u64::from(self.pages) * length)?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// Creates a file with a log of `transactions` transactions, all committed, none moved.
    fn written(folder: &Path, transactions: i64) -> PathBuf {
        let path = folder.join("spool.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a, b)")
            .unwrap();
        for number in 0..transactions {
            connection
                .execute("INSERT INTO t VALUES (?1, zeroblob(3000))", [number])
                .unwrap();
        }
        // As left behind by a process that ends abruptly.
        let left = folder.join("left");
        std::fs::create_dir(&left).unwrap();
        for file in ["spool.db", "spool.db-wal", "spool.db-shm"] {
            std::fs::copy(folder.join(file), left.join(file)).unwrap();
        }
        left.join("spool.db")
    }

    fn count(path: &Path) -> i64 {
        let connection = Connection::open(path).unwrap();
        let count = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0));
        // If nothing of the log is read, there is no table.
        count.unwrap_or(0)
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 16;
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn damage_anywhere_in_what_was_committed_is_found() {
        for (at, with_index) in [
            (20, true),
            (40, true),
            (5000, true),
            (9000, false),
            (30, true),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = written(folder.path(), 30);
            if !with_index {
                std::fs::remove_file(beside(&path, "-shm")).unwrap();
            }
            assert_eq!(damage(&path), None, "{at}");
            flip(&beside(&path, "-wal"), at);
            let found = damage(&path).unwrap();
            let merged = folder.path().join("merged");
            found.merge(&path, &merged).unwrap();
            // SQLite alone recovers less, and does so silently.
            let (saved, alone) = (count(&merged), count(&path));
            assert!(saved >= 29 && alone < 5, "{at}: {saved} {alone}");
        }
    }

    #[test]
    fn a_torn_end_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 30);
        let log = beside(&path, "-wal");
        let mut bytes = std::fs::read(&log).unwrap();
        let committed = bytes.clone();
        // Half of a transaction that was never acknowledged.
        bytes.extend_from_slice(&committed[committed.len() - 4120..committed.len() - 1000]);
        std::fs::write(&log, &bytes).unwrap();
        assert_eq!(damage(&path), None);
        std::fs::remove_file(beside(&path, "-shm")).unwrap();
        bytes.truncate(committed.len() - 10);
        std::fs::write(&log, bytes).unwrap();
        assert_eq!(damage(&path), None, "the power may have been cut");
    }

    #[test]
    fn a_log_that_is_empty_or_not_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path(), 3);
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        std::mem::forget(connection);
        assert_eq!(damage(&path), None);
        std::fs::remove_file(beside(&path, "-wal")).unwrap();
        assert_eq!(damage(&path), None);
    }
}
