//! Sample event of every callback, for checking a configuration and for tests of delivery.

use std::sync::Arc;

use serde_json::{Map, json};

use crate::event::alert::Alert;
use crate::event::callback::Callback;
use crate::event::{self, Event, FailedTask, Host, Play, Run, RunEnd, State, Status, Task};

/// Returns one sample of every callback, and every possible end of a run.
pub fn all() -> Vec<Event> {
    let results = Callback::ANSIBLE.iter().cloned().map(of);
    results
        .chain([Status::Success, Status::Error, Status::Canceled].map(run_end))
        .chain([recovery(), ignored()])
        .chain([
            alert(Callback::RunOverdue, 1800.0),
            alert(Callback::RunStalled, 600.0),
            alert(Callback::TaskSlow, 300.0),
            alert(Callback::RunMissing, 86400.0),
        ])
        .collect()
}

/// Returns a sample of one callback.
pub fn of(callback: Callback) -> Event {
    let mut event = Event::new(callback, Arc::new(run()), 1);
    event.test = true;
    event.duration = Some(0.31);
    event.play = Some(Arc::new(Play {
        id: "1".into(),
        name: "a test play".into(),
    }));
    if event.event.is_about_task() {
        event.task = Some(Arc::new(task()));
    }
    if let Some(state) = event.state {
        event.changed = state == State::Success;
        event.host = Some(Host {
            name: "test-host".into(),
            address: Some("192.0.2.1".into()),
            ..Host::default()
        });
        let result = json!({
            "changed": event.changed,
            "rc": i32::from(state == State::Failed),
            "stdout": "This is a test message from ansible-notify.",
            "stderr": "",
            "msg": "This is a test message from ansible-notify.",
        });
        event.result = serde_json::value::to_raw_value(&result).ok();
    }
    if event.event.is_item() {
        event.item = Some(json!("a test item"));
    }
    event
}

/// Returns a sample of the end of a run.
pub fn run_end(status: Status) -> Event {
    let mut event = Event::new(Callback::RunEnd, Arc::new(run()), 1);
    event.test = true;
    let failures = usize::from(status == Status::Error);
    let counts = json!({"ok": 3, "changed": 1, "failures": failures, "unreachable": 0, "skipped": 1, "rescued": 0, "ignored": 0});
    let stats = Map::from_iter([("test-host".to_owned(), counts)]);
    event.changed = true;
    event.end = Some(Arc::new(RunEnd {
        exit_code: Some(if failures > 0 { 2 } else { 0 }),
        reason: (failures > 0).then(|| {
            let failed = failed_task();
            format!("{}: {}: {}", failed.host, failed.task, failed.message)
        }),
        elapsed: 12.5,
        stats,
        failed_tasks: vec![failed_task(); failures],
        failures,
        changed_hosts: vec!["test-host".to_owned()],
        ..RunEnd::of(status)
    }));
    event
}

/// Returns the end of a run that succeeded after a failed one.
fn recovery() -> Event {
    let mut event = run_end(Status::Success);
    event.end = event.end.map(|end| {
        Arc::new(RunEnd {
            previous: Some(Status::Error),
            ..RunEnd::clone(&end)
        })
    });
    event
}

fn ignored() -> Event {
    Event {
        ignored: true,
        ..of(Callback::RunnerOnFailed)
    }
}

fn alert(callback: Callback, seconds: f64) -> Event {
    let mut event = of(callback);
    event.duration = Some(seconds);
    let is_running = event.event != Callback::RunMissing;
    event.task = is_running.then(|| Arc::new(task()));
    event.alert = Some(Arc::new(Alert {
        threshold: Some(seconds),
        waiting_for: vec!["test-host".to_owned(); usize::from(is_running)],
        last_run: (!is_running).then_some(event.time),
    }));
    event
}

fn failed_task() -> FailedTask {
    let task = task();
    FailedTask {
        host: "test-host".into(),
        task: task.name,
        action: task.action,
        path: task.path,
        play: Some("a test play".into()),
        message: "This is a test message from ansible-notify.".into(),
        ..FailedTask::default()
    }
}

fn run() -> Run {
    Run {
        id: event::new_id(),
        playbook: Some("test.yml".into()),
        path: Some("/srv/ansible/test.yml".into()),
        ansible_version: Some("2.19.14".into()),
        ..Run::default()
    }
}

fn task() -> Task {
    Task {
        id: "1".into(),
        name: "a test message from ansible-notify".into(),
        action: Some("ansible.builtin.debug".into()),
        path: Some("/srv/ansible/test.yml:3".into()),
        ..Task::default()
    }
}
