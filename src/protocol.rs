//! The records in which a plugin speaks to `stream`, as docs/protocol.md describes them.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::Overrides;
use crate::config::emitters::Emitters;
use crate::event::{Host, Play, Run, Task};

/// The version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;
/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

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

/// The part of the first record that every version of the protocol has.
#[derive(Deserialize)]
pub struct Greeting {
    pub protocol: u32,
    /// The version of the plugin; none before 0.1.0.
    #[serde(default)]
    pub version: Option<String>,
    /// Present where the plugin is that of ansible-runner.
    #[serde(default)]
    pub runner: Option<IgnoredAny>,
}

impl Greeting {
    /// The greeting in a line of a stream, where it is one.
    pub fn of(line: &[u8]) -> Option<Greeting> {
        #[derive(Deserialize)]
        struct First {
            hello: Greeting,
        }
        let start = &line[..line.len().min(16)];
        let is_hello = start.windows(7).any(|key| key == b"\"hello\"");
        let first = is_hello.then(|| serde_json::from_slice::<First>(line));
        Some(first?.ok()?.hello)
    }

    /// Why this program cannot speak with the plugin, and which of the two to upgrade.
    pub fn refusal(&self) -> Option<String> {
        let advice = match self.protocol.cmp(&PROTOCOL) {
            Ordering::Equal => return None,
            Ordering::Greater => "upgrade the program",
            Ordering::Less if self.runner.is_some() => "upgrade the Python package ansible-notify",
            Ordering::Less => {
                "upgrade the plugin: `ansible-notify init --upgrade` in the playbook's folder"
            }
        };
        Some(format!(
            "the plugin (version {}) speaks protocol {}, this program (version {VERSION}) protocol {PROTOCOL}; {advice}",
            self.version.as_deref().unwrap_or("unknown"),
            self.protocol,
        ))
    }
}

/// The first record: who speaks, and what is to hold for the run.
#[derive(Deserialize)]
pub struct Hello {
    /// Required here, and judged by [`Greeting`].
    #[serde(rename = "protocol")]
    _protocol: u32,
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
