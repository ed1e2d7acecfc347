//! What the plugin of ansible-runner writes: protocol, drop-in and routes. See docs/ansible-runner.md.

use crate::sandbox::{Outcome, Sandbox};
use crate::server::{OK, Server, dead_url, status};
use serde_json::{Value, json};

const END: &str = "{\"end\":{\"reason\":\"exit\"}}\n";

fn hello(settings: &str, emitters: Value) -> String {
    let run = json!({"id": "r", "ident": "job-7", "user": "awx", "tags": []});
    let runner = json!({"settings": settings, "emitters": emitters, "environment": ["LANG"]});
    format!(
        "{}\n",
        json!({"hello": {"protocol": 1, "run": run, "runner": runner}})
    )
}

fn record(seq: u64, record: &Value) -> String {
    let time = 1_763_670_121.5 + seq as f64;
    format!(
        "{}\n",
        json!({"runner": {"seq": seq, "time": time, "record": record}})
    )
}

fn said(status: &str) -> Value {
    json!({"status": status, "runner_ident": "job-7"})
}

fn job_event(counter: u64, name: &str, data: Value) -> Value {
    json!({"uuid": format!("u{counter}"), "counter": counter, "stdout": "\u{1b}[0;32mok\r\n", "start_line": 1,
        "end_line": 2, "runner_ident": "job-7", "event": name, "pid": 7, "created":
        "2025-11-20T20:22:02.5+00:00", "event_data": data})
}

/// A run of one task on two hosts, as ansible-runner tells it.
fn records() -> Vec<Value> {
    let of_task = |more: Value| {
        let mut data = json!({"playbook": "site.yml", "play": "all", "play_uuid": "p", "task": "install", "task_uuid": "t",
            "task_action": "dnf", "resolved_action": "ansible.builtin.dnf", "task_args": "", "task_path": "/srv/site.yml:3"});
        let object = data.as_object_mut().unwrap();
        object.extend(more.as_object().unwrap().clone());
        data
    };
    let mut starting = said("starting");
    starting["env"] = json!({"LANG": "C", "TOKEN": "s3cret"});
    starting["command"] = json!(["ansible-playbook", "site.yml"]);
    let changed = json!({"changed": true, "invocation": {"module_args": {"name": "nginx"}}});
    vec![
        starting,
        said("running"),
        job_event(1, "playbook_on_start", json!({"playbook": "site.yml"})),
        job_event(
            2,
            "runner_on_ok",
            of_task(
                json!({"host": "web1", "remote_addr": "10.0.0.1", "duration": 0.25, "res": changed}),
            ),
        ),
        job_event(
            3,
            "runner_on_failed",
            of_task(
                json!({"host": "web2", "remote_addr": "web2", "ignore_errors": null,
            "res": {"changed": false, "msg": "no"}}),
            ),
        ),
        json!({"uuid": "u4", "counter": 4, "stdout": "[WARNING]: x", "runner_ident": "job-7", "event": "verbose"}),
        job_event(
            5,
            "playbook_on_stats",
            json!({"changed": {"web1": 1}, "dark": {}, "failures": {"web2": 1}, "ignored": {},
            "ok": {"web1": 1}, "processed": {"web1": 1, "web2": 1}, "rescued": {}, "skipped": {}, "artifact_data": {}}),
        ),
        said("failed"),
    ]
}

fn stream(hello: &str, records: &[Value]) -> String {
    let numbered = records.iter().zip(1..);
    let lines: String = numbered
        .map(|(content, seq)| record(seq, content))
        .collect();
    format!("{hello}{lines}{END}")
}

fn run(sandbox: &Sandbox, input: &str) -> Outcome {
    sandbox.run_with_input(&["stream", "--quiet", "--project", "."], input)
}

#[test]
fn the_settings_of_ansible_runner_http_give_its_bodies_in_its_order() {
    let server = Server::start([OK]);
    let emitters =
        json!({"runner_http_url": server.url(), "runner_http_headers": {"X-Token": "s3cret"}});
    run(&Sandbox::new(), &stream(&hello("", emitters), &records())).expect(0, "");
    let mut expected = records();
    // Of the environment only what was asked for by name.
    expected[0]["env"] = json!({"LANG": "C"});
    let requests = server.requests();
    let bodies: Vec<Value> = requests.iter().map(|request| request.json()).collect();
    assert_eq!(bodies, expected);
    for (request, number) in requests.iter().zip(1..) {
        assert_eq!(request.header("x-token"), Some("s3cret"));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(
            request.header("webhook-id"),
            Some(format!("r-{number}").as_str())
        );
    }
}

#[test]
fn without_a_name_the_environment_stays_out() {
    let server = Server::start([OK]);
    let greeting = hello("", json!({"runner_http_url": server.url()})).replace("[\"LANG\"]", "[]");
    run(&Sandbox::new(), &stream(&greeting, &records())).expect(0, "");
    assert_eq!(server.requests()[0].json().get("env"), None);
}

#[test]
fn a_run_keeps_its_order_where_the_endpoint_is_in_trouble() {
    let server = Server::start([status(503), OK, OK, status(503), OK]);
    let emitters = json!({"runner_http_url": server.url()});
    run(&Sandbox::new(), &stream(&hello("", emitters), &records())).expect(0, "");
    let bodies = server.bodies();
    let mut counters: Vec<&Value> = bodies.iter().map(|body| &body["counter"]).collect();
    counters.dedup();
    let expected: Vec<Value> = (1..=5).map(Value::from).collect();
    assert_eq!(
        counters[1..6],
        expected.iter().collect::<Vec<_>>(),
        "{bodies:?}"
    );
    assert_eq!(bodies.len(), 10, "two of them came twice");
}

#[test]
fn what_waits_is_flushed_with_the_settings_of_its_run_and_no_secret_is_stored() {
    let (sandbox, server) = (Sandbox::new(), Server::start([OK]));
    let settings = |url: &str| {
        format!("---\nrunner_http_url: {url}\nrunner_http_headers:\n  X-Token: s3cret\n")
    };
    let dead = dead_url();
    sandbox.file(
        "home/.config/ansible-notify/plugin_config.ini",
        "[delivery]\ndrain = 200ms\n",
    );
    let file = sandbox.file("private/env/settings", settings(&dead));
    let file = file.to_str().unwrap().to_owned();
    let emitters = json!({"runner_http_url": dead, "runner_http_headers": {"X-Token": "s3cret"}});
    let given = json!({"runner_http_url": dead_url()});
    let state = sandbox.path("state");
    let on_spool = |arguments: &[&str], input: &str, url: Option<&str>| {
        let mut command = sandbox.command_on_spool(arguments);
        command.stdin(std::process::Stdio::piped());
        url.map(|url| command.env("RUNNER_HTTP_URL", url));
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, input.as_bytes()).unwrap();
        drop(stdin);
        crate::sandbox::outcome(child)
    };
    let input = stream(&hello(&file, emitters), &records()[..2]);
    on_spool(&["stream", "--quiet"], &input, None).expect(75, "");
    let input = stream(
        &hello("", given).replace("\"r\"", "\"r2\""),
        &records()[..2],
    );
    on_spool(&["stream", "--quiet"], &input, None).expect(75, "");
    let spool = std::fs::read(state.join("ansible-notify/spool.db")).unwrap();
    let spool = [
        spool,
        std::fs::read(state.join("ansible-notify/spool.db-wal")).unwrap_or_default(),
    ]
    .concat();
    let holds = |text: &str| {
        spool
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(holds("job-7") && !holds("s3cret"));

    sandbox.file("private/env/settings", settings(&server.url()));
    let outcome = on_spool(&["flush"], "", None);
    assert!(
        outcome.stderr.contains("set RUNNER_HTTP_URL"),
        "{outcome:?}"
    );
    assert_eq!((outcome.code, server.requests().len()), (75, 2));
    assert_eq!(server.requests()[0].header("x-token"), Some("s3cret"));
    let outcome = on_spool(&["flush"], "", Some(&server.url()));
    assert_eq!(
        (outcome.code, server.requests().len()),
        (0, 4),
        "{outcome:?}"
    );
}

#[test]
fn a_unix_socket_takes_the_path_of_the_settings() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let emitters = json!({"runner_http_url": socket, "runner_http_path": "/events?a=b"});
    let input = stream(&hello("", emitters), &records()[..1]);
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let length = std::io::Read::read(&mut stream, &mut bytes).unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    });
    run(&sandbox, &input).expect(0, "");
    let request = served.join().unwrap();
    assert!(
        request.starts_with("POST /events?a=b HTTP/1.1\r\n"),
        "{request}"
    );
}

#[test]
fn with_a_configuration_its_events_go_the_way_of_the_callbacks() {
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\non = ok, failed, started, error\nconcurrency = 1\n[outputs]\ncallback = callback\nhost = host\n\
         address = host_address\ntask = task_name\naction = task_action\nchanged = changed\nplaybook = playbook\n\
         ident = event.run.ident\nuser = event.run.user\nstatus = status\nrun = run_id\nstats = stats\nelapsed = elapsed\n\
         duration = duration\nfailed = failed_tasks\nresult = result\n",
        server.url()
    );
    let sandbox = Sandbox::with_config(&config);
    run(&sandbox, &stream(&hello("", json!({})), &records())).expect(0, "");
    let mut bodies = server.bodies();
    bodies.sort_by_key(|body| body["callback"].as_str().unwrap().to_owned());
    let callbacks: Vec<&str> = bodies
        .iter()
        .map(|body| body["callback"].as_str().unwrap())
        .collect();
    assert_eq!(
        callbacks,
        ["run_end", "run_start", "runner_on_failed", "runner_on_ok"]
    );
    let [end, start, failed, ok] = &bodies[..] else {
        panic!("{bodies:?}")
    };
    assert_eq!(
        (&ok["host"], &ok["address"], &ok["task"]),
        (&json!("web1"), &json!("10.0.0.1"), &json!("install"))
    );
    assert_eq!(
        (&ok["action"], &ok["changed"]),
        (&json!("ansible.builtin.dnf"), &json!(true))
    );
    assert_eq!(
        (&ok["playbook"], &ok["ident"], &ok["user"]),
        (&json!("site.yml"), &json!("job-7"), &json!("awx"))
    );
    assert_eq!(
        (&ok["duration"], &ok["result"]),
        (&json!(0.25), &json!({"changed": true})),
        "stripped"
    );
    assert_eq!(
        (&failed["address"], &failed["run"]),
        (&Value::Null, &json!("r"))
    );
    assert_eq!(
        (&start["status"], &end["status"]),
        (&json!("running"), &json!("error"))
    );
    assert_eq!(end["stats"]["web2"]["failures"], 1);
    assert_eq!(end["stats"]["web1"]["changed"], 1);
    assert_eq!(
        (&end["failed"][0]["host"], &end["failed"][0]["message"]),
        (&json!("web2"), &json!("no"))
    );
    assert_eq!(end["elapsed"], 7.0);
}

#[test]
fn why_a_run_ended_is_what_ansible_printed() {
    let printed = |event: &str, stdout: &str| {
        let record = json!({"uuid": "u4", "counter": 4, "stdout": stdout, "runner_ident": "job-7", "event": event});
        vec![record]
    };
    let broken =
        "\u{1b}[0;31m[ERROR]: no such play\u{1b}[0m\r\nOrigin: /srv/site.yml:3\r\n\r\n1 - hosts:";
    let counts = json!({"ok": {"web1": 1}, "processed": {"web1": 1}});
    let counted = vec![job_event(5, "playbook_on_stats", counts)];
    let role = printed("verbose", "ERROR! no such role");
    for (between, status, expected) in [
        (
            printed("error", broken),
            "failed",
            json!("no such play\nOrigin: /srv/site.yml:3"),
        ),
        (
            printed("verbose", "ERROR! no such playbook"),
            "failed",
            json!("no such playbook"),
        ),
        (
            printed("verbose", "[WARNING]: x"),
            "timeout",
            json!("ansible-runner ended it: timeout"),
        ),
        (
            Vec::new(),
            "failed",
            json!("Ansible was killed, or ended without saying so"),
        ),
        // Old versions of Ansible go on after this one, and count no failure.
        (
            [role.clone(), counted.clone()].concat(),
            "failed",
            json!("no such role"),
        ),
        ([role, counted].concat(), "successful", Value::Null),
        // A task that failed says more.
        (
            [printed("error", broken), records()[3..7].to_vec()].concat(),
            "failed",
            json!("web2: install: no"),
        ),
    ] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\ntype = webhook\nurl = {}\non = success, error, canceled\n[outputs:x]\nreason = reason\n",
            server.url()
        ));
        let mut records = records();
        records.truncate(3);
        records.extend(between);
        records.push(said(status));
        run(&sandbox, &stream(&hello("", json!({})), &records)).expect(0, "");
        assert_eq!(server.bodies(), [json!({"reason": expected})]);
    }
}

#[test]
fn how_a_run_ended_is_what_ansible_runner_says() {
    for (said_last, expected) in [
        (Some("successful"), "success"),
        (Some("failed"), "error"),
        (Some("timeout"), "error"),
        (Some("error"), "error"),
        (Some("canceled"), "canceled"),
        (None, "canceled"),
    ] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\ntype = webhook\nurl = {}\non = success, error, canceled\n[outputs:x]\nstatus = status\n",
            server.url()
        ));
        let mut records = records();
        records.truncate(3);
        records.extend(said_last.map(said));
        let mut input = stream(&hello("", json!({})), &records);
        if said_last.is_none() {
            input.truncate(input.len() - END.len());
        }
        run(&sandbox, &input).expect(0, "");
        let statuses: Vec<Value> = server
            .requests()
            .iter()
            .map(|request| request.json()["status"].take())
            .collect();
        assert_eq!(statuses, [expected]);
    }
}

#[test]
fn a_notifier_of_the_users_own_can_send_what_ansible_runner_said() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = runner\nwhen = callback != 'verbose'\nformat = runner\norder = run\n",
        server.url()
    ));
    run(&sandbox, &stream(&hello("", json!({})), &records())).expect(0, "");
    let mut expected = records();
    expected[0]["env"] = json!({"LANG": "C"});
    expected.remove(5);
    let bodies = server.bodies();
    assert_eq!(bodies, expected);
}
