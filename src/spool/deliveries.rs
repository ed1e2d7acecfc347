//! Loading and marking deliveries. Each function runs inside a transaction.

use std::borrow::Cow;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::breakers::{BreakerRow, make_due};
use super::fields;
use super::memory::set_thread;
use super::scope::{DestinationId, Scope};
use super::state::DeliveryState;

/// Bytes of events after which reading stops; the next call continues.
const READ_AT_ONCE: usize = 1 << 20;

/// A destination as stored in the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationKey {
    pub search: String,
    pub name: String,
    pub scope: Scope,
    pub needs: Vec<String>,
    /// True if the project's own file sets the recipient. Not part of the destination's identity.
    pub own: bool,
}

/// A pending delivery.
#[derive(Debug)]
pub struct Pending {
    pub delivery: i64,
    pub attempts: u32,
    pub next_at: i64,
    /// Milliseconds since 1970.
    pub created: i64,
    /// Group with which it was released, if it was held; else 0.
    pub hold: i64,
    /// Number of failures of the same thing that were not reported before it.
    pub held_back: u32,
    /// The event, or the reason why the row cannot be read.
    pub body: Result<String, &'static str>,
}

/// State of a delivery, as another process may have left it.
pub struct Finished {
    pub delivery: i64,
    pub state: DeliveryState,
    pub error: Option<String>,
}

/// Room left in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub deliveries: usize,
    pub bytes: usize,
}

impl Room {
    /// Returns true if another event may be read.
    pub fn is_some_left(self) -> bool {
        self.deliveries > 0 && self.bytes > 0
    }
}

/// Result of an attempt, to be recorded.
#[derive(Clone)]
pub struct Mark {
    pub deliveries: Vec<i64>,
    pub destination: DestinationId,
    /// Milliseconds since 1970.
    pub started: i64,
    /// Milliseconds.
    pub duration: i64,
    /// State after it; pending if it is to be retried.
    pub state: DeliveryState,
    /// Time of the next attempt, in milliseconds since 1970; 0 if there is none.
    pub next_at: i64,
    /// Error of a failure, or what was wrong although it was delivered.
    pub note: Option<String>,
    /// True if the bodies of delivered events are kept, for `history`.
    pub keep_body: bool,
    /// The message as it was sent, secrets masked; None if it is not kept.
    pub message: Option<String>,
    /// State of the destination's breaker after the attempt.
    pub breaker: BreakerRow,
    /// True if it ended a series of failures: nothing needs to back off any more.
    pub reopened: bool,
    /// Threads to remember, by key.
    pub threads: Vec<(String, String)>,
}

impl Mark {
    /// Returns the error of a failure.
    fn error(&self) -> Option<&str> {
        let has_failed = self.state != DeliveryState::Delivered;
        self.note.as_deref().filter(|_| has_failed)
    }

    /// Returns the text recorded for the attempt; None if it simply delivered.
    fn outcome(&self) -> Option<Cow<'_, str>> {
        match (self.state, self.note.as_deref()) {
            (DeliveryState::Delivered, note) => Some(format!("delivered; {}", note?).into()),
            (_, error) => Some(error.unwrap_or_default().into()),
        }
    }
}

/// Returns the id of a destination, if it is stored as given.
pub fn find(
    connection: &Connection,
    key: &DestinationKey,
) -> rusqlite::Result<Option<DestinationId>> {
    connection
        .prepare_cached(
            "SELECT id FROM destination WHERE search = ?1 AND name = ?2 AND run = ?3 AND own = ?4",
        )?
        .query_row(params![key.search, key.name, key.scope, key.own], |row| {
            row.get(0)
        })
        .optional()
}

/// Returns the id of a destination; inserts it if it is new. `own` is updated each time.
pub fn destination(
    connection: &Connection,
    key: &DestinationKey,
) -> rusqlite::Result<DestinationId> {
    let known = connection
        .prepare_cached(
            "UPDATE destination SET own = ?4 WHERE search = ?1 AND name = ?2 AND run = ?3 RETURNING id",
        )?
        .query_row(params![key.search, key.name, key.scope, key.own], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    connection.execute(
        "INSERT INTO destination (search, name, run, needs, own) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            key.search,
            key.name,
            key.scope,
            fields::joined(&key.needs),
            key.own
        ],
    )?;
    Ok(DestinationId(connection.last_insert_rowid()))
}

/// Returns the state and the last error of the given deliveries.
pub fn finished(connection: &Connection, deliveries: &[i64]) -> rusqlite::Result<Vec<Finished>> {
    let mut statement =
        connection.prepare_cached("SELECT state, error FROM delivery WHERE id = ?1")?;
    let mut found = Vec::new();
    for id in deliveries {
        let row = statement
            .query_row([id], |row| {
                let state = fields::number(row, 0)?.unwrap_or(DeliveryState::Dead);
                Ok((state, fields::text(row, 1)?))
            })
            .optional()?;
        // Already pruned: it was delivered long ago.
        let (state, error) = row.unwrap_or((DeliveryState::Delivered, None));
        found.push(Finished {
            delivery: *id,
            state,
            error,
        });
    }
    Ok(found)
}

/// Returns the start times of a delivery's failed attempts, in order, in milliseconds since 1970.
pub fn attempt_times(connection: &Connection, delivery: i64) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT started FROM attempt WHERE delivery = ?1 ORDER BY rowid")?
        .query_map([delivery], |row| fields::number(row, 0))?
        .filter_map(Result::transpose)
        .collect()
}

/// Returns a destination's next pending deliveries, in order, as far as there is room, and whether these
/// were all of them.
pub fn pending(
    connection: &Connection,
    destination: DestinationId,
    after: i64,
    room: Room,
) -> rusqlite::Result<(Vec<Pending>, bool)> {
    let mut statement = connection.prepare_cached(
        "SELECT delivery.id, attempts, next_at, body, created, event.id, hold, held_back
         FROM delivery LEFT JOIN event ON event.id = delivery.event
         WHERE destination = ?1 AND state = 0 AND delivery.id > ?2 ORDER BY delivery.id LIMIT ?3",
    )?;
    let limit = room.deliveries as i64;
    let mut rows = statement.query(params![destination, after, limit])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let pending = read_pending(row)?;
        bytes += pending.body.as_ref().map_or(0, String::len);
        found.push(pending);
        if bytes >= room.bytes.min(READ_AT_ONCE) {
            return Ok((found, false));
        }
    }
    let all = found.len() < room.deliveries;
    Ok((found, all))
}

fn read_pending(row: &Row<'_>) -> rusqlite::Result<Pending> {
    let (attempts, next_at) = (fields::number(row, 1)?, fields::number(row, 2)?);
    let (body, created) = (fields::sound_text(row, 3)?, fields::number(row, 4)?);
    let has_event = row.get_ref(5)? != ValueRef::Null;
    let body = match (attempts, next_at, created, body) {
        _ if !has_event => Err("its event is no longer in the spool"),
        (Some(_), Some(_), Some(_), Some(body)) => Ok(body),
        (_, _, Some(_), None) => Err("the event in the spool cannot be read"),
        _ => Err("its row in the spool cannot be read"),
    };
    Ok(Pending {
        delivery: row.get(0)?,
        attempts: attempts.unwrap_or_default(),
        next_at: next_at.unwrap_or_default(),
        created: created.unwrap_or_default(),
        hold: fields::number(row, 6)?.unwrap_or_default(),
        held_back: fields::number(row, 7)?.unwrap_or_default(),
        body,
    })
}

/// Records an attempt and its effect on the deliveries.
pub fn mark(connection: &Connection, mark: &Mark) -> rusqlite::Result<()> {
    if mark.reopened {
        make_due(connection, mark.destination)?;
    }
    for (key, value) in &mark.threads {
        set_thread(connection, mark.destination, key, value)?;
    }
    let changed = mark_deliveries(connection, mark)?;
    let counts = |state| if mark.state == state { changed } else { 0 };
    connection
        .prepare_cached(
            // After a success, an earlier error is past, unless it is the reason of deliveries that did not arrive.
            "UPDATE destination SET delivered = delivered + ?2, dead = dead + ?3,
             last_error = CASE
                WHEN ?4 IS NOT NULL THEN ?4
                WHEN last_error IS NULL OR ?2 = 0 OR dead > 0 THEN last_error
                WHEN EXISTS (SELECT 1 FROM delivery WHERE destination = ?1 AND state = 0 AND error IS NOT NULL)
                    THEN last_error
             END,
             failures = ?5, paused_until = ?6, gone = ?7 WHERE id = ?1",
        )?
        .execute(params![
            mark.destination,
            counts(DeliveryState::Delivered),
            counts(DeliveryState::Dead),
            mark.error(),
            mark.breaker.failures,
            mark.breaker.paused_until,
            mark.breaker.gone
        ])?;
    Ok(())
}

/// Records the effect of an attempt on its deliveries. Returns how many of them were still pending.
fn mark_deliveries(connection: &Connection, mark: &Mark) -> rusqlite::Result<i64> {
    let is_finished = mark.state != DeliveryState::Pending;
    let finished = is_finished.then_some(mark.started + mark.duration);
    let outcome = mark.outcome();
    let duration = outcome.is_none().then_some(mark.duration);
    let mut changed = 0;
    // A delivery that was discarded in the meantime stays discarded.
    let mut update = connection.prepare_cached(
        "UPDATE delivery SET state = ?2, attempts = attempts + 1, next_at = ?3, error = ?4, finished = ?5,
         duration = ?6 WHERE id = ?1 AND state = 0",
    )?;
    for delivery in &mark.deliveries {
        let updated = update.execute(params![
            delivery,
            mark.state,
            mark.next_at,
            mark.error(),
            finished,
            duration
        ])?;
        if updated == 0 {
            continue;
        }
        changed += 1;
        if let Some(outcome) = &outcome {
            connection
                .prepare_cached(
                    "INSERT INTO attempt (delivery, started, duration, outcome) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![delivery, mark.started, mark.duration, outcome])?;
        }
    }
    Ok(changed)
}
