//! View of an event for expressions and templates.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use minijinja::Value;
use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde::Deserialize;

use crate::event::alert::Alert;
use crate::event::{Event, RunEnd, Task, time_text};
use crate::json::bulk;
use crate::template::awx;

/// Value of a variable; None if the event does not have it.
type Read = fn(&Arc<View>) -> Option<Value>;

/// Variables that expressions and templates may use.
const TABLE: [(&str, Read); 60] = [
    ("event", |view| Some(whole(&view.event, view.share()))),
    ("state", |view| {
        text(view.event.state.map(|state| state.name()))
    }),
    ("changed", |view| Some(Value::from(view.event.changed))),
    ("ignored", |view| Some(Value::from(view.event.ignored))),
    ("host", |view| {
        text(view.event.host.as_ref().map(|host| host.name.as_str()))
    }),
    ("host_address", |view| {
        text(
            view.event
                .host
                .as_ref()
                .and_then(|host| host.address.as_deref()),
        )
    }),
    ("task_name", |view| {
        text(view.task().map(|task| task.name.as_str()))
    }),
    ("task_action", |view| {
        text(view.task().and_then(|task| task.action.as_deref()))
    }),
    ("task_path", |view| {
        text(view.task().and_then(|task| task.path.as_deref()))
    }),
    ("role", |view| {
        text(view.task().and_then(|task| task.role.as_deref()))
    }),
    ("play_name", |view| {
        text(view.event.play.as_ref().map(|play| play.name.as_str()))
    }),
    ("playbook", |view| text(view.event.run.playbook.as_deref())),
    ("run_id", |view| text(Some(&view.event.run.id))),
    ("run_name", |view| Some(Value::from(view.event.run.name()))),
    ("item", |view| view.event.item.clone().map(from_json)),
    ("time", |view| Some(Value::from(time_text(view.event.time)))),
    ("duration", |view| view.event.duration.map(Value::from)),
    ("result", |view| Some(view.result().clone())),
    ("task_output", |view| view.task_output()),
    ("check", |view| Some(Value::from(view.event.run.check))),
    ("id", |view| text(Some(&view.event.id))),
    ("callback", |view| text(Some(view.event.event.name()))),
    ("status", |view| {
        view.event.status().map(|status| Value::from(status.name()))
    }),
    ("stats", |view| {
        view.end()
            .map(|end| from_json(serde_json::Value::Object(end.stats.clone())))
    }),
    ("exit_code", |view| view.end()?.exit_code.map(Value::from)),
    ("signal", |view| text(view.end()?.signal.as_deref())),
    ("output", |view| text(view.end()?.output.as_deref())),
    ("elapsed", |view| {
        view.end().map(|end| Value::from(end.elapsed))
    }),
    ("previous", |view| {
        view.end()?
            .previous
            .map(|status| Value::from(status.name()))
    }),
    ("recovered", |view| {
        Some(Value::from(view.event.recovered()))
    }),
    ("still_failing", |view| {
        view.end().map(|end| data(&end.still_failing))
    }),
    ("failed_tasks", |view| {
        view.end().map(|end| data(&end.failed_tasks))
    }),
    ("failures", |view| {
        view.end().map(|end| Value::from(end.failures))
    }),
    ("changed_hosts", |view| {
        view.end().map(|end| data(&end.changed_hosts))
    }),
    ("overdue", |view| {
        view.end().map(|end| Value::from(end.delays.overdue))
    }),
    ("stalls", |view| {
        view.end().map(|end| data(&end.delays.stalls))
    }),
    ("slow_tasks", |view| {
        view.end().map(|end| data(&end.delays.slow_tasks))
    }),
    ("threshold", |view| view.alert()?.threshold.map(Value::from)),
    ("waiting_for", |view| {
        view.alert().map(|alert| data(&alert.waiting_for))
    }),
    ("last_run", |view| {
        let last = view.alert()?.last_run?;
        Some(Value::from(time_text(last)))
    }),
    ("events", |view| {
        Some({
            let share = view.share();
            let events = Context(view.clone());
            let events = events.events().map(|event| whole(event, share));
            events.collect()
        })
    }),
    ("hosts", |view| {
        Some(Context(view.clone()).hosts().into_iter().collect())
    }),
    ("reason", |view| view.event.reason().map(Value::from)),
    ("held", |view| view.held()),
    ("held_back", |view| {
        let events = Context(view.clone());
        let held_back = events.events().map(|event| event.held_back).sum::<u32>();
        (held_back > 0).then(|| Value::from(held_back))
    }),
    ("user", |view| text(view.event.run.user.as_deref())),
    ("controller", |view| {
        text(view.event.run.controller.as_deref())
    }),
    ("inventory", |view| {
        Some(
            view.event
                .run
                .inventory
                .iter()
                .map(String::as_str)
                .collect(),
        )
    }),
    ("vars", |view| members(view.event.vars.as_deref())),
    ("host_vars", |view| {
        members(view.event.host.as_ref()?.vars.as_deref())
    }),
    ("host_groups", |view| {
        let groups = view.event.host.as_ref()?.groups.as_ref()?;
        Some(groups.iter().map(String::as_str).collect())
    }),
    ("labels", |view| members(view.event.labels.as_ref())),
    ("custom_stats", |view| {
        members(view.end().map(|end| &end.custom_stats))
    }),
    ("custom_stats_per_host", |view| {
        members(view.end().map(|end| &end.custom_stats_per_host))
    }),
    ("url", |view| text(view.event.link())),
    ("ci_url", |view| text(view.event.run.url.as_deref())),
    ("test", |view| Some(Value::from(view.event.test))),
    ("job", |view| Some(from_json(awx::job(&view.event)))),
    ("job_friendly_name", |_| {
        Some(Value::from(awx::FRIENDLY_NAME))
    }),
    ("job_metadata", |view| {
        Some(Value::from_object(Metadata::new(&view.event)))
    }),
];

/// Names of the variables.
pub const VARIABLES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = TABLE[index].0;
        index += 1;
    }
    names
};

/// Returns an object as a template value.
fn members(members: Option<&serde_json::Map<String, serde_json::Value>>) -> Option<Value> {
    members.map(|members| from_json(serde_json::Value::Object(members.clone())))
}

/// Returns a text as a template value.
fn text(text: Option<&str>) -> Option<Value> {
    text.map(Value::from)
}

/// An event as seen by expressions and templates.
#[derive(Clone, Debug)]
pub struct Context(Arc<View>);

impl Context {
    /// Creates the context of a message about one event.
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
            lines: Arc::default(),
            result: OnceLock::new(),
        }))
    }

    /// Returns a context of the same events with a line about each listed one.
    pub fn with_lines(&self, lines: Arc<[String]>) -> Context {
        Context(Arc::new(View {
            event: self.0.event.clone(),
            others: self.0.others.clone(),
            before: self.0.before,
            lines,
            result: OnceLock::new(),
        }))
    }

    /// Returns the event; of a group, the representative one.
    pub fn event(&self) -> &Event {
        &self.0.event
    }

    /// Returns the event of an unshared context.
    pub fn into_event(self) -> Event {
        let event = match Arc::try_unwrap(self.0) {
            Ok(view) => view.event,
            Err(shared) => shared.event.clone(),
        };
        Arc::unwrap_or_clone(event)
    }

    /// Returns all events of a group, in order.
    pub fn events(&self) -> impl Iterator<Item = &Arc<Event>> {
        let (before, after) = self.0.others.split_at(self.0.before);
        before.iter().chain([&self.0.event]).chain(after)
    }

    /// Returns true if it is about several held events.
    pub fn is_digest(&self) -> bool {
        self.0.event.held && !self.0.others.is_empty()
    }

    /// Returns true if all of its events are of one run.
    pub fn is_of_one_run(&self) -> bool {
        let mut others = self.0.others.iter();
        others.all(|other| other.run.id == self.0.event.run.id)
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
        self.with_lines(self.0.lines.clone())
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
    /// Lines about held events, one each.
    lines: Arc<[String]>,
    /// Parsed on first use: most events are delivered without reading their result.
    result: OnceLock<Value>,
}

impl View {
    /// Returns the task, if the event belongs to one.
    fn task(&self) -> Option<&Task> {
        self.event.task.as_deref()
    }

    /// Returns the end of the run, if the event is one.
    fn end(&self) -> Option<&RunEnd> {
        self.event.end.as_deref()
    }

    /// Returns the data of an event about time, if it is one.
    fn alert(&self) -> Option<&Alert> {
        self.event.alert.as_deref()
    }

    fn result(&self) -> &Value {
        self.result
            .get_or_init(|| as_result(self.event.result_within(self.share())))
    }

    /// Returns the number of held events, the number of failures among them, and a line about each listed one.
    fn held(self: &Arc<Self>) -> Option<Value> {
        if !self.event.held {
            return None;
        }
        let events = Context(self.clone());
        let failed = events.events().filter(|event| event.is_bad()).count();
        let count = 1 + self.others.len();
        let lines: Value = self.lines.iter().map(String::as_str).collect();
        Some(Value::from_pairs([
            ("count", Value::from(count)),
            ("failed", Value::from(failed)),
            ("lines", lines),
        ]))
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
        let (_, read) = TABLE.iter().find(|(known, _)| *known == name)?;
        read(self)
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
