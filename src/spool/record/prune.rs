//! Deletion of old runs from the record. The sums of their days are kept.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _};

use super::super::{Error, Spool};
use super::{alive, trends};
use crate::system::clock;

/// Maximum number of results per step, because other work waits meanwhile.
const STEP: usize = 2000;

impl Spool {
    /// Deletes a part of the record of runs whose last event is older than this (milliseconds since 1970).
    /// Returns true if there is more to do.
    pub async fn tidy_runs(&self, before: i64) -> Result<bool, Error> {
        let folder = self.folder.clone();
        self.write(move |connection| forget_some(connection, &folder, before))
            .await
    }

    /// Deletes names that only deleted runs used, and the lock files of processes that are gone.
    pub async fn tidy_names(&self) -> Result<(), Error> {
        alive::remove_free(&self.folder);
        self.write(|connection| {
            connection.execute(
                "DELETE FROM name WHERE id NOT IN (
                    SELECT play FROM task WHERE play IS NOT NULL
                    UNION SELECT name FROM task WHERE name IS NOT NULL
                    UNION SELECT action FROM task WHERE action IS NOT NULL
                    UNION SELECT path FROM task WHERE path IS NOT NULL
                    UNION SELECT role FROM task WHERE role IS NOT NULL)",
                [],
            )
        })
        .await
        .map(drop)
    }
}

/// Deletes a part of the oldest finished run, to make space. Returns true if there was any.
pub fn forget_one(connection: &Connection, folder: &Path) -> rusqlite::Result<bool> {
    forget_some(connection, folder, clock::now().as_millisecond())
}

/// Deletes a part of an unfinished run, to make space when nothing else can. Returns true if there was any.
pub fn forget_of_live(connection: &Connection) -> rusqlite::Result<bool> {
    let run = connection
        .prepare_cached("SELECT run FROM task ORDER BY id LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(run) = run else { return Ok(false) };
    forget_tasks(connection, run)?;
    connection
        .prepare_cached("UPDATE run SET partial = 1 WHERE id = ?1")?
        .execute([run])?;
    Ok(true)
}

/// Deletes a part of the oldest finished run whose last event is older than this (milliseconds since 1970).
/// Returns true if there was any.
pub fn forget_some(connection: &Connection, folder: &Path, before: i64) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(
        "SELECT id, run_id, status IS NULL FROM run WHERE seen < ?1 ORDER BY started, id",
    )?;
    let mut rows = statement.query([before])?;
    while let Some(row) = rows.next()? {
        let (id, run_id, is_open): (i64, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if is_open && alive::is_alive(folder, &run_id) {
            continue;
        }
        drop(rows);
        forget(connection, id)?;
        return Ok(true);
    }
    Ok(false)
}

/// Deletes a part of a run, and the run itself once nothing else of it is left.
fn forget(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    let last = if forget_tasks(connection, run)? {
        trends::keep(connection, run)?;
        [
            "DELETE FROM host WHERE run = ?1",
            "DELETE FROM run WHERE id = ?1",
        ]
        .as_slice()
    } else {
        &["UPDATE run SET partial = 1 WHERE id = ?1"]
    };
    for sql in last {
        connection.prepare_cached(sql)?.execute([run])?;
    }
    Ok(())
}

/// Deletes some tasks of a run with their results. Returns true if none is left.
fn forget_tasks(connection: &Connection, run: i64) -> rusqlite::Result<bool> {
    let mut deleted = 0;
    while deleted < STEP {
        let Some(task) = next_task(connection, run)? else {
            return Ok(true);
        };
        for sql in [
            "DELETE FROM detail WHERE id IN (SELECT detail FROM result WHERE task = ?1 AND detail IS NOT NULL)",
            "DELETE FROM result WHERE task = ?1",
            "DELETE FROM task WHERE id = ?1",
        ] {
            deleted += connection.prepare_cached(sql)?.execute([task])?;
        }
    }
    Ok(false)
}

fn next_task(connection: &Connection, run: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM task WHERE run = ?1 LIMIT 1")?
        .query_row([run], |row| row.get(0))
        .optional()
}
