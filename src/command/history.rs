//! `status`, `history` and `discard`: the content of the spool, as text or JSON.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli;
use crate::config::levels::Search;
use crate::console::stderr;
use crate::console::stdout;
use crate::exit::Exit;
use crate::json::bulk;
use crate::spool::{
    self, BreakerState, Choice, DeliveryState, DestinationStatus, Filter, HistoryRow, Scope, Spool,
};
use crate::system::clock;

/// Runs `status`: prints the counts of each destination in the spool.
pub async fn status(arguments: cli::Status) -> Exit {
    let rows = match ask(&arguments.place, Spool::status).await {
        Ok(rows) => rows,
        Err(exit) => return exit,
    };
    if rows.is_empty() {
        stderr::say(nothing_sent(&arguments.place));
    }
    if arguments.json {
        let rows: Vec<Value> = rows.iter().map(status_json).collect();
        return print_json(&format!("{:#}\n", json!(rows)));
    }
    let rows = together(rows);
    let mut text = String::new();
    for row in &rows {
        let alike = rows.iter().filter(|other| other.name == row.name).count() > 1;
        let config = config_of(row).filter(|_| alike);
        let name = match config {
            Some(path) => format!("{} ({})", row.name, path.display()),
            None => row.name.clone(),
        };
        text.push_str(&status_line(row, &name));
    }
    print(&text)
}

/// Merges the rows of finished runs that had settings of their own.
fn together(rows: Vec<DestinationStatus>) -> Vec<DestinationStatus> {
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
fn config_of(row: &DestinationStatus) -> Option<PathBuf> {
    Search::stored(row.search.as_deref()?).file()
}

fn status_json(row: &DestinationStatus) -> Value {
    let mut shown = json!(row);
    shown["config"] = json!(config_of(row).map(|path| path.display().to_string()));
    shown
}

fn status_line(row: &DestinationStatus, name: &str) -> String {
    let mut line = format!(
        "{name}: {} accepted, {} delivered, {} waiting, {} dead, {} dropped",
        row.accepted, row.delivered, row.waiting, row.dead, row.dropped
    );
    if row.suppressed > 0 {
        let text = format!(" ({} by `after`, `repeat` or `muted`)", row.suppressed);
        line.push_str(&text);
    }
    if let Some(until) = row.held_until {
        line.push_str(&format!(
            "; {} held until {}",
            row.held,
            clock::local(until)
        ));
    }
    match (row.breaker, row.paused_until) {
        (BreakerState::Closed, _) => {}
        (BreakerState::Off, _) => line.push_str("; off until its configuration changes"),
        (BreakerState::Open, None) => line.push_str("; breaker open: one attempt at a time"),
        (BreakerState::Open, Some(until)) => {
            line.push_str(&format!("; breaker open: paused until {}", time(until)));
        }
    }
    if let Some(oldest) = row.oldest {
        line.push_str(&format!("; oldest from {}", time(oldest)));
    }
    if let Some(next) = row.next_attempt.filter(|next| *next > 0) {
        line.push_str(&format!("; next attempt at {}", time(next)));
    }
    if let (Some(error), true) = (&row.last_error, row.waiting + row.dead > 0) {
        line.push_str(&format!("; last error: {error}"));
    }
    if !row.needs.is_empty() && row.waiting > 0 {
        line.push_str(&format!(
            "; needs {} from the play's vars or the environment",
            row.needs.join(", ")
        ));
    }
    line.push('\n');
    line
}

/// Runs `history`: prints deliveries, or one with its attempts.
pub async fn history(arguments: cli::History) -> Exit {
    if let Some(id) = arguments.id {
        return one(&arguments, id).await;
    }
    if let Err(exit) = check_notifier(&arguments).await {
        return exit;
    }
    let filter = Filter {
        failed: arguments.failed,
        host: arguments.host.clone(),
        task: arguments.task.clone(),
        notifier: arguments.notifier.clone(),
        since: arguments.since.unwrap_or(0),
        most: arguments.limit,
    };
    let rows = match ask(&arguments.place, async |spool| spool.history(filter).await).await {
        Ok(rows) => rows,
        Err(exit) => return exit,
    };
    if rows.is_empty() {
        stderr::say(nothing_to_show(&arguments));
    }
    if arguments.json {
        let lines: String = rows.iter().map(|row| format!("{}\n", json!(row))).collect();
        return print_json(&lines);
    }
    print(&rows.iter().map(history_line).collect::<String>())
}

/// Returns the message for a spool that is empty or missing.
fn nothing_sent(place: &cli::Place) -> String {
    match super::spool_folder(place) {
        Ok(folder) => format!(
            "nothing has been sent from the spool in {} yet",
            folder.display()
        ),
        Err(_) => "nothing has been sent yet".to_owned(),
    }
}

/// Returns the message for an empty history, with the options that may have excluded deliveries.
fn nothing_to_show(arguments: &cli::History) -> String {
    let options = [
        (arguments.failed, "--failed"),
        (arguments.host.is_some(), "--host"),
        (arguments.task.is_some(), "--task"),
        (arguments.notifier.is_some(), "--notifier"),
        (arguments.since.is_some(), "--since"),
    ];
    let given: Vec<&str> = options
        .into_iter()
        .filter_map(|(is_given, option)| is_given.then_some(option))
        .collect();
    match (given.as_slice(), super::spool_folder(&arguments.place)) {
        ([], Ok(folder)) => format!("no deliveries in the spool in {}", folder.display()),
        ([], Err(_)) => "no deliveries in the spool".to_owned(),
        (given, _) => format!("no delivery matches {}", given.join(" and ")),
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
    let found = match ask(&arguments.place, async |spool| spool.delivery(id).await).await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let Some((row, attempts, body)) = found else {
        stderr::say(format!("there is no delivery {id}"));
        return Exit::NoInput;
    };
    if arguments.json {
        return print_json(&format!(
            "{:#}\n",
            json!({"delivery": row, "attempts": attempts, "event": body.as_deref().and_then(event)})
        ));
    }
    let mut text = history_line(&row);
    for attempt in attempts {
        text.push_str(&format!(
            "  {}  {} ms  {}\n",
            time(attempt.started),
            attempt.duration,
            attempt.outcome
        ));
    }
    print(&text)
}

/// Returns the body of an event, if it can be parsed.
fn event(body: &str) -> Option<Value> {
    bulk::value(body).ok()
}

fn history_line(row: &HistoryRow) -> String {
    let mut line = format!(
        "{:>6}  {}  {:<9}  {}  {}",
        row.id,
        time(row.created),
        row.state_name(),
        row.notifier,
        row.callback
    );
    for part in [&row.host, &row.task] {
        if !part.is_empty() {
            line.push_str(&format!("  {part}"));
        }
    }
    if let Some(error) = row
        .error
        .as_ref()
        .filter(|_| row.state != Some(DeliveryState::Delivered))
    {
        line.push_str(&format!("  ({error})"));
    }
    line.push('\n');
    line
}

/// Runs `discard`: gives up the chosen deliveries.
pub async fn discard(arguments: cli::Discard) -> Exit {
    let cli::Discard { which, place } = arguments;
    let choice = match chosen(&which, &place).await {
        Ok(choice) => choice,
        Err(exit) => return exit,
    };
    let given_up = match ask(&place, async |spool| spool.discard(choice).await).await {
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
        run: which.run.clone(),
        no_waiting: which.dead,
        no_dead: which.waiting,
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

/// Returns what the spool says, or the default if there is none.
async fn ask<T: Default>(
    place: &cli::Place,
    question: impl AsyncFnOnce(&Spool) -> Result<T, spool::Error>,
) -> Result<T, Exit> {
    let Some(spool) = super::open_to_read(place)? else {
        return Ok(T::default());
    };
    let answer = question(&spool).await;
    answer.map_err(|error| super::spool_failed(&error.into()))
}

fn time(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds)
        .map_or_else(|_| "?".to_owned(), |time| format!("{time:.0}"))
}

fn print_json(text: &str) -> Exit {
    stdout::show_json(text);
    Exit::Ok
}

fn print(text: &str) -> Exit {
    stdout::show(text);
    Exit::Ok
}
