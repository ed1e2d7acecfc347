//! `status`: the counts of each destination in the spool, as a table or JSON.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::asking::{ask, print_json};
use super::{runs, secrets};
use crate::cli;
use crate::console::stderr;
use crate::console::stdout::{self, Styled};
use crate::console::table::{Align, Column, Table};
use crate::exit::Exit;
use crate::spool::{BreakerState, DeliveryState, DestinationStatus, Mute, Scope, Spool};
use crate::system::clock;

const COLUMNS: [Column; 7] = [
    ("NOTIFIER", Align::Left),
    ("ACCEPTED", Align::Right),
    ("DELIVERED", Align::Right),
    ("PENDING", Align::Right),
    ("DEAD", Align::Right),
    ("DROPPED", Align::Right),
    ("CONFIGURATION", Align::Left),
];

/// Note about a notifier whose receiver has no answers.
const UNANSWERED: &str = "sent, not known to be delivered: its receiver has no answers";

/// Runs `status`: prints the counts of each destination in the spool, or those of one run.
pub async fn run(arguments: cli::Status) -> Exit {
    let run = match runs::named(&arguments.place, arguments.run.as_ref()).await {
        Ok(run) => run,
        Err(exit) => return exit,
    };
    let asked = ask(&arguments.place, async |spool: &Spool| {
        let rows = match run {
            Some(run) => spool.status_of_run(run).await?,
            None => spool.status().await?,
        };
        Ok((rows, spool.mutes().await?))
    });
    let (mut rows, mutes) = match asked.await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let mute_of = |row: &DestinationStatus| mutes.iter().find(|mute| mute.destination == row.id);
    let states = &arguments.state;
    rows.retain(|row| states.is_empty() || states.iter().any(|state| has(row, *state)));
    if rows.is_empty() {
        stderr::say(nothing(&arguments));
    }
    let unanswered = unanswered(&rows, &arguments.place);
    let is_answered = |row: &DestinationStatus| !unanswered.contains(&source_of(row));
    if arguments.json {
        let rows = rows
            .iter()
            .map(|row| as_json(row, mute_of(row), is_answered(row)));
        let rows: Vec<Value> = rows.collect();
        return print_json(json!(rows));
    }
    let rows = together(rows);
    let mut table = Table::new(&COLUMNS);
    for row in &rows {
        let alike = rows.iter().filter(|other| other.name == row.name).count() > 1;
        let mut notes = notes(row);
        if !is_answered(row) && row.delivered > 0 {
            notes.insert(0, Styled::Dim(UNANSWERED.to_owned()));
        }
        notes.extend(mute_of(row).map(mute_note));
        table.row(cells(row, alike), notes);
    }
    stdout::show_styled(&table.parts());
    Exit::Ok
}

/// Returns the message for a spool that is empty or missing, or in which nothing matches.
fn nothing(arguments: &cli::Status) -> String {
    match (&arguments.run, arguments.state.as_slice()) {
        (Some(run), []) => format!("no delivery is of run `{run}`"),
        (run, [_, ..]) => {
            let given = if run.is_some() {
                "--run and --state"
            } else {
                "--state"
            };
            format!("no delivery matches {given}")
        }
        (None, []) => match super::spool_folder(&arguments.place) {
            Ok(folder) => format!(
                "nothing has been sent from the spool in {} yet",
                folder.display()
            ),
            Err(_) => "nothing has been sent yet".to_owned(),
        },
    }
}

/// Returns true if a destination has deliveries in a state.
fn has(row: &DestinationStatus, state: DeliveryState) -> bool {
    let count = match state {
        DeliveryState::Pending => row.owed(),
        DeliveryState::Delivered => row.delivered,
        DeliveryState::Dead => row.dead,
        DeliveryState::Discarded => row.dropped - row.suppressed,
        DeliveryState::Held => row.held,
        DeliveryState::Suppressed => row.suppressed,
    };
    count > 0
}

/// Merges the rows of finished runs with their own settings.
pub fn together(rows: Vec<DestinationStatus>) -> Vec<DestinationStatus> {
    let mut shown: Vec<DestinationStatus> = Vec::new();
    let is_done = |row: &DestinationStatus| {
        row.scope != Scope::Configured && row.accepted == row.delivered + row.dropped
    };
    for row in rows {
        let alike = |other: &&mut DestinationStatus| {
            is_done(other) && (&other.search, &other.name) == (&row.search, &row.name)
        };
        match shown.iter_mut().find(alike).filter(|_| is_done(&row)) {
            Some(other) => {
                other.accepted += row.accepted;
                other.delivered += row.delivered;
                other.dropped += row.dropped;
                other.suppressed += row.suppressed;
                other.last_error = row.last_error.or(other.last_error.take());
            }
            None => shown.push(row),
        }
    }
    shown
}

/// Returns the configuration file that a destination comes from, if it has one of its own.
pub fn config_of(row: &DestinationStatus) -> Option<PathBuf> {
    super::search_of(row)?.file()
}

/// Returns the note about a mute.
fn mute_note(mute: &Mute) -> Styled {
    Styled::Warn(mute.to_string())
}

/// Configuration and name of a notifier.
type SourceOf = (Option<String>, String);

fn source_of(row: &DestinationStatus) -> SourceOf {
    (row.search.clone(), row.name.clone())
}

/// Returns the notifiers whose receivers have no answers, by their present configurations.
fn unanswered(rows: &[DestinationStatus], place: &cli::Place) -> BTreeSet<SourceOf> {
    let stranger = super::only_named_by(place);
    let sources: BTreeSet<_> = rows.iter().map(|row| (&row.search, &row.needs)).collect();
    let mut found = BTreeSet::new();
    for (search, needs) in sources {
        let config = secrets::config_of(search.as_deref(), needs, stranger.as_deref());
        for destination in config.iter().flat_map(|config| &config.destinations) {
            if !destination.notifier.is_answered() {
                found.insert((search.clone(), destination.name.clone()));
            }
        }
    }
    found
}

fn as_json(row: &DestinationStatus, mute: Option<&Mute>, is_answered: bool) -> Value {
    let mut shown = json!(row);
    shown["answered"] = json!(is_answered);
    if let Some(mute) = mute {
        shown["muted"] = json!({"until": mute.until, "who": mute.who, "why": mute.why});
    }
    shown["config"] = json!(config_of(row).map(|path| path.display().to_string()));
    shown
}

fn cells(row: &DestinationStatus, is_ambiguous: bool) -> Vec<Styled> {
    let number = |count: i64, look: fn(String) -> Styled| match count {
        0 => Styled::Dim("0".to_owned()),
        count => look(count.to_string()),
    };
    let config = config_of(row).filter(|_| is_ambiguous);
    vec![
        Styled::Plain(row.name.clone()),
        number(row.accepted, Styled::Plain),
        number(row.delivered, Styled::Good),
        number(row.waiting, Styled::Warn),
        number(row.dead, Styled::Bad),
        number(row.dropped, Styled::Plain),
        Styled::Dim(config.map_or_else(String::new, |path| path.display().to_string())),
    ]
}

/// Returns everything else about a destination than its counts, one line each.
fn notes(row: &DestinationStatus) -> Vec<Styled> {
    let mut notes = Vec::new();
    let mut dim = |text: String| notes.push(Styled::Dim(text));
    if row.suppressed > 0 {
        dim(format!(
            "{} dropped by `after`, `repeat` or `muted`",
            row.suppressed
        ));
    }
    if let Some(until) = row.held_range() {
        dim(format!("{} held {}", row.held, until.shown()));
    }
    if let Some(oldest) = row.oldest {
        dim(format!("oldest pending since {}", clock::local(oldest)));
    }
    if let Some(next) = row.next_attempt.filter(|next| *next > 0) {
        dim(format!("next attempt at {}", clock::local(next)));
    }
    if !row.needs.is_empty() && row.waiting > 0 {
        dim(format!(
            "needs {} from the play's vars or the environment",
            row.needs.join(", ")
        ));
    }
    let breaker = match (row.breaker, row.paused_until) {
        (BreakerState::Closed, _) => None,
        (BreakerState::Off, _) => Some("off until its configuration changes".to_owned()),
        (BreakerState::Open, None) => Some("breaker open: one attempt at a time".to_owned()),
        (BreakerState::Open, Some(until)) => Some(format!(
            "breaker open: paused until {}",
            clock::local(until)
        )),
    };
    notes.extend(breaker.map(Styled::Warn));
    if let (Some(error), true) = (&row.last_error, row.waiting + row.dead > 0) {
        notes.push(Styled::Bad(format!("last error: {error}")));
    }
    notes
}
