//! A damaged spool: put aside whole, and what can still be read of it taken over.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};

use super::deliveries::{DestinationKey, NewEvent, accept, destination};

/// Deliveries that are read at once from a damaged file; where that fails, they are read one by one.
const STEP: i64 = 64;
/// Numbers that lead nowhere before the end is believed.
const GAP: i64 = 10_000;
/// A larger file is not read to its end only to see whether it is sound, in bytes.
const QUICKLY_READ: u64 = 64 << 20;

/// Whether an error says that the file itself is damaged.
pub fn says_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
        || matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
}

pub fn is_damage(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<rusqlite::Error>()
        .is_some_and(says_damage)
}

/// Reads a file to its end, unless it is large, and says whether it is sound.
pub fn is_sound(connection: &Connection, path: &Path) -> bool {
    if path.metadata().is_ok_and(|file| file.len() > QUICKLY_READ) {
        return true;
    }
    let said = connection.query_row("PRAGMA integrity_check(1)", [], |row| {
        row.get::<_, String>(0)
    });
    match said {
        Ok(said) => said == "ok",
        Err(error) => !says_damage(&error),
    }
}

/// The file beside it says that damage was found while it was in use.
fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

/// The next one to open the file puts it aside.
pub fn condemn(path: &Path) {
    // Where that cannot be written, the damage is found again.
    let _ = std::fs::write(mark_of(path), "");
}

pub fn is_condemned(path: &Path) -> bool {
    mark_of(path).exists()
}

/// A new file is in its place.
pub fn acquit(path: &Path) {
    // Most damage is found before there is a mark.
    let _ = std::fs::remove_file(mark_of(path));
}

/// Renames the file and what belongs to it; gives its new name.
pub fn put_aside(path: &Path) -> Result<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%fZ");
    let with = |base: &Path, ending: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = with(path, &format!(".damaged-{time}"));
    std::fs::rename(path, &aside).with_context(|| format!("cannot rename `{}`", path.display()))?;
    for ending in ["-wal", "-shm"] {
        // They are there only if it was in use.
        let _ = std::fs::rename(with(path, ending), with(&aside, ending));
    }
    Ok(aside)
}

/// Takes over the deliveries that wait in a damaged file, as far as it can be read. How many.
pub fn salvage(aside: &Path, spool: &mut Connection) -> rusqlite::Result<usize> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let damaged = Connection::open_with_flags(aside, flags)?;
    // Lets SQLite read a file that is shorter than it says itself.
    damaged.execute_batch("PRAGMA writable_schema = ON; PRAGMA query_only = ON")?;
    let mut statement = damaged.prepare(
        "SELECT search, name, run, needs, event_id, created, callback, host, task, body
         FROM delivery JOIN event ON event.id = delivery.event
         JOIN destination ON destination.id = delivery.destination
         WHERE delivery.id BETWEEN ?1 AND ?2 AND state = 0 AND body IS NOT NULL ORDER BY delivery.id",
    )?;
    let mut read = |first: i64, last: i64| -> rusqlite::Result<Vec<Waiting>> {
        statement.query_map([first, last], waiting)?.collect()
    };
    let transaction = spool.transaction()?;
    let (mut saved, mut next, mut found) = (0, 1, 0);
    while next - found < GAP {
        let last = next + STEP - 1;
        let rows = read(next, last).unwrap_or_else(|_| {
            let one_by_one = (next..=last).filter_map(|id| read(id, id).ok());
            one_by_one.flatten().collect()
        });
        if !rows.is_empty() {
            found = next;
        }
        saved += take_over(&transaction, rows)?;
        next += STEP;
    }
    transaction.commit()?;
    Ok(saved)
}

/// A delivery that waits, as a damaged file has it.
type Waiting = (DestinationKey, NewEvent);

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let key = DestinationKey {
        search: row.get(0)?,
        name: row.get(1)?,
        run: row.get(2)?,
        needs: row.get(3)?,
    };
    let event = NewEvent {
        event_id: row.get(4)?,
        created: row.get(5)?,
        callback: row.get(6)?,
        host: row.get(7)?,
        task: row.get(8)?,
        body: row.get(9)?,
        destinations: Vec::new(),
    };
    Ok((key, event))
}

fn take_over(spool: &Connection, rows: Vec<Waiting>) -> rusqlite::Result<usize> {
    let mut saved = 0;
    for (key, mut event) in rows {
        // Read from a page of something else.
        if serde_json::from_str::<serde::de::IgnoredAny>(&event.body).is_err() {
            continue;
        }
        event.destinations = vec![destination(spool, &key)?];
        let accepted = accept(spool, &[event])?;
        saved += accepted.iter().filter(|one| one.previous.is_some()).count();
    }
    Ok(saved)
}
