//! Event: one thing that Ansible reported, with its schema and its parsers.

pub mod alert;
pub mod callback;
pub mod counts;
pub mod ending;
pub mod failed_task;
pub mod fields;
pub mod items;
pub mod keys;
pub mod loops;
pub mod mask;
pub mod masked;
pub mod pairs;
pub mod parse;
mod playbooks;
pub mod plays;
pub mod quoted;
pub mod reason;
pub mod redact;
pub mod run_summary;
pub mod runner;
pub mod sample;
pub mod scope;
pub mod shorten;
pub mod stored;
pub mod wrapped;

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::event::alert::{Alert, Delays};
use crate::event::callback::Callback;
pub use crate::event::failed_task::FailedTask;
use crate::event::items::Items;
use crate::event::plays::PlaySummary;
use crate::event::redact::{is_suspicious, strip};
use crate::json::bulk;
use crate::json::depth::shallow;
use crate::json::syntax;

/// Version of the event schema; `schema` prints it as a JSON Schema.
pub const SCHEMA: u32 = 1;

/// Outcome of a task on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Success,
    Failed,
    Skipped,
    Unreachable,
}

impl State {
    /// Returns the name in an event.
    pub fn name(self) -> &'static str {
        match self {
            State::Success => "success",
            State::Failed => "failed",
            State::Skipped => "skipped",
            State::Unreachable => "unreachable",
        }
    }
}

/// Status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Running,
    Success,
    Error,
    Canceled,
}

impl Status {
    /// Returns the status of a name; None for any other word.
    pub fn named(name: &str) -> Option<Status> {
        [
            Status::Running,
            Status::Success,
            Status::Error,
            Status::Canceled,
        ]
        .into_iter()
        .find(|status| status.name() == name)
    }

    /// Returns the name in an event.
    pub fn name(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Success => "success",
            Status::Error => "error",
            Status::Canceled => "canceled",
        }
    }
}

/// One run of Ansible: a controller process, or a playbook in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Run {
    pub id: String,
    pub playbook: Option<String>,
    pub path: Option<String>,
    pub check: bool,
    pub user: Option<String>,
    pub controller: Option<String>,
    pub ansible_version: Option<String>,
    pub limit: Option<String>,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub start_at_task: Option<String>,
    /// Module and hosts of an ad hoc command, which has no playbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// Inventories as they were named.
    pub inventory: Vec<String>,
    /// Paths of all playbooks on the command line, if there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub playbooks: Vec<String>,
    /// Address at which a person can look at the run, if something like a CI system shows it.
    pub url: Option<String>,
    /// Span that started Ansible, from the environment variable TRACEPARENT (W3C Trace Context).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Name that ansible-runner gives the run; two runs may share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ident: Option<String>,
    /// Name of the command of `ansible-notify run`: from `--name`, or the program's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Command of `ansible-notify run` that it belongs to; elsewhere, only if it is a script.
    #[serde(rename = "key", skip_serializing_if = "wrapped::is_plain")]
    pub wrapped: Option<wrapped::Wrapped>,
}

/// The play that an event belongs to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Play {
    pub id: String,
    pub name: String,
}

/// The task that an event belongs to, as it was run on the host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Task {
    pub id: String,
    pub name: String,
    pub action: Option<String>,
    pub path: Option<String>,
    pub role: Option<String>,
    pub tags: Vec<String>,
    pub handler: bool,
}

/// The host that an event is about.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    pub name: String,
    pub address: Option<String>,
    pub delegated_to: Option<String>,
    /// Variables that the configuration lists, with this host's values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vars: Option<Arc<Map<String, Value>>>,
    /// Its inventory groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Arc<Vec<String>>>,
}

/// One complete event; serialised, it is the event of schema version 1.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    pub schema: u32,
    /// The same on every attempt to deliver it: the run's id and a number.
    pub id: String,
    /// Ansible's callback name without `v2_`, or `run_end`.
    pub event: Callback,
    #[serde(serialize_with = "microseconds")]
    pub time: Timestamp,
    pub state: Option<State>,
    pub changed: bool,
    pub ignored: bool,
    pub item: Option<Value>,
    /// Seconds.
    pub duration: Option<f64>,
    pub run: Arc<Run>,
    pub play: Option<Arc<Play>>,
    pub task: Option<Arc<Task>>,
    /// Variables that the configuration lists, with the play's values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vars: Option<Arc<Map<String, Value>>>,
    pub host: Option<Host>,
    /// Labels of the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Map<String, Value>>,
    /// Address at which a person can look at it on the page of this program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Return value of the module, stripped; kept as text until an expression asks for it.
    pub result: Option<Box<RawValue>>,
    /// Items of a loop that failed, and why: its result does not hold them.
    #[serde(rename = "reason", skip_serializing_if = "Option::is_none")]
    pub loop_reason: Option<String>,
    /// True if something was cut to keep the event below the size limit.
    #[serde(skip_serializing_if = "is_false")]
    pub truncated: bool,
    /// True if something was not valid JSON text and was replaced.
    #[serde(skip_serializing_if = "is_false")]
    pub repaired: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub test: bool,
    /// Present only at the end of a run.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub end: Option<Arc<RunEnd>>,
    /// Present only if the event is about time.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub alert: Option<Arc<Alert>>,
    /// True if it was held until a certain time before it is sent.
    #[serde(skip)]
    pub held: bool,
    /// Number of earlier failures of the same thing that were not sent to a notifier.
    #[serde(skip)]
    pub held_back: u32,
    /// Original record of ansible-runner; only for notifiers that want it, and not part of the schema.
    #[serde(skip)]
    pub record: Option<Box<RawValue>>,
}

/// Data known once a run has ended.
#[derive(Clone, Debug, Serialize)]
pub struct RunEnd {
    pub status: Status,
    /// Ansible's exit code, if known; for a command killed by a signal, the one that a shell reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Name of the signal that ended the command of `ansible-notify run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Reason why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds.
    pub elapsed: f64,
    /// Ansible's counts per host; empty if the run was cut off.
    pub stats: Map<String, Value>,
    /// Status of the previous run of the same playbook and inventory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Status>,
    /// Hosts that failed in earlier runs and have not succeeded since, in this run or another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub still_failing: Vec<String>,
    /// The first of the failed tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed_tasks: Vec<FailedTask>,
    /// Total number of failures.
    pub failures: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed_hosts: Vec<String>,
    /// Plays that had events, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plays: Vec<PlaySummary>,
    /// Data of `set_stats` about the run.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom_stats: Map<String, Value>,
    /// Data of `set_stats` with `per_host`, by host.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub custom_stats_per_host: Map<String, Value>,
    /// Its delays, as far as notifiers need them.
    #[serde(flatten)]
    pub delays: Delays,
    /// Last lines that the command of `ansible-notify run` printed; only for notifiers that use them, and not
    /// part of the schema.
    #[serde(skip)]
    pub output: Option<String>,
}

impl RunEnd {
    /// Returns how often a host failed or could not be reached, by its counts.
    pub fn failures_of(counts: &Value) -> usize {
        let count = |key: &str| counts[key].as_u64().unwrap_or(0);
        usize::try_from(count("failures") + count("unreachable")).unwrap_or(usize::MAX)
    }

    /// Returns true if a host changed, by its counts.
    pub fn is_changed(counts: &Value) -> bool {
        counts["changed"].as_u64() > Some(0)
    }

    /// Creates an end of which only the status is known.
    pub fn of(status: Status) -> RunEnd {
        RunEnd {
            status,
            exit_code: None,
            signal: None,
            reason: None,
            elapsed: 0.0,
            stats: Map::new(),
            previous: None,
            still_failing: Vec::new(),
            failed_tasks: Vec::new(),
            failures: 0,
            changed_hosts: Vec::new(),
            plays: Vec::new(),
            custom_stats: Map::new(),
            custom_stats_per_host: Map::new(),
            delays: Delays::default(),
            output: None,
        }
    }
}

/// Returns a unique id; works with a clock set before 1970, too.
pub fn new_id() -> String {
    let now = Timestamp::now();
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    if seconds > 0 {
        return uuid::Uuid::now_v7().to_string();
    }
    let time = uuid::Timestamp::from_unix(uuid::NoContext, 0, 0);
    uuid::Uuid::new_v7(time).to_string()
}

/// Returns the time as RFC 3339 text with microseconds, as every event carries it.
pub fn time_text(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Serialises a time as [`time_text`] writes it.
pub fn microseconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time_text(*time))
}

/// Returns true for false: such fields are left out of the JSON.
pub fn is_false(value: &bool) -> bool {
    !value
}

impl Event {
    /// Creates a bare event of `run`, dated now.
    pub fn new(callback: Callback, run: Arc<Run>, number: u64) -> Event {
        Event {
            schema: SCHEMA,
            id: format!("{}-{number}", run.id),
            time: Timestamp::now(),
            state: callback.state(),
            event: callback,
            changed: false,
            ignored: false,
            item: None,
            duration: None,
            run,
            play: None,
            task: None,
            vars: None,
            host: None,
            labels: None,
            url: None,
            result: None,
            loop_reason: None,
            truncated: false,
            repaired: false,
            test: false,
            end: None,
            alert: None,
            held: false,
            held_back: 0,
            record: None,
        }
    }

    /// Returns the status of the run, if the event tells it: at its start, running.
    pub fn status(&self) -> Option<Status> {
        let start = matches!(self.event, Callback::PlaybookOnStart | Callback::RunStart);
        let started = start.then_some(Status::Running);
        self.end.as_ref().map(|end| end.status).or(started)
    }

    /// Returns the address at which a person can look at it, or at its run in a CI system.
    pub fn link(&self) -> Option<&str> {
        self.url.as_deref().or(self.run.url.as_deref())
    }

    /// Returns its approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        let text = |raw: &Option<Box<RawValue>>| raw.as_ref().map_or(0, |raw| raw.get().len());
        let item = self.item.as_ref().map_or(0, bulk::footprint);
        let own = |vars: Option<&Map<String, Value>>| vars.map_or(0, bulk::footprint_of);
        let vars = own(self.vars.as_deref()) + own(self.labels.as_ref());
        let host = self.host.as_ref().and_then(|host| host.vars.as_deref());
        size_of::<Event>() + text(&self.result) + text(&self.record) + item + vars + own(host)
    }

    /// Returns the host's name; empty if the event is about no host.
    pub fn host_name(&self) -> &str {
        self.host.as_ref().map_or("", |host| &host.name)
    }

    /// Removes data that must not leave Ansible from the result and the item. Cheap if there is nothing to
    /// remove.
    pub fn strip(&mut self) {
        if self.item.as_mut().is_some_and(|item| strip(item, None)) {
            self.item = None;
        }
        let Some(raw) = &self.result else { return };
        let variables = self.variables();
        if variables.is_none() && !is_suspicious(raw.get()) {
            return;
        }
        let most = bulk::MAX_VALUES / 2;
        self.truncated |= bulk::cut(raw.get(), most).is_some();
        let mut result = parse_result(raw, most);
        let label = result.get("_ansible_item_label").cloned();
        if strip(&mut result, variables) {
            self.item = None;
            self.loop_reason = None;
        }
        if let (Some(label), Some(item)) = (label, &mut self.item)
            && item.is_object()
        {
            *item = label;
        }
        self.result = serde_json::value::to_raw_value(&result).ok();
    }

    /// Returns the key under which its result holds variables, which may be secrets, if its task sets any.
    fn variables(&self) -> Option<&'static str> {
        let action = self.task.as_ref()?.action.as_deref()?;
        match action.rsplit('.').next()? {
            "set_fact" | "include_vars" => Some("ansible_facts"),
            "add_host" => Some("host_vars"),
            _ => None,
        }
    }

    /// Returns a short reason or message.
    pub fn reason(&self) -> Option<String> {
        if let Some(end) = &self.end {
            return end.reason.clone();
        }
        if let Some(alert) = &self.alert {
            return Some(alert::reason(self, alert));
        }
        if self.loop_reason.is_some() {
            return self.loop_reason.clone();
        }
        let result = self.result_value();
        match self.state {
            Some(State::Failed | State::Unreachable) => reason::of_failure(&result),
            _ => reason::of_other(&result),
        }
    }

    /// Notes which items of a loop failed, if its result holds them all; call it before stripping.
    pub fn note_items(&mut self) {
        let Some(raw) = &self.result else { return };
        if self.is_failure() && self.loop_reason.is_none() && raw.get().contains("\"results\"") {
            self.loop_reason = Items::of_results(&self.result_value()).reason();
        }
    }

    /// Returns the result as JSON, or an object that says why it cannot be read; only a part of one that
    /// would exhaust memory.
    pub fn result_value(&self) -> Value {
        self.result_within(bulk::MAX_VALUES / 2)
    }

    /// Returns the same, limited to `most` values.
    pub fn result_within(&self, most: usize) -> Value {
        let result = self.result.as_deref();
        result.map_or(Value::Null, |raw| parse_result(raw, most))
    }

    /// Returns the event with its result limited to `most` values.
    pub fn within(&self, most: usize) -> Cow<'_, Event> {
        let result = self.result.as_deref();
        let Some(short) = result.and_then(|raw| bulk::cut(raw.get(), most)) else {
            return Cow::Borrowed(self);
        };
        let mut event = Event {
            result: None,
            record: None,
            ..self.clone()
        };
        event.result = RawValue::from_string(short).ok();
        event.truncated = true;
        Cow::Owned(event)
    }
}

fn parse_result(raw: &RawValue, most: usize) -> Value {
    let short = bulk::cut(raw.get(), most);
    let text = short.as_deref().unwrap_or(raw.get());
    let parsed = serde_json::from_str(text).or_else(|_| serde_json::from_str(&shallow(text)));
    parsed.unwrap_or_else(|error| serde_json::json!({"msg": format!("the result cannot be read: {}", syntax(&error))}))
}

/// Returns the time from seconds since 1970.
pub fn from_seconds(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok()
}

#[cfg(test)]
mod tests;
