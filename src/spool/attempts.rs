//! Attempts at deliveries, and the messages as they were sent, for `history`.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use super::fields;

/// An attempt as shown by `history ID`.
#[derive(Clone, Debug, serde::Serialize)]
pub struct AttemptRow {
    /// Milliseconds since 1970.
    pub started: i64,
    /// Milliseconds.
    pub duration: i64,
    pub outcome: String,
}

/// Message as it was last sent, secrets masked.
#[derive(Debug, Serialize)]
pub struct SentMessage {
    /// Start of the attempt, in milliseconds since 1970.
    pub time: i64,
    pub text: String,
}

/// Returns all attempts of a delivery, oldest first.
pub fn of(connection: &Connection, id: i64) -> rusqlite::Result<Vec<AttemptRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT started, duration, outcome FROM attempt WHERE delivery = ?1
         UNION ALL
         SELECT finished - duration, duration, 'delivered' FROM delivery WHERE id = ?1 AND duration IS NOT NULL
         ORDER BY started",
    )?;
    let attempts = statement.query_map([id], |row| {
        Ok(AttemptRow {
            started: fields::number(row, 0)?.unwrap_or_default(),
            duration: fields::number(row, 1)?.unwrap_or_default(),
            outcome: fields::text(row, 2)?.unwrap_or_default(),
        })
    })?;
    attempts.collect()
}

/// Keeps the message about these deliveries in place of the one before.
pub fn keep_message(
    connection: &Connection,
    deliveries: &[i64],
    (time, text): (i64, &str),
) -> rusqlite::Result<()> {
    let Some(first) = deliveries.first() else {
        return Ok(());
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO message (delivery, time, text) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![first, time, text])?;
    let mut point = connection.prepare_cached("UPDATE delivery SET message = ?2 WHERE id = ?1")?;
    for delivery in deliveries {
        point.execute([delivery, first])?;
    }
    Ok(())
}

/// Returns the last message of a delivery, if it is kept.
pub fn message(connection: &Connection, delivery: i64) -> rusqlite::Result<Option<SentMessage>> {
    let mut statement = connection.prepare_cached(
        "SELECT time, text FROM message JOIN delivery ON delivery.message = message.delivery
         WHERE delivery.id = ?1",
    )?;
    let message = statement.query_row([delivery], |row| {
        Ok(SentMessage {
            time: fields::number(row, 0)?.unwrap_or_default(),
            text: fields::text(row, 1)?.unwrap_or_default(),
        })
    });
    message.optional()
}

/// Deletes the message whose first delivery this is.
pub fn forget_message(connection: &Connection, delivery: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM message WHERE delivery = ?1")?
        .execute([delivery])?;
    Ok(())
}

/// Deletes up to `most` messages, those of the oldest deliveries first. Returns how many.
pub fn forget_messages(connection: &Connection, most: i64) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM message WHERE delivery IN
             (SELECT delivery FROM message ORDER BY delivery LIMIT ?1)",
        )?
        .execute([most])
}
