//! Trends: runs by day, those in the record and the sums of those that were deleted; slow tasks, and hosts that
//! fail now and then.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};
use serde::Serialize;

use super::super::fields;
use super::alive;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Runs of a playbook that began on the same day.
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

/// Returns the runs by day and name, oldest first. Those that go on are left out.
pub fn days(connection: &Connection, folder: &Path, since: i64) -> rusqlite::Result<Vec<Day>> {
    let running = running(connection, folder)?.join(", ");
    connection
        .prepare(&format!(
            "SELECT day * ?1, name, sum(runs), sum(failed), sum(canceled), sum(took)
             FROM (SELECT {ONE} FROM run WHERE id NOT IN ({running})
                UNION ALL SELECT day, name, runs, failed, canceled, took FROM day)
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

/// Returns the numbers of the runs that go on.
fn running(connection: &Connection, folder: &Path) -> rusqlite::Result<Vec<String>> {
    let mut open = connection.prepare_cached("SELECT id, run_id FROM run WHERE status IS NULL")?;
    let mut rows = open.query([])?;
    let mut running = Vec::new();
    while let Some(row) = rows.next()? {
        let id = fields::text(row, 1)?.unwrap_or_default();
        if alive::is_alive(folder, &id) {
            running.push(row.get::<_, i64>(0)?.to_string());
        }
    }
    Ok(running)
}

/// A task of many runs. Its time in a run is the longest on a host, in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub struct SlowTask {
    pub name: String,
    pub runs: usize,
    pub median: i64,
    /// Time that 95 of 100 runs did not exceed.
    pub p95: i64,
    /// Medians of the last seven days, and of the seven days before.
    pub week: Option<i64>,
    pub week_before: Option<i64>,
    /// The slowest one: its run, and its number there.
    pub run: String,
    pub task: i64,
}

/// Returns the tasks that take longest, slowest first.
pub fn slow_tasks(
    connection: &Connection,
    since: i64,
    now: i64,
    most: usize,
) -> rusqlite::Result<Vec<SlowTask>> {
    let mut statement = connection.prepare_cached(
        "WITH slowest AS (
            SELECT task.name AS name FROM run CROSS JOIN task ON task.run = run.id
            WHERE run.started >= ?1 AND task.name IS NOT NULL AND task.longest > 0
            GROUP BY task.name ORDER BY avg(task.longest) DESC LIMIT ?2)
         SELECT (SELECT text FROM name WHERE name.id = task.name), task.longest, run.started, run.run_id, task.id
         FROM run CROSS JOIN task ON task.run = run.id
         WHERE run.started >= ?1 AND task.longest > 0 AND task.name IN (SELECT name FROM slowest)
         ORDER BY task.longest",
    )?;
    let mut rows = statement.query(params![since, most as i64])?;
    let mut tasks: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    let mut slowest: BTreeMap<String, (String, i64)> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let name = fields::text(row, 0)?.unwrap_or_default();
        let took = fields::number(row, 1)?.unwrap_or_default();
        let started = fields::number(row, 2)?.unwrap_or_default();
        let run = fields::text(row, 3)?.unwrap_or_default();
        slowest.insert(name.clone(), (run, row.get(4)?));
        tasks.entry(name).or_default().push((took, started));
    }
    let mut found: Vec<SlowTask> = tasks
        .into_iter()
        .filter_map(|(name, times)| {
            let (run, task) = slowest.remove(&name)?;
            let within = |from: i64, to: i64| {
                let times = times
                    .iter()
                    .filter(|(_, started)| (from..to).contains(started));
                let times: Vec<i64> = times.map(|(took, _)| *took).collect();
                at(&times, 50)
            };
            let all: Vec<i64> = times.iter().map(|(took, _)| *took).collect();
            Some(SlowTask {
                runs: all.len(),
                median: at(&all, 50)?,
                p95: at(&all, 95)?,
                week: within(now - WEEK, i64::MAX),
                week_before: within(now - 2 * WEEK, now - WEEK),
                name,
                run,
                task,
            })
        })
        .collect();
    found.sort_by_key(|task| -task.median);
    Ok(found)
}

/// Milliseconds of a week.
const WEEK: i64 = 7 * DAY;

/// Returns the value that a share of sorted values does not exceed, in percent.
fn at(sorted: &[i64], percent: usize) -> Option<i64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// A host on which a playbook failed.
#[derive(Clone, Debug, Serialize)]
pub struct FailingHost {
    pub host: String,
    /// Name of the runs.
    pub name: String,
    pub runs: usize,
    pub failed: usize,
    /// Changes between failed and well in the last ten runs.
    pub flips: usize,
    /// True if it changes so often that the playbook may not be the cause.
    pub is_flaky: bool,
}

/// Number of runs that are looked at for changes, and of changes of a flaky host.
const LAST: usize = 10;
const FLAKY: usize = 3;

/// Returns the hosts on which playbooks failed: those that change most first, then those that fail most often.
pub fn failing_hosts(
    connection: &Connection,
    since: i64,
    most: usize,
) -> rusqlite::Result<Vec<FailingHost>> {
    let mut statement = connection.prepare_cached(
        "SELECT host.name, run.name, host.failed FROM run CROSS JOIN host ON host.run = run.id
         WHERE run.started >= ?1 AND run.status IS NOT NULL
            AND host.name IN (SELECT other.name FROM run AS bad CROSS JOIN host AS other ON other.run = bad.id
                WHERE bad.started >= ?1 AND other.failed = 1)
         ORDER BY run.started, run.id",
    )?;
    let mut rows = statement.query([since])?;
    let mut hosts: BTreeMap<(String, String), Vec<bool>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let [host, name] = [0, 1].map(|column| fields::text(row, column));
        let key = (host?.unwrap_or_default(), name?.unwrap_or_default());
        let has_failed = fields::number(row, 2)? == Some(1);
        hosts.entry(key).or_default().push(has_failed);
    }
    let failing = hosts.into_iter().map(|((host, name), runs)| {
        let last = &runs[runs.len().saturating_sub(LAST)..];
        let flips = last.windows(2).filter(|pair| pair[0] != pair[1]).count();
        FailingHost {
            host,
            name,
            failed: runs.iter().filter(|failed| **failed).count(),
            runs: runs.len(),
            flips,
            is_flaky: flips >= FLAKY,
        }
    });
    let mut failing: Vec<FailingHost> = failing.filter(|host| host.failed > 0).collect();
    failing.sort_by_key(|host| {
        let share = host.failed * 1000 / host.runs;
        std::cmp::Reverse((host.flips, share, host.failed))
    });
    failing.truncate(most);
    Ok(failing)
}
