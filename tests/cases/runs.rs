//! What the end of a run says: how it went, what failed, and whether it recovered.

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Server};

/// A run of `site.yml`, as the callback plugin tells it, whose only task ends in `event`.
fn run_of(id: &str, event: &str, counts: &Value) -> String {
    let run =
        json!({"id": id, "playbook": "site.yml", "path": "/srv/site.yml", "inventory": ["prod"]});
    let task = json!({"id": "t", "name": "Install", "path": "/srv/site.yml:3"});
    let host = json!({"name": "web1"});
    let result = json!({"msg": "non-zero return code", "stderr": "no <space> left", "rc": 1});
    [
        json!({"hello": {"protocol": 1, "run": run}}),
        json!({"task": task}),
        json!({"event": {"seq": 1, "event": "playbook_on_start", "time": 1763670121.5}}),
        json!({"event": {"seq": 2, "event": event, "time": 1763670122.5, "task": "t", "host": host, "changed": event == "runner_on_ok", "result": result}}),
        json!({"event": {"seq": 3, "event": "playbook_on_stats", "time": 1763670123.5, "result": {"stats": {"web1": counts}}}}),
        json!({"end": {"reason": "exit"}}),
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

pub fn failing(id: &str) -> String {
    run_of(id, "runner_on_failed", &json!({"ok": 0, "failures": 1}))
}

pub fn succeeding(id: &str) -> String {
    run_of(id, "runner_on_ok", &json!({"ok": 1, "failures": 0}))
}

/// Feeds a run to `stream`, always with the same spool.
pub fn stream(sandbox: &Sandbox, input: &str) -> Outcome {
    sandbox.file("input", input);
    let mut command = sandbox.command_on_spool(&["stream", "--quiet"]);
    command
        .env("CI_JOB_URL", "https://ci.example.com/job/7")
        .stdin(std::fs::File::open(sandbox.path("input")).unwrap());
    outcome(command.spawn().unwrap())
}

#[test]
fn a_run_that_succeeds_after_an_error_has_recovered() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = recovered\n[outputs:x]\nrun = run_id\nprevious = previous\n",
        server.url()
    ));
    let runs = [
        succeeding("first"),
        failing("second"),
        succeeding("third").replace("prod", "staging"),
        succeeding("fourth").replace(
            "\"path\":\"/srv/site.yml\"",
            "\"path\":\"/srv/site.yml\",\"check\":true",
        ),
        succeeding("fifth"),
        succeeding("sixth"),
    ];
    for run in runs {
        assert_eq!(stream(&sandbox, &run).code, 0);
    }
    let bodies = server.bodies();
    assert_eq!(bodies, [json!({"run": "fifth", "previous": "error"})]);
}

#[test]
fn the_end_of_a_run_lists_what_failed() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\n[outputs:x]\nstatus = status\nfailed = failed_tasks\nfailures = failures\n\
         changed = changed_hosts\nelapsed = elapsed > 0\nurl = url\njob = job.status\n",
        server.url()
    ));
    stream(&sandbox, &failing("a"));
    stream(
        &sandbox,
        &run_of("b", "runner_on_failed", &json!({"ok": 1, "rescued": 1})),
    );
    stream(&sandbox, &succeeding("c"));
    let bodies = server.bodies();
    let failed = json!({
        "host": "web1", "task": "Install", "action": null, "path": "/srv/site.yml:3", "role": null, "play": null,
        "unreachable": false, "message": "no <space> left",
    });
    let expected = |status, job, failed: Value, changed: Value| {
        json!({
            "status": status, "failures": failed.as_array().unwrap().len(), "failed": failed, "changed": changed,
            "elapsed": true, "url": "https://ci.example.com/job/7", "job": job,
        })
    };
    assert_eq!(
        bodies[0],
        expected("error", "failed", json!([failed]), json!([]))
    );
    assert_eq!(
        bodies[1],
        expected("success", "successful", json!([]), json!([]))
    );
    assert_eq!(
        bodies[2],
        expected("success", "successful", json!([]), json!(["web1"]))
    );
}

#[test]
fn the_hosts_that_changed_are_those_that_ansible_counts() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = changed_run\n[outputs:x]\nchanged = changed_hosts\n",
        server.url()
    ));
    let ignored = |changed: u64| {
        let counts = json!({"ok": 1, "changed": changed, "failures": 0, "ignored": 1});
        run_of(&format!("run{changed}"), "runner_on_failed", &counts)
            .replace("\"result\"", "\"ignored\":true,\"result\"")
    };
    // A command that fails, which is ignored, has changed something unless it says that it has not.
    stream(&sandbox, &ignored(0));
    stream(&sandbox, &ignored(1));
    assert_eq!(server.bodies(), [json!({"changed": ["web1"]})]);
}

#[test]
fn what_was_rescued_is_not_listed_however_much_it_was() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\n[outputs:x]\nfailed = failed_tasks | map(attribute='message')\n",
        server.url()
    ));
    let failed = |number: usize, host: &str, message: &str| {
        let result = json!({"msg": message});
        json!({"event": {"seq": number, "event": "runner_on_failed", "time": 1.5, "host": {"name": host}, "result": result}})
    };
    let mut lines =
        vec![json!({"hello": {"protocol": 1, "run": {"id": "r", "playbook": "site.yml"}}})];
    let mut stats = json!({});
    for number in 1..=120 {
        let host = format!("web{number}");
        lines.push(failed(number, &host, "rescued"));
        stats[&host] = json!({"rescued": 1});
    }
    lines.push(failed(121, "web120", "disk full"));
    stats["web120"] = json!({"rescued": 1, "failures": 1});
    let result = json!({"stats": stats});
    lines.push(
        json!({"event": {"seq": 122, "event": "playbook_on_stats", "time": 2.5, "result": result}}),
    );
    lines.push(json!({"end": {"reason": "exit"}}));
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    stream(&sandbox, &input);
    assert_eq!(server.bodies(), [json!({"failed": ["disk full"]})]);
}
