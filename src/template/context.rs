//! View of an event for expressions and templates.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde::Deserialize;

use crate::event::{Event, time_text};
use crate::json::bulk;
use crate::template::awx;

/// Names that expressions and templates may use.
pub const VARIABLES: [&str; 43] = [
    "event",
    "state",
    "changed",
    "ignored",
    "host",
    "host_address",
    "task_name",
    "task_action",
    "task_path",
    "role",
    "play_name",
    "playbook",
    "run_id",
    "run_name",
    "item",
    "time",
    "duration",
    "result",
    "task_output",
    "check",
    "id",
    "callback",
    "status",
    "stats",
    "exit_code",
    "elapsed",
    "previous",
    "recovered",
    "still_failing",
    "failed_tasks",
    "failures",
    "changed_hosts",
    "events",
    "hosts",
    "reason",
    "user",
    "controller",
    "inventory",
    "url",
    "test",
    "job",
    "job_friendly_name",
    "job_metadata",
];

/// An event as seen by expressions and templates.
#[derive(Clone, Debug)]
pub struct Context(Arc<View>);

impl Context {
    pub fn new(event: Arc<Event>) -> Context {
        Context::group(event, Vec::new(), 0)
    }

    /// Creates the context of one message about several events: the representative event, the others in
    /// order, and the number of those that came before it.
    pub fn group(event: Arc<Event>, others: Vec<Arc<Event>>, before: usize) -> Context {
        Context(Arc::new(View {
            event,
            others,
            before,
            result: OnceLock::new(),
        }))
    }

    /// Returns the event; of a group, the representative one.
    pub fn event(&self) -> &Event {
        &self.0.event
    }

    /// Returns all events of a group, in order.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        let (before, after) = self.0.others.split_at(self.0.before);
        before.iter().chain([&self.0.event]).chain(after)
    }

    /// Returns the hosts of all events, without duplicates.
    pub fn hosts(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let names = self.events().map(|event| event.host_name());
        names
            .filter(|name| !name.is_empty() && seen.insert(*name))
            .collect()
    }

    /// Returns a context of the same events without cached values.
    pub fn afresh(&self) -> Context {
        Context::group(self.0.event.clone(), self.0.others.clone(), self.0.before)
    }

    /// Returns all variables as a template value.
    pub fn value(&self) -> Value {
        Value::from_dyn_object(self.0.clone())
    }

    /// Returns a variable; undefined if the event does not have it.
    pub fn variable(&self, name: &str) -> Value {
        let value = self.0.get_value_by_str(name).unwrap_or_default();
        if value.downcast_object_ref::<Metadata>().is_some() {
            // Used alone, it is the text that AWX renders.
            return Value::from(value.to_string());
        }
        value
    }
}

/// The parts of a task's result that are meant for people.
#[derive(Deserialize)]
struct Said {
    #[serde(default, deserialize_with = "bulk::deserialize")]
    stdout: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "bulk::deserialize")]
    msg: Option<serde_json::Value>,
    #[serde(default, deserialize_with = "bulk::deserialize")]
    censored: Option<serde_json::Value>,
}

#[derive(Debug)]
struct View {
    event: Arc<Event>,
    /// The other events of a group.
    others: Vec<Arc<Event>>,
    /// Number of them that came before `event`.
    before: usize,
    /// Parsed on first use: most events are delivered without reading their result.
    result: OnceLock<Value>,
}

impl View {
    fn result(&self) -> &Value {
        self.result
            .get_or_init(|| as_result(self.event.result_within(self.share())))
    }

    /// Limit of the values that each event's result may be parsed into.
    fn share(&self) -> usize {
        bulk::MAX_VALUES / 2 / (1 + self.others.len())
    }

    /// Returns a task's output: stdout, else msg; the `no_log` notice if it is hidden; else the result as
    /// JSON.
    fn task_output(&self) -> Option<Value> {
        let raw = self.event.result.as_ref()?;
        let said = match serde_json::from_str::<Said>(raw.get()) {
            Ok(said) => [said.stdout, said.msg, said.censored].map(|said| said.map(from_json)),
            // Not an object, or one that needs the careful parser.
            Err(_) => ["stdout", "msg", "censored"].map(|key| {
                let value = self.result().get_attr(key).ok()?;
                (!value.is_undefined() && !value.is_none()).then_some(value)
            }),
        };
        let values: Vec<Value> = said.into_iter().flatten().collect();
        let full = values.iter().find(|value| value.as_str() != Some(""));
        match full.or(values.first()) {
            Some(value) if value.as_str().is_some() => Some(value.clone()),
            Some(value) => serde_json::to_string(value).ok().map(Value::from),
            None => Some(Value::from(raw.get())),
        }
    }
}

impl Object for View {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, name: &str) -> Option<Value> {
        let event = &self.event;
        let task = event.task.as_ref();
        let end = event.end.as_ref();
        let text = |text: Option<&str>| text.map(Value::from);
        let context = || Context(self.clone());
        match name {
            "event" => Some(whole(event, self.share())),
            "callback" => text(Some(event.event.name())),
            "id" => text(Some(&event.id)),
            "state" => text(event.state.map(|state| state.name())),
            "changed" => Some(Value::from(event.changed)),
            "ignored" => Some(Value::from(event.ignored)),
            "host" => text(event.host.as_ref().map(|host| host.name.as_str())),
            "host_address" => text(event.host.as_ref().and_then(|host| host.address.as_deref())),
            "task_name" => text(task.map(|task| task.name.as_str())),
            "task_action" => text(task.and_then(|task| task.action.as_deref())),
            "task_path" => text(task.and_then(|task| task.path.as_deref())),
            "role" => text(task.and_then(|task| task.role.as_deref())),
            "play_name" => text(event.play.as_ref().map(|play| play.name.as_str())),
            "playbook" => text(event.run.playbook.as_deref()),
            "run_id" => text(Some(&event.run.id)),
            "run_name" => Some(Value::from(event.run.name())),
            "check" => Some(Value::from(event.run.check)),
            "user" => text(event.run.user.as_deref()),
            "controller" => text(event.run.controller.as_deref()),
            "inventory" => Some(event.run.inventory.iter().map(String::as_str).collect()),
            "url" => text(event.run.url.as_deref()),
            "test" => Some(Value::from(event.test)),
            "reason" => event.reason().map(Value::from),
            "hosts" => Some(context().hosts().into_iter().collect()),
            "events" => Some({
                let share = self.share();
                let events = context();
                let events = events.events().map(|event| whole(event, share));
                events.collect()
            }),
            "job" => Some(from_json(awx::job(event))),
            "job_friendly_name" => Some(Value::from(awx::FRIENDLY_NAME)),
            "job_metadata" => Some(Value::from_object(Metadata::new(event))),
            "item" => event.item.clone().map(from_json),
            "time" => Some(Value::from(time_text(event.time))),
            "duration" => event.duration.map(Value::from),
            "result" => Some(self.result().clone()),
            "task_output" => self.task_output(),
            "status" => event.status().map(|status| Value::from(status.name())),
            "previous" => end?.previous.map(|status| Value::from(status.name())),
            "recovered" => Some(Value::from(event.recovered())),
            "still_failing" => end.map(|end| data(&end.still_failing)),
            "failures" => end.map(|end| Value::from(end.failures)),
            "failed_tasks" => end.map(|end| data(&end.failed_tasks)),
            "changed_hosts" => end.map(|end| data(&end.changed_hosts)),
            "exit_code" => end?.exit_code.map(Value::from),
            "elapsed" => end.map(|end| Value::from(end.elapsed)),
            "stats" => end.map(|end| from_json(serde_json::Value::Object(end.stats.clone()))),
            _ => None,
        }
    }
}

/// Returns a whole event in the form in which it is serialised.
fn whole(event: &Event, most: usize) -> Value {
    let event = event.within(most);
    let Ok(serde_json::Value::Object(members)) = serde_json::to_value(&*event) else {
        return Value::UNDEFINED;
    };
    Value::from_pairs(members.into_iter().map(|(key, value)| {
        let value = match key.as_str() {
            "result" => as_result(value),
            _ => from_json(value),
        };
        (key, value)
    }))
}

fn as_result(value: serde_json::Value) -> Value {
    match value {
        object @ serde_json::Value::Object(_) => Value::from_object(TaskResult(from_json(object))),
        other => from_json(other),
    }
}

fn data(value: impl serde::Serialize) -> Value {
    serde_json::to_value(value).map_or(Value::UNDEFINED, from_json)
}

/// A task result that also provides the lists of lines that Ansible users know, derived from the text.
#[derive(Debug)]
struct TaskResult(Value);

impl Object for TaskResult {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self
            .0
            .get_item(key)
            .ok()
            .filter(|value| !value.is_undefined());
        found.or_else(|| {
            let source = key
                .as_str()?
                .strip_suffix("_lines")
                .filter(|name| matches!(*name, "stdout" | "stderr"))?;
            let text = self.0.get_attr(source).ok()?;
            Some(text.as_str()?.lines().map(Value::from).collect())
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys = self.0.try_iter().map(Iterator::collect).unwrap_or_default();
        Enumerator::Values(keys)
    }
}

/// `job_metadata`: a dictionary that renders as the JSON text that it is in AWX.
#[derive(Debug)]
struct Metadata {
    text: String,
    members: Value,
}

impl Metadata {
    fn new(event: &Event) -> Metadata {
        let metadata = awx::metadata(event);
        Metadata {
            text: awx::text(&metadata),
            members: from_json(metadata),
        }
    }
}

impl Object for Metadata {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let found = self.members.get_item(key).ok();
        found.filter(|value| !value.is_undefined())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let keys = self.members.try_iter().map(Iterator::collect);
        Enumerator::Values(keys.unwrap_or_default())
    }

    fn render(self: &Arc<Self>, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Converts JSON to a template value. A number that does not fit a machine type is kept as its text.
pub fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(flag),
        serde_json::Value::Number(number) => from_number(&number),
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(array) => array.into_iter().map(from_json).collect(),
        serde_json::Value::Object(object) => Value::from_pairs(
            object
                .into_iter()
                .map(|(key, value)| (key, from_json(value))),
        ),
    }
}

fn from_number(number: &serde_json::Number) -> Value {
    let text = number.as_str();
    if let Ok(integer) = text.parse::<i64>() {
        return Value::from(integer);
    }
    if let Ok(integer) = text.parse::<i128>() {
        return Value::from(integer);
    }
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() && text.contains(['.', 'e', 'E']) => Value::from(float),
        _ => Value::from(text),
    }
}
