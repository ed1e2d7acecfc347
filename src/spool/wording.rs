//! Events in the spool in a few words, for people.

use rusqlite::{Connection, OptionalExtension as _};

use super::fields;
use crate::event::Status;
use crate::event::callback::words::Head;

/// An event in words.
pub struct Wording {
    /// Its kind and how it ended: `failed`, `run ok`.
    pub result: String,
    /// Run of the event, if it is known.
    pub run: Option<String>,
}

/// Returns the words for an event by its number in the file.
pub fn of(
    connection: &Connection,
    event: i64,
    event_id: &str,
    callback: &str,
) -> rusqlite::Result<Wording> {
    let mut head = head(connection, event);
    let run = head.run(event_id);
    if let (Some(run), true) = (&run, head.lacks_status(callback)) {
        head = head.with_status(recorded_status(connection, run)?);
    }
    let result = head.words(callback);
    Ok(Wording { result, run })
}

/// Reads what the text of an event says in short. If that cannot be read, the rest of its row still can.
fn head(connection: &Connection, event: i64) -> Head {
    let body = connection
        .prepare_cached("SELECT body FROM event WHERE id = ?1")
        .and_then(|mut body| body.query_row([event], |row| fields::sound_text(row, 0)));
    Head::read(body.ok().flatten().as_deref())
}

/// Returns how a run ended, if that is recorded.
fn recorded_status(connection: &Connection, run: &str) -> rusqlite::Result<Option<Status>> {
    let status = connection
        .prepare_cached("SELECT status FROM run WHERE run_id = ?1")?
        .query_row([run], |row| fields::text(row, 0))
        .optional()?;
    Ok(status.flatten().as_deref().and_then(Status::named))
}
