//! `report`: one run as a single HTML file without scripts or external resources.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use minijinja::Environment;
use minijinja::value::Serde;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::Value;

use crate::cli;
use crate::command::runs::{Whole, facts, length, whole};
use crate::console::stderr;
use crate::console::stdout;
use crate::exit::Exit;
use crate::protocol::VERSION;
use crate::secret;
use crate::spool::record::results::{Notified, RecordedResult, RecordedTask};
use crate::spool::record::runs::RunState;
use crate::spool::record::{Counts, Outcome};
use crate::spool::state_name;
use crate::system::clock;
use crate::text::{self, printable};

/// Template of the page; its name makes minijinja escape every value.
const PAGE: (&str, &str) = ("report.html", include_str!("report.html"));
const STYLE: &str = include_str!("report.css");
/// Maximum number of rows in a part.
const MOST: usize = 500;
/// Maximum number of diffs of a task, and of characters in a text.
const DIFFS: usize = 50;
const LONGEST: usize = 16 << 10;

/// Runs `report`: writes the page of a run to a file, or to standard output.
pub async fn run(arguments: cli::runs::Report) -> Exit {
    let whole = match whole(&arguments.place, &arguments.run).await {
        Ok(whole) => whole,
        Err(exit) => return exit,
    };
    let page = match render(&whole) {
        Ok(page) => page,
        Err(error) => {
            stderr::say(format!("cannot write the page: {error}"));
            return Exit::Unexpected;
        }
    };
    match arguments
        .output
        .as_deref()
        .filter(|path| *path != Path::new("-"))
    {
        None => {
            stdout::print(page);
            Exit::Ok
        }
        Some(path) => match write(path, &page) {
            Ok(()) => {
                stderr::say(format!("wrote {}", path.display()));
                Exit::Ok
            }
            Err(error) => {
                stderr::say(format!("cannot write `{}`: {error}", path.display()));
                Exit::Io
            }
        },
    }
}

/// Writes a file that only its owner can read: results may be confidential. Replaces an existing file.
fn write(path: &Path, page: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(page.as_bytes())
}

/// State as a word, a symbol and a CSS class.
#[derive(Serialize)]
struct Shown {
    word: &'static str,
    shape: &'static str,
    class: &'static str,
}

/// A time for people and for programs.
#[derive(Serialize)]
struct Time {
    text: String,
    utc: String,
}

/// Rows of a part, with their total and the number of omitted ones.
#[derive(Serialize)]
struct Part<T> {
    rows: Vec<T>,
    all: usize,
    more: usize,
}

#[derive(Serialize)]
struct Failure {
    state: Shown,
    host: String,
    task: String,
    place: String,
    reason: String,
    /// Heading and text of everything else.
    texts: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Change {
    name: String,
    hosts: String,
    /// Host and diff.
    diffs: Vec<(String, String)>,
}

#[derive(Serialize)]
struct CountRow {
    name: String,
    place: String,
    counts: [i64; 6],
    longest: String,
}

#[derive(Serialize)]
struct Told {
    notifier: String,
    state: &'static str,
    deliveries: i64,
    error: String,
}

/// Values of the page.
#[derive(Serialize)]
struct Page {
    version: &'static str,
    style: &'static str,
    style_hash: String,
    name: String,
    state: Shown,
    started: Time,
    made: Time,
    facts: Vec<(&'static str, String)>,
    failed: Part<Failure>,
    changed: Part<Change>,
    hosts: Part<CountRow>,
    tasks: Part<CountRow>,
    notified: Vec<Told>,
}

impl Page {
    fn of(whole: &Whole) -> Page {
        let run = &whole.run;
        let facts = facts(run).into_iter();
        let hash = BASE64_STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
        Page {
            version: VERSION,
            style: STYLE,
            style_hash: format!("sha256-{hash}"),
            name: clean(&run.name),
            state: state_of(run.state),
            started: time(run.started),
            made: time(clock::now().as_millisecond()),
            facts: facts.map(|(label, text)| (label, clean(&text))).collect(),
            failed: part(&whole.failed, |result| failure(result, whole)),
            changed: part(&whole.changes(), |results| changed(results)),
            hosts: part(&whole.hosts, |host| {
                counted(&host.name, "", &host.counts, String::new())
            }),
            tasks: part(&whole.tasks, task),
            notified: whole.notified.iter().map(told).collect(),
        }
    }
}

fn render(whole: &Whole) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.add_template(PAGE.0, PAGE.1)?;
    let page = environment.get_template(PAGE.0)?;
    page.render(Serde(Page::of(whole)))
}

fn part<T, S>(all: &[T], shown: impl Fn(&T) -> S) -> Part<S> {
    Part {
        rows: all.iter().take(MOST).map(shown).collect(),
        all: all.len(),
        more: all.len().saturating_sub(MOST),
    }
}

fn state_of(state: RunState) -> Shown {
    let (shape, class) = match state {
        RunState::Running => ("▶", "running"),
        RunState::Ok => ("✓", "ok"),
        RunState::Failed => ("✗", "failed"),
        RunState::Canceled => ("⏹", "canceled"),
    };
    Shown {
        word: state.name(),
        shape,
        class,
    }
}

fn time(milliseconds: i64) -> Time {
    let utc = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
    Time {
        text: clock::local(milliseconds),
        utc: format!("{utc:.0}"),
    }
}

/// Returns a text cut to a length, without secrets, and without characters that control a terminal or reorder a
/// line. The template escapes it.
fn clean(text: &str) -> String {
    text::cut(&printable(&secret::redact(text)), LONGEST, text::characters).into_owned()
}

fn failure(result: &RecordedResult, whole: &Whole) -> Failure {
    let outcome = result.outcome.unwrap_or(Outcome::Failed);
    let shape = match outcome {
        Outcome::Unreachable => "!",
        _ => "✗",
    };
    let task = whole.tasks.iter().find(|task| task.number == result.task);
    Failure {
        state: Shown {
            word: outcome.name(),
            shape,
            class: "failed",
        },
        host: clean(result.host.as_deref().unwrap_or_default()),
        task: clean(result.name.as_deref().unwrap_or_default()),
        place: task.map(place).unwrap_or_default(),
        reason: match result.is_hidden {
            true => "hidden by no_log".to_owned(),
            false => clean(result.message.as_deref().unwrap_or_default()),
        },
        texts: texts(result),
    }
}

/// Returns the file and action of a task.
fn place(task: &RecordedTask) -> String {
    let parts = [&task.play, &task.role, &task.action, &task.path];
    let parts: Vec<&str> = parts.into_iter().flatten().map(String::as_str).collect();
    clean(&parts.join(" · "))
}

/// Returns the texts of a result by their keys: output, return code, diff.
fn texts(result: &RecordedResult) -> Vec<(String, String)> {
    let Some(Value::Object(values)) = json_of(result.result.as_deref()) else {
        return Vec::new();
    };
    let said = result.message.as_deref();
    let shown = values.into_iter().filter_map(|(key, value)| {
        let text = match value {
            Value::Null => return None,
            Value::String(text) => text,
            Value::Array(diffs) if key == "diff" => difference(&diffs),
            Value::Object(diff) if key == "diff" => difference(&[Value::Object(diff)]),
            value => format!("{value:#}"),
        };
        let is_said = text.is_empty() || said == Some(text.as_str());
        (!is_said && !key.ends_with("_lines")).then(|| (clean(&key), clean(&text)))
    });
    shown.collect()
}

fn json_of(text: Option<&str>) -> Option<Value> {
    serde_json::from_str(text?).ok()
}

/// Returns the diffs of a result as text: as Ansible gives them, or from the lines before and after.
fn difference(diffs: &[Value]) -> String {
    let mut text = String::new();
    for diff in diffs {
        if let Some(prepared) = diff["prepared"].as_str() {
            text.push_str(prepared);
            continue;
        }
        let side = |key: &str| match &diff[key] {
            Value::Null => String::new(),
            Value::String(side) => side.clone(),
            side => format!("{side:#}"),
        };
        let (before, after) = (side("before"), side("after"));
        let [before, after] = differing(&before, &after);
        for (header, sign, lines) in [("before_header", '-', before), ("after_header", '+', after)]
        {
            if let Some(header) = diff[header].as_str() {
                text.push_str(&format!("{sign}{sign}{sign} {header}\n"));
            }
            lines
                .iter()
                .for_each(|line| text.push_str(&format!("{sign} {line}\n")));
        }
    }
    text
}

/// Returns the lines of two texts without their common prefix and suffix.
fn differing<'a>(before: &'a str, after: &'a str) -> [Vec<&'a str>; 2] {
    let [before, after]: [Vec<&str>; 2] = [before, after].map(|text| text.lines().collect());
    let alike = |pairs: &mut dyn Iterator<Item = (&&str, &&str)>| {
        pairs.take_while(|(one, other)| one == other).count()
    };
    let first = alike(&mut before.iter().zip(&after));
    let rest = before.len().min(after.len()) - first;
    let last = alike(&mut before.iter().rev().zip(after.iter().rev())).min(rest);
    [before, after].map(|lines| lines[first..lines.len() - last].to_vec())
}

fn changed(results: &[&RecordedResult]) -> Change {
    let host = |result: &&RecordedResult| result.host.clone().unwrap_or_default();
    let diffs = results.iter().filter_map(|result| {
        let texts = texts(result);
        let (_, diff) = texts.into_iter().find(|(key, _)| key == "diff")?;
        Some((clean(&host(result)), diff))
    });
    let hosts: Vec<String> = results.iter().map(host).collect();
    Change {
        name: clean(results[0].name.as_deref().unwrap_or_default()),
        hosts: clean(&hosts.join(", ")),
        diffs: diffs.take(DIFFS).collect(),
    }
}

fn task(task: &RecordedTask) -> CountRow {
    let name = task.name.as_deref().unwrap_or_default();
    counted(name, &place(task), &task.counts, length(task.longest))
}

fn counted(name: &str, place: &str, counts: &Counts, longest: String) -> CountRow {
    CountRow {
        name: clean(name),
        place: place.to_owned(),
        counts: [
            counts.ok,
            counts.changed,
            counts.failed,
            counts.unreachable,
            counts.ignored,
            counts.skipped,
        ],
        longest,
    }
}

fn told(one: &Notified) -> Told {
    Told {
        notifier: clean(&one.notifier),
        state: state_name(one.state),
        deliveries: one.deliveries,
        error: clean(one.error.as_deref().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_contains_only_changed_lines() {
        let diff = serde_json::json!({"before_header": "a", "before": "1\n2\n2\n3\n", "after": "1\n2\n3\n"});
        assert_eq!(difference(&[diff]), "--- a\n- 2\n");
        let diff = serde_json::json!({"after": {"mode": "0644"}});
        assert_eq!(difference(&[diff]), "+ {\n+   \"mode\": \"0644\"\n+ }\n");
        let diff = serde_json::json!({"prepared": "as it is\n"});
        assert_eq!(difference(&[diff]), "as it is\n");
    }
}
