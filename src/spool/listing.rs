//! Lists of deliveries for the terminal and for pages: filtered, page by page, newest first.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fields;
use super::record::results::OF_THIS_RUN;
use super::scope::DestinationId;
use super::state::{self, DeliveryState};
use super::wording::{self, Wording};

/// Selection of deliveries. An empty one selects all.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only deliveries in these states; all if empty.
    pub states: Vec<DeliveryState>,
    /// Only deliveries that failed at least once.
    pub failed: bool,
    pub destination: Option<DestinationId>,
    /// Name of a notifier, which may have several destinations.
    pub notifier: Option<String>,
    pub host: Option<String>,
    pub task: Option<String>,
    /// Run of the event, even if a user chose the event's id. Slow: it reads the body of each event.
    pub run: Option<String>,
    /// Range of event ids, without its end. Fast: an index finds it.
    pub events: Option<[String; 2]>,
    /// Milliseconds since 1970.
    pub since: i64,
    /// Only deliveries with a lower number: older ones.
    pub before: Option<i64>,
    /// Maximum number of deliveries; None for no limit.
    pub most: Option<usize>,
}

/// A delivery in a list.
#[derive(Clone, Debug, serde::Serialize)]
pub struct HistoryRow {
    pub id: i64,
    pub event_id: String,
    /// Milliseconds since 1970.
    pub created: i64,
    pub callback: String,
    pub host: String,
    pub task: String,
    pub notifier: String,
    /// None if it cannot be read.
    #[serde(serialize_with = "state::serialize")]
    pub state: Option<DeliveryState>,
    pub attempts: i64,
    pub error: Option<String>,
    /// Its destination.
    pub destination: DestinationId,
    /// The event in words: `failed`, `run ok`.
    pub result: String,
    /// Run of the event, if known.
    pub run: Option<String>,
    /// Time of the next attempt, or of its release if it is held, in milliseconds since 1970; 0 means immediately.
    #[serde(skip)]
    pub next_at: i64,
    /// Milliseconds since 1970.
    #[serde(skip)]
    pub finished: Option<i64>,
    /// Duration of the attempt that delivered it, in milliseconds.
    #[serde(skip)]
    pub duration: Option<i64>,
}

/// SQL condition for deliveries that failed at least once, whatever their final state. A delivered one may have an
/// attempt row, too, for a note; a suppressed one has its reason as the error.
const FAILED: &str = "(error IS NOT NULL AND state != 5 OR EXISTS (SELECT 1 FROM attempt
    WHERE delivery = delivery.id AND outcome NOT LIKE 'delivered%'))";

/// Columns of a delivery with its event and destination, for [`history_row`].
const COLUMNS: &str =
    "delivery.id, event_id, created, callback, host, task, destination.name, state, attempts,
    error, delivery.destination, delivery.event, next_at, hold, finished, duration";

/// Deliveries with their events, for [`COLUMNS`].
const DELIVERY: &str = "delivery LEFT JOIN event ON event.id = delivery.event";

/// The destinations of these deliveries.
const DESTINATION: &str = "LEFT JOIN destination ON destination.id = delivery.destination";

/// Reads a row of [`COLUMNS`].
fn history_row(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<HistoryRow> {
    let text = |column| Ok::<_, rusqlite::Error>(fields::text(row, column)?.unwrap_or_default());
    let number =
        |column| Ok::<_, rusqlite::Error>(fields::number(row, column)?.unwrap_or_default());
    let (event_id, callback) = (text(1)?, text(3)?);
    let Wording { result, run } = wording::of(connection, number(11)?, &event_id, &callback)?;
    let state = fields::number(row, 7)?;
    let next_at = match state {
        Some(DeliveryState::Held) => number(13)?,
        _ => number(12)?,
    };
    Ok(HistoryRow {
        id: row.get(0)?,
        created: number(2)?,
        result,
        run,
        event_id,
        callback,
        host: text(4)?,
        task: text(5)?,
        notifier: text(6)?,
        state,
        attempts: number(8)?,
        error: fields::text(row, 9)?,
        destination: DestinationId(number(10)?),
        next_at,
        finished: fields::number(row, 14)?,
        duration: fields::number(row, 15)?,
    })
}

/// Returns the newest deliveries that match the filter, newest first.
pub fn deliveries(
    connection: &Connection,
    filter: &DeliveryFilter,
) -> rusqlite::Result<Vec<HistoryRow>> {
    let [first, last] = filter
        .events
        .clone()
        .map_or([None, None], |range| range.map(Some));
    // Without a range of events, rows are read from the newest delivery on.
    let (from, of_events) = match first {
        Some(_) => (
            "event CROSS JOIN delivery ON delivery.event = event.id",
            format!("event_id >= ?1 AND event_id < ?2 AND {OF_THIS_RUN}"),
        ),
        None => (DELIVERY, "?1 IS NULL AND ?2 IS NULL".to_owned()),
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM {from} {DESTINATION}
         WHERE {of_events} AND (?3 IS NULL OR delivery.id < ?3)
         AND (?4 = 0 OR state BETWEEN 0 AND 62 AND ?4 >> state & 1) AND (?5 = 0 OR {FAILED})
         AND (?6 IS NULL OR delivery.destination = ?6) AND (?7 IS NULL OR destination.name = ?7)
         AND (?8 IS NULL OR host = ?8) AND (?9 IS NULL OR task = ?9) AND coalesce(created, ?10) >= ?10
         ORDER BY delivery.id DESC LIMIT ?11"
    ))?;
    let states = filter.states.iter();
    let states = states.fold(0, |states: i64, state| states | 1 << *state as i64);
    let most = filter.most.and_then(|most| i64::try_from(most).ok());
    let mut rows = statement.query(params![
        first,
        last,
        filter.before,
        states,
        filter.failed,
        filter.destination,
        filter.notifier,
        filter.host,
        filter.task,
        filter.since,
        most.filter(|_| filter.run.is_none()).unwrap_or(-1)
    ])?;
    let mut found = Vec::new();
    while filter.most.is_none_or(|most| found.len() < most)
        && let Some(row) = rows.next()?
    {
        let row = history_row(connection, row)?;
        if filter.run.is_none() || row.run == filter.run {
            found.push(row);
        }
    }
    Ok(found)
}

/// Returns a delivery by its number.
pub fn delivery(connection: &Connection, id: i64) -> rusqlite::Result<Option<HistoryRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM {DELIVERY} {DESTINATION} WHERE delivery.id = ?1"
        ))?
        .query_row([id], |row| history_row(connection, row))
        .optional()
}

/// Number of attempts for a destination, among the deliveries that are still in the spool.
#[derive(Clone, Debug)]
pub struct Attempts {
    pub destination: DestinationId,
    pub failed: i64,
    pub delivered: i64,
    /// Total duration, in milliseconds.
    pub duration: i64,
}

/// Returns the attempts for each destination.
pub fn attempts(connection: &Connection) -> rusqlite::Result<Vec<Attempts>> {
    let mut statement = connection.prepare_cached(
        "SELECT destination, sum(failed), sum(delivered), sum(duration) FROM (
            SELECT destination, 0 AS failed, count(duration) AS delivered, total(duration) AS duration
            FROM delivery GROUP BY destination
            UNION ALL
            SELECT destination, count(*), 0, total(attempt.duration)
            FROM attempt JOIN delivery ON delivery.id = attempt.delivery
            WHERE outcome NOT LIKE 'delivered%' GROUP BY destination
        ) GROUP BY destination",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(Attempts {
            destination: row.get(0)?,
            failed: row.get(1)?,
            delivered: row.get(2)?,
            duration: row.get::<_, f64>(3)? as i64,
        })
    })?;
    rows.collect()
}

/// Attempts of a destination that failed, as far as its deliveries are still in the spool.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FailedAttempts {
    pub id: i64,
    pub notifier: String,
    pub failed: i64,
    pub delivered: i64,
    pub dead: i64,
}

/// Returns the failed attempts since a time by destination, most first; none for those without.
pub fn failed_attempts(
    connection: &Connection,
    since: i64,
) -> rusqlite::Result<Vec<FailedAttempts>> {
    let mut statement = connection.prepare_cached(
        "WITH failed AS (
            SELECT delivery.destination AS destination, count(*) AS attempts FROM attempt
            CROSS JOIN delivery ON delivery.id = attempt.delivery
            WHERE attempt.started >= ?1 AND outcome NOT LIKE 'delivered%' GROUP BY 1),
         finished AS (
            SELECT destination, sum(state = 1) AS delivered, sum(state = 2) AS dead FROM delivery
            WHERE state > 0 AND finished >= ?1 GROUP BY 1)
         SELECT destination.id, destination.name, attempts, coalesce(finished.delivered, 0), coalesce(finished.dead, 0)
         FROM failed JOIN destination ON destination.id = failed.destination
         LEFT JOIN finished ON finished.destination = failed.destination ORDER BY attempts DESC",
    )?;
    let rows = statement.query_map([since], |row| {
        Ok(FailedAttempts {
            id: row.get(0)?,
            notifier: fields::text(row, 1)?.unwrap_or_default(),
            failed: row.get(2)?,
            delivered: row.get(3)?,
            dead: row.get(4)?,
        })
    })?;
    rows.collect()
}

/// Returns the text of an event, if it is kept.
pub fn body(connection: &Connection, event_id: &str) -> rusqlite::Result<Option<String>> {
    let mut statement = connection
        .prepare_cached("SELECT body FROM event WHERE event_id = ?1 AND length(body) <= ?2")?;
    let mut rows = statement.query(params![event_id, MAX_BODY])?;
    match rows.next()? {
        Some(row) => fields::sound_text(row, 0),
        None => Ok(None),
    }
}

/// Number of the newest events among which [`bodies`] looks, and the most that it returns.
const RECENT: i64 = 20_000;
const MAX_BODIES: i64 = 200;
/// Size above which an event is left out, in bytes.
const MAX_BODY: i64 = 128 << 10;

/// Returns the newest events whose texts are kept, newest first; only those of a run, given by the range of their ids.
pub fn bodies(connection: &Connection, run: Option<&[String; 2]>) -> rusqlite::Result<Vec<String>> {
    let condition = match run {
        Some(_) => format!("event_id >= ?1 AND event_id < ?2 AND {OF_THIS_RUN}"),
        None => format!(
            "?1 IS NULL AND ?2 IS NULL AND id > (SELECT coalesce(max(id), 0) FROM event) - {RECENT}"
        ),
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT body FROM event WHERE {condition} AND length(body) <= ?3 ORDER BY id DESC LIMIT ?4"
    ))?;
    let [first, last] = run.map_or([None, None], |[first, last]| [Some(first), Some(last)]);
    let values = params![first, last, MAX_BODY, MAX_BODIES];
    let rows = statement.query_map(values, |row| fields::sound_text(row, 0))?;
    let rows = rows.collect::<rusqlite::Result<Vec<Option<String>>>>()?;
    Ok(rows.into_iter().flatten().collect())
}
