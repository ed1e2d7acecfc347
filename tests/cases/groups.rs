//! `group_by`: one message of many events. `batch`: one request of many messages.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Reply, Request, Server, dead_url, status};

/// A run in which a task fails on so many hosts, as the callback plugin tells it.
fn failing_on(hosts: usize) -> String {
    let mut lines = String::new();
    let mut write = |line: Value| writeln!(lines, "{line}").unwrap();
    write(json!({"hello": {"protocol": 1, "run": {"id": "r", "playbook": "site.yml"}}}));
    write(json!({"task": {"id": "t", "name": "Install", "path": "site.yml:3"}}));
    let mut stats = json!({});
    for number in 1..=hosts {
        let name = format!("web{number}");
        stats[&name] = json!({"failures": 1});
        let (host, result) = (json!({"name": name}), json!({"msg": "no space left"}));
        write(
            json!({"event": {"seq": number, "event": "runner_on_failed", "time": 1.5, "task": "t", "host": host, "result": result}}),
        );
    }
    let result = json!({"stats": stats});
    write(
        json!({"event": {"seq": hosts + 1, "event": "playbook_on_stats", "time": 2.5, "result": result}}),
    );
    write(json!({"end": {"reason": "exit"}}));
    lines
}

/// Feeds `stream`, always with the same spool.
fn stream(sandbox: &Sandbox, input: &str) -> Outcome {
    sandbox.file("input", input);
    let mut command = sandbox.command_on_spool(&["stream"]);
    command.stdin(std::fs::File::open(sandbox.path("input")).unwrap());
    outcome(command.spawn().unwrap())
}

fn attachment(request: &Request) -> Value {
    request.json()["attachments"][0].clone()
}

#[test]
fn a_task_that_fails_on_500_hosts_is_one_message() {
    let server = Server::start([Reply::Full(200, "", "ok")]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = mattermost\nurl = {}\non = failed, error\ngroup_by = task\n",
        server.url()
    ));
    let outcome = stream(&sandbox, &failing_on(500));
    outcome.expect(
        0,
        "ansible-notify: 501 events, 501 deliveries: all delivered\n",
    );
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    let group = attachment(&requests[0]);
    assert_eq!(group["title"], "Install: 500 results on 500 hosts, failed");
    let text = group["text"].as_str().unwrap();
    let hosts: Vec<String> = (1..=10).map(|number| format!("web{number}")).collect();
    assert_eq!(
        text,
        format!("{} and 490 more\nno space left", hosts.join(", "))
    );
    let end = attachment(&requests[1]);
    assert_eq!(end["title"], "site.yml failed");
    let text = end["text"].as_str().unwrap();
    assert!(
        text.starts_with("web1: Install (site.yml:3): no space left\nweb2: "),
        "{text}"
    );
    assert!(
        text.contains("\nand 490 more\n500 hosts, 0 changed, 500 failed, in "),
        "{text}"
    );
}

#[test]
fn what_groups_the_events() {
    for (by, expected) in [("host", 3), ("run", 1), ("play", 1)] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\ntype = webhook\nurl = {}\non = failed\ngroup_by = {by}\n[outputs:x]\nhosts = hosts\nn = events | length\n",
            server.url()
        ));
        stream(&sandbox, &failing_on(3));
        let bodies = server.bodies();
        assert_eq!(bodies.len(), expected, "{by}");
        if expected == 1 {
            assert_eq!(
                bodies[0],
                json!({"hosts": ["web1", "web2", "web3"], "n": 3})
            );
        }
    }
}

#[test]
fn a_group_that_waits_is_delivered_as_one_later() {
    let config = |url: &str| {
        format!(
            "[delivery]\ndrain = 0\n[notifier:x]\ntype = webhook\nurl = {url}\non = failed\ngroup_by = task\n[outputs:x]\nhosts = hosts | length\n"
        )
    };
    let sandbox = Sandbox::with_config(&config(&dead_url()));
    let waiting = stream(&sandbox, &failing_on(20));
    assert_eq!(waiting.code, 75, "{waiting:?}");
    let server = Server::start([OK]);
    sandbox.file("plugin_config.ini", config(&server.url()));
    sandbox
        .run_on_spool(&["flush"])
        .expect(0, "ansible-notify: 20 deliveries: all delivered\n");
    let bodies = server.bodies();
    assert_eq!(bodies, [json!({"hosts": 20})]);
}

#[test]
fn a_batch_is_one_request_of_many_messages_in_their_order() {
    let server = Server::start([status(503), OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\nbatch = 100\n[outputs]\nhost = host\n",
        server.url()
    ));
    let outcome = stream(&sandbox, &failing_on(250));
    outcome.expect(
        0,
        "ansible-notify: 250 events, 250 deliveries: all delivered\n",
    );
    let requests = server.requests();
    assert_eq!(
        requests[0].body, requests[1].body,
        "the one that failed is tried again as it was"
    );
    assert_eq!(
        requests[0].header("webhook-id"),
        requests[1].header("webhook-id")
    );
    let sent: Vec<Value> = requests[1..]
        .iter()
        .flat_map(|request| request.json().as_array().unwrap().clone())
        .collect();
    let expected: Vec<Value> = (1..=250)
        .map(|number| json!({"host": format!("web{number}")}))
        .collect();
    assert_eq!(sent, expected);
    assert!(requests.len() < 8, "{}", requests.len());
}

#[test]
fn a_batch_that_is_too_large_is_halved() {
    let server = Server::answering(|request| match request.json().as_array().unwrap().len() {
        0..=30 => OK,
        _ => status(413),
    });
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\nbatch = 100\n[outputs]\nhost = host\n",
        server.url()
    ));
    let outcome = stream(&sandbox, &failing_on(100));
    outcome.expect(
        0,
        "ansible-notify: 100 events, 100 deliveries: all delivered\n",
    );
    let taken = server
        .requests()
        .into_iter()
        .map(|request| request.json().as_array().unwrap().clone());
    let taken: Vec<Value> = taken.filter(|batch| batch.len() <= 30).flatten().collect();
    let expected: Vec<Value> = (1..=100)
        .map(|number| json!({"host": format!("web{number}")}))
        .collect();
    assert_eq!(taken, expected);
}

#[test]
fn a_mistake_in_the_grouping_is_said() {
    let sandbox = Sandbox::with_config(
        "[inputs]\ncallback_url = http://localhost/\ngroup_by = hosts\n[notifier:x]\ntype = webhook\nurl = http://localhost/\ngroup_by = task\nbatch = 2\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    assert_eq!(outcome.code, 78);
    for line in [
        "ini:3: `group_by` must be `task`, `play`, `host` or `run`, not `hosts`; did you mean `host`?",
        "ini:8: `batch` and `group_by` are set; keep one of them",
    ] {
        assert!(outcome.stderr.contains(line), "{outcome:?}");
    }
}

#[test]
fn a_group_in_which_one_failed_is_told_as_a_failure() {
    let server = Server::start([Reply::Full(200, "", "ok")]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = mattermost\nurl = {}\non = any\ngroup_by = task\n",
        server.url()
    ));
    let input = failing_on(3).replacen("runner_on_failed", "runner_on_ok", 1);
    stream(&sandbox, &input);
    let group = attachment(&server.requests()[0]);
    assert_eq!(group["title"], "Install: 3 results on 3 hosts, failed");
    assert_eq!(group["color"], "#e01e5a");
}

#[test]
fn the_events_of_a_group_are_in_their_order_whichever_of_them_failed() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = ok, failed\ngroup_by = host\n\
         [outputs:x]\nstate = state\ntask = task_name\ntasks = events | map(attribute='task.name') | list\n",
        server.url()
    ));
    let tasks = ["gather", "install", "configure", "clean up", "report"];
    let events: String = tasks
        .iter()
        .map(|task| {
            let failed = task.starts_with('c');
            let state = if failed { "failed" } else { "success" };
            format!(r#"{{"state":"{state}","host":"web1","task":"{task}","run":"r"}}"#)
        })
        .collect();
    assert_eq!(sandbox.run_with_input(&["send", "-"], events).code, 0);
    let expected = json!({"state": "failed", "task": "configure", "tasks": tasks});
    assert_eq!(server.bodies(), [expected]);
}

#[test]
fn what_exceeds_a_group_does_not_wait_once_the_input_has_ended() {
    let config = |url: &str| {
        format!(
            "[notifier:x]\ntype = webhook\nurl = {url}\non = failed\ngroup_by = task\ngroup_wait = 10m\n[outputs:x]\nn = events | length\n"
        )
    };
    let sizes = |server: &Server| {
        let bodies = server.bodies().into_iter();
        let sizes: Vec<u64> = bodies.map(|body| body["n"].as_u64().unwrap()).collect();
        sizes
    };
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    assert_eq!(stream(&sandbox, &failing_on(2300)).code, 0);
    assert_eq!(sizes(&server), [1000, 1000, 300]);

    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let event = r#"{"state":"failed","host":"h","task":"t","run":"r"}"#;
    let sent = sandbox.run_with_input(&["send", "--wait", "-"], event.repeat(1500));
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(sizes(&server), [1000, 500]);
}

#[test]
fn what_was_tried_as_one_stays_one_in_the_next_process() {
    let server = Server::start([Reply::Full(503, "Retry-After: 1000\r\n", ""), OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[delivery]\ndrain = 1\n[notifier:x]\ntype = webhook\nurl = {}\non = failed\nbatch = 10\n[outputs:x]\nhost = host\n",
        server.url()
    ));
    assert_eq!(stream(&sandbox, &failing_on(3)).code, 75);
    let tried = server.wait_for(1);
    let later = failing_on(5).replace("\"id\":\"r\"", "\"id\":\"s\"");
    stream(&sandbox, &later);
    sandbox
        .run_on_spool(&["flush"])
        .expect_line(0, &["delivered"]);
    let requests = server.requests();
    let id = requests[0].header("webhook-id");
    let again = requests[1..]
        .iter()
        .find(|one| one.header("webhook-id") == id);
    assert_eq!(again.unwrap().body, tried[0].body);
}

#[test]
fn the_dead_are_tried_again_in_batches_of_the_same_size() {
    let server = Server::start([status(400), status(400), status(400), OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = failed\nbatch = 4\n[outputs:x]\nhost = host\n",
        server.url()
    ));
    assert_eq!(stream(&sandbox, &failing_on(12)).code, 69);
    let refused = server.requests().len();
    sandbox.run_on_spool(&["flush", "--dead"]);
    let again = server.requests().split_off(refused);
    assert!(again.len() >= 3);
    for request in again {
        assert!(request.json().as_array().unwrap().len() <= 4);
    }
}
