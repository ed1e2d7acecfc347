//! Rescue of a damaged spool: sets it aside whole and takes over what can still be read.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Row, params};

use super::accepting::{NewEvent, accept, set_apart};
use super::conditions::Decision;
use super::deliveries::{DestinationKey, destination};
use super::fields;
use super::scope::Scope;
use super::state::DeliveryState;
use super::wal::Damage;

/// Deliveries read at once from a damaged file; if that fails, they are read one by one.
const STEP: i64 = 64;
/// Number of unreadable places after which the end of the data is assumed.
const MOST_HOLES: i64 = 10_000;
/// Size in bytes above which a file is not read to its end just to check it.
const QUICKLY_READ: u64 = 64 << 20;

/// Returns true if an error means that the file is damaged, or that its tables do not match its version.
pub fn says_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
        || lacks_something(error)
        || matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
}

/// Returns true if a table or a column is missing.
fn lacks_something(error: &rusqlite::Error) -> bool {
    let (rusqlite::Error::SqlInputError { msg: said, .. }
    | rusqlite::Error::SqliteFailure(_, Some(said))) = error
    else {
        return false;
    };
    // A missing function does not count: that is an error in a query, and the file is intact.
    let missing = ["no such table: ", "no such column: "];
    missing.iter().any(|text| said.starts_with(text)) || said.contains(" has no column ")
}

/// Returns true if the error shows that the file is damaged.
pub fn is_damage(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<rusqlite::Error>()
        .is_some_and(says_damage)
}

/// Reads a file to its end, unless it is large, and returns whether it is sound.
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

/// Returns the path of the marker file: damage was found while the spool was in use.
fn mark_of(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

/// Marks the file as damaged: the next process to open it sets it aside.
pub fn condemn(path: &Path) {
    // If this cannot be written, the damage will be found again.
    let _ = std::fs::write(mark_of(path), "");
}

/// Returns true if a process found damage and left a mark.
pub fn is_condemned(path: &Path) -> bool {
    mark_of(path).exists()
}

/// Removes the mark, once a new file is in place.
pub fn acquit(path: &Path) {
    // Most damage is found before there is a mark.
    let _ = std::fs::remove_file(mark_of(path));
}

/// Returns the path of a companion of a file.
fn with(base: &Path, ending: &str) -> PathBuf {
    let mut name = base.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Renames the file and its companions; returns its new name.
pub fn put_aside(path: &Path) -> Result<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%fZ");
    let aside = with(path, &format!(".damaged-{time}"));
    std::fs::rename(path, &aside).with_context(|| format!("cannot rename `{}`", path.display()))?;
    for ending in ["-wal", "-shm"] {
        // They exist only if the file was in use.
        let _ = std::fs::rename(with(path, ending), with(&aside, ending));
    }
    Ok(aside)
}

/// Copies a file with a damaged log, with everything readable in both; None if there is no room for it.
pub fn merge(log: &Damage, aside: &Path) -> Option<PathBuf> {
    let merged = with(aside, ".merged");
    let made = log.merge(aside, &merged);
    if made.is_err() {
        remove(&merged);
    }
    made.is_ok().then_some(merged)
}

/// Removes a file and its companions.
pub fn remove(path: &Path) {
    for ending in ["", "-wal", "-shm"] {
        // Some of them may not exist.
        let _ = std::fs::remove_file(with(path, ending));
    }
}

/// Summary of what was read from a damaged file.
#[derive(Default)]
pub struct Salvaged {
    /// Number of pending deliveries.
    waiting: i64,
    /// Number of further ones by the file's own count; None if that cannot be read.
    lost: Option<i64>,
    /// True if the log was damaged: the counts may be older than the content was.
    pub is_of_log: bool,
}

impl Display for Salvaged {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} pending deliveries were recovered", self.waiting)?;
        match self.lost {
            Some(0) if self.is_of_log => f.write_str("; the damaged part of its log may be lost"),
            Some(0) => Ok(()),
            Some(lost) if self.is_of_log => {
                write!(f, "; at least {lost} more cannot be read and are lost")
            }
            Some(lost) => write!(f, "; {lost} more cannot be read and are lost"),
            None => f.write_str("; it is unknown how many more are lost"),
        }
    }
}

/// Takes over the pending and dead deliveries of a damaged file, as far as it can be read.
pub fn salvage(aside: &Path, spool: &mut Connection) -> rusqlite::Result<Salvaged> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let damaged = Connection::open_with_flags(aside, flags)?;
    // Lets SQLite read a file that is shorter than its header says.
    damaged.execute_batch("PRAGMA writable_schema = ON; PRAGMA query_only = ON")?;
    let has = |column: &str| {
        let query = format!("SELECT {column} FROM delivery, event, destination LIMIT 1");
        damaged.prepare(&query).is_ok()
    };
    // Older versions lacked some of them, and a name can be damaged.
    let optional = |column: &'static str, other| if has(column) { column } else { other };
    let (task, error) = (optional("task", "NULL"), optional("error", "NULL"));
    let own = optional("own", "0");
    let (hold, held_back) = (optional("hold", "0"), optional("held_back", "0"));
    let mut statement = damaged.prepare(&format!(
            "SELECT search, name, run, needs, event_id, created, callback, host, {task}, body, state, {error}, {own}, {hold}, {held_back}
             FROM delivery JOIN event ON event.id = delivery.event
             JOIN destination ON destination.id = delivery.destination
             WHERE delivery.id BETWEEN ?1 AND ?2 AND state IN (0, 2, 4) AND body IS NOT NULL ORDER BY delivery.id"
    ))?;
    let mut read = |first: i64, last: i64| -> rusqlite::Result<Vec<Kept>> {
        statement.query_map([first, last], kept)?.collect()
    };
    let transaction = spool.transaction()?;
    let (mut waiting, mut next, mut holes) = (0, 1, 0);
    while holes < MOST_HOLES {
        let first = match next_number(&damaged, next) {
            Ok(None) => break,
            Ok(Some(first)) if first >= next => first,
            Ok(_) | Err(_) => {
                holes += 1;
                next
            }
        };
        let last = first.saturating_add(STEP - 1);
        let rows = read(first, last).unwrap_or_else(|_| {
            let one_by_one = (first..=last).filter_map(|id| read(id, id).ok());
            one_by_one.flatten().collect()
        });
        waiting += insert(&transaction, rows)?;
        next = last.saturating_add(1);
    }
    transaction.commit()?;
    let counted = count(&damaged).ok();
    Ok(Salvaged {
        waiting,
        lost: counted.map(|counted| (counted - waiting).max(0)),
        is_of_log: false,
    })
}

/// Returns the first delivery id that is not below `from`.
fn next_number(damaged: &Connection, from: i64) -> rusqlite::Result<Option<i64>> {
    damaged
        .prepare_cached("SELECT id FROM delivery WHERE id >= ?1 ORDER BY id LIMIT 1")?
        .query_row([from], |row| row.get(0))
        .optional()
}

/// Returns the number of pending deliveries according to the destinations' counts.
fn count(damaged: &Connection) -> rusqlite::Result<i64> {
    let mut statement =
        damaged.prepare("SELECT accepted - delivered - dead - dropped FROM destination")?;
    let counts = statement.query_map([], |row| row.get::<_, i64>(0))?;
    counts.map(|count| Ok(count?.max(0))).sum()
}

/// A pending or dead delivery, as read from a damaged file.
struct Kept {
    key: DestinationKey,
    event: NewEvent,
    /// Its state, and the time until which it is held.
    decision: Decision,
    is_dead: bool,
    error: Option<String>,
}

fn kept(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept {
        key: DestinationKey {
            search: row.get(0)?,
            name: row.get(1)?,
            scope: Scope::from(row.get::<_, String>(2)?.as_str()),
            needs: fields::split(&row.get::<_, String>(3)?),
            own: row.get(12)?,
        },
        event: NewEvent {
            event_id: row.get(4)?,
            created: row.get(5)?,
            callback: row.get(6)?,
            host: row.get(7)?,
            task: row.get(8)?,
            body: row.get(9)?,
            destinations: Vec::new(),
            conditions: Vec::new(),
        },
        decision: Decision {
            state: fields::number(row, 10)?.unwrap_or(DeliveryState::Dead),
            hold: fields::number(row, 13)?.unwrap_or_default(),
            held_back: fields::number(row, 14)?.unwrap_or_default(),
            reason: None,
        },
        is_dead: row.get::<_, i64>(10)? == DeliveryState::Dead as i64,
        error: row.get(11)?,
    })
}

/// Inserts the deliveries; returns how many of them are pending.
fn insert(spool: &Connection, rows: Vec<Kept>) -> rusqlite::Result<i64> {
    let mut waiting = 0;
    for mut kept in rows {
        // Read from a page that holds something else.
        if serde_json::from_str::<serde::de::IgnoredAny>(&kept.event.body).is_err() {
            continue;
        }
        kept.event.destinations = vec![destination(spool, &kept.key)?];
        for accepted in accept(spool, &[kept.event])?.accepted {
            if accepted.previous.is_none() {
                continue;
            }
            waiting += i64::from(!kept.is_dead);
            if !kept.is_dead && kept.decision != Decision::PENDING {
                set_apart(spool, accepted.delivery, 0, &kept.decision)?;
            }
            if kept.is_dead {
                let now = jiff::Timestamp::now().as_millisecond();
                spool.execute(
                    "UPDATE delivery SET state = ?4, finished = ?2, error = ?3 WHERE id = ?1",
                    params![accepted.delivery, now, kept.error, DeliveryState::Dead],
                )?;
                spool.execute(
                    "UPDATE destination SET dead = dead + 1 WHERE id = ?1",
                    [accepted.destination],
                )?;
            }
        }
    }
    Ok(waiting)
}
