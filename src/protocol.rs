//! The records in which a plugin speaks to `stream`, as docs/protocol.md describes them.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::Overrides;
use crate::config::emitters::Emitters;
use crate::event::{Host, Play, Run, Task};

/// The version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;

/// One record.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    Hello(Box<Hello>),
    Run(Run),
    Overrides(Overrides),
    Play(Play),
    Task(Task),
    Event(EventRecord),
    Runner(RunnerRecord),
    End(Value),
}

/// The first record: who speaks, and what is to hold for the run.
#[derive(Deserialize)]
pub struct Hello {
    pub protocol: u32,
    #[serde(default)]
    pub run: Run,
    #[serde(default)]
    pub overrides: Overrides,
    /// The variables of the first play are not known yet: `overrides` may follow before its `play` record.
    #[serde(default)]
    pub early: bool,
    /// The records come from ansible-runner.
    pub runner: Option<RunnerHello>,
    /// Another process of the same run died: this one goes on.
    pub resumed: Option<Resumed>,
}

/// What became of a run before the process that goes on with it.
#[derive(Deserialize)]
pub struct Resumed {
    /// The number of the last event that is safe.
    pub after: u64,
    /// When the run began, in seconds since 1970.
    pub began: f64,
    /// The counts of its hosts, where the plugin has them already.
    pub stats: Option<Map<String, Value>>,
}

/// What ansible-runner was given for its job.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RunnerHello {
    /// The file of the settings, or empty.
    pub settings: PathBuf,
    pub emitters: Emitters,
    /// The variables of its environment that are told.
    pub environment: Vec<String>,
}

/// What ansible-runner said, as it said it.
#[derive(Deserialize)]
pub struct RunnerRecord {
    pub seq: u64,
    /// When it was said, in seconds since 1970: a status has no time of its own.
    pub time: f64,
    pub record: Box<RawValue>,
}

/// What the callback plugin says of one event; its play and its task by their ids.
#[derive(Deserialize)]
pub struct EventRecord {
    pub seq: u64,
    pub event: String,
    /// Seconds since 1970.
    pub time: f64,
    #[serde(default)]
    pub changed: bool,
    #[serde(default)]
    pub ignored: bool,
    #[serde(default)]
    pub truncated: bool,
    pub item: Option<Box<RawValue>>,
    /// Seconds.
    pub duration: Option<f64>,
    pub play: Option<String>,
    pub task: Option<String>,
    /// Name and action of the task as this host ran it, where they differ from those of its record.
    pub task_name: Option<String>,
    pub task_action: Option<String>,
    pub host: Option<Host>,
    pub result: Option<Box<RawValue>>,
}

impl EventRecord {
    /// The task under the name and the action that it had on this host.
    pub fn as_run(&self, task: &Arc<Task>) -> Arc<Task> {
        if self.task_name.is_none() && self.task_action.is_none() {
            return task.clone();
        }
        Arc::new(Task {
            name: self.task_name.as_ref().unwrap_or(&task.name).clone(),
            action: self.task_action.clone().or_else(|| task.action.clone()),
            ..Task::clone(task)
        })
    }
}
