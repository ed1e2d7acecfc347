//! `runs`: lists the recorded runs, or shows one of them.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::asking::{ask, ask_to_show, print_json, print_json_lines, state_of};
use crate::cli;
use crate::console::stderr;
use crate::console::stdout::{self, Styled};
use crate::console::table::{Align, Column, Table};
use crate::exit::Exit;
use crate::spool::record::Outcome;
use crate::spool::record::results::{
    Notified, RecordedHost, RecordedResult, RecordedTask, ResultFilter,
};
use crate::spool::record::runs::{Found, LAST, RecordedRun, RunFilter, RunState};
use crate::spool::{DeliveryState, Spool};
use crate::system::clock;
use crate::text::{one_line, visible};

/// Shortest form of an id in a list.
const SHORT: usize = 8;
/// Rows of each part of a run.
const MOST: usize = 50;
/// Maximum number of hosts listed for a changing task.
const HOSTS: usize = 5;

const COLUMNS: [Column; 9] = [
    ("RUN", Align::Left),
    ("STATE", Align::Left),
    ("STARTED", Align::Left),
    ("TOOK", Align::Right),
    ("NAME", Align::Left),
    ("HOSTS", Align::Right),
    ("FAILED", Align::Right),
    ("NOTIFIED", Align::Left),
    ("FIRST FAILURE", Align::Left),
];

/// A run with everything that is shown about it.
pub struct Whole {
    pub run: RecordedRun,
    pub hosts: Vec<RecordedHost>,
    pub tasks: Vec<RecordedTask>,
    /// Failed and unreachable results, and those that changed something, without items of loops.
    pub failed: Vec<RecordedResult>,
    pub changed: Vec<RecordedResult>,
    pub notified: Vec<Notified>,
}

/// Runs `runs`: prints recorded runs, newest first, or one of them.
pub async fn run(arguments: cli::runs::Runs) -> Exit {
    match &arguments.id {
        Some(id) => match whole(&arguments.place, id).await {
            Ok(whole) if arguments.json => print_json(as_json(&whole)),
            Ok(whole) => {
                stdout::show_styled(&details(&whole));
                Exit::Ok
            }
            Err(exit) => exit,
        },
        None => list(&arguments).await,
    }
}

async fn list(arguments: &cli::runs::Runs) -> Exit {
    let filter = RunFilter {
        state: arguments.state,
        playbook: arguments.playbook.clone(),
        host: arguments.host.clone(),
        since: arguments.since,
        with: None,
        until: None,
        after: None,
        most: arguments.limit as usize,
    };
    let found = ask_to_show(&arguments.place, async |spool: &Spool| {
        let mut found = Vec::new();
        for run in spool.runs(filter).await? {
            let notified = spool.notified(&run.id).await?;
            found.push((run, notified));
        }
        Ok(found)
    });
    let found = match found.await {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    if found.is_empty() {
        stderr::say(nothing(arguments));
    }
    if arguments.json {
        let rows = found.iter();
        return print_json_lines(rows.map(|(run, notified)| with_notified(run, notified)));
    }
    let ids: Vec<&str> = found.iter().map(|(run, _)| run.id.as_str()).collect();
    let mut table = Table::new(&COLUMNS);
    for (run, notified) in &found {
        table.row(cells(run, notified, short(&run.id, &ids)), Vec::new());
    }
    stdout::show_styled(&table.parts());
    Exit::Ok
}

/// Returns the message for an empty list, with the options that may have excluded runs.
fn nothing(arguments: &cli::runs::Runs) -> String {
    let options = [
        (arguments.state.is_some(), "--state"),
        (arguments.playbook.is_some(), "--playbook"),
        (arguments.host.is_some(), "--host"),
        (arguments.since.is_some(), "--since"),
    ];
    let given = super::given(&options);
    match (given.as_str(), super::spool_folder(&arguments.place)) {
        ("", Ok(folder)) => format!("no run is recorded in the spool in {}", folder.display()),
        ("", Err(_)) => "no run is recorded".to_owned(),
        (given, _) => format!("no run matches {given}"),
    }
}

/// Returns a run by its id, the beginning of one, or `last`; reports why there is none.
pub async fn whole(place: &cli::Place, id: &str) -> Result<Whole, Exit> {
    let found = ask_to_show(place, async |spool: &Spool| match spool.run(id).await? {
        Found::One(run) => Ok(Asked::One(Box::new(Whole::read(spool, *run).await?))),
        Found::Several(runs) => Ok(Asked::Several(runs)),
        Found::None => Ok(Asked::None),
    });
    match found.await? {
        Asked::One(whole) => Ok(*whole),
        Asked::Several(runs) => Err(several(id, &runs)),
        Asked::Id(_) | Asked::None => {
            match id {
                LAST => stderr::say("no run is recorded yet"),
                id => stderr::say(format!(
                    "run `{id}` does not exist; see `ansible-notify runs`"
                )),
            }
            Err(Exit::NoInput)
        }
    }
}

/// Returns the id of the run that an option names: `last` or the beginning of an id means a recorded run. Other
/// values are returned unchanged, because not every run is recorded.
pub async fn named(place: &cli::Place, id: Option<&String>) -> Result<Option<String>, Exit> {
    let Some(id) = id else { return Ok(None) };
    let found = ask(place, async |spool: &Spool| {
        Ok(match spool.run(id).await? {
            Found::One(run) => Asked::Id(run.id),
            Found::Several(runs) => Asked::Several(runs),
            Found::None => Asked::None,
        })
    });
    match found.await? {
        Asked::Id(id) => Ok(Some(id)),
        Asked::Several(runs) => Err(several(id, &runs)),
        Asked::One(_) | Asked::None => Ok(Some(id.clone())),
    }
}

/// Reports that the beginning of an id is ambiguous.
fn several(id: &str, runs: &[RecordedRun]) -> Exit {
    let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
    stderr::say(format!(
        "`{id}` matches several runs: {}; write more of the id",
        ids.join(", ")
    ));
    Exit::NoInput
}

/// Answer to the question for one run.
#[derive(Default)]
enum Asked {
    One(Box<Whole>),
    Id(String),
    Several(Vec<RecordedRun>),
    #[default]
    None,
}

impl Whole {
    async fn read(spool: &Spool, run: RecordedRun) -> Result<Whole, crate::spool::Error> {
        let results = |outcomes: &[Outcome]| ResultFilter {
            outcomes: outcomes.to_vec(),
            whole: true,
            ..ResultFilter::default()
        };
        let bad = [Outcome::Failed, Outcome::Unreachable];
        Ok(Whole {
            hosts: spool.hosts(run.number).await?,
            tasks: spool.tasks(run.number).await?,
            failed: spool.results(run.number, results(&bad)).await?,
            changed: spool
                .results(run.number, results(&[Outcome::Changed]))
                .await?,
            notified: spool.notified(&run.id).await?,
            run,
        })
    }

    /// Returns the results that changed something by their task, in order.
    pub fn changes(&self) -> Vec<Vec<&RecordedResult>> {
        let mut tasks: Vec<Vec<&RecordedResult>> = Vec::new();
        let mut places = HashMap::new();
        for result in &self.changed {
            let place = *places.entry(result.task).or_insert(tasks.len());
            match tasks.get_mut(place) {
                Some(task) => task.push(result),
                None => tasks.push(vec![result]),
            }
        }
        tasks
    }
}

fn with_notified(run: &RecordedRun, notified: &[Notified]) -> Value {
    let mut shown = json!(run);
    shown["took"] = json!(run.took());
    shown["notified"] = json!(notified);
    shown
}

fn as_json(whole: &Whole) -> Value {
    let mut shown = with_notified(&whole.run, &whole.notified);
    shown["by_host"] = json!(whole.hosts);
    shown["by_task"] = json!(whole.tasks);
    shown["failures"] = json!(whole.failed);
    shown["changes"] = json!(whole.changed);
    shown
}

/// Returns the shortest unique beginning of an id.
fn short<'a>(id: &'a str, all: &[&str]) -> &'a str {
    let is_alone = |end: &usize| {
        id.is_char_boundary(*end)
            && all
                .iter()
                .filter(|other| other.starts_with(&id[..*end]))
                .count()
                < 2
    };
    // The name of a relay's tenant is in front of it.
    let tenant = id.find(':').map_or(0, |at| at + 1);
    let end = (tenant + SHORT..id.len()).find(is_alone);
    &id[..end.unwrap_or(id.len())]
}

fn cells(run: &RecordedRun, notified: &[Notified], id: &str) -> Vec<Styled> {
    let bad = run.counts.failed + run.counts.unreachable;
    vec![
        Styled::Plain(id.to_owned()),
        state(run.state),
        Styled::Dim(clock::stamp(run.started)),
        Styled::Plain(took(run)),
        Styled::Plain(run.name.clone()),
        Styled::Plain(run.hosts.to_string()),
        match bad {
            0 => Styled::Dim("0".to_owned()),
            bad => Styled::Bad(bad.to_string()),
        },
        Styled::Plain(told(notified)),
        Styled::Plain(one_line(run.reason.as_deref().unwrap_or_default())),
    ]
}

fn state(state: RunState) -> Styled {
    let name = state.name().to_owned();
    match state {
        RunState::Running => Styled::Plain(name),
        RunState::Ok => Styled::Good(name),
        RunState::Failed => Styled::Bad(name),
        RunState::Canceled => Styled::Warn(name),
    }
}

/// Returns how long a run took: `18.8 s`, `4 min 10 s`, `2 h 5 min`.
pub fn took(run: &RecordedRun) -> String {
    length(run.took())
}

/// Returns a duration in milliseconds as text.
pub fn length(milliseconds: i64) -> String {
    let seconds = milliseconds.max(0) / 1000;
    match seconds {
        0..60 => format!("{:.1} s", milliseconds.max(0) as f64 / 1000.0),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Returns who was notified: `chat 2, pager 1 pending`.
fn told(notified: &[Notified]) -> String {
    let one = |one: &Notified| match one.state {
        Some(DeliveryState::Delivered) => format!("{} {}", one.notifier, one.deliveries),
        state => {
            let name = crate::spool::state_name(state);
            format!("{} {} {name}", one.notifier, one.deliveries)
        }
    };
    notified.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn details(whole: &Whole) -> Vec<Styled> {
    let run = &whole.run;
    let mut parts = vec![
        Styled::Plain(format!("{}  ", visible(&run.name))),
        state(run.state),
        Styled::Plain("\n".to_owned()),
    ];
    for (label, text) in facts(run) {
        parts.push(Styled::Dim(format!("  {label:<9}  ")));
        parts.push(Styled::Plain(format!("{}\n", visible(&text))));
    }
    section(&mut parts, "failed", failures(whole), whole.failed.len());
    let changes = whole.changes();
    section(&mut parts, "changed", changed(&changes), changes.len());
    section(&mut parts, "notified", notified(whole), 0);
    parts
}

/// Returns the facts about a run as a whole, by label.
pub fn facts(run: &RecordedRun) -> Vec<(&'static str, String)> {
    let about = &run.run;
    let by = [about.user.as_deref(), about.controller.as_deref()];
    let by: Vec<&str> = by.into_iter().flatten().collect();
    let counts = &run.counts;
    let counted = [
        (counts.ok, "ok"),
        (counts.changed, "changed"),
        (counts.failed, "failed"),
        (counts.unreachable, "unreachable"),
        (counts.ignored, "ignored"),
        (counts.skipped, "skipped"),
        (run.rescued, "rescued"),
    ];
    let counted = counted.iter().filter(|(count, _)| *count > 0);
    let counted: Vec<String> = counted
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let took = match (run.state, run.ended) {
        (RunState::Running, _) => format!("{} so far", took(run)),
        (_, None) => format!("{} until its last event; it was killed", took(run)),
        _ => took(run),
    };
    let check = if about.check { "yes" } else { "" };
    let partial = if run.is_partial {
        "part of it could not be recorded"
    } else {
        ""
    };
    let facts = [
        ("id", run.id.clone()),
        ("started", clock::stamp(run.started)),
        ("took", took),
        ("playbook", about.path.clone().unwrap_or_default()),
        ("by", by.join(" on ")),
        ("ansible", about.ansible_version.clone().unwrap_or_default()),
        ("check", check.to_owned()),
        ("limit", about.limit.clone().unwrap_or_default()),
        ("tags", about.tags.join(", ")),
        (
            "exit code",
            run.exit_code
                .map_or_else(String::new, |code| code.to_string()),
        ),
        ("hosts", run.hosts.to_string()),
        ("results", counted.join(", ")),
        (
            "reason",
            one_line(run.reason.as_deref().unwrap_or_default()),
        ),
        ("note", partial.to_owned()),
    ];
    facts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .collect()
}

/// Appends a table under a heading, unless it has no rows.
fn section(parts: &mut Vec<Styled>, heading: &str, table: Table, all: usize) {
    let rows = table.parts();
    if rows.is_empty() {
        return;
    }
    parts.push(Styled::Plain(format!("\n{heading}\n")));
    parts.extend(rows);
    if all > MOST {
        let text = format!("and {} more; `--json` prints all\n", all - MOST);
        parts.push(Styled::Dim(text));
    }
}

fn failures(whole: &Whole) -> Table {
    let columns = [
        ("HOST", Align::Left),
        ("TASK", Align::Left),
        ("STATE", Align::Left),
        ("REASON", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for result in whole.failed.iter().take(MOST) {
        let outcome = result.outcome.map_or("failed", Outcome::name);
        let reason = match (&result.message, result.is_hidden) {
            (_, true) => "hidden by `no_log`".to_owned(),
            (message, false) => one_line(message.as_deref().unwrap_or_default()),
        };
        let cells = vec![
            Styled::Plain(result.host.clone().unwrap_or_default()),
            Styled::Plain(result.name.clone().unwrap_or_default()),
            Styled::Bad(outcome.to_owned()),
            Styled::Plain(reason),
        ];
        table.row(cells, Vec::new());
    }
    table
}

fn changed(changes: &[Vec<&RecordedResult>]) -> Table {
    let mut table = Table::new(&[("TASK", Align::Left), ("HOSTS", Align::Left)]);
    for results in changes.iter().take(MOST) {
        let hosts = results.iter().take(HOSTS);
        let hosts: Vec<&str> = hosts.filter_map(|result| result.host.as_deref()).collect();
        let mut named = hosts.join(", ");
        if let Some(more) = results.len().checked_sub(HOSTS).filter(|more| *more > 0) {
            named.push_str(&format!(" and {more} more"));
        }
        let task = results[0].name.clone().unwrap_or_default();
        table.row(vec![Styled::Plain(task), Styled::Plain(named)], Vec::new());
    }
    table
}

fn notified(whole: &Whole) -> Table {
    let columns = [
        ("NOTIFIER", Align::Left),
        ("STATE", Align::Left),
        ("DELIVERIES", Align::Right),
        ("ERROR", Align::Left),
    ];
    let mut table = Table::new(&columns);
    for one in &whole.notified {
        let is_done = one.state == Some(DeliveryState::Delivered);
        let error = one.error.clone().filter(|_| !is_done);
        let cells = vec![
            Styled::Plain(one.notifier.clone()),
            state_of(one.state),
            Styled::Plain(one.deliveries.to_string()),
            Styled::Plain(error.unwrap_or_default()),
        ];
        table.row(cells, Vec::new());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        for (milliseconds, expected) in [
            (-5, "0.0 s"),
            (450, "0.5 s"),
            (18_840, "18.8 s"),
            (250_000, "4 min 10 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(length(milliseconds), expected);
        }
    }

    #[test]
    fn an_id_is_shortened_while_it_stays_unique() {
        let ids = ["0199aa2e-1111", "0199aa2e-1122", "r"];
        assert_eq!(short(ids[0], &ids), "0199aa2e-111");
        assert_eq!(short("abcdefghij", &["abcdefghij"]), "abcdefgh");
        assert_eq!(short("r", &ids), "r");
    }
}
