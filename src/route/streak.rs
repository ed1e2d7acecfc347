//! Failures in a row: the thing that an event is about, and whether it failed.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::grouping::{Grouping, task_key};
use crate::event::callback::Callback;
use crate::event::{Event, State, Status};

/// Length limit of a thing's key, in bytes; the rest of a longer key is hashed.
const MAX_KEY: usize = 500;

/// The thing that an event is about, and its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The same in every run.
    pub key: String,
    pub failed: bool,
    /// True if all events of a run about it count as one: it is a group.
    pub is_group: bool,
}

/// Returns the thing that an event is about; None if it is neither a failure nor a success, or not recognizable
/// in another run.
pub fn subject(event: &Event, grouping: &Grouping) -> Option<Subject> {
    let failed = match event
        .end
        .as_ref()
        .map(|end| (end.status, &end.still_failing))
    {
        Some((Status::Error, _)) => true,
        // While something outside this run is still failing, the playbook has not recovered.
        Some((Status::Success, broken)) if broken.is_empty() => false,
        Some(_) => return None,
        None if event.is_failure() => true,
        None if event.state == Some(State::Success) && is_last_word(&event.event) => false,
        None => return None,
    };
    let mut key = match event.end {
        Some(_) => event.run.command_key(),
        None => event.run.playbook_key(),
    };
    if event.end.is_some() && key.is_empty() {
        return None;
    }
    if event.run.check {
        key.push_str(" (check mode)");
    }
    if event.end.is_some() {
        return Some(Subject {
            key: bounded(format!("run\n{key}")),
            failed,
            is_group: false,
        });
    }
    let part = grouping.part(event);
    let is_group = part.is_some();
    let thing = part.unwrap_or_else(|| result(event));
    Some(Subject {
        key: bounded(format!("result\n{key}\n{thing}")),
        failed,
        is_group,
    })
}

/// Returns true if this ends a task or an item, unlike a poll or a diff.
fn is_last_word(event: &Callback) -> bool {
    matches!(
        event,
        Callback::RunnerOnOk | Callback::RunnerItemOnOk | Callback::RunnerOnAsyncOk
    )
}

/// Returns the task on a host that an event is about, or one of its items.
fn result(event: &Event) -> String {
    let kind = match event.event {
        Callback::RunnerItemOnOk | Callback::RunnerItemOnFailed => "item",
        Callback::RunnerOnAsyncOk | Callback::RunnerOnAsyncFailed => "async",
        _ => "",
    };
    let item = event.item.as_ref().map(ToString::to_string);
    let item = item.filter(|_| kind == "item").unwrap_or_default();
    let play = event.play.as_ref().map_or("", |play| &play.name);
    let task = event.task.as_deref().map(task_key).unwrap_or_default();
    format!("{play}\n{task}\n{}\n{kind}\n{item}", event.host_name())
}

/// Shortens a long key and keeps it unique.
fn bounded(key: String) -> String {
    if key.len() <= MAX_KEY {
        return key;
    }
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    let mut ends = (0..=MAX_KEY).rev();
    let end = ends.find(|end| key.is_char_boundary(*end));
    let start = &key[..end.unwrap_or(0)];
    format!("{start}\n{:016x}", hasher.finish())
}
