//! `history --actions`: what people did to deliveries and notifiers.

use serde_json::json;

use super::asking::{ask, print_json};
use crate::cli;
use crate::console::stderr;
use crate::console::stdout::{self, Styled};
use crate::console::table::{Align, Column, Table};
use crate::exit::Exit;
use crate::spool::{ActionFilter, ActionRow, place_name};
use crate::system::clock;

const COLUMNS: [Column; 6] = [
    ("TIME", Align::Left),
    ("WHO", Align::Left),
    ("VIA", Align::Left),
    ("ACTION", Align::Left),
    ("TARGET", Align::Left),
    ("NOTE", Align::Left),
];

/// Lists the newest actions, newest first.
pub async fn list(arguments: &cli::History) -> Exit {
    let filter = ActionFilter {
        since: arguments.since.unwrap_or(0),
        before: None,
        most: arguments.limit,
    };
    let rows = match ask(&arguments.place, async |spool| spool.actions(filter).await).await {
        Ok(rows) => rows,
        Err(exit) => return exit,
    };
    if rows.is_empty() {
        stderr::say("no actions are recorded");
    }
    if arguments.json {
        let lines: String = rows.iter().map(|row| format!("{}\n", json!(row))).collect();
        return print_json(&lines);
    }
    let mut table = Table::new(&COLUMNS);
    rows.iter()
        .for_each(|row| table.row(cells(row), Vec::new()));
    stdout::show_styled(&table.parts());
    Exit::Ok
}

fn cells(row: &ActionRow) -> Vec<Styled> {
    vec![
        Styled::Dim(clock::stamp(row.time)),
        Styled::Plain(row.who.clone()),
        Styled::Dim(place_name(row.on_page).to_owned()),
        Styled::Plain(row.what.clone()),
        Styled::Plain(row.target.clone()),
        Styled::Plain(row.note.clone()),
    ]
}
