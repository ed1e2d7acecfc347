//! A damaged spool: put aside whole, and what can still be read of it taken over.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::deliveries::{DestinationKey, NewEvent, accept, destination};

/// Whether an error says that the file itself is damaged.
pub fn is_damage(error: &anyhow::Error) -> bool {
    let code = error
        .downcast_ref::<rusqlite::Error>()
        .and_then(rusqlite::Error::sqlite_error_code);
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
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
         WHERE state = 0 AND body IS NOT NULL ORDER BY delivery.id",
    )?;
    let rows = statement.query_map([], |row| {
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
    })?;
    let transaction = spool.transaction()?;
    let mut saved = 0;
    // The first row that cannot be read is the last.
    for (key, mut event) in rows.map_while(Result::ok) {
        // Read from a page of something else.
        if serde_json::from_str::<serde::de::IgnoredAny>(&event.body).is_err() {
            continue;
        }
        event.destinations = vec![destination(&transaction, &key)?];
        saved += accept(&transaction, &[event])?.len();
    }
    transaction.commit()?;
    Ok(saved)
}
