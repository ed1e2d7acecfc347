//! `send`: events from files, as users have them.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::spool::{configure, event, run};
use crate::sandbox::{PATIENCE, Sandbox, outcome};
use crate::server::{OK, Server, status};
use serde_json::json;

const FAILED: &str =
    r#"{"state":"failed","host":"web1","task":"install","result":{"rc":2,"msg":"no"}}"#;
const OK_EVENT: &str = r#"{"event":"v2_runner_on_ok","host":{"name":"web2"},"changed":true}"#;

#[test]
fn every_form_of_file_is_sent() {
    let job_event = r#"{"uuid":"u1","event":"runner_on_ok","event_data":{"host":"web3","res":{"changed":false}}}"#;
    for (input, hosts) in [
        (FAILED.to_owned(), vec!["web1"]),
        (format!("{FAILED}\n{OK_EVENT}\n"), vec!["web1", "web2"]),
        (format!("[{FAILED},\n  {OK_EVENT}]"), vec!["web1", "web2"]),
        (
            format!("\u{feff}\r\n{FAILED}\r\n\r\n{OK_EVENT}"),
            vec!["web1", "web2"],
        ),
        (job_event.to_owned(), vec!["web3"]),
    ] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::sending_to(&server.url());
        sandbox.file("events.json", &input);
        let outcome = sandbox.run(&["send", "events.json"]);
        let count = hosts.len();
        let fate = match count {
            1 => "1 event, 1 delivery: delivered".to_owned(),
            count => format!("{count} events, {count} deliveries: all delivered"),
        };
        outcome.expect(0, &format!("ansible-notify: {fate}\n"));
        let mut received: Vec<String> = server
            .requests()
            .iter()
            .map(|request| request.json()["host"].as_str().unwrap().to_owned())
            .collect();
        received.sort();
        assert_eq!(received, hosts, "{input}");
    }
}

#[test]
fn what_ansible_runner_leaves_behind_is_sent_in_its_order() {
    let job_event = |counter: u64| {
        format!(
            r#"{{"uuid":"u{counter}","counter":{counter},"runner_ident":"job","event":"runner_on_ok","event_data":{{"host":"web1","res":{{"n":{counter}}}}}}}"#
        )
    };
    let config = |url: &str| {
        format!(
            "[inputs]\ncallback_url = {url}\non = any\n[outputs]\nn = result.n\nstatus = status\n"
        )
    };
    let numbers = |server: &Server| -> Vec<serde_json::Value> {
        let requests = server.requests();
        requests
            .iter()
            .map(|request| request.json()["n"].take())
            .collect()
    };
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    for counter in 1..=11 {
        sandbox.file(
            &format!("job/job_events/{counter}-u{counter}.json"),
            job_event(counter),
        );
    }
    sandbox.file("job/job_events/u-partial.json", "{}");
    for folder in ["job/job_events", "job"] {
        let before = server.requests().len();
        let outcome = sandbox.run(&["send", folder]);
        outcome.expect(
            0,
            "ansible-notify: 11 events, 11 deliveries: all delivered\n",
        );
        let expected: Vec<_> = (1..=11).map(serde_json::Value::from).collect();
        assert_eq!(numbers(&server)[before..], expected);
    }
    sandbox.file("empty/x", "");
    sandbox
        .run(&["send", "empty"])
        .expect(66, "ansible-notify: empty: contains no job events\n");

    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let output = [
        r#"{"kwargs": {"ident": "job"}}"#,
        r#"{"status": "starting", "runner_ident": "job", "env": {"TOKEN": "s3cret"}}"#,
        "[WARNING]: plain text",
        r#"{"event": "keepalive", "counter": 0, "uuid": 0}"#,
        &job_event(1),
        r#"{"status": "successful", "runner_ident": "job"}"#,
        r#"{"zipfile": 8}"#,
        r#"UEsDBA=={"eof": true}"#,
    ];
    let outcome = sandbox.run_with_input(&["send", "-"], output.join("\n"));
    outcome.expect(
        0,
        "ansible-notify: standard input: skipped 2 lines that are not JSON\n\
         ansible-notify: 3 events, 2 deliveries: all delivered\n\
         ansible-notify: 1 event matched no notifier; see `on` and `when`\n",
    );
    let bodies = server.bodies();
    assert!(
        bodies.contains(&json!({"n": 1, "status": null})),
        "{bodies:?}"
    );
    assert!(
        bodies.contains(&json!({"n": null, "status": "success"})),
        "{bodies:?}"
    );
}

#[test]
fn a_request_is_what_the_configuration_says() {
    let server = Server::start([OK]);
    let url = server.url().replace("/events", "/a/b?c=d");
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {url}\nusername = anna\npassword = s=cr;et\nmethod = put\n\
         headers =\n  X-One: 1\n  X-Two: a: b\n\
         [outputs]\ncode = result.rc\ntext = {{{{ host }}}}!\nnested.list = [1, state]\nfixed = 'x'\n"
    ));
    let outcome = sandbox.run_with_input(&["send", "-", "--quiet"], FAILED);
    outcome.expect(0, "");
    let request = &server.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("PUT", "/a/b?c=d")
    );
    assert_eq!(
        request.json(),
        json!({"code": 2, "text": "web1!", "nested": {"list": [1, "failed"]}, "fixed": "x"})
    );
    assert_eq!(
        request.header("authorization"),
        Some("Basic YW5uYTpzPWNyO2V0")
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        (request.header("x-one"), request.header("x-two")),
        (Some("1"), Some("a: b"))
    );
    assert_eq!(
        request.header("webhook-id"),
        request.header("idempotency-key")
    );
    assert!(request.header("webhook-id").unwrap().ends_with("-1"));
    assert!(
        request
            .header("user-agent")
            .unwrap()
            .starts_with("ansible-notify/")
    );
}

#[test]
fn a_bearer_token_and_headers_as_json() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\ntoken = tok-en\nheaders = {{\"X-One\": \"1\"}}\n",
        server.url()
    ));
    sandbox
        .run_with_input(&["send", "-"], FAILED)
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let request = &server.requests()[0];
    assert_eq!(request.header("authorization"), Some("Bearer tok-en"));
    assert_eq!(request.header("x-one"), Some("1"));
    let payload = request.json();
    assert_eq!(
        (&payload["state"], &payload["task_output"]),
        (&json!("failed"), &json!("no"))
    );
    assert_eq!(
        payload.as_object().unwrap().len(),
        12,
        "the documented default set: {payload}"
    );
}

#[test]
fn only_what_is_wanted_goes_out() {
    let (all, some) = (Server::start([OK]), Server::start([OK]));
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[notifier:ops]\ntype = webhook\nurl = {}\non = failed\nwhen = host == 'web9'\n\
         [outputs:ops]\nhost = host\n[notifier:muted]\ntype = webhook\nurl = {}\nenabled = false\n",
        all.url(),
        some.url(),
        some.url()
    ));
    let events = format!("{FAILED}{OK_EVENT}{}", FAILED.replace("web1", "web9"));
    sandbox
        .run_with_input(&["send", "-"], &events)
        .expect(0, "ansible-notify: 3 events, 4 deliveries: all delivered\n");
    assert_eq!(all.requests().len(), 3);
    assert_eq!(some.requests()[0].body, r#"{"host":"web9"}"#);
    assert_eq!(some.requests().len(), 1);

    let outcome = sandbox.run_with_input(&["send", "-", "--notifier", "ops"], FAILED);
    outcome.expect(0, "ansible-notify: 1 event, 0 deliveries: nothing to deliver\nansible-notify: 1 event matched no notifier; see `on` and `when`\n");
    assert_eq!(all.requests().len(), 3);
    let outcome = sandbox.run_with_input(&["send", "-", "--notifier", "opps"], FAILED);
    outcome.expect(
        2,
        "ansible-notify: unknown notifier `opps`; known notifiers: callback, ops\n",
    );
}

#[test]
fn a_dry_run_shows_the_request_and_sends_nothing() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}?key=k-e-y\nusername = anna\npassword = p-a-s-s\nheaders = X-Api-Key: a-p-i\n[outputs]\nstate = state\npassword = 'p-a-s-s'\n",
        server.url()
    ));
    let outcome = sandbox.run_with_input(
        &["send", "-", "--dry-run"],
        r#"{"id":"e-1","state":"failed"}"#,
    );
    outcome.expect(0, "");
    let lines: Vec<&str> = outcome
        .stdout
        .lines()
        .filter(|line| !line.starts_with("webhook-timestamp: "))
        .collect();
    let first = format!("POST {}?key=[redacted]", server.url());
    assert_eq!(
        lines,
        [
            "# callback (webhook)",
            first.as_str(),
            "content-type: application/json",
            "x-api-key: [redacted]",
            "authorization: [redacted]",
            "webhook-id: e-1",
            "idempotency-key: e-1",
            "",
            r#"{"state":"failed","password":"[redacted]"}"#,
            "",
        ]
    );
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn what_comes_in_is_delivered_before_more_does() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    let mut command = sandbox.command(&["send", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"{\"state\":\"failed\",\"host\":\"h\"}\n")
        .unwrap();
    server.wait_for(1);
    drop(input);
    outcome(child).expect_line(0, &["1 event, 1 delivery: delivered"]);
}

#[test]
fn ctrl_c_ends_the_reading_of_all_that_was_named() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    for number in [1, 3] {
        let event = json!({"event": "runner_on_ok", "uuid": number, "event_data": {"host": "h"}});
        let file = format!("{number}/job_events/{number}-x.json");
        sandbox.file(&file, event.to_string());
    }
    let pipe = sandbox.path("2");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let sending = sandbox.command(&["send", "1", "2", "3"]).spawn().unwrap();
    // Who writes to it waits for who reads it, and says nothing.
    let _open = std::fs::File::options().write(true).open(&pipe).unwrap();
    server.wait_for(1);
    kill_process(Pid::from_child(&sending), Signal::INT).unwrap();
    let status = sending.wait_with_output().unwrap().status;
    assert_eq!((status.signal(), server.requests().len()), (Some(2), 1));
}

#[test]
fn ctrl_c_says_where_the_events_are() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    let sandbox = Sandbox::sending_to(&url);
    let spooled = |arguments: &[&str]| {
        let mut command = sandbox.command_on_spool(arguments);
        command.stdin(Stdio::piped()).spawn().unwrap()
    };
    let interrupt = |child: &Child| {
        let unanswered = hanging.accept().unwrap();
        kill_process(Pid::from_child(child), Signal::INT).unwrap();
        unanswered
    };
    let mut sending = spooled(&["send", "-"]);
    let mut input = sending.stdin.take().unwrap();
    let events = "{\"state\":\"failed\",\"host\":\"h\"}\n".repeat(3);
    input.write_all(events.as_bytes()).unwrap();
    let _unanswered = interrupt(&sending);
    let sent = sending.wait_with_output().unwrap();
    let said = String::from_utf8(sent.stderr).unwrap();
    assert_eq!(sent.status.signal(), Some(2), "{said}");
    assert!(
        said.contains("3 events, 3 deliveries: 3 pending until the next run, `flush` or the timer"),
        "{said}"
    );

    let flushing = spooled(&["flush"]);
    let _unanswered = interrupt(&flushing);
    outcome(flushing).expect_line(
        75,
        &["3 deliveries: 3 pending until the next run, `flush` or the timer"],
    );
}

#[test]
fn an_id_is_delivered_once() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    for _ in 0..2 {
        let sent = run(
            &sandbox,
            &["send", "-"],
            "{\"id\":\"e-1\",\"state\":\"failed\"}",
        );
        sent.expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_event_sent_again_goes_to_those_who_had_it_not() {
    let (first, second) = (Server::start([OK]), Server::start([OK]));
    let webhook = |name: &str, server: &Server| {
        let url = server.url();
        format!("[notifier:{name}]\ntype = webhook\nurl = {url}\non = any\n")
    };
    let sandbox = Sandbox::with_config(&(webhook("a", &first) + &webhook("b", &second)));
    let event = "{\"id\":\"e-1\",\"state\":\"failed\",\"host\":\"h\"}";
    let both = "2 deliveries: all delivered";
    let one = "1 delivery: delivered";
    for (arguments, delivered) in [(&["--notifier", "a"][..], one), (&[], both), (&[], both)] {
        let sent = run(&sandbox, &[&["send", "-"], arguments].concat(), event);
        let said = format!("ansible-notify: 1 event, {delivered}\n");
        sent.expect(0, &said);
    }
    assert_eq!(first.requests().len(), 1);
    assert_eq!(second.requests().len(), 1);
}

#[test]
fn an_event_that_was_given_up_says_so_when_it_is_sent_again() {
    let server = Server::start([status(400), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    let event = "{\"id\":\"e-1\",\"state\":\"failed\"}";
    assert_eq!(run(&sandbox, &["send", "-"], event).code, 69);
    for given_up in [false, true] {
        if given_up {
            assert_eq!(run(&sandbox, &["discard", "1"], "").code, 0);
        }
        let again = run(&sandbox, &["send", "-"], event);
        again.expect_line(69, &["1 dead (callback: given up earlier"]);
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn who_sends_can_wait_for_as_long_as_it_takes() {
    let server = Server::start([status(503), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    run(&sandbox, &["send", "-", "--wait"], &event("h"))
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
}

#[test]
fn who_only_accepts_keeps_nobody_from_delivering() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    let mut command = sandbox.command_on_spool(&["send", "--no-wait", "-"]);
    let mut accepting = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = accepting.stdin.take().unwrap();
    input.write_all(event("first").as_bytes()).unwrap();
    let begun = std::time::Instant::now();
    while !sandbox.path("state/ansible-notify/spool.db").exists()
        || !run(&sandbox, &["status", "--json"], "")
            .stdout
            .contains("\"waiting\": 1,")
    {
        assert!(begun.elapsed() < PATIENCE);
    }
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
    drop(input);
    assert_eq!(outcome(accepting).code, 0);
}
