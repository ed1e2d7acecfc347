//! Records that a plugin sends to `stream`, as described in docs/protocol.md.

use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::config::Overrides;
use crate::config::emitters::Emitters;
use crate::event::callback::Callback;
use crate::event::{Host, Play, Run, Task};

/// Version of the protocol that this program speaks.
pub const PROTOCOL: u32 = 1;
/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A record of the stream.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Line {
    Hello(Box<Hello>),
    Run(Run),
    Overrides(Overrides),
    Play(PlayRecord),
    Host(HostRecord),
    Task(Task),
    Event(EventRecord),
    Runner(RunnerRecord),
    End(Value),
}

/// Part of the first record that all versions of the protocol share.
#[derive(Deserialize)]
pub struct Greeting {
    pub protocol: u32,
    /// Version of the plugin; absent before 0.1.0.
    #[serde(default)]
    pub version: Option<String>,
    /// Present if the plugin is that of ansible-runner.
    #[serde(default)]
    pub runner: Option<IgnoredAny>,
}

impl Greeting {
    /// Parses a line of a stream as a greeting; None if it is not one.
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

    /// Returns why this program cannot speak with the plugin, and which of the two to upgrade.
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

/// First record: identifies the plugin and sets the options of the run.
#[derive(Deserialize)]
pub struct Hello {
    /// Required here, and checked by [`Greeting`].
    #[serde(rename = "protocol")]
    _protocol: u32,
    #[serde(default)]
    pub run: Run,
    #[serde(default)]
    pub overrides: Overrides,
    /// True if the first play's variables are not known yet: `overrides` may follow before its `play` record.
    #[serde(default)]
    pub early: bool,
    /// Present if the records come from ansible-runner.
    pub runner: Option<RunnerHello>,
    /// Present if this process continues the run of another one that died.
    pub resumed: Option<Resumed>,
}

/// State of a run at the point where another process continues it.
#[derive(Deserialize)]
pub struct Resumed {
    /// Number of the last event that was stored safely.
    pub after: u64,
    /// Start of the run, in seconds since 1970.
    pub began: f64,
    /// Counts of its hosts, if the plugin has them already.
    pub stats: Option<Map<String, Value>>,
    /// Data of `set_stats`, once the plugin has it.
    #[serde(default)]
    pub custom_stats: Map<String, Value>,
    #[serde(default)]
    pub custom_stats_per_host: Map<String, Value>,
    /// Variables of the plays so far.
    #[serde(default)]
    pub vars: Option<Map<String, Value>>,
}

/// A play, with the variables that the configuration lists.
#[derive(Deserialize)]
pub struct PlayRecord {
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub vars: Option<Map<String, Value>>,
}

impl PlayRecord {
    /// Returns the play as its events name it.
    pub fn play(self) -> Play {
        Play {
            id: self.id,
            name: self.name,
        }
    }
}

/// Variables and groups of a host, for its events from there on.
#[derive(Deserialize)]
pub struct HostRecord {
    pub name: String,
    #[serde(default)]
    pub vars: Option<Arc<Map<String, Value>>>,
    #[serde(default)]
    pub groups: Option<Arc<Vec<String>>>,
}

/// Settings that ansible-runner was given for its job.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RunnerHello {
    /// Path of the settings file, or empty.
    pub settings: PathBuf,
    pub emitters: Emitters,
    /// Names of the environment variables to report.
    pub environment: Vec<String>,
}

/// A message of ansible-runner, verbatim.
#[derive(Deserialize)]
pub struct RunnerRecord {
    pub seq: u64,
    /// Time of the message, in seconds since 1970: a status has no time of its own.
    pub time: f64,
    pub record: Box<RawValue>,
}

/// An event reported by the callback plugin; it names its play and its task by id.
#[derive(Deserialize)]
pub struct EventRecord {
    pub seq: u64,
    pub event: Callback,
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
    /// Name and action of the task as this host ran it, if they differ from those of its record.
    pub task_name: Option<String>,
    pub task_action: Option<String>,
    pub host: Option<Host>,
    pub result: Option<Box<RawValue>>,
}

impl EventRecord {
    /// Returns the task with the name and the action that it had on this host.
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
