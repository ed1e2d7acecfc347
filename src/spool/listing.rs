//! Deliveries and attempts as pages list them: filtered, in portions, newest first.

use rusqlite::{Connection, Row, params};

use super::attempts::{self, AttemptRow, SentMessage};
use super::fields;
use super::history::{self, DestinationStatus};
use super::record::results::OF_THIS_RUN;
use super::scope::DestinationId;
use super::state::DeliveryState;
use super::viewer::{Unseen, Viewer};
use super::wording::{self, Wording};

/// Selection of deliveries.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub state: Option<DeliveryState>,
    pub destination: Option<DestinationId>,
    /// Name of a notifier, which may have several destinations.
    pub notifier: Option<String>,
    pub host: Option<String>,
    pub task: Option<String>,
    /// Milliseconds since 1970.
    pub since: i64,
    /// Range of the ids of their events, without its end.
    pub events: Option<[String; 2]>,
    /// Only those older than this one; they are numbered in their order.
    pub before: Option<i64>,
    pub most: i64,
}

/// A delivery in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: i64,
    pub event_id: String,
    /// Milliseconds since 1970.
    pub created: i64,
    pub callback: String,
    pub host: String,
    pub task: String,
    pub destination: DestinationId,
    pub notifier: String,
    /// None if it cannot be read.
    pub state: Option<DeliveryState>,
    pub attempts: i64,
    /// Milliseconds since 1970; zero means at once.
    pub next_at: i64,
    /// Milliseconds since 1970.
    pub finished: Option<i64>,
    /// Duration of the attempt that delivered it, in milliseconds.
    pub duration: Option<i64>,
    pub error: Option<String>,
    /// The event in words: `failed`, `run ok`.
    pub result: String,
    /// Run of the event, if it is known.
    pub run: Option<String>,
}

/// A delivery with everything that is kept of it.
pub struct ListedInFull {
    pub row: Listed,
    pub attempts: Vec<AttemptRow>,
    /// Message as it was last sent.
    pub sent: Option<SentMessage>,
    /// Body of its event.
    pub body: Option<String>,
}

const COLUMNS: &str = "delivery.id, event_id, created, callback, host, task, delivery.destination,
    destination.name, state, attempts, next_at, finished, duration, error, hold, delivery.event";

fn listed(connection: &Connection, row: &Row<'_>) -> rusqlite::Result<Listed> {
    let text = |column| Ok::<_, rusqlite::Error>(fields::text(row, column)?.unwrap_or_default());
    let number =
        |column| Ok::<_, rusqlite::Error>(fields::number(row, column)?.unwrap_or_default());
    let state = fields::number(row, 8)?;
    let next_at = match state {
        Some(DeliveryState::Held) => number(14)?,
        _ => number(10)?,
    };
    let (event_id, callback) = (text(1)?, text(3)?);
    let Wording { result, run } = wording::of(connection, number(15)?, &event_id, &callback)?;
    Ok(Listed {
        id: row.get(0)?,
        event_id,
        created: number(2)?,
        callback,
        host: text(4)?,
        task: text(5)?,
        destination: DestinationId(number(6)?),
        notifier: text(7)?,
        state,
        attempts: number(9)?,
        next_at,
        finished: fields::number(row, 11)?,
        duration: fields::number(row, 12)?,
        error: fields::text(row, 13)?,
        result,
        run,
    })
}

fn deliveries(connection: &Connection, filter: &DeliveryFilter) -> rusqlite::Result<Vec<Listed>> {
    let [first, last] = filter
        .events
        .clone()
        .map_or([None, None], |range| range.map(Some));
    // A range of events is found by its index, everything else from the newest delivery on.
    let (from, condition) = match first {
        Some(_) => (
            "event CROSS JOIN delivery ON delivery.event = event.id",
            format!("event_id >= ?1 AND event_id < ?2 AND {OF_THIS_RUN}"),
        ),
        None => (
            "delivery LEFT JOIN event ON event.id = delivery.event",
            "?1 IS NULL AND ?2 IS NULL".to_owned(),
        ),
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM {from} LEFT JOIN destination ON destination.id = delivery.destination
         WHERE {condition} AND (?3 IS NULL OR delivery.id < ?3) AND (?4 IS NULL OR state = ?4)
         AND (?5 IS NULL OR delivery.destination = ?5) AND (?6 IS NULL OR destination.name = ?6)
         AND (?7 IS NULL OR host = ?7) AND (?8 IS NULL OR task = ?8) AND coalesce(created, ?9) >= ?9
         ORDER BY delivery.id DESC LIMIT ?10"
    ))?;
    let values = params![
        first,
        last,
        filter.before,
        filter.state,
        filter.destination,
        filter.notifier,
        filter.host,
        filter.task,
        filter.since,
        filter.most
    ];
    let rows = statement.query_map(values, |row| listed(connection, row))?;
    rows.collect()
}

/// Attempts for a destination, as far as its deliveries are still in the spool.
#[derive(Clone, Debug)]
pub struct Attempts {
    pub destination: DestinationId,
    pub failed: i64,
    pub delivered: i64,
    /// Total duration, in milliseconds.
    pub duration: i64,
}

fn attempts(connection: &Connection) -> rusqlite::Result<Vec<Attempts>> {
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

/// Questions about deliveries.
impl Viewer {
    /// Returns all destinations, oldest first.
    pub async fn destinations(&self) -> Result<Vec<DestinationStatus>, Unseen> {
        self.ask(history::status).await
    }

    /// Returns the newest deliveries that match the filter, newest first.
    pub async fn deliveries(&self, filter: DeliveryFilter) -> Result<Vec<Listed>, Unseen> {
        self.ask(move |connection| deliveries(connection, &filter))
            .await
    }

    /// Returns a delivery with everything that is kept of it.
    pub async fn delivery(&self, id: i64) -> Result<Option<ListedInFull>, Unseen> {
        self.ask(move |connection| {
            let filter = DeliveryFilter {
                before: id.checked_add(1),
                most: 1,
                ..DeliveryFilter::default()
            };
            let found = deliveries(connection, &filter)?.pop();
            let Some(row) = found.filter(|found| found.id == id) else {
                return Ok(None);
            };
            Ok(Some(ListedInFull {
                row,
                attempts: attempts::of(connection, id)?,
                sent: attempts::message(connection, id)?,
                body: history::body(connection, id)?,
            }))
        })
        .await
    }

    /// Returns the attempts for each destination.
    pub async fn attempts(&self) -> Result<Vec<Attempts>, Unseen> {
        self.ask(attempts).await
    }
}
