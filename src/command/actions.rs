//! `history --actions`: what people did to deliveries and notifiers.

use serde::Serialize;

use super::asking::{ask_to_show, show_rows};
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
        notifier: arguments.notifier.clone(),
        most: arguments.limit,
    };
    let rows = match ask_to_show(&arguments.place, async |spool| spool.actions(filter).await).await
    {
        Ok(rows) => rows,
        Err(exit) => return exit,
    };
    if rows.is_empty() {
        stderr::say(match (&arguments.notifier, arguments.since) {
            (Some(notifier), _) => format!("no actions on `{notifier}` are recorded"),
            (None, Some(_)) => "no action matches --since".to_owned(),
            (None, None) => "no actions are recorded".to_owned(),
        });
    }
    let rows: Vec<Shown> = rows.into_iter().map(Shown::from).collect();
    show_rows(&rows, &COLUMNS, cells, arguments.json)
}

/// An action, with the configuration file of its notifier.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    row: ActionRow,
    config: Option<String>,
}

impl From<ActionRow> for Shown {
    fn from(row: ActionRow) -> Shown {
        Shown {
            config: config_of(&row),
            row,
        }
    }
}

fn cells(Shown { row, config }: &Shown) -> Vec<Styled> {
    let shares_name = row.notifier.as_ref().is_some_and(|one| one.shares_name);
    let target = match config.as_ref().filter(|_| shares_name) {
        Some(config) => format!("{} ({config})", row.target),
        None => row.target.clone(),
    };
    vec![
        Styled::Dim(clock::stamp(row.time)),
        Styled::Plain(row.who.clone()),
        Styled::Dim(place_name(row.on_page).to_owned()),
        Styled::Plain(row.what.clone()),
        Styled::Plain(target),
        Styled::Plain(row.note.clone()),
    ]
}

/// Returns the configuration file of the notifier that an action was about.
pub fn config_of(row: &ActionRow) -> Option<String> {
    let search = row.notifier.as_ref()?.search.as_deref()?;
    Some(super::search_in(search)?.file()?.display().to_string())
}
