//! Conversion of ansible-runner's records to events: its job events, in `event_data`, and its statuses.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::event::callback::Callback;
use crate::event::fields::{raw, read_time, text};
use crate::event::{self, Event, Host, Play, Run, RunEnd, Status, Task};
use crate::json::lookup;

/// Playbook name that Ansible gives an ad hoc command.
const AD_HOC: &str = "__adhoc_playbook__";
/// Reason of a run that took too long.
pub const TIMEOUT: &str = "ansible-runner ended it: timeout";

/// Converts a record to an event; returns the object unchanged if it is no record of ansible-runner. Of its
/// environment, only the named variables are kept.
pub fn event(
    mut object: Map<String, Value>,
    run: &Arc<Run>,
    environment: &[String],
) -> Result<Event, Map<String, Value>> {
    // Ansible's plain output has no data, but comes in a record all the same.
    let is_job_event = ["event_data", "counter"]
        .iter()
        .any(|key| object.contains_key(*key));
    let mut event = if let (Some(name), true) = (text(&object, "event"), is_job_event) {
        let none = Map::new();
        let data = object.get("event_data").and_then(Value::as_object);
        job_event(&name, &object, data.unwrap_or(&none), run)
    } else if let Some(status) = text(&object, "status")
        && !object.contains_key("event")
        && !object.contains_key("state")
    {
        keep_only(&mut object, environment);
        match status_event(&status, &object, run) {
            Some(event) => event,
            None => return Err(object),
        }
    } else {
        return Err(object);
    };
    event.record = Some(raw(&Value::Object(object)));
    Ok(event)
}

/// Returns true if a JSON object only frames what ansible-runner sends: neither an event nor an error.
pub fn is_frame(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    // A keepalive is short; any other frame is the only member of its object.
    let Some((first, rest)) = text.split_once(':') else {
        return false;
    };
    let name = first
        .trim_start_matches(['{', ' ', '\n', '\r', '\t'])
        .trim_end();
    let is_alone = ["\"kwargs\"", "\"zipfile\"", "\"eof\""].contains(&name);
    let keepalive = rest.len() < 1024
        && lookup::member(text, "event").is_some_and(|event| event.get() == "\"keepalive\"");
    keepalive || is_alone && lookup::is_single(text)
}

/// Converts a status to an event: the start, the steps between, and the end.
fn status_event(status: &str, object: &Map<String, Value>, run: &Arc<Run>) -> Option<Event> {
    let (callback, end) = match status {
        "starting" => (Callback::RunStart, None),
        "running" => (Callback::RunRunning, None),
        "successful" => (Callback::RunEnd, Some(Status::Success)),
        "failed" | "timeout" | "error" => (Callback::RunEnd, Some(Status::Error)),
        "canceled" => (Callback::RunEnd, Some(Status::Canceled)),
        _ => return None,
    };
    let mut event = Event::new(callback, run_of(object, run), 0);
    // It has no id of its own, and another run may have the same ident.
    event.id = format!("{}-{}", event.run.id, event::new_id());
    event.end = end.map(|ended| {
        let mut end = RunEnd::of(ended);
        end.reason = (status == "timeout").then(|| TIMEOUT.to_owned());
        Arc::new(end)
    });
    Some(event)
}

/// Removes everything not asked for from the environment, which holds every secret of the run.
fn keep_only(object: &mut Map<String, Value>, names: &[String]) {
    if let Some(Value::Object(variables)) = object.get_mut("env") {
        variables.retain(|name, _| names.contains(name));
    }
    if names.is_empty() {
        object.shift_remove("env");
    }
}

fn run_of(object: &Map<String, Value>, run: &Arc<Run>) -> Arc<Run> {
    let ident = text(object, "runner_ident");
    if run.ident.is_some() || ident.is_none() {
        return run.clone();
    }
    Arc::new(Run {
        id: ident.clone().unwrap_or_default(),
        ident,
        ..Run::default()
    })
}

fn job_event(
    name: &str,
    object: &Map<String, Value>,
    data: &Map<String, Value>,
    run: &Arc<Run>,
) -> Event {
    let mut run = run_of(object, run);
    if run.playbook.is_none() {
        let playbook = text(data, "playbook").filter(|name| name != AD_HOC);
        Arc::make_mut(&mut run).playbook = playbook;
    }
    // ansible-runner names this one callback differently from Ansible.
    let callback = match name {
        "runner_on_file_diff" => Callback::OnFileDiff,
        name => Callback::from(name),
    };
    let mut event = Event::new(callback, run, 0);
    event.id = match (text(object, "uuid"), &event.run.ident) {
        // Ansible's task ids can be the same in another run.
        (Some(uuid), Some(ident)) => format!("{ident}-{uuid}"),
        (Some(uuid), None) => uuid,
        (None, _) => format!("{}-{}", event.run.id, event::new_id()),
    };
    if let Some(time) = object.get("created").and_then(read_time) {
        event.time = time;
    }
    let result = data.get("res").unwrap_or(&Value::Null);
    event.changed = result["changed"] == Value::Bool(true);
    event.ignored = data.get("ignore_errors") == Some(&Value::Bool(true));
    event.duration = data.get("duration").and_then(Value::as_f64);
    event.item = item_of(result);
    event.play = play_of(data);
    event.task = task_of(data);
    event.host = host_of(data, result);
    event.result = match event.event {
        Callback::PlaybookOnStats => Some(raw(&json!({ "stats": stats_of(data) }))),
        Callback::OnFileDiff => data.get("diff").map(|diff| raw(&json!({ "diff": diff }))),
        _ => Some(result).filter(|result| !result.is_null()).map(raw),
    };
    event
}

fn play_of(data: &Map<String, Value>) -> Option<Arc<Play>> {
    let name = text(data, "play")?;
    let id = text(data, "play_uuid").unwrap_or_default();
    Some(Arc::new(Play { id, name }))
}

fn task_of(data: &Map<String, Value>) -> Option<Arc<Task>> {
    let name = text(data, "task")?;
    Some(Arc::new(Task {
        id: text(data, "task_uuid").unwrap_or_default(),
        name,
        action: text(data, "resolved_action").or_else(|| text(data, "task_action")),
        path: text(data, "task_path"),
        role: text(data, "role"),
        ..Task::default()
    }))
}

fn host_of(data: &Map<String, Value>, result: &Value) -> Option<Host> {
    let name = text(data, "host")?;
    // A host without an address of its own is reported under its name.
    let address = text(data, "remote_addr").filter(|address| *address != name);
    let delegated_to = result["_ansible_delegated_vars"]["ansible_delegated_host"].as_str();
    Some(Host {
        name,
        address,
        delegated_to: delegated_to.map(str::to_owned),
        ..Host::default()
    })
}

/// Returns the name of a loop's item: its label, if there is one.
fn item_of(result: &Value) -> Option<Value> {
    let variable = result["ansible_loop_var"].as_str().unwrap_or("item");
    let label = Some(&result["_ansible_item_label"]).filter(|label| !label.is_null());
    label
        .or(Some(&result[variable]))
        .filter(|item| !item.is_null())
        .cloned()
}

/// Returns the counts per host; ansible-runner gives them per counter.
fn stats_of(data: &Map<String, Value>) -> Map<String, Value> {
    let mut hosts: Map<String, Value> = Map::new();
    for (theirs, ours) in [
        ("ok", "ok"),
        ("changed", "changed"),
        ("failures", "failures"),
        ("dark", "unreachable"),
        ("skipped", "skipped"),
        ("rescued", "rescued"),
        ("ignored", "ignored"),
    ] {
        let count = |host: &str| {
            data.get(theirs)
                .map_or(0, |counts| counts[host].as_u64().unwrap_or(0))
        };
        let processed = data.get("processed").and_then(Value::as_object);
        for host in processed.into_iter().flat_map(Map::keys) {
            let counts = hosts.entry(host.clone()).or_insert_with(|| json!({}));
            counts[ours] = json!(count(host));
        }
    }
    hosts
}
