//! Runs, tasks and results as pages and the API show them.

use serde::Serialize;
use serde_json::Value;

use super::view::{Cut, cut, next_attempt, time};
use crate::json::bulk;
use crate::spool::DeliveryState;
use crate::spool::record::Counts;
use crate::spool::record::results::{Notified, RecordedResult, RecordedTask};
use crate::spool::record::runs::RecordedRun;
use crate::text;

/// Length of a reason or message in a list, in bytes.
const MAX_MESSAGE: usize = 2 << 10;
/// Lines of a difference on a page.
const MAX_LINES: usize = 1000;
/// Texts of a result that have a place of their own on its page.
const TEXTS: [&str; 5] = [
    "stdout",
    "stderr",
    "module_stdout",
    "module_stderr",
    "exception",
];

/// A run.
#[derive(Serialize)]
pub struct Run {
    pub id: String,
    pub name: String,
    pub state: &'static str,
    pub started: String,
    pub ended: Option<String>,
    /// Time of its last event.
    pub seen: String,
    /// Milliseconds.
    pub took: i64,
    pub exit_code: Option<i64>,
    pub reason: Option<String>,
    pub counts: Counts,
    pub rescued: i64,
    pub hosts: i64,
    pub tasks: i64,
    pub is_partial: bool,
    pub playbook: Option<String>,
    pub path: Option<String>,
    pub user: Option<String>,
    pub controller: Option<String>,
    pub ansible_version: Option<String>,
    pub limit: Option<String>,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub check: bool,
    pub url: Option<String>,
}

impl From<RecordedRun> for Run {
    fn from(row: RecordedRun) -> Run {
        let took = row.took();
        let about = row.run;
        Run {
            id: row.id,
            name: row.name,
            state: row.state.name(),
            started: time(row.started),
            ended: row.ended.map(time),
            seen: time(row.seen),
            took,
            exit_code: row.exit_code,
            reason: row.reason.map(|reason| cut(&reason, MAX_MESSAGE).text),
            counts: row.counts,
            rescued: row.rescued,
            hosts: row.hosts,
            tasks: row.tasks,
            is_partial: row.is_partial,
            playbook: about.playbook,
            path: about.path,
            user: about.user,
            controller: about.controller,
            ansible_version: about.ansible_version,
            limit: about.limit,
            tags: about.tags,
            skip_tags: about.skip_tags,
            check: about.check,
            url: about.url,
        }
    }
}

/// Deliveries of a run to one notifier in one state.
#[derive(Serialize)]
pub struct Told {
    pub notifier: String,
    pub state: &'static str,
    pub deliveries: i64,
    pub next_attempt: Option<String>,
    pub error: Option<String>,
}

impl From<Notified> for Told {
    fn from(row: Notified) -> Told {
        Told {
            notifier: row.notifier,
            state: row.state.map_or("unknown", DeliveryState::key),
            deliveries: row.deliveries,
            next_attempt: next_attempt(row.state, row.next_attempt),
            error: row.error,
        }
    }
}

/// A task of a run.
#[derive(Serialize)]
pub struct Task {
    pub id: i64,
    pub play: Option<String>,
    pub name: Option<String>,
    pub action: Option<String>,
    pub path: Option<String>,
    pub role: Option<String>,
    pub is_handler: bool,
    pub started: String,
    pub ended: Option<String>,
    /// Milliseconds.
    pub longest: i64,
    pub counts: Counts,
}

impl From<RecordedTask> for Task {
    fn from(row: RecordedTask) -> Task {
        Task {
            id: row.number,
            play: row.play,
            name: row.name,
            action: row.action,
            path: row.path,
            role: row.role,
            is_handler: row.is_handler,
            started: time(row.started),
            ended: row.ended.map(time),
            longest: row.longest,
            counts: row.counts,
        }
    }
}

/// A result, without what it contains.
#[derive(Serialize)]
pub struct Outcome {
    pub event: i64,
    pub task: i64,
    pub name: Option<String>,
    pub host: Option<String>,
    pub state: &'static str,
    pub time: String,
    /// Milliseconds.
    pub duration: Option<i64>,
    pub is_item: bool,
    pub is_hidden: bool,
    pub is_cut: bool,
    pub message: Option<String>,
    pub item: Option<String>,
}

impl From<&RecordedResult> for Outcome {
    fn from(row: &RecordedResult) -> Outcome {
        let short = |text: &Option<String>| text.as_ref().map(|text| cut(text, MAX_MESSAGE).text);
        Outcome {
            event: row.event,
            task: row.task,
            name: row.name.clone(),
            host: row.host.clone(),
            state: row.outcome.map_or("unknown", |outcome| outcome.name()),
            time: time(row.time),
            duration: row.duration,
            is_item: row.is_item,
            is_hidden: row.is_hidden,
            is_cut: row.is_cut,
            message: short(&row.message),
            item: short(&row.item),
        }
    }
}

/// A part of a result with a heading.
#[derive(Serialize)]
pub struct Part {
    pub name: &'static str,
    pub text: String,
}

/// A line of a difference: `added`, `removed` or neither.
#[derive(Serialize)]
pub struct Line {
    pub kind: &'static str,
    pub text: String,
}

/// Content of a result, as its page shows it.
#[derive(Default, Serialize)]
pub struct Content {
    pub texts: Vec<Part>,
    pub diff: Vec<Line>,
    pub whole: Option<String>,
    pub is_cut: bool,
}

impl Content {
    /// Reads the JSON of a result.
    pub fn of(result: Option<&str>) -> Content {
        let mut content = Content::default();
        let Some(text) = result else { return content };
        let Ok(value) = bulk::value(text) else {
            content.whole = Some(content.shortened(text));
            return content;
        };
        for name in TEXTS {
            if let Some(text) = value[name].as_str().filter(|text| !text.is_empty()) {
                let text = content.shortened(&text::printable(text));
                content.texts.push(Part { name, text });
            }
        }
        content.diff = difference(&value["diff"]);
        content.is_cut |= content.diff.len() > MAX_LINES;
        content.diff.truncate(MAX_LINES);
        let is_only_diff = value.as_object().is_some_and(|object| object.len() == 1);
        if !is_only_diff || content.diff.is_empty() {
            content.whole = Some(content.shortened(&format!("{value:#}")));
        }
        content
    }

    fn shortened(&mut self, text: &str) -> String {
        let Cut { text, is_cut } = cut(text, super::view::MAX_TEXT);
        self.is_cut |= is_cut;
        text
    }
}

/// Returns the lines of the differences of a result: one, or a list of them.
fn difference(diff: &Value) -> Vec<Line> {
    let one = std::slice::from_ref(diff);
    let all = diff.as_array().map_or(one, Vec::as_slice);
    all.iter().flat_map(difference_of).collect()
}

fn difference_of(diff: &Value) -> Vec<Line> {
    if let Some(prepared) = diff["prepared"].as_str() {
        let line = |text: &str| {
            let kind = match text.as_bytes().first() {
                Some(b'+') => "added",
                Some(b'-') => "removed",
                _ => "same",
            };
            Line {
                kind,
                text: text.to_owned(),
            }
        };
        return prepared.lines().map(line).collect();
    }
    let side = |name: &str| match &diff[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => format!("{other:#}"),
    };
    let (before, after) = (side("before"), side("after"));
    let (before, after): (Vec<&str>, Vec<&str>) =
        (before.lines().collect(), after.lines().collect());
    let alike = |(one, other): &(&&str, &&str)| one == other;
    let first = before.iter().zip(&after).take_while(alike).count();
    let (before_rest, after_rest) = (&before[first..], &after[first..]);
    let pairs = before_rest.iter().rev().zip(after_rest.iter().rev());
    let last = pairs.take_while(alike).count();
    let line = |kind: &'static str, sign: &str, text: &&str| Line {
        kind,
        text: format!("{sign}{text}"),
    };
    let name = diff["after_header"]
        .as_str()
        .or(diff["before_header"].as_str());
    let mut lines: Vec<Line> = name
        .map(|name| line("same", "@ ", &name))
        .into_iter()
        .collect();
    let removed = &before_rest[..before_rest.len() - last];
    let added = &after_rest[..after_rest.len() - last];
    if removed.is_empty() && added.is_empty() {
        return Vec::new();
    }
    lines.extend(before[..first].iter().map(|text| line("same", "  ", text)));
    lines.extend(removed.iter().map(|text| line("removed", "- ", text)));
    lines.extend(added.iter().map(|text| line("added", "+ ", text)));
    let same = &after_rest[after_rest.len() - last..];
    lines.extend(same.iter().map(|text| line("same", "  ", text)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(diff: Value) -> String {
        let lines = difference(&diff);
        let lines = lines
            .iter()
            .map(|line| format!("{}:{}", &line.kind[..1], line.text));
        lines.collect::<Vec<_>>().join("|")
    }

    #[test]
    fn a_difference_is_what_differs() {
        let diff = serde_json::json!([
            {"before": "a\nb\nc\n", "after": "a\nB\nc\n", "after_header": "/etc/x"},
            {"before": "same", "after": "same"},
            {"prepared": "+new\n-old\n other"},
        ]);
        let expected = "s:@ /etc/x|s:  a|r:- b|a:+ B|s:  c|a:+new|r:-old|s: other";
        assert_eq!(shown(diff), expected);
        assert_eq!(
            shown(serde_json::json!({"before": "", "after": "x"})),
            "a:+ x"
        );
        assert_eq!(
            shown(serde_json::json!({"before": {"m": 1}, "after": {"m": 2}})),
            "s:  {|r:-   \"m\": 1|a:+   \"m\": 2|s:  }"
        );
        assert_eq!(shown(Value::Null), "");
    }
}
