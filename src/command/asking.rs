//! Queries that commands make to the spool, and the form of their output.

use serde::Serialize;
use serde_json::{Value, json};

use super::secrets;
use crate::cli;
use crate::console::stdout::{self, Styled};
use crate::console::table::{Column, Table};
use crate::exit::Exit;
use crate::secret;
use crate::spool::{self, DeliveryState, Spool, state_name};

/// Returns the spool's answer, or the default value if there is no spool.
pub async fn ask<T: Default>(
    place: &cli::Place,
    question: impl AsyncFnOnce(&Spool) -> Result<T, spool::Error>,
) -> Result<T, Exit> {
    let Some(spool) = super::open_to_read(place)? else {
        return Ok(T::default());
    };
    let answer = question(&spool).await;
    answer.map_err(|error| super::spool_failed(&error.into()))
}

/// Like [`ask`], for an answer with texts of events: the secrets that must be masked in it are known afterwards.
pub async fn ask_to_show<T: Default>(
    place: &cli::Place,
    question: impl AsyncFnOnce(&Spool) -> Result<T, spool::Error>,
) -> Result<T, Exit> {
    ask(place, async |spool| {
        secrets::learn_of(spool, place).await;
        question(spool).await
    })
    .await
}

/// Prints a JSON value, with secrets masked.
pub fn print_json(mut value: Value) -> Exit {
    secret::redact_values(&mut value);
    stdout::show_json(&format!("{value:#}\n"));
    Exit::Ok
}

/// Prints a line of JSON for each value, with secrets masked.
pub fn print_json_lines(values: impl Iterator<Item = Value>) -> Exit {
    for mut value in values {
        secret::redact_values(&mut value);
        stdout::show_json(&format!("{value}\n"));
    }
    Exit::Ok
}

/// Returns the state of a delivery, in its colour.
pub fn state_of(state: Option<DeliveryState>) -> Styled {
    let name = state_name(state).to_owned();
    match state {
        Some(DeliveryState::Delivered) => Styled::Good(name),
        Some(DeliveryState::Pending | DeliveryState::Held) => Styled::Warn(name),
        Some(DeliveryState::Dead) | None => Styled::Bad(name),
        Some(DeliveryState::Discarded | DeliveryState::Suppressed) => Styled::Dim(name),
    }
}

/// Prints rows as a table, or as a line of JSON each.
pub fn show_rows<T: Serialize>(
    rows: &[T],
    columns: &[Column],
    cells: fn(&T) -> Vec<Styled>,
    as_json: bool,
) -> Exit {
    if as_json {
        return print_json_lines(rows.iter().map(|row| json!(row)));
    }
    let mut table = Table::new(columns);
    rows.iter()
        .for_each(|row| table.row(cells(row), Vec::new()));
    stdout::show_styled(&table.parts());
    Exit::Ok
}
