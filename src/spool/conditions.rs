//! Conditions for sending an event: failures in a row, repetitions, and times. They are decided in the
//! transaction that accepts the event, because processes share them.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::fields;
use super::scope::DestinationId;
use super::state::DeliveryState;
use crate::system::clock;

/// Condition for sending an event to a destination.
#[derive(Clone, Debug)]
pub struct Condition {
    pub destination: DestinationId,
    /// Time of the decision, in milliseconds since 1970.
    pub now: i64,
    pub treatment: Treatment,
    /// Row of failures or successes of the same thing, if they are counted.
    pub streak: Option<Streak>,
}

impl Condition {
    /// Returns true if the event is a failure that is counted.
    pub fn is_failure(&self) -> bool {
        self.streak.as_ref().is_some_and(|streak| streak.failed)
    }
}

/// Treatment of an event by the time of day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    Now,
    /// Held until this time, in milliseconds since 1970.
    Hold(i64),
    /// Dropped, with the reason.
    Drop(String),
}

/// A failure or success of a thing, and the rules for sending it.
#[derive(Clone, Debug)]
pub struct Streak {
    /// Name of the thing, the same in every run.
    pub key: String,
    pub run: String,
    /// Time of the event, in milliseconds since 1970.
    pub time: i64,
    pub failed: bool,
    /// True if all events of a run about it count as one.
    pub is_group: bool,
    /// True if the event is wanted only because a failure is over.
    pub only_recovers: bool,
    /// True if failures are not wanted, but their end is: they count as sent.
    pub is_silent: bool,
    /// True if the same run may still fail after this success: the surrounding command continues.
    pub is_provisional: bool,
    /// Number of failures in a row from which on they are sent.
    pub after: u32,
    /// Time for which the same failure is not sent again, in milliseconds.
    pub repeat: i64,
}

/// State and properties of a new delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub state: DeliveryState,
    /// Time until which it is held, in milliseconds since 1970; 0 if it is not.
    pub hold: i64,
    /// Number of earlier failures that were not sent.
    pub held_back: u32,
    /// Reason why it is not sent.
    pub reason: Option<String>,
}

impl Decision {
    /// Decision for a delivery without conditions.
    pub const PENDING: Decision = Decision {
        state: DeliveryState::Pending,
        hold: 0,
        held_back: 0,
        reason: None,
    };

    fn suppress(reason: String) -> Decision {
        Decision {
            state: DeliveryState::Suppressed,
            reason: Some(reason),
            ..Decision::PENDING
        }
    }
}

/// Failures of a thing since it last succeeded, as stored.
#[derive(Default)]
struct Row {
    failures: u32,
    /// Run and time of the last failure.
    run: String,
    time: i64,
    /// The last run in which its group had a success, or a success that the same run may withdraw.
    well_run: String,
    /// Time and run of the last failure that was sent; 0 if none was.
    told_at: i64,
    told_run: String,
    /// Failures that were not sent since then.
    held_back: u32,
}

/// Decides the state of a new delivery, and counts the event.
pub fn decide(connection: &Connection, condition: &Condition) -> rusqlite::Result<Decision> {
    let told = match &condition.streak {
        None => Ok(0),
        Some(streak) if streak.failed => return fail(connection, condition, streak),
        Some(streak) => recover(connection, condition, streak)?,
    };
    Ok(match told {
        Err(reason) => Decision::suppress(reason),
        Ok(held_back) => told_with(condition, held_back),
    })
}

/// Counts an event that the destination does not want: a success, or a failure whose end it wants.
pub fn observe(connection: &Connection, condition: &Condition) -> rusqlite::Result<()> {
    match &condition.streak {
        Some(streak) if streak.failed => note_failure(connection, condition, streak)?,
        Some(streak) => drop(recover(connection, condition, streak)?),
        None => {}
    }
    Ok(())
}

/// Returns true if any failure of these destinations is counted.
pub fn has_any(connection: &Connection, destinations: &[DestinationId]) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT EXISTS (SELECT 1 FROM streak WHERE destination = {OWNER})"
    ))?;
    for destination in destinations {
        if statement.query_row([destination], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Deletes failures that were last seen before this time (milliseconds since 1970).
pub fn forget(connection: &Connection, before: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM streak WHERE updated < ?1")?
        .execute([before])?;
    Ok(())
}

/// The first destination of this notifier: runs with their own settings share its counts.
const OWNER: &str = "(SELECT min(one.id) FROM destination one JOIN destination other
    ON one.search = other.search AND one.name = other.name WHERE other.id = ?1)";

fn told_with(condition: &Condition, held_back: u32) -> Decision {
    match &condition.treatment {
        Treatment::Now => Decision {
            held_back,
            ..Decision::PENDING
        },
        Treatment::Hold(until) => Decision {
            state: DeliveryState::Held,
            hold: *until,
            held_back,
            reason: None,
        },
        Treatment::Drop(reason) => Decision::suppress(reason.clone()),
    }
}

/// Counts a failure and decides whether to send it.
fn fail(
    connection: &Connection,
    condition: &Condition,
    streak: &Streak,
) -> rusqlite::Result<Decision> {
    let mut row = read(connection, condition.destination, &streak.key)?.unwrap_or_default();
    row.count(streak);
    let told = row.tell(streak, condition.now);
    let decision = match told {
        Err(reason) => Decision::suppress(reason),
        Ok(()) => told_with(condition, row.held_back),
    };
    if decision.state == DeliveryState::Suppressed {
        row.held_back = row.held_back.saturating_add(1);
    } else {
        row.held_back = 0;
        row.told_at = condition.now;
        row.told_run.clone_from(&streak.run);
    }
    write(connection, condition, &streak.key, &row)?;
    Ok(decision)
}

/// Counts a failure that the destination does not want, without a delivery. It may be accepted several times.
fn note_failure(
    connection: &Connection,
    condition: &Condition,
    streak: &Streak,
) -> rusqlite::Result<()> {
    let mut row = read(connection, condition.destination, &streak.key)?.unwrap_or_default();
    if streak.is_silent && (row.run.is_empty() || row.run != streak.run) {
        row.count(streak);
        let is_dropped = matches!(condition.treatment, Treatment::Drop(_));
        if row.tell(streak, condition.now).is_ok() && !is_dropped {
            row.told_at = condition.now;
            row.told_run.clone_from(&streak.run);
        }
    }
    write(connection, condition, &streak.key, &row)
}

impl Row {
    /// Adds a failure.
    fn count(&mut self, streak: &Streak) {
        let is_of_last = !streak.run.is_empty() && self.run == streak.run;
        if !(streak.is_group && is_of_last) {
            // A run in which the group only succeeded lies between, or a success that was not withdrawn.
            let was_well = !self.well_run.is_empty()
                && self.well_run != streak.run
                && (!streak.is_group || self.well_run != self.run);
            if was_well {
                *self = Row::default();
            }
            self.failures = self.failures.saturating_add(1);
            self.run.clone_from(&streak.run);
        }
        if !streak.is_group {
            self.well_run.clear();
        }
        self.time = self.time.max(streak.time);
    }

    /// Returns an error with the reason if the failure just counted is not sent.
    fn tell(&self, streak: &Streak, now: i64) -> Result<(), String> {
        if self.failures < streak.after {
            return Err(format!(
                "not sent: failure {} of {} in a row (`after`)",
                self.failures, streak.after
            ));
        }
        let is_of_message =
            streak.is_group && self.told_run == streak.run && !streak.run.is_empty();
        let since = now - self.told_at;
        if self.told_at > 0 && (0..streak.repeat).contains(&since) && !is_of_message {
            return Err(format!(
                "not sent: the same failure was sent at {}; next after {} (`repeat`)",
                clock::local(self.told_at),
                clock::local(self.told_at + streak.repeat)
            ));
        }
        Ok(())
    }
}

/// Ends a row of failures. Returns how many of them were not sent, or the reason why the success is not sent.
fn recover(
    connection: &Connection,
    condition: &Condition,
    streak: &Streak,
) -> rusqlite::Result<Result<u32, String>> {
    let Some(mut row) = read(connection, condition.destination, &streak.key)? else {
        return Ok(Ok(0));
    };
    if streak.is_group {
        // Other parts of the group may fail in the same run.
        row.well_run.clone_from(&streak.run);
        write(connection, condition, &streak.key, &row)?;
        return Ok(Ok(0));
    }
    if streak.time < row.time {
        // A repeated event: the thing has failed since.
        return Ok(Ok(0));
    }
    let was_well = !row.well_run.is_empty() && row.well_run != streak.run;
    if streak.is_provisional && !was_well {
        row.well_run.clone_from(&streak.run);
        write(connection, condition, &streak.key, &row)?;
    } else {
        connection
            .prepare_cached(&format!(
                "DELETE FROM streak WHERE destination = {OWNER} AND key = ?2"
            ))?
            .execute(params![condition.destination, streak.key])?;
    }
    if was_well {
        return Ok(Ok(0));
    }
    if streak.only_recovers && row.told_at == 0 {
        let reason = "not sent: its failure was not sent either";
        return Ok(Err(reason.to_owned()));
    }
    Ok(Ok(row.held_back))
}

fn read(
    connection: &Connection,
    destination: DestinationId,
    key: &str,
) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(&format!(
            "SELECT failures, run, time, well_run, told_at, told_run, held_back FROM streak
             WHERE destination = {OWNER} AND key = ?2"
        ))?
        .query_row(params![destination, key], |row| {
            let text =
                |column| Ok::<_, rusqlite::Error>(fields::text(row, column)?.unwrap_or_default());
            Ok(Row {
                failures: fields::number(row, 0)?.unwrap_or_default(),
                run: text(1)?,
                time: fields::number(row, 2)?.unwrap_or_default(),
                well_run: text(3)?,
                told_at: fields::number(row, 4)?.unwrap_or_default(),
                told_run: text(5)?,
                held_back: fields::number(row, 6)?.unwrap_or_default(),
            })
        })
        .optional()
}

fn write(
    connection: &Connection,
    condition: &Condition,
    key: &str,
    row: &Row,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO streak
                (destination, key, failures, run, time, well_run, told_at, told_run, held_back, updated)
             VALUES ({OWNER}, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        ))?
        .execute(params![
            condition.destination,
            key,
            row.failures,
            row.run,
            row.time,
            row.well_run,
            row.told_at,
            row.told_run,
            row.held_back,
            condition.now
        ])?;
    Ok(())
}
