//! How destinations fare, across processes: what a worker learnt, and what a person asks for.

use rusqlite::{Connection, params};

use super::fields;

/// After so many failures in a row a notifier gets one attempt at a time.
pub const BREAKER: u32 = 5;

/// What is stored of a destination's breaker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BreakerRow {
    /// Attempts that failed since one succeeded.
    pub failures: u32,
    /// Nothing is tried before this time, in milliseconds since 1970.
    pub paused_until: i64,
    /// The configuration (a hash) to which it said that it is gone for good.
    pub gone: Option<String>,
}

/// The breaker of a destination.
pub fn breaker(connection: &Connection, destination: i64) -> rusqlite::Result<BreakerRow> {
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

/// Ends every pause of a destination. One in trouble gets one attempt first: its failures count as at
/// least `failures`.
pub fn probe(connection: &Connection, destination: i64, failures: u32) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE destination SET failures = max(failures, ?2), paused_until = 0
             WHERE id = ?1 AND (failures > 0 OR paused_until > 0)",
        )?
        .execute(params![destination, failures])?;
    make_due(connection, destination)
}

/// Makes what waits for a destination due at once: only the first of each host rests.
pub fn make_due(connection: &Connection, destination: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "UPDATE delivery SET next_at = 0 WHERE destination = ?1 AND state = 0 AND next_at > 0",
        )?
        .execute([destination])?;
    Ok(())
}

/// Lets the dead deliveries of a destination wait again, and turns it on where it was off. How many.
pub fn revive(connection: &Connection, destination: i64, failures: u32) -> rusqlite::Result<usize> {
    let revived = connection.execute(
        "UPDATE delivery SET state = 0, next_at = 0, finished = NULL WHERE destination = ?1 AND state = 2",
        [destination],
    )?;
    connection.execute(
        "UPDATE destination SET dead = dead - ?2,
            failures = CASE WHEN gone IS NULL THEN failures ELSE max(failures, ?3) END, gone = NULL
         WHERE id = ?1",
        params![destination, revived as i64, failures],
    )?;
    Ok(revived)
}
