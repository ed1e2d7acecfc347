//! Attributes of spans, logs and metrics: OpenTelemetry's semantic conventions for CI/CD, and beside them the names that
//! the callback `community.general.opentelemetry` gives, so that its dashboards go on.

use jiff::Timestamp;

use super::model::{KeyValue, Value};
use crate::event::callback::Callback;
use crate::event::{Event, Run, RunEnd, State, Status};
use crate::text::{characters, cut};

/// Length limit of a text in an attribute, in characters.
const TEXT: usize = 1000;

/// Attributes that are gathered.
#[derive(Default)]
pub struct Attributes(pub Vec<KeyValue>);

impl Attributes {
    /// Adds an attribute.
    pub fn add(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push(KeyValue::new(key, value));
    }

    /// Adds an attribute, unless it is empty.
    pub fn text(&mut self, key: &str, text: Option<&str>) {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            let short = cut(text, TEXT, characters);
            self.add(key, &*short);
        }
    }
}

/// Returns a time in nanoseconds since 1970.
pub fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or(0)
}

/// Returns the time `seconds` before another one, both in nanoseconds since 1970.
pub fn before(time: u64, seconds: f64) -> u64 {
    time.saturating_sub((seconds.max(0.0) * 1e9) as u64)
}

/// Returns true for the end of a task on a host, which has a span.
pub fn is_result(event: &Event) -> bool {
    use Callback::{RunnerOnFailed, RunnerOnOk, RunnerOnSkipped, RunnerOnUnreachable};
    let ends = [
        RunnerOnOk,
        RunnerOnFailed,
        RunnerOnSkipped,
        RunnerOnUnreachable,
    ];
    ends.contains(&event.event)
}

/// Returns true for a failure that counts.
pub fn has_failed(event: &Event) -> bool {
    let is_bad = matches!(event.state, Some(State::Failed | State::Unreachable));
    is_bad && !event.ignored
}

/// Returns why an event failed, in few words (`error.type`); None if it did not.
pub fn error_type(event: &Event) -> Option<&'static str> {
    let failed = has_failed(event).then_some(event.state);
    failed.flatten().map(State::name)
}

/// Returns the attributes of a result.
pub fn of_result(event: &Event) -> Attributes {
    let mut all = Attributes::default();
    let task = event.task.as_deref();
    let name = task.map_or("", |task| task.name.as_str());
    let play = event.play.as_deref().map_or("", |play| play.name.as_str());
    all.text("cicd.pipeline.name", Some(&event.run.name()));
    all.text("cicd.pipeline.run.id", Some(&event.run.id));
    all.text("cicd.pipeline.task.name", Some(name));
    all.text("cicd.pipeline.task.run.id", Some(&event.id));
    let result = match event.state {
        Some(State::Success) => Some("success"),
        Some(State::Skipped) => Some("skip"),
        Some(State::Failed | State::Unreachable) => Some("failure"),
        None => None,
    };
    all.text("cicd.pipeline.task.run.result", result);
    all.text("error.type", error_type(event));
    all.text("ansible.task.id", task.map(|task| task.id.as_str()));
    all.text(
        "ansible.task.module",
        task.and_then(|task| task.action.as_deref()),
    );
    all.text(
        "ansible.task.role",
        task.and_then(|task| task.role.as_deref()),
    );
    all.text("ansible.play.name", Some(play));
    if let Some(host) = &event.host {
        let whole = format!("[{}] {play}: {name}", host.name);
        all.text("ansible.task.name", Some(&whole));
        all.text("ansible.task.host.name", Some(&host.name));
        all.text("ansible.task.host.status", event.state.map(status));
    }
    if event.state.is_some() {
        all.add("ansible.task.changed", event.changed);
        all.add("ansible.task.ignored", event.ignored);
        all.text("ansible.task.message", event.reason().as_deref());
        if let Some(code) = event.result_value()["rc"].as_i64() {
            all.add("ansible.task.result", code);
        }
    }
    let place = task.and_then(|task| task.path.as_deref()?.rsplit_once(':'));
    if let Some((path, Ok(line))) = place.map(|(path, line)| (path, line.parse::<i64>())) {
        all.text("code.file.path", Some(path));
        all.add("code.line.number", line);
    }
    all
}

/// Returns the status of a host in the words of the callback.
fn status(state: State) -> &'static str {
    match state {
        State::Success => "ok",
        State::Failed | State::Unreachable => "failed",
        State::Skipped => "skipped",
    }
}

/// Returns the result of a run (`cicd.pipeline.result`).
pub fn result_of(end: &RunEnd) -> &'static str {
    match end.status {
        Status::Success | Status::Running => "success",
        Status::Canceled => "cancellation",
        // No task failed: Ansible itself did.
        Status::Error if end.failures == 0 => "error",
        Status::Error => "failure",
    }
}

/// Returns the attributes of a run.
pub fn of_run(run: &Run, result: &str) -> Attributes {
    let mut all = Attributes::default();
    all.text("cicd.pipeline.name", Some(&run.name()));
    all.text("cicd.pipeline.run.id", Some(&run.id));
    all.text("cicd.pipeline.run.url.full", run.url.as_deref());
    all.text("cicd.pipeline.result", Some(result));
    all.text("cicd.pipeline.action.name", Some("RUN"));
    all.text("error.type", (result != "success").then_some(result));
    all.text("ansible.version", run.ansible_version.as_deref());
    all.text("ansible.session", Some(&run.id));
    all.text("ansible.host.name", run.controller.as_deref());
    all.text("ansible.host.user", run.user.as_deref());
    all.text("ansible.limit", run.limit.as_deref());
    all.text("ansible.inventory", Some(&run.inventory.join(", ")));
    if run.check {
        all.add("ansible.check_mode", true);
    }
    all
}
