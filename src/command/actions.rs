//! `history --actions`: what people did to deliveries and notifiers.

use super::asking::{ask, show_rows};
use crate::cli;
use crate::console::stderr;
use crate::console::stdout::Styled;
use crate::console::table::{Align, Column};
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
        stderr::say(match arguments.since {
            Some(_) => "no action matches --since",
            None => "no actions are recorded",
        });
    }
    show_rows(&rows, &COLUMNS, cells, arguments.json)
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
