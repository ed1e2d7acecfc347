//! Queries about one recorded run: its tasks, hosts, results and deliveries.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;

use super::super::{DeliveryState, Error, Spool, fields};
use super::runs::counts;
use super::write::{CUT, HIDDEN, ITEM, OUTCOME};
use super::{Counts, Outcome};

/// A task of a recorded run.
#[derive(Clone, Debug, Serialize)]
pub struct RecordedTask {
    /// Number in the file, for [`ResultFilter::task`].
    #[serde(rename = "id")]
    pub number: i64,
    pub play: Option<String>,
    pub name: Option<String>,
    pub action: Option<String>,
    /// File and line.
    pub path: Option<String>,
    pub role: Option<String>,
    pub is_handler: bool,
    /// Milliseconds since 1970.
    pub started: i64,
    /// Time of its last result; None without any.
    pub ended: Option<i64>,
    /// Longest time that it took on a host, in milliseconds.
    pub longest: i64,
    /// One for each host.
    pub counts: Counts,
}

/// A host of a recorded run.
#[derive(Clone, Debug, Serialize)]
pub struct RecordedHost {
    pub name: String,
    pub counts: Counts,
}

/// Result of a task on a host, or of one item of its loop.
#[derive(Clone, Debug, Serialize)]
pub struct RecordedResult {
    /// Number of its event in the run; the event's id is `RUN-NUMBER`.
    pub event: i64,
    /// Number of its task.
    pub task: i64,
    /// Name of its task.
    pub name: Option<String>,
    pub host: Option<String>,
    /// Milliseconds since 1970.
    pub time: i64,
    /// Milliseconds.
    pub duration: Option<i64>,
    /// None if it cannot be read.
    pub outcome: Option<Outcome>,
    /// True if it is one item of a loop: its host has another result for the whole task.
    pub is_item: bool,
    /// True if Ansible hid its content (`no_log`).
    pub is_hidden: bool,
    /// True if part of it was cut.
    pub is_cut: bool,
    /// Reason of the failure, or message.
    pub message: Option<String>,
    /// The item of a loop, as JSON.
    pub item: Option<String>,
    /// The result as JSON: whole if it failed, else only its `diff`, unless everything is recorded. None
    /// where a list leaves it out.
    pub result: Option<String>,
}

/// Selection of results of a run. An empty one selects all, without the items of loops.
#[derive(Clone, Debug, Default)]
pub struct ResultFilter {
    pub outcomes: Vec<Outcome>,
    /// Number of the task.
    pub task: Option<i64>,
    pub host: Option<String>,
    /// Number of the last event of the previous page, or of the last known one.
    pub after: Option<i64>,
    pub items: bool,
    /// True to return the results as JSON, too.
    pub whole: bool,
    /// True for the newest first.
    pub newest: bool,
    /// Maximum number of results; 0 for no limit.
    pub most: usize,
}

/// Deliveries of a run to one notifier in one state.
#[derive(Clone, Debug, Serialize)]
pub struct Notified {
    pub notifier: String,
    /// None if it cannot be read.
    #[serde(serialize_with = "super::super::state::serialize")]
    pub state: Option<DeliveryState>,
    pub deliveries: i64,
    /// Time of the next attempt, in milliseconds since 1970, if one is planned.
    pub next_attempt: Option<i64>,
    /// Newest error among them.
    pub error: Option<String>,
}

/// Reads. A run is given by its number.
impl Spool {
    /// Returns the tasks of a run, in the order in which they began.
    pub async fn tasks(&self, run: i64) -> Result<Vec<RecordedTask>, Error> {
        self.read(move |connection| tasks(connection, run)).await
    }

    /// Returns the hosts of a run by name.
    pub async fn hosts(&self, run: i64) -> Result<Vec<RecordedHost>, Error> {
        self.read(move |connection| hosts(connection, run)).await
    }

    /// Returns the results of a run that match the filter, in the order in which they came.
    pub async fn results(
        &self,
        run: i64,
        filter: ResultFilter,
    ) -> Result<Vec<RecordedResult>, Error> {
        self.read(move |connection| results(connection, run, &filter))
            .await
    }

    /// Returns how many deliveries of a run are in which state, by notifier.
    pub async fn notified(&self, run_id: &str) -> Result<Vec<Notified>, Error> {
        let range = events_of(run_id);
        self.read(move |connection| notified(connection, &range))
            .await
    }
}

fn limit(most: usize) -> i64 {
    match most {
        0 => -1,
        most => i64::try_from(most).unwrap_or(i64::MAX),
    }
}

/// Returns the range of the ids of a run's events: they begin with its id and a hyphen.
pub fn events_of(run_id: &str) -> [String; 2] {
    [format!("{run_id}-"), format!("{run_id}.")]
}

/// SQL condition: the events in such a range are of that very run, not of one whose id goes on after a hyphen. What
/// follows in the id of an event is a number, a word or a UUID.
pub const OF_THIS_RUN: &str = "(instr(substr(event_id, length(?1) + 1), '-') = 0
    OR length(event_id) = length(?1) + 36)";

/// Returns the tasks of a run, in the order in which they began.
pub fn tasks(connection: &Connection, run: i64) -> rusqlite::Result<Vec<RecordedTask>> {
    let text = |column: &str| format!("(SELECT text FROM name WHERE name.id = task.{column})");
    let [play, name, action, path, role] = ["play", "name", "action", "path", "role"].map(text);
    connection
        .prepare_cached(&format!(
            "SELECT id, {play}, {name}, {action}, {path}, {role}, handler, started, ended, longest, seq, ok,
                changed, failed, unreachable, skipped, ignored
             FROM task WHERE run = ?1 ORDER BY id"
        ))?
        .query_map([run], |row| {
            Ok(RecordedTask {
                number: row.get(0)?,
                play: fields::text(row, 1)?,
                name: fields::text(row, 2)?,
                action: fields::text(row, 3)?,
                path: fields::text(row, 4)?,
                role: fields::text(row, 5)?,
                is_handler: fields::number(row, 6)? == Some(1),
                started: fields::number(row, 7)?.unwrap_or_default(),
                ended: fields::number(row, 8)?.filter(|time| *time > 0),
                longest: fields::number(row, 9)?.unwrap_or_default(),
                counts: counts(row, 11)?,
            })
        })?
        .collect()
}

/// Returns the hosts of a run by name.
pub fn hosts(connection: &Connection, run: i64) -> rusqlite::Result<Vec<RecordedHost>> {
    let mut statement = connection.prepare_cached(
        // Results are counted before their hosts are looked up.
        "SELECT host.name, counted.outcome, counted.results FROM (
            SELECT result.host AS host, flags & ?2 AS outcome, count(*) AS results
            FROM task CROSS JOIN result ON result.task = task.id
            WHERE task.run = ?1 AND flags & ?3 = 0 GROUP BY 1, 2) AS counted
         CROSS JOIN host ON host.id = counted.host ORDER BY host.name",
    )?;
    let mut rows = statement.query([run, OUTCOME, ITEM])?;
    let mut found: Vec<RecordedHost> = Vec::new();
    while let Some(row) = rows.next()? {
        let name = fields::text(row, 0)?.unwrap_or_default();
        if found.last().is_none_or(|last| last.name != name) {
            let counts = Counts::default();
            found.push(RecordedHost { name, counts });
        }
        let outcome =
            fields::number(row, 1)?.and_then(|number: i64| Outcome::try_from(number).ok());
        if let (Some(host), Some(outcome)) = (found.last_mut(), outcome) {
            host.counts.add_many(outcome, row.get(2)?);
        }
    }
    Ok(found)
}

const RESULT: &str =
    "SELECT result.seq, task.id, (SELECT text FROM name WHERE name.id = task.name), host.name, time,
        duration, flags, message, item, CASE WHEN ?2 THEN detail.result END
    FROM task CROSS JOIN result ON result.task = task.id
    LEFT JOIN host ON host.id = result.host LEFT JOIN detail ON detail.id = result.detail
    WHERE task.run = ?1";

/// Returns the results of a run that match the filter, in the order in which they came.
pub fn results(
    connection: &Connection,
    run: i64,
    filter: &ResultFilter,
) -> rusqlite::Result<Vec<RecordedResult>> {
    let mut sql = format!("{RESULT}{}", with_any(filter));
    let mut values: Vec<Value> = vec![run.into(), i64::from(filter.whole).into()];
    let mut add = |condition: &str, value: Value| {
        values.push(value);
        sql.push_str(&condition.replace("??", &format!("?{}", values.len())));
    };
    if let Some(task) = filter.task {
        add(" AND task.id = ??", task.into());
    }
    if let Some(host) = &filter.host {
        let of_run = " AND result.host = (SELECT id FROM host WHERE run = ?1 AND name = ??)";
        add(of_run, host.clone().into());
    }
    if let Some(after) = filter.after {
        // A task without newer events is passed over.
        add(" AND task.seq > ?? AND result.seq > ??", after.into());
    }
    if !filter.items {
        add(" AND flags & ?? = 0", ITEM.into());
    }
    if !filter.outcomes.is_empty() {
        let wanted = filter.outcomes.iter();
        let wanted = wanted.fold(0_i64, |bits, one| bits | 1 << (*one as i64));
        add(" AND ?? >> (flags & 7) & 1 = 1", wanted.into());
    }
    let order = if filter.newest { "DESC" } else { "ASC" };
    let order = format!(" ORDER BY result.seq {order} LIMIT ??");
    add(&order, limit(filter.most).into());
    connection
        .prepare_cached(&sql)?
        .query_map(rusqlite::params_from_iter(values), recorded_result)?
        .collect()
}

/// Returns the SQL condition for tasks that have a result which the filter selects: each counts those of its hosts,
/// but not those of items.
fn with_any(filter: &ResultFilter) -> String {
    if filter.items || filter.outcomes.is_empty() {
        return String::new();
    }
    let counts = filter.outcomes.iter();
    let counts = counts.map(|outcome| format!("task.{}", outcome.name()));
    format!(" AND {} > 0", counts.collect::<Vec<String>>().join(" + "))
}

/// Returns a result of a run by the number of its event.
pub fn result(
    connection: &Connection,
    run: i64,
    event: i64,
) -> rusqlite::Result<Option<RecordedResult>> {
    connection
        .prepare_cached(&format!(
            "{RESULT} AND task.seq >= ?3 AND result.seq = ?3 LIMIT 1"
        ))?
        .query_row(params![run, true, event], recorded_result)
        .optional()
}

fn recorded_result(row: &Row<'_>) -> rusqlite::Result<RecordedResult> {
    let flags: i64 = fields::number(row, 6)?.unwrap_or_default();
    Ok(RecordedResult {
        event: row.get(0)?,
        task: row.get(1)?,
        name: fields::text(row, 2)?,
        host: fields::text(row, 3)?,
        time: fields::number(row, 4)?.unwrap_or_default(),
        duration: fields::number(row, 5)?,
        outcome: Outcome::try_from(flags & OUTCOME).ok(),
        is_item: flags & ITEM != 0,
        is_hidden: flags & HIDDEN != 0,
        is_cut: flags & CUT != 0,
        message: fields::text(row, 7)?,
        item: fields::text(row, 8)?,
        result: fields::text(row, 9)?,
    })
}

/// Returns how many deliveries of the events in a range are in which state, by notifier.
pub fn notified(
    connection: &Connection,
    [first, last]: &[String; 2],
) -> rusqlite::Result<Vec<Notified>> {
    // The error is that of the row with the highest id.
    connection
        .prepare_cached(&format!(
            "SELECT destination.name, state, count(*), max(next_at), error, max(delivery.id)
             FROM event CROSS JOIN delivery ON delivery.event = event.id
             LEFT JOIN destination ON destination.id = delivery.destination
             WHERE event_id >= ?1 AND event_id < ?2 AND {OF_THIS_RUN}
             GROUP BY destination.id, state ORDER BY destination.id, state"
        ))?
        .query_map([first, last], |row| {
            Ok(Notified {
                notifier: fields::text(row, 0)?.unwrap_or_default(),
                state: fields::number(row, 1)?,
                deliveries: row.get(2)?,
                next_attempt: fields::number(row, 3)?.filter(|time| *time > 0),
                error: fields::text(row, 4)?,
            })
        })?
        .collect()
}
