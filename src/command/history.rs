//! `history` and `discard`: the deliveries in the spool, as tables or JSON.

use serde_json::{Value, json};

use super::asking::{ask, ask_to_show, print_json, show_rows, state_of};
use super::{actions, rendered, runs};
use crate::cli;
use crate::console::stderr;
use crate::console::stdout::{self, Styled};
use crate::console::table::{Align, Column};
use crate::exit::Exit;
use crate::json::bulk;
use crate::spool::{
    Choice, DeliveryDetails, DeliveryFilter, DeliveryState, DestinationStatus, HistoryRow, Spool,
};
use crate::system::clock;
use crate::text::visible;

/// Runs `history`: prints deliveries, or one with its attempts.
pub async fn history(arguments: cli::History) -> Exit {
    if arguments.actions {
        return actions::list(&arguments).await;
    }
    if let Some(id) = arguments.id {
        return one(&arguments, id).await;
    }
    if let Err(exit) = check_notifier(&arguments).await {
        return exit;
    }
    let run = match runs::named(&arguments.place, arguments.run.as_ref()).await {
        Ok(run) => run,
        Err(exit) => return exit,
    };
    let filter = DeliveryFilter {
        states: arguments.state.clone(),
        failed: arguments.failed,
        notifier: arguments.notifier.clone(),
        host: arguments.host.clone(),
        task: arguments.task.clone(),
        run,
        since: arguments.since.unwrap_or(0),
        most: usize::try_from(arguments.limit).ok(),
        ..DeliveryFilter::default()
    };
    let rows = match ask_to_show(&arguments.place, async |spool| spool.history(filter).await).await
    {
        Ok(rows) => rows,
        Err(exit) => return exit,
    };
    if rows.is_empty() {
        stderr::say(nothing_to_show(&arguments));
    }
    show_rows(&rows, &COLUMNS, cells, arguments.json)
}

/// Returns the message for an empty history, with the options that may have excluded deliveries.
fn nothing_to_show(arguments: &cli::History) -> String {
    let options = [
        (arguments.failed, "--failed"),
        (arguments.host.is_some(), "--host"),
        (arguments.task.is_some(), "--task"),
        (arguments.notifier.is_some(), "--notifier"),
        (arguments.run.is_some(), "--run"),
        (!arguments.state.is_empty(), "--state"),
        (arguments.since.is_some(), "--since"),
    ];
    let given = super::given(&options);
    match (given.as_str(), super::spool_folder(&arguments.place)) {
        ("", Ok(folder)) => format!("no deliveries in the spool in {}", folder.display()),
        ("", Err(_)) => "no deliveries in the spool".to_owned(),
        (given, _) => format!("no delivery matches {given}"),
    }
}

/// Checks that events were sent to the requested notifier before.
async fn check_notifier(arguments: &cli::History) -> Result<(), Exit> {
    let Some(name) = &arguments.notifier else {
        return Ok(());
    };
    let known = ask(&arguments.place, Spool::status).await?;
    super::check_known(std::slice::from_ref(name), &known)
}

async fn one(arguments: &cli::History, id: i64) -> Exit {
    let place = &arguments.place;
    let found = ask_to_show(place, async |spool| {
        let found = spool.delivery(id).await?;
        Ok((found, spool.status().await?))
    });
    let (found, known) = match found.await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let Some(found) = found else {
        stderr::say(format!("delivery {id} does not exist"));
        return Exit::NoInput;
    };
    let mut known = known.into_iter();
    let status = known.find(|status| status.id == found.row.destination);
    let stranger = super::only_named_by(place);
    let now = match (status, &found.body) {
        (Some(status), Some(body)) => rendered::now(&status, body, stranger.as_deref()),
        (None, _) => Err("its destination in the spool cannot be read".to_owned()),
        (_, None) => Err(NOT_KEPT.to_owned()),
    };
    if arguments.json {
        return print_json(json!({
            "delivery": found.row,
            "attempts": found.attempts,
            "event": found.body.as_deref().and_then(event),
            "message": {"sent": found.message, "now": now.as_ref().ok(), "problem": now.as_ref().err()},
        }));
    }
    stdout::show_styled(&details(&found, &now));
    Exit::Ok
}

/// Reason why no message can be shown for a delivered event.
pub const NOT_KEPT: &str =
    "its event is no longer kept; `keep_bodies = true` in [delivery] keeps delivered ones, too";

/// Returns the body of an event, if it can be parsed.
fn event(body: &str) -> Option<Value> {
    bulk::value(body).ok()
}

/// Describes a delivery: what it is about, its attempts, and its message.
fn details(found: &DeliveryDetails, now: &Result<String, String>) -> Vec<Styled> {
    let row = &found.row;
    let mut parts = vec![
        Styled::Plain(format!("delivery {}  ", row.id)),
        state_of(row.state),
        Styled::Plain("\n".to_owned()),
    ];
    let about = [&row.result, &row.host, &row.task];
    let about: Vec<&str> = about.into_iter().map(String::as_str).collect();
    let about: Vec<&str> = about.into_iter().filter(|text| !text.is_empty()).collect();
    let run = row.run.clone().unwrap_or_default();
    for (label, text) in [
        ("event", about.join("  ")),
        ("id", row.event_id.clone()),
        ("run", run),
        ("notifier", row.notifier.clone()),
        ("accepted", clock::stamp(row.created)),
        ("error", row.error.clone().unwrap_or_default()),
    ] {
        if !text.is_empty() {
            parts.push(Styled::Dim(format!("  {label:<8}  ")));
            parts.push(Styled::Plain(format!("{}\n", visible(&text))));
        }
    }
    parts.push(Styled::Dim("attempts\n".to_owned()));
    for attempt in &found.attempts {
        parts.push(Styled::Dim(format!(
            "  {}  ",
            clock::stamp(attempt.started)
        )));
        let outcome = visible(&attempt.outcome);
        let text = format!("{} ms  {outcome}\n", attempt.duration);
        parts.push(Styled::Plain(text));
    }
    if found.attempts.is_empty() {
        parts.push(Styled::Plain("  none\n".to_owned()));
    }
    parts.extend(message(found, now));
    parts
}

/// Shows the message of a delivery: as it was last sent or, if it was not tried or the message was not kept, as it would
/// be sent now.
fn message(found: &DeliveryDetails, now: &Result<String, String>) -> Vec<Styled> {
    let (label, text) = match (&found.message, now) {
        (Some(sent), _) => (
            format!("message, as sent at {}", clock::stamp(sent.time)),
            &sent.text,
        ),
        (None, Ok(text)) => ("message, as it would be sent now".to_owned(), text),
        (None, Err(reason)) => {
            let reason = format!("  cannot be shown: {}\n", visible(reason));
            return vec![Styled::Dim("message\n".to_owned()), Styled::Plain(reason)];
        }
    };
    let lines = text
        .lines()
        .map(|line| Styled::Plain(format!("  {}\n", visible(line))));
    std::iter::once(Styled::Dim(format!("{label}\n")))
        .chain(lines)
        .collect()
}

/// Columns of the list.
const COLUMNS: [Column; 8] = [
    ("ID", Align::Right),
    ("ACCEPTED", Align::Left),
    ("STATE", Align::Left),
    ("NOTIFIER", Align::Left),
    ("EVENT", Align::Left),
    ("HOST", Align::Left),
    ("TASK", Align::Left),
    ("ERROR", Align::Left),
];

fn cells(row: &HistoryRow) -> Vec<Styled> {
    let is_done = row.state == Some(DeliveryState::Delivered);
    let error = row.error.clone().filter(|_| !is_done);
    vec![
        Styled::Plain(row.id.to_string()),
        Styled::Dim(clock::stamp(row.created)),
        state_of(row.state),
        Styled::Plain(row.notifier.clone()),
        result(&row.result),
        Styled::Plain(row.host.clone()),
        Styled::Plain(row.task.clone()),
        Styled::Plain(error.unwrap_or_default()),
    ]
}

/// Returns an event in words, in its colour.
fn result(words: &str) -> Styled {
    let words = words.to_owned();
    match words.as_str() {
        "ok" | "run ok" => Styled::Good(words),
        "changed" | "item changed" => Styled::Warn(words),
        "failed" | "item failed" | "unreachable" | "run failed" => Styled::Bad(words),
        _ => Styled::Plain(words),
    }
}

/// Runs `discard`: gives up the chosen deliveries.
pub async fn discard(arguments: cli::Discard) -> Exit {
    let cli::Discard { which, by, place } = arguments;
    let choice = match chosen(&which, &place).await {
        Ok(choice) => choice,
        Err(exit) => return exit,
    };
    let actor = by.actor();
    let given_up = match ask(&place, async |spool| spool.discard(choice, actor).await).await {
        Ok(given_up) => given_up,
        Err(exit) => return exit,
    };
    let missing: Vec<String> = which
        .ids
        .iter()
        .filter(|id| !given_up.contains(id))
        .map(i64::to_string)
        .collect();
    if !given_up.is_empty() || which.ids.is_empty() && which.run.is_none() {
        stderr::say(format!("{} discarded", given_up.len()));
    }
    match (missing.as_slice(), &which.run) {
        ([], Some(run)) if given_up.is_empty() => {
            stderr::say(format!(
                "no selected delivery of run `{run}` is pending or dead"
            ));
            Exit::NoInput
        }
        ([], _) => Exit::Ok,
        (missing, _) => {
            let missing = missing.join(", ");
            stderr::say(format!("no pending or dead delivery: {missing}"));
            Exit::NoInput
        }
    }
}

/// Returns the deliveries that the options select. A named configuration narrows the selection, except for
/// deliveries named by id.
async fn chosen(which: &cli::Which, place: &cli::Place) -> Result<Choice, Exit> {
    let mut choice = Choice {
        ids: which.ids.clone(),
        run: runs::named(place, which.run.as_ref()).await?,
        no_waiting: which.dead,
        no_dead: which.pending,
        ..Choice::default()
    };
    let file = place.config.as_deref().filter(|_| which.ids.is_empty());
    if file.is_some() || !which.notifier.is_empty() {
        let known = ask(place, Spool::status).await?;
        super::check_known(&which.notifier, &known)?;
        let is_chosen = |status: &&DestinationStatus| {
            let is_named = which.notifier.is_empty() || which.notifier.contains(&status.name);
            is_named && file.is_none_or(|file| super::belongs_to(status, file))
        };
        let chosen = known.iter().filter(is_chosen).map(|status| status.id);
        choice.destinations = Some(chosen.collect());
    }
    Ok(choice)
}
