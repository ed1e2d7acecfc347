//! Documents in the Elastic Common Schema (ECS 8).

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use crate::config::section::Section;
use crate::event::{Event, State, Status, time_text};
use crate::message::item::Item;

/// Value of the key `result`: the form of a task's result, whose fields are different for each module and would
/// soon be too many for an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultForm {
    /// JSON as a text.
    Text,
    /// An object, for a field that is mapped as `flattened` or `flat_object`.
    Flattened,
    None,
}

impl ResultForm {
    /// Reads `result`.
    pub fn read(section: &Section) -> ResultForm {
        let forms = [
            ("text", ResultForm::Text),
            ("flattened", ResultForm::Flattened),
            ("none", ResultForm::None),
        ];
        section.choice("result", ResultForm::Text, &forms)
    }

    fn of(self, event: &Event) -> Value {
        let Some(raw) = &event.result else {
            return Value::Null;
        };
        match self {
            ResultForm::Text => json!(raw.get()),
            ResultForm::Flattened => event.result_value(),
            ResultForm::None => Value::Null,
        }
    }
}

/// Returns the document of an event.
pub fn document(item: &Item, result: ResultForm) -> Vec<u8> {
    let event = &*item.event;
    let reason = event.reason();
    let is_bad = outcome(event) == "failure";
    let document = json!({
        "@timestamp": time_text(event.time),
        "message": reason.clone().unwrap_or_else(|| summary(event)),
        "event": {
            "kind": "event",
            "category": ["configuration"],
            "type": [if event.changed { "change" } else { "info" }],
            "outcome": outcome(event),
            "action": action(event),
            "duration": nanoseconds(event),
            "id": event.id,
            "dataset": "ansible.result",
        },
        "host": host(event),
        "user": {"name": event.run.user},
        "process": {"exit_code": event.end.as_ref().and_then(|end| end.exit_code)},
        "error": {"message": reason.filter(|_| is_bad)},
        "trace": {"id": event.run.id},
        "labels": labels(event),
        "ansible": ansible(event, result),
    });
    without_nulls(document).to_string().into_bytes()
}

fn outcome(event: &Event) -> &'static str {
    match (event.status(), event.state) {
        (Some(Status::Success), _) | (None, Some(State::Success)) => "success",
        (Some(Status::Error), _) => "failure",
        (None, Some(State::Failed | State::Unreachable)) => "failure",
        _ => "unknown",
    }
}

/// Returns the module, or the callback of an event without one.
fn action(event: &Event) -> &str {
    let task = event.task.as_ref();
    let module = task.and_then(|task| task.action.as_deref());
    module.unwrap_or(event.event.name())
}

fn summary(event: &Event) -> String {
    let task = event.task.as_ref().map(|task| task.name.clone());
    let told = task.unwrap_or_else(|| event.run.name());
    let state = event.state.map(State::name);
    let state = state.or(event.status().map(Status::name));
    format!("{told}: {}", state.unwrap_or(event.event.name()))
}

fn nanoseconds(event: &Event) -> Option<i64> {
    let elapsed = event.end.as_ref().map(|end| end.elapsed);
    let seconds = event.duration.or(elapsed)?;
    Some((seconds * 1e9) as i64)
}

fn host(event: &Event) -> Value {
    let Some(host) = &event.host else {
        return Value::Null;
    };
    let address = host.address.as_deref();
    let is_ip = |address: &&str| address.parse::<IpAddr>().is_ok();
    json!({"name": host.name, "ip": address.filter(is_ip), "hostname": host.address})
}

/// Returns labels, which are texts: the playbook, and those of the configuration.
fn labels(event: &Event) -> Value {
    let mut labels = Map::new();
    labels.insert("playbook".to_owned(), json!(event.run.playbook));
    for (name, value) in event.labels.iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        // A dot would make an object.
        labels.insert(name.replace('.', "_"), text.into());
    }
    Value::Object(labels)
}

fn ansible(event: &Event, result: ResultForm) -> Value {
    let (run, task) = (&*event.run, event.task.as_ref());
    let item = event.item.as_ref();
    json!({
        "callback": event.event.name(),
        "state": event.state.map(State::name),
        "status": event.status().map(Status::name),
        "changed": event.changed,
        "ignored": event.ignored,
        "check": run.check,
        "run_id": run.id,
        "playbook": run.playbook,
        "inventory": run.inventory,
        "limit": run.limit,
        "controller": run.controller,
        "version": run.ansible_version,
        "play": event.play.as_ref().map(|play| &play.name),
        "task": task.map(|task| &task.name),
        "task_path": task.and_then(|task| task.path.as_ref()),
        "role": task.and_then(|task| task.role.as_ref()),
        // Of any type, which a field cannot have.
        "item": item.map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)),
        "failures": event.end.as_ref().map(|end| end.failures),
        "url": event.link(),
        "result": result.of(event),
    })
}

/// Removes nulls and what is empty then, except from a task's result.
fn without_nulls(value: Value) -> Value {
    let Value::Object(fields) = value else {
        return value;
    };
    let fields = fields.into_iter().map(|(name, value)| match name.as_str() {
        "result" => (name, value),
        _ => (name, without_nulls(value)),
    });
    let is_empty = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
    fields.filter(|(_, value)| !is_empty(value)).collect()
}
