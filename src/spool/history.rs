//! User operations on the spool: status, details of a delivery, discarding, deleting.

use std::collections::HashMap;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::attempts::{self, AttemptRow, SentMessage};
use super::breakers::BREAKER;
use super::conditions;
use super::fields;
use super::listing::{self, DeliveryFilter, HistoryRow};
use super::memory::forget_threads;
use super::scope::{DestinationId, Scope};
use super::state::DeliveryState;
use crate::event::callback::words::run_in_spool;

/// A destination and the state of its deliveries.
#[derive(Clone, Debug, serde::Serialize)]
pub struct DestinationStatus {
    pub id: DestinationId,
    /// Text by which its configuration is found again; None if it cannot be read.
    #[serde(skip)]
    pub search: Option<String>,
    pub name: String,
    /// Runs that deliver to it.
    #[serde(rename = "run")]
    pub scope: Scope,
    /// Names of the settings that only the play's vars or the environment set.
    #[serde(serialize_with = "fields::serialize_joined")]
    pub needs: Vec<String>,
    /// True if the project's own file sets the recipient.
    #[serde(skip)]
    pub own: bool,
    pub accepted: i64,
    pub delivered: i64,
    pub dead: i64,
    pub dropped: i64,
    pub waiting: i64,
    /// Number of the waiting deliveries that are held until a certain time.
    pub held: i64,
    /// Number of the dropped deliveries that `after`, `repeat` or `muted` dropped.
    pub suppressed: i64,
    /// Earliest release of a held delivery, in milliseconds since 1970.
    pub held_until: Option<i64>,
    /// Latest release of a held delivery, in milliseconds since 1970.
    pub held_until_last: Option<i64>,
    /// Creation time of the oldest pending event, in milliseconds since 1970.
    pub oldest: Option<i64>,
    /// Time of the next attempt, in milliseconds since 1970; 0 means immediately.
    pub next_attempt: Option<i64>,
    pub last_error: Option<String>,
    pub breaker: BreakerState,
    /// End of a pause in which nothing is attempted, in milliseconds since 1970.
    pub paused_until: Option<i64>,
    /// True if the stored counts were wrong and the deliveries were counted instead.
    #[serde(skip)]
    pub is_miscounted: bool,
}

impl DestinationStatus {
    /// Returns the number of waiting deliveries that are not held.
    pub fn owed(&self) -> i64 {
        self.waiting - self.held
    }

    /// Sets its counts from the number of deliveries in each state.
    fn count(&mut self, counts: &Counts) {
        let of = |state: DeliveryState| counts[state as usize];
        self.held = of(DeliveryState::Held);
        self.waiting = of(DeliveryState::Pending) + self.held;
        self.delivered = of(DeliveryState::Delivered);
        self.dead = of(DeliveryState::Dead);
        self.suppressed = of(DeliveryState::Suppressed);
        self.dropped = of(DeliveryState::Discarded) + self.suppressed;
        self.accepted = counts.iter().sum();
    }
}

/// Number of deliveries in each state.
type Counts = [i64; DeliveryState::ALL.len()];

/// State of a destination's circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BreakerState {
    /// Deliveries are attempted normally.
    Closed,
    /// One attempt at a time, after the pause.
    Open,
    /// The destination replied that it is gone for good.
    Off,
}

/// A configuration that wrote to the spool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Text by which it is found again; None if it cannot be read.
    pub search: Option<String>,
    /// Names of the settings that only the play's vars or the environment set.
    pub needs: Vec<String>,
}

/// Returns the configurations that wrote to the spool.
pub fn sources(connection: &Connection) -> rusqlite::Result<Vec<Source>> {
    let mut statement =
        connection.prepare_cached("SELECT DISTINCT search, needs FROM destination")?;
    let rows = statement.query_map([], |row| {
        Ok(Source {
            search: fields::sound_text(row, 0)?,
            needs: fields::split(&fields::text(row, 1)?.unwrap_or_default()),
        })
    })?;
    rows.collect()
}

/// Returns all destinations, oldest first.
pub fn status(connection: &Connection) -> rusqlite::Result<Vec<DestinationStatus>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, search, name, run, needs, accepted, delivered, dead, dropped, last_error,
            (SELECT created FROM delivery JOIN event ON event.id = delivery.event
             WHERE destination = destination.id AND state = 0 ORDER BY delivery.id LIMIT 1),
            (SELECT next_at FROM delivery
             WHERE destination = destination.id AND state = 0 ORDER BY delivery.id LIMIT 1),
            failures, paused_until, gone,
            EXISTS (SELECT 1 FROM delivery WHERE destination = destination.id AND state = 0),
            own,
            (SELECT count(*) FROM delivery WHERE destination = destination.id AND state = 4),
            (SELECT min(hold) FROM delivery WHERE destination = destination.id AND state = 4),
            suppressed,
            (SELECT max(hold) FROM delivery WHERE destination = destination.id AND state = 4)
         FROM destination ORDER BY id",
    )?;
    let rows = statement.query_map([], destination_status)?;
    let mut found = rows.collect::<rusqlite::Result<Vec<DestinationStatus>>>()?;
    for status in found.iter_mut().filter(|status| status.is_miscounted) {
        recount(connection, status)?;
    }
    Ok(found)
}

fn destination_status(row: &Row<'_>) -> rusqlite::Result<DestinationStatus> {
    let now = jiff::Timestamp::now().as_millisecond();
    let text = |column| Ok::<_, rusqlite::Error>(fields::text(row, column)?.unwrap_or_default());
    let count = |column| fields::number::<u32>(row, column).map(|count| count.map(i64::from));
    let paused_until = fields::number(row, 13)?.filter(|until| *until > now);
    let is_off = row.get_ref(14)? != ValueRef::Null;
    let failures = fields::number(row, 12)?.unwrap_or(0);
    let breaker = match (is_off, failures >= BREAKER || paused_until.is_some()) {
        (true, _) => BreakerState::Off,
        (false, true) => BreakerState::Open,
        (false, false) => BreakerState::Closed,
    };
    let counts = [count(5)?, count(6)?, count(7)?, count(8)?];
    let [accepted, delivered, dead, dropped] = counts.map(Option::unwrap_or_default);
    // Calculated from the other counts, because counting a million rows would take long.
    let waiting = accepted - delivered - dead - dropped;
    let is_sound = counts.iter().all(Option::is_some);
    let held: i64 = row.get(17)?;
    let has_pending = row.get::<_, bool>(15)? || held > 0;
    // What is only held has not failed.
    let is_troubled = waiting - held + dead > 0 || breaker != BreakerState::Closed;
    Ok(DestinationStatus {
        id: row.get(0)?,
        search: fields::sound_text(row, 1)?,
        name: text(2)?,
        scope: Scope::from(text(3)?.as_str()),
        needs: fields::split(&text(4)?),
        // An unreadable value counts as the project's, which is the stricter case.
        own: fields::number::<i64>(row, 16)? != Some(0),
        accepted,
        delivered,
        dead,
        dropped,
        waiting,
        held,
        held_until: fields::number(row, 18)?,
        held_until_last: fields::number(row, 20)?,
        suppressed: count(19)?.unwrap_or_default(),
        last_error: fields::text(row, 9)?.filter(|_| is_troubled || !is_sound),
        oldest: fields::number(row, 10)?,
        next_attempt: fields::number::<i64>(row, 11)?
            .map(|next| next.max(paused_until.unwrap_or(0))),
        breaker,
        paused_until,
        is_miscounted: !is_sound || waiting < 0 || (waiting > 0) != has_pending,
    })
}

/// Counts the deliveries of a destination whose stored counts are wrong.
fn recount(connection: &Connection, status: &mut DestinationStatus) -> rusqlite::Result<()> {
    let mut counts = [0; DeliveryState::ALL.len()];
    let mut statement = connection.prepare_cached(
        "SELECT state, count(*) FROM delivery WHERE destination = ?1 GROUP BY state",
    )?;
    let mut rows = statement.query([status.id])?;
    while let Some(row) = rows.next()? {
        let state = fields::number(row, 0)?.unwrap_or(DeliveryState::Dead);
        counts[state as usize] += row.get::<_, i64>(1)?;
    }
    status.count(&counts);
    Ok(())
}

/// Repairs a destination: deliveries with an invalid state become dead, and the counts are taken from the
/// deliveries.
pub fn mend(connection: &Connection, status: &DestinationStatus) -> rusqlite::Result<()> {
    let now = jiff::Timestamp::now().as_millisecond();
    connection.execute(
        "UPDATE delivery SET state = ?3, finished = ?2, error = 'its row in the spool cannot be read'
         WHERE destination = ?1 AND state NOT IN (0, 1, 2, 3, 4, 5)",
        params![status.id, now, DeliveryState::Dead],
    )?;
    let mut counted = status.clone();
    recount(connection, &mut counted)?;
    connection.execute(
        "UPDATE destination SET accepted = ?2, delivered = ?3, dead = ?4, dropped = ?5,
         suppressed = ?6 WHERE id = ?1",
        params![
            counted.id,
            counted.accepted,
            counted.delivered,
            counted.dead,
            counted.dropped,
            counted.suppressed
        ],
    )?;
    Ok(())
}

/// Gives up all pending deliveries of a destination, with the reason.
pub fn bury_all(
    connection: &Connection,
    id: DestinationId,
    reason: &str,
) -> rusqlite::Result<usize> {
    let now = jiff::Timestamp::now().as_millisecond();
    let buried = connection.execute(
        "UPDATE delivery SET state = ?4, next_at = 0, finished = ?2, error = ?3
         WHERE destination = ?1 AND state IN (0, 4)",
        params![id, now, reason, DeliveryState::Dead],
    )?;
    connection.execute(
        "UPDATE destination SET dead = dead + ?2, last_error = ?3 WHERE id = ?1",
        params![id, buried as i64, reason],
    )?;
    Ok(buried)
}

/// Records an error that prevents all attempts for a destination.
pub fn note_error(connection: &Connection, id: DestinationId, error: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE destination SET last_error = ?2 WHERE id = ?1")?
        .execute(params![id, error])?;
    Ok(())
}

/// Returns the destinations of a run, each with the counts of that run only.
pub fn status_of_run(
    connection: &Connection,
    run: &str,
) -> rusqlite::Result<Vec<DestinationStatus>> {
    let of_run = DeliveryFilter {
        run: Some(run.to_owned()),
        ..DeliveryFilter::default()
    };
    let mut counts: HashMap<DestinationId, Counts> = HashMap::new();
    for row in listing::deliveries(connection, &of_run)? {
        let state = row.state.unwrap_or(DeliveryState::Dead);
        counts.entry(row.destination).or_default()[state as usize] += 1;
    }
    let mut found = status(connection)?;
    found.retain_mut(|status| {
        let counts = counts.get(&status.id);
        counts.inspect(|counts| status.count(counts)).is_some()
    });
    Ok(found)
}

/// Returns the body of a delivery's event, if it is still kept.
pub fn body(connection: &Connection, id: i64) -> rusqlite::Result<Option<String>> {
    let sql =
        "SELECT body FROM delivery JOIN event ON event.id = delivery.event WHERE delivery.id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let body = statement.query_row([id], |row| fields::text(row, 0));
    Ok(body.optional()?.flatten())
}

/// Everything about a delivery.
pub struct DeliveryDetails {
    pub row: HistoryRow,
    pub attempts: Vec<AttemptRow>,
    /// Body of its event, if it is still kept.
    pub body: Option<String>,
    /// Its last message, if that is kept.
    pub message: Option<SentMessage>,
}

/// Returns everything about a delivery.
pub fn delivery(connection: &Connection, id: i64) -> rusqlite::Result<Option<DeliveryDetails>> {
    let Some(row) = listing::delivery(connection, id)? else {
        return Ok(None);
    };
    Ok(Some(DeliveryDetails {
        row,
        attempts: attempts::of(connection, id)?,
        body: body(connection, id)?,
        message: attempts::message(connection, id)?,
    }))
}

/// Selection of pending or dead deliveries for `discard`.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Only these ids; all if empty.
    pub ids: Vec<i64>,
    /// Only deliveries to these destinations.
    pub destinations: Option<Vec<DestinationId>>,
    /// Only deliveries of this run.
    pub run: Option<String>,
    pub no_waiting: bool,
    pub no_dead: bool,
}

/// Gives up the chosen deliveries and returns their ids.
pub fn discard(connection: &Connection, choice: &Choice) -> rusqlite::Result<Vec<i64>> {
    let now = jiff::Timestamp::now().as_millisecond();
    let chosen = chosen(connection, choice)?;
    let mut finish =
        connection.prepare_cached("UPDATE delivery SET state = ?3, finished = ?2 WHERE id = ?1")?;
    let mut count = connection.prepare_cached(
        "UPDATE destination SET dropped = dropped + 1, dead = dead - ?2 WHERE id = ?1",
    )?;
    for (id, destination, is_dead) in &chosen {
        finish.execute(params![id, now, DeliveryState::Discarded])?;
        count.execute(params![destination, is_dead])?;
    }
    Ok(chosen.into_iter().map(|(id, ..)| id).collect())
}

/// Returns the chosen deliveries with their destinations, and whether each is dead.
fn chosen(
    connection: &Connection,
    choice: &Choice,
) -> rusqlite::Result<Vec<(i64, DestinationId, bool)>> {
    let mut statement = connection.prepare_cached(
        "SELECT delivery.id, destination, state, CASE WHEN ?3 THEN body END, event_id FROM delivery
         LEFT JOIN event ON event.id = delivery.event
         WHERE state IN (0, 4) AND NOT ?1 OR state = ?4 AND NOT ?2",
    )?;
    let mut rows = statement.query(params![
        choice.no_waiting,
        choice.no_dead,
        choice.run.is_some(),
        DeliveryState::Dead
    ])?;
    let mut chosen = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, destination) = (row.get(0)?, fields::number(row, 1)?.unwrap_or_default());
        let is_named = choice.ids.is_empty() || choice.ids.contains(&id);
        let destinations = choice.destinations.as_ref();
        let is_for = destinations.is_none_or(|chosen| chosen.contains(&destination));
        if is_named && is_for && (choice.run.is_none() || run_of(row)? == choice.run) {
            let is_dead = fields::number(row, 2)? == Some(DeliveryState::Dead);
            chosen.push((id, destination, is_dead));
        }
    }
    Ok(chosen)
}

/// Reads the run of an event from its body, and from its id.
fn run_of(row: &Row<'_>) -> rusqlite::Result<Option<String>> {
    #[derive(serde::Deserialize)]
    struct Body {
        run: Run,
    }
    #[derive(serde::Deserialize)]
    struct Run {
        id: String,
    }
    let (body, id) = (fields::sound_text(row, 3)?, fields::text(row, 4)?);
    let body = body.and_then(|body| serde_json::from_str::<Body>(&body).ok());
    let id = id.unwrap_or_default();
    Ok(body.map(|body| run_in_spool(&id, &body.run.id)))
}

/// Deletes up to `most` deliveries that finished before this time (milliseconds since 1970), oldest first.
/// Returns how many.
pub fn prune(connection: &Connection, before: i64, most: i64) -> rusqlite::Result<usize> {
    let chosen: Vec<(i64, i64)> = connection
        .prepare_cached(
            "SELECT id, event FROM delivery WHERE state > 0 AND finished < ?1 ORDER BY finished LIMIT ?2",
        )?
        .query_map(params![before, most], |row| {
            Ok((row.get(0)?, fields::number(row, 1)?.unwrap_or_default()))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (delivery, event) in &chosen {
        connection
            .prepare_cached("DELETE FROM attempt WHERE delivery = ?1")?
            .execute([delivery])?;
        attempts::forget_message(connection, *delivery)?;
        connection
            .prepare_cached("DELETE FROM delivery WHERE id = ?1")?
            .execute([delivery])?;
        connection
            .prepare_cached(
                "DELETE FROM event WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM delivery WHERE event = ?1)",
            )?
            .execute([event])?;
    }
    connection
        .prepare_cached("DELETE FROM failing WHERE updated < ?1")?
        .execute([before])?;
    forget_threads(connection, before)?;
    conditions::forget(connection, before)?;
    Ok(chosen.len())
}
