//! Playbooks that are expected to run: the time of each one's last run, and the deadline of the next.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::accepting::{self, NewEvent};
use super::fields;
use super::scope::DestinationId;

/// A playbook that a notifier expects to run. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    pub playbook: String,
    pub every: i64,
    pub within: i64,
    /// True if only a success counts.
    pub successful: bool,
}

/// An expectation whose time has passed.
#[derive(Clone, Debug)]
pub struct Missing {
    pub id: i64,
    pub destination: DestinationId,
    pub expectation: Expectation,
    /// Random id, used as the run of the events about it.
    pub uuid: String,
    /// Time at which it was first seen, in milliseconds since 1970, like those below.
    pub seen: i64,
    pub last_run: Option<i64>,
    /// Last run, as JSON.
    pub run: Option<String>,
    pub due: i64,
}

/// Stores a notifier's expectations; `source` is its file and its name. A new or changed expectation counts
/// from now, and removed ones are deleted.
pub fn expect(
    connection: &Connection,
    source: &str,
    destination: DestinationId,
    expected: &[Expectation],
    now: i64,
) -> rusqlite::Result<()> {
    let mut known =
        connection.prepare_cached("SELECT playbook FROM expectation WHERE source = ?1")?;
    let known = known.query_map([source], |row| fields::text(row, 0))?;
    for playbook in known
        .collect::<rusqlite::Result<Vec<_>>>()?
        .into_iter()
        .flatten()
    {
        if expected.iter().all(|one| one.playbook != playbook) {
            connection
                .prepare_cached("DELETE FROM expectation WHERE source = ?1 AND playbook = ?2")?
                .execute([source, &playbook])?;
        }
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO expectation (source, playbook, destination, every, within, successful, uuid, seen, due)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8 + ?4 + ?5)
         ON CONFLICT (source, playbook) DO UPDATE SET destination = excluded.destination,
         seen = iif((every, within, successful) = (?4, ?5, ?6), seen, excluded.seen),
         due = iif((every, within, successful) = (?4, ?5, ?6), due, excluded.due),
         every = ?4, within = ?5, successful = ?6",
    )?;
    for one in expected {
        let uuid = crate::event::new_id();
        insert.execute(params![
            source,
            one.playbook,
            destination,
            one.every,
            one.within,
            one.successful,
            uuid,
            now
        ])?;
    }
    Ok(())
}

/// Progress of a run that may meet an expectation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ran {
    Started,
    Succeeded,
}

/// Records that an expected playbook ran.
pub fn ran(
    connection: &Connection,
    source: &str,
    playbook: &str,
    run: &str,
    ran: Ran,
    now: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE expectation SET last_run = ?5, run = ?3, due = ?5 + every + within
             WHERE source = ?1 AND playbook = ?2 AND successful = ?4",
        )?
        .execute(params![source, playbook, run, ran == Ran::Succeeded, now])?;
    Ok(())
}

/// Returns the expectations whose time has passed.
pub fn missing(connection: &Connection, now: i64) -> rusqlite::Result<Vec<Missing>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, destination, playbook, every, within, successful, uuid, seen, last_run, run, due
         FROM expectation WHERE due <= ?1 ORDER BY due LIMIT 100",
    )?;
    let rows = statement.query_map([now], |row| {
        let text =
            |column| Ok::<_, rusqlite::Error>(fields::text(row, column)?.unwrap_or_default());
        let number = |column| Ok::<_, rusqlite::Error>(fields::number(row, column)?.unwrap_or(0));
        Ok(Missing {
            id: row.get(0)?,
            destination: fields::number(row, 1)?.unwrap_or_default(),
            expectation: Expectation {
                playbook: text(2)?,
                every: number(3)?,
                within: number(4)?,
                successful: number(5)? != 0,
            },
            uuid: text(6)?,
            seen: number(7)?,
            last_run: fields::number(row, 8)?,
            run: fields::sound_text(row, 9)?,
            due: number(10)?,
        })
    })?;
    rows.collect()
}

/// Accepts the event about an expectation, and sets its next time; does nothing if another process has done so,
/// or if the playbook has run.
pub fn report(
    connection: &Connection,
    missing: &Missing,
    next: i64,
    event: Option<&NewEvent>,
) -> rusqlite::Result<()> {
    let changed = connection
        .prepare_cached("UPDATE expectation SET due = ?3 WHERE id = ?1 AND due = ?2 RETURNING id")?
        .query_row(params![missing.id, missing.due, next], |_| Ok(()))
        .optional()?;
    if let (Some(()), Some(event)) = (changed, event) {
        accepting::accept(connection, std::slice::from_ref(event))?;
    }
    Ok(())
}

/// Deletes an expectation.
pub fn forget(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM expectation WHERE id = ?1")?
        .execute([id])?;
    Ok(())
}
