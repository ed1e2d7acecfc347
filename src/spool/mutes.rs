//! Notifiers that someone muted until a certain time. What is accepted meanwhile is held, as in the time windows of
//! the configuration, and released when the mute ends.

use std::collections::HashMap;
use std::fmt;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use super::actions::{self, Actor, Deed};
use super::conditions::Decision;
use super::fields;
use super::scope::DestinationId;
use super::state::DeliveryState;
use crate::system::clock;

/// A notifier that is muted.
#[derive(Clone, Debug, Serialize)]
pub struct Mute {
    pub destination: DestinationId,
    /// Milliseconds since 1970.
    pub until: i64,
    pub who: String,
    pub why: String,
}

/// Describes the mute with its end, who it is from, and the reason.
impl fmt::Display for Mute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = clock::local(self.until);
        write!(
            formatter,
            "muted until {until} by {}: {}",
            self.who, self.why
        )
    }
}

/// Ends of mutes, by destination; zero for those that are over.
pub struct Mutes(HashMap<DestinationId, i64>);

impl Mutes {
    /// Reads all mutes; nearly always there is none.
    pub fn read(connection: &Connection) -> rusqlite::Result<Mutes> {
        let mut statement = connection.prepare_cached("SELECT destination, until FROM mute")?;
        let mut rows = statement.query([])?;
        let mut found = HashMap::new();
        let mut now = None;
        while let Some(row) = rows.next()? {
            let now = *now.get_or_insert_with(|| clock::now().as_millisecond());
            let until = fields::number(row, 1)?.filter(|until| *until > now);
            let destination = fields::number(row, 0)?.unwrap_or_default();
            found.insert(destination, until.unwrap_or(0));
        }
        Ok(Mutes(found))
    }

    /// Returns true if a destination is muted.
    pub fn hold(&self, destination: DestinationId) -> bool {
        self.0.get(&destination).is_some_and(|until| *until > 0)
    }

    /// Returns true if the mute of a destination is over: what it held comes before what is added.
    pub fn has_ended(&self, destination: DestinationId) -> bool {
        self.0.get(&destination) == Some(&0)
    }

    /// Returns the decision about a delivery after the mute of its destination: what would be sent is held.
    pub fn decide(&self, destination: DestinationId, decision: Decision) -> Decision {
        match self.0.get(&destination) {
            Some(until) if *until > 0 && decision.state != DeliveryState::Suppressed => Decision {
                state: DeliveryState::Held,
                hold: decision.hold.max(*until),
                ..decision
            },
            _ => decision,
        }
    }
}

/// Returns the time until which a destination is muted; None if it is not.
pub fn until(connection: &Connection, destination: DestinationId) -> rusqlite::Result<Option<i64>> {
    let now = clock::now().as_millisecond();
    connection
        .prepare_cached("SELECT until FROM mute WHERE destination = ?1 AND until > ?2")?
        .query_row(params![destination, now], |row| row.get(0))
        .optional()
}

/// Returns the mutes that hold now.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<Mute>> {
    let now = clock::now().as_millisecond();
    connection
        .prepare_cached(
            "SELECT destination, until, who, why FROM mute WHERE until > ?1 ORDER BY destination",
        )?
        .query_map([now], |row| {
            Ok(Mute {
                destination: fields::number(row, 0)?.unwrap_or_default(),
                until: fields::number(row, 1)?.unwrap_or_default(),
                who: fields::text(row, 2)?.unwrap_or_default(),
                why: fields::text(row, 3)?.unwrap_or_default(),
            })
        })?
        .collect()
}

/// Mutes a destination; an earlier mute of it is replaced.
pub fn mute(
    connection: &Connection,
    destination: DestinationId,
    actor: &Actor,
    (until, why): (i64, &str),
) -> rusqlite::Result<()> {
    let now = clock::now().as_millisecond();
    connection.execute(
        "DELETE FROM mute WHERE until <= ?1 AND NOT EXISTS (
            SELECT 1 FROM delivery WHERE delivery.destination = mute.destination AND state = 4)",
        [now],
    )?;
    if let Some(before) = self::until(connection, destination)? {
        end_at(connection, destination, before, until)?;
    }
    connection.execute(
        "INSERT OR REPLACE INTO mute (destination, until, who, why) VALUES (?1, ?2, ?3, ?4)",
        params![destination, until, actor.who, why],
    )?;
    let note = format!("until {}: {why}", clock::local(until));
    actions::add_for(connection, actor, Deed::Mute, destination, &note)
}

/// Moves the end of what a mute holds, for those who look at it; the rules may hold some of it for longer.
fn end_at(
    connection: &Connection,
    destination: DestinationId,
    before: i64,
    until: i64,
) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE delivery SET hold = ?3 WHERE destination = ?1 AND state = 4 AND hold = ?2",
        params![destination, before, until],
    )?;
    Ok(())
}

/// Ends the mute of a destination. Returns true if there was one.
pub fn unmute(
    connection: &Connection,
    destination: DestinationId,
    actor: &Actor,
) -> rusqlite::Result<bool> {
    let Some(before) = until(connection, destination)? else {
        return Ok(false);
    };
    let now = clock::now().as_millisecond();
    end_at(connection, destination, before, now)?;
    // Its row is needed until what it held is released.
    connection.execute(
        "UPDATE mute SET until = 0 WHERE destination = ?1",
        [destination],
    )?;
    actions::add_for(connection, actor, Deed::Unmute, destination, "")?;
    Ok(true)
}
