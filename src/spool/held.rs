//! Deliveries that are held until a certain time: they are pending, but not read until they are released.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::history::DestinationStatus;
use super::scope::DestinationId;
use super::state::DeliveryState;
use crate::system::clock;

/// Number of deliveries released at a time: as many as fit one message.
const STEP: i64 = 1000;

/// Times until which deliveries of a destination are held, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldRange {
    pub first: i64,
    pub last: i64,
}

impl HeldRange {
    /// Returns the range that includes both.
    pub fn and(self, other: HeldRange) -> HeldRange {
        HeldRange {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }

    /// Returns true if the time of all has come, and nobody has sent them yet.
    pub fn is_over(self) -> bool {
        self.last <= clock::now().as_millisecond()
    }

    /// Returns the times as text that continues `2 held`.
    pub fn shown(self) -> String {
        let (first, last) = (clock::local(self.first), clock::local(self.last));
        if self.is_over() {
            return format!("until {last}, to be sent by the next run, `flush` or the timer");
        }
        match first == last {
            true => format!("until {first}"),
            false => format!("(the first until {first}, the last until {last})"),
        }
    }
}

impl DestinationStatus {
    /// Returns the times until which deliveries are held, if any.
    pub fn held_range(&self) -> Option<HeldRange> {
        let times = self.held_until.zip(self.held_until_last);
        times.map(|(first, last)| HeldRange { first, last })
    }
}

/// A released delivery: it moves behind the pending ones, under a new number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Number of its event.
    pub event: i64,
    pub delivery: i64,
}

/// Returns the first and the last time until which deliveries are held; None if none is held.
pub fn range(
    connection: &Connection,
    destination: DestinationId,
) -> rusqlite::Result<Option<HeldRange>> {
    connection
        .prepare_cached(
            "SELECT min(hold), max(hold) FROM delivery WHERE destination = ?1 AND state = 4",
        )?
        .query_row([destination], |row| {
            let (first, last) = (row.get(0)?, row.get(1)?);
            let first: Option<i64> = first;
            Ok(first
                .zip(last)
                .map(|(first, last)| HeldRange { first, last }))
        })
}

/// Limits the times until which deliveries of a destination are held: the rules may have changed since.
pub fn limit(
    connection: &Connection,
    destination: DestinationId,
    (earliest, latest): (i64, i64),
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE delivery SET hold = max(?2, min(?3, hold))
             WHERE destination = ?1 AND state = 4 AND NOT hold BETWEEN ?2 AND ?3",
        )?
        .execute(params![destination, earliest, latest])?;
    Ok(())
}

/// Makes the deliveries pending that are held until this time or earlier, as one group. Those sent together
/// have the same `hold`.
pub fn release(
    connection: &Connection,
    destination: DestinationId,
    until: i64,
) -> rusqlite::Result<Vec<Released>> {
    let held: Vec<(i64, i64)> = connection
        .prepare_cached(
            "SELECT id, event FROM delivery WHERE destination = ?1 AND state = 4 AND hold <= ?2
             ORDER BY id LIMIT ?3",
        )?
        .query_map(params![destination, until, STEP], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let group: i64 =
        connection.query_row("SELECT coalesce(max(id), 0) + 1 FROM delivery", [], |row| {
            row.get(0)
        })?;
    let mut update = connection.prepare_cached(
        "UPDATE delivery SET id = ?2, state = ?3, hold = ?4, next_at = 0 WHERE id = ?1",
    )?;
    let mut released = Vec::new();
    for (delivery, (before, event)) in (group..).zip(held) {
        update.execute(params![before, delivery, DeliveryState::Pending, group])?;
        released.push(Released { event, delivery });
    }
    Ok(released)
}

/// Makes all held deliveries of a destination pending: they come before what is added next.
pub fn release_all(
    connection: &Connection,
    destination: DestinationId,
) -> rusqlite::Result<Vec<Released>> {
    let mut all = Vec::new();
    loop {
        let released = release(connection, destination, i64::MAX)?;
        if released.is_empty() {
            return Ok(all);
        }
        all.extend(released);
    }
}

/// Returns those of these events' deliveries to a destination that are no longer held.
pub fn released(
    connection: &Connection,
    destination: DestinationId,
    events: &[i64],
) -> rusqlite::Result<Vec<Released>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM delivery WHERE event = ?1 AND destination = ?2 AND state != 4",
    )?;
    let mut found = Vec::new();
    for event in events {
        let delivery = statement
            .query_row(params![event, destination], |row| row.get(0))
            .optional()?;
        found.extend(delivery.map(|delivery| Released {
            event: *event,
            delivery,
        }));
    }
    Ok(found)
}
