//! Deliveries and attempts as pages list them: filtered, in portions, newest first.

use rusqlite::{Connection, params};

use super::history::{self, COLUMNS, DeliveryDetails, DestinationStatus, HistoryRow, history_row};
use super::record::results::OF_THIS_RUN;
use super::scope::DestinationId;
use super::state::DeliveryState;
use super::viewer::{Unseen, Viewer};

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

fn deliveries(
    connection: &Connection,
    filter: &DeliveryFilter,
) -> rusqlite::Result<Vec<HistoryRow>> {
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
    let rows = statement.query_map(values, |row| history_row(connection, row))?;
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
    pub async fn deliveries(&self, filter: DeliveryFilter) -> Result<Vec<HistoryRow>, Unseen> {
        self.ask(move |connection| deliveries(connection, &filter))
            .await
    }

    /// Returns everything about a delivery.
    pub async fn delivery(&self, id: i64) -> Result<Option<DeliveryDetails>, Unseen> {
        self.ask(move |connection| history::delivery(connection, id))
            .await
    }

    /// Returns the attempts for each destination.
    pub async fn attempts(&self) -> Result<Vec<Attempts>, Unseen> {
        self.ask(attempts).await
    }
}
