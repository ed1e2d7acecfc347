//! Runs by day: those in the record, and the sums of those that were deleted.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::super::fields;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Runs of a playbook that began on the same day.
#[allow(dead_code)] // No screen shows it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    /// Start of the day in UTC, in milliseconds since 1970.
    pub start: i64,
    /// Name of the runs.
    pub name: String,
    pub runs: i64,
    /// Numbers of failed runs, and of canceled or killed ones.
    pub failed: i64,
    pub canceled: i64,
    /// Total duration, in milliseconds.
    pub took: i64,
}

/// Columns of a run as one of its day.
const ONE: &str = "started / ?1 AS day, name, 1 AS runs, status IS 'error' AS failed,
    coalesce(status, 'canceled') = 'canceled' AS canceled, coalesce(ended, seen) - started AS took";

/// Returns the runs by day and name, oldest first.
#[allow(dead_code)] // No screen shows it yet.
pub fn days(connection: &Connection, since: i64) -> rusqlite::Result<Vec<Day>> {
    connection
        .prepare_cached(&format!(
            "SELECT day * ?1, name, sum(runs), sum(failed), sum(canceled), sum(took)
             FROM (SELECT {ONE} FROM run UNION ALL SELECT day, name, runs, failed, canceled, took FROM day)
             WHERE day >= ?2 / ?1 GROUP BY day, name ORDER BY day, name"
        ))?
        .query_map([DAY, since], |row| {
            Ok(Day {
                start: row.get(0)?,
                name: fields::text(row, 1)?.unwrap_or_default(),
                runs: row.get(2)?,
                failed: row.get(3)?,
                canceled: row.get(4)?,
                took: row.get(5)?,
            })
        })?
        .collect()
}

/// Adds a run to the sums of its day, before it is deleted.
pub fn keep(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO day (day, name, runs, failed, canceled, took) SELECT {ONE} FROM run WHERE id = ?2
             ON CONFLICT DO UPDATE SET runs = runs + 1, failed = failed + excluded.failed,
                canceled = canceled + excluded.canceled, took = took + excluded.took"
        ))?
        .execute(params![DAY, run])?;
    Ok(())
}
