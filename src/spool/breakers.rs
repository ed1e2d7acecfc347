//! Circuit-breaker state per destination, shared by all processes, and manual overrides of it.

use rusqlite::{Connection, params};

use super::fields;
use super::scope::DestinationId;
use super::state::DeliveryState;

/// Number of failures in a row after which a notifier gets one attempt at a time.
pub const BREAKER: u32 = 5;

/// Circuit-breaker state of a destination, as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakerRow {
    /// Number of failed attempts since the last success.
    pub failures: u32,
    /// Time before which nothing is tried, in milliseconds since 1970.
    pub paused_until: i64,
    /// Hash of the configuration to which the destination replied that it is gone for good.
    pub gone: Option<String>,
}

/// Reads the breaker of a destination.
pub fn breaker(
    connection: &Connection,
    destination: DestinationId,
) -> rusqlite::Result<BreakerRow> {
    connection
        .prepare_cached("SELECT failures, paused_until, gone FROM destination WHERE id = ?1")?
        .query_row([destination], |row| {
            Ok(BreakerRow {
                failures: fields::number(row, 0)?.unwrap_or_default(),
                paused_until: fields::number(row, 1)?.unwrap_or_default(),
                gone: fields::text(row, 2)?,
            })
        })
}

/// Ends every pause of a destination. A failing one gets a single attempt first, as if its breaker had opened.
pub fn probe(connection: &Connection, destination: DestinationId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE destination SET failures = max(failures, ?2), paused_until = 0
             WHERE id = ?1 AND (failures > 0 OR paused_until > 0)",
        )?
        .execute(params![destination, BREAKER])?;
    make_due(connection, destination)
}

/// Makes all pending deliveries of a destination due at once. Only the first of each host ever backs off.
pub fn make_due(connection: &Connection, destination: DestinationId) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE delivery SET next_at = 0 WHERE destination = ?1 AND state = 0 AND next_at > 0",
        )?
        .execute([destination])?;
    Ok(())
}

/// Returns true if a destination is off: it answered that it is gone for good.
pub fn is_off(connection: &Connection, destination: DestinationId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT gone IS NOT NULL FROM destination WHERE id = ?1")?
        .query_row([destination], |row| row.get(0))
}

/// Makes the dead deliveries of a destination pending again, and turns it on if it was off. Returns their number.
pub fn revive(connection: &Connection, destination: DestinationId) -> rusqlite::Result<usize> {
    let revived = connection.execute(
        "UPDATE delivery SET state = ?2, next_at = 0, finished = NULL WHERE destination = ?1 AND state = ?3",
        params![destination, DeliveryState::Pending, DeliveryState::Dead],
    )?;
    connection.execute(
        "UPDATE destination SET dead = dead - ?2,
            failures = CASE WHEN gone IS NULL THEN failures ELSE max(failures, ?3) END, gone = NULL
         WHERE id = ?1",
        params![destination, revived as i64, BREAKER],
    )?;
    Ok(revived)
}
