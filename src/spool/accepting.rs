//! Accepting events: what becomes of each delivery is decided as it is stored. Each function runs inside a
//! transaction.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::conditions::{self, Condition, Decision, Treatment};
use super::fields;
use super::held::{self, Released};
use super::mutes::Mutes;
use super::scope::DestinationId;
use super::state::DeliveryState;

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
    /// Number of its event in the spool.
    pub row: i64,
    pub delivery: i64,
    pub destination: DestinationId,
    /// Pending, held or suppressed, unless the event was sent before and this delivery is finished.
    pub state: DeliveryState,
    /// Time until which it is held, in milliseconds since 1970; 0 if it is not.
    pub hold: i64,
    /// Number of failures of the same thing that were not reported before it.
    pub held_back: u32,
    /// Highest id pending for this destination before it; None for an event sent again.
    pub previous: Option<i64>,
}

/// Deliveries of events that were accepted together.
#[derive(Debug, Default)]
pub struct Acceptance {
    pub accepted: Vec<Accepted>,
    /// Deliveries that were held until now, and come before them.
    pub released: Vec<(DestinationId, Released)>,
}

/// Accepts events. An event that was sent again gets deliveries only for destinations it did not have before.
pub fn accept(connection: &Connection, events: &[NewEvent]) -> rusqlite::Result<Acceptance> {
    let (mut accepted, mut released) = (Vec::new(), Vec::new());
    let mut lines: HashMap<DestinationId, Line> = HashMap::new();
    let mutes = Mutes::read(connection)?;
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
            if event.ends_hold(*destination, &mutes)
                && !std::mem::replace(&mut line.holds_nothing, true)
            {
                let before = held::release_all(connection, *destination)?;
                line.last = before.last().map_or(line.last, |last| last.delivery);
                released.extend(before.into_iter().map(|one| (*destination, one)));
            }
            let previous = line.last;
            let decision = event.decide(connection, *destination)?;
            let decision = mutes.decide(*destination, decision);
            add_delivery.execute(params![id, *destination])?;
            let delivery = connection.last_insert_rowid();
            if decision != Decision::PENDING {
                set_apart(connection, delivery, event.created, &decision)?;
            }
            line.add(delivery, decision.state);
            lines.insert(*destination, line);
            accepted.push(Accepted {
                event: index,
                row: id,
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
    Ok(Acceptance { accepted, released })
}

/// Deliveries of a destination that one transaction adds.
#[derive(Clone, Copy)]
struct Line {
    /// Highest pending id.
    last: i64,
    added: i64,
    suppressed: i64,
    /// True once it is known that none is held.
    holds_nothing: bool,
}

impl Line {
    fn after(last: i64) -> Line {
        Line {
            last,
            added: 0,
            suppressed: 0,
            holds_nothing: false,
        }
    }

    fn add(&mut self, delivery: i64, state: DeliveryState) {
        self.added += 1;
        match state {
            DeliveryState::Pending => self.last = delivery,
            DeliveryState::Held => self.holds_nothing = false,
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

    fn condition(&self, destination: DestinationId) -> Option<&Condition> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.destination == destination)
    }

    /// Returns true if a destination holds nothing at its time: what was held comes before it.
    fn ends_hold(&self, destination: DestinationId, mutes: &Mutes) -> bool {
        match self.condition(destination) {
            _ if mutes.hold(destination) => false,
            Some(condition) => condition.treatment == Treatment::Now,
            None => mutes.has_ended(destination),
        }
    }

    /// Decides what becomes of its delivery to a destination.
    fn decide(
        &self,
        connection: &Connection,
        destination: DestinationId,
    ) -> rusqlite::Result<Decision> {
        match self.condition(destination) {
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
        "SELECT delivery.id, destination, state, hold, held_back, event.id
         FROM delivery JOIN event ON event.id = delivery.event WHERE event_id = ?1",
    )?;
    let rows = statement.query_map([event_id], |row| {
        Ok(Accepted {
            event: index,
            row: row.get(5)?,
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
