//! Accepting, loading and marking deliveries. Each function runs inside a transaction.

use std::borrow::Cow;
use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::breakers::{BreakerRow, make_due};
use super::conditions::{self, Condition, Decision};
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

/// An event to accept.
pub struct NewEvent {
    pub event_id: String,
    pub created: i64,
    pub callback: String,
    pub host: String,
    pub task: String,
    pub body: String,
    pub destinations: Vec<DestinationId>,
    /// Conditions of those that have any, and of destinations that only count it.
    pub conditions: Vec<Condition>,
}

/// An accepted delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Index of its event among those passed in.
    pub event: usize,
    pub delivery: i64,
    pub destination: DestinationId,
    /// Pending, held or suppressed, unless the event was sent before and this delivery is finished.
    pub state: DeliveryState,
    /// Time until which it is held, in milliseconds since 1970; 0 if it is not.
    pub hold: i64,
    /// Number of failures of the same thing that were not told before it.
    pub held_back: u32,
    /// Highest id pending for this destination before it; None for an event sent again.
    pub previous: Option<i64>,
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
    /// Number of failures of the same thing that were not told before it.
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

/// Accepts events. An event that was sent again gets deliveries only for destinations it did not have before.
pub fn accept(connection: &Connection, events: &[NewEvent]) -> rusqlite::Result<Vec<Accepted>> {
    let mut accepted = Vec::new();
    let mut lines: HashMap<DestinationId, Line> = HashMap::new();
    let mut add_event = connection.prepare_cached(
        "INSERT OR IGNORE INTO event (event_id, created, callback, host, task, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut add_delivery =
        connection.prepare_cached("INSERT INTO delivery (event, destination) VALUES (?1, ?2)")?;
    for (index, event) in events.iter().enumerate() {
        for condition in event.only_counting() {
            conditions::observe(connection, condition)?;
        }
        if event.destinations.is_empty() {
            continue;
        }
        let added = add_event.execute(params![
            event.event_id,
            event.created,
            event.callback,
            event.host,
            event.task,
            event.body
        ])?;
        let before = if added == 0 {
            known(connection, index, &event.event_id)?
        } else {
            Vec::new()
        };
        let is_known = |one: &&DestinationId| before.iter().any(|known| known.destination == **one);
        let wanted = event.destinations.iter().filter(|one| !is_known(one));
        let wanted: Vec<&DestinationId> = wanted.collect();
        accepted.extend(before);
        if wanted.is_empty() {
            continue;
        }
        let id = match added {
            0 => bring_back(connection, event)?,
            _ => connection.last_insert_rowid(),
        };
        for destination in wanted {
            let mut line = match lines.get(destination) {
                Some(line) => *line,
                None => Line::after(last_waiting(connection, *destination)?),
            };
            let previous = line.last;
            let decision = event.decide(connection, *destination)?;
            add_delivery.execute(params![id, *destination])?;
            let delivery = connection.last_insert_rowid();
            if decision != Decision::PENDING {
                set_apart(connection, delivery, event.created, &decision)?;
            }
            line.add(delivery, decision.state);
            lines.insert(*destination, line);
            accepted.push(Accepted {
                event: index,
                delivery,
                destination: *destination,
                state: decision.state,
                hold: decision.hold,
                held_back: decision.held_back,
                previous: Some(previous),
            });
        }
    }
    for (destination, line) in lines {
        connection
            .prepare_cached(
                "UPDATE destination SET accepted = accepted + ?2, dropped = dropped + ?3,
                 suppressed = suppressed + ?3 WHERE id = ?1",
            )?
            .execute(params![destination, line.added, line.suppressed])?;
    }
    Ok(accepted)
}

/// Deliveries of a destination that one transaction adds.
#[derive(Clone, Copy)]
struct Line {
    /// Highest pending id.
    last: i64,
    added: i64,
    suppressed: i64,
}

impl Line {
    fn after(last: i64) -> Line {
        Line {
            last,
            added: 0,
            suppressed: 0,
        }
    }

    fn add(&mut self, delivery: i64, state: DeliveryState) {
        self.added += 1;
        match state {
            DeliveryState::Pending => self.last = delivery,
            DeliveryState::Suppressed => self.suppressed += 1,
            _ => {}
        }
    }
}

impl NewEvent {
    /// Returns the conditions of destinations that do not want it.
    fn only_counting(&self) -> impl Iterator<Item = &Condition> {
        let conditions = self.conditions.iter();
        conditions.filter(|condition| !self.destinations.contains(&condition.destination))
    }

    /// Decides what becomes of its delivery to a destination.
    fn decide(
        &self,
        connection: &Connection,
        destination: DestinationId,
    ) -> rusqlite::Result<Decision> {
        let mut conditions = self.conditions.iter();
        match conditions.find(|condition| condition.destination == destination) {
            Some(condition) => conditions::decide(connection, condition),
            None => Ok(Decision::PENDING),
        }
    }
}

/// Stores what distinguishes a new delivery from one that is to be delivered at once.
pub fn set_apart(
    connection: &Connection,
    delivery: i64,
    created: i64,
    decision: &Decision,
) -> rusqlite::Result<()> {
    let is_finished = decision.state == DeliveryState::Suppressed;
    connection
        .prepare_cached(
            "UPDATE delivery SET state = ?2, hold = ?3, held_back = ?4, error = ?5, finished = ?6
             WHERE id = ?1",
        )?
        .execute(params![
            delivery,
            decision.state,
            decision.hold,
            decision.held_back,
            decision.reason,
            is_finished.then_some(created)
        ])?;
    Ok(())
}

/// Returns the id of an event that is already there, and restores its body: it may have been dropped, or lack
/// what only the new destinations need.
fn bring_back(connection: &Connection, event: &NewEvent) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "UPDATE event SET body = CASE WHEN length(?2) > coalesce(length(body), 0) THEN ?2 ELSE body END
             WHERE event_id = ?1 RETURNING id",
        )?
        .query_row(params![event.event_id, event.body], |row| row.get(0))
}

/// Returns the highest pending id of a destination, or 0 if none is pending.
fn last_waiting(connection: &Connection, destination: DestinationId) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(
            "SELECT coalesce(max(id), 0) FROM delivery WHERE destination = ?1 AND state = 0",
        )?
        .query_row([destination], |row| row.get(0))
}

/// Returns the deliveries of an event that was accepted before.
fn known(connection: &Connection, index: usize, event_id: &str) -> rusqlite::Result<Vec<Accepted>> {
    let mut statement = connection.prepare_cached(
        "SELECT delivery.id, destination, state, hold, held_back FROM delivery JOIN event ON event.id = delivery.event WHERE event_id = ?1",
    )?;
    let rows = statement.query_map([event_id], |row| {
        Ok(Accepted {
            event: index,
            delivery: row.get(0)?,
            destination: fields::number(row, 1)?.unwrap_or_default(),
            // A delivery whose state cannot be read is not delivered.
            state: fields::number(row, 2)?.unwrap_or(DeliveryState::Dead),
            hold: fields::number(row, 3)?.unwrap_or_default(),
            held_back: fields::number(row, 4)?.unwrap_or_default(),
            previous: None,
        })
    })?;
    rows.collect()
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
            "UPDATE destination SET delivered = delivered + ?2, dead = dead + ?3, last_error = coalesce(?4, last_error),
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
    let mut drop_body = connection.prepare_cached(
        "UPDATE event SET body = NULL WHERE id = (SELECT event FROM delivery WHERE id = ?1)
         AND NOT EXISTS (SELECT 1 FROM delivery WHERE event = event.id AND state <> 1)",
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
        if mark.state == DeliveryState::Delivered && !mark.keep_body {
            // Unless another destination has not received it yet.
            drop_body.execute([delivery])?;
        }
    }
    Ok(changed)
}
