//! Bad input: a clear line, the documented exit code, and nothing else is lost.

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Server};
use serde_json::{Value, json};

/// What `send -` says of `input`, and the payloads that arrived.
fn send(input: impl AsRef<[u8]>) -> (Outcome, Vec<Value>) {
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\n[outputs]\nhost = host\nout = result.stdout\nall = result\n",
        server.url()
    );
    let outcome = Sandbox::with_config(&config).run_with_input(&["send", "-"], input);
    (outcome, server.bodies())
}

fn hosts(payloads: &[Value]) -> Vec<&str> {
    payloads
        .iter()
        .map(|payload| payload["host"].as_str().unwrap())
        .collect()
}

#[test]
fn no_input_is_no_error() {
    for input in ["", "\n", " \r\n\t\n", "\u{feff}", "[]"] {
        let (outcome, payloads) = send(input);
        outcome.expect(0, "");
        assert!(payloads.is_empty());
    }
}

#[test]
fn a_broken_line_costs_only_itself() {
    let good = r#"{"state":"success","host":"good"}"#;
    for (bad, reason) in [
        ("{\"password\":\"canary", "is incomplete (19 bytes)"),
        (
            "{\"password\":canary}",
            "is not valid JSON: expected value at line 1 column 13 (19 bytes)",
        ),
        ("canary", "is not a JSON object (6 bytes)"),
        (
            "{\"password\":\"canary\"}",
            "is not an event: it has neither `event` nor `state` (see `ansible-notify schema`) (21 bytes)",
        ),
        (
            "{\"state\":\"canary\"}",
            "`state` must be success, failed, skipped or unreachable (18 bytes)",
        ),
        (
            "{\"state\":\"ok\"}",
            "`state` must be success, failed, skipped or unreachable, not `ok`; did you mean `success`? (14 bytes)",
        ),
        (
            "{\"state\":\"sucess\"}",
            "`state` must be success, failed, skipped or unreachable, not `sucess`; did you mean `success`? (18 bytes)",
        ),
    ] {
        let (outcome, payloads) = send(format!("{good}\n{bad}\n{good}"));
        let line = format!("ansible-notify: standard input:2: {reason}\n");
        outcome.expect(
            65,
            &format!("{line}ansible-notify: 2 events, 2 deliveries: all delivered\n"),
        );
        assert_eq!(hosts(&payloads), ["good", "good"]);
    }
    let (outcome, payloads) = send(format!("{good} canary\n{good}"));
    assert!(
        outcome
            .stderr
            .contains("standard input:1: is not a JSON object (6 bytes)"),
        "{outcome:?}"
    );
    assert_eq!((outcome.code, payloads.len()), (65, 2));
}

#[test]
fn unknown_keys_are_said_once() {
    let event = r#"{"state":"success","hots":"h","task_name":"t"}"#;
    let (outcome, payloads) = send(format!("{event}\n{event}"));
    outcome.expect(
        0,
        "ansible-notify: standard input:1: unknown key `hots`; did you mean `host`?\n\
         ansible-notify: standard input:1: unknown key `task_name`; did you mean `task`?\n\
         ansible-notify: 2 events, 2 deliveries: all delivered\n",
    );
    assert_eq!(payloads.len(), 2);
    let delivered = "ansible-notify: 1 event, 1 delivery: delivered\n";
    for known in [
        r#"{"id":"1","time":"2026-11-20T20:42:01Z","event":"runner_on_ok","host":"h","task_name":"t"}"#,
        r#"{"uuid":"u1","event":"runner_on_ok","counter":1,"stdout":"x","event_data":{"host":"h"}}"#,
    ] {
        let (outcome, _) = send(known);
        outcome.expect(0, delivered);
    }
}

#[test]
fn text_that_is_no_text_is_replaced() {
    let (outcome, payloads) = send(
        b"{\"state\":\"success\",\"host\":\"h\",\"result\":{\"stdout\":\"\\ud800 \xff \\u0000\"}}",
    );
    outcome.expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    assert_eq!(payloads[0]["out"], "\u{fffd} \u{fffd} \0");
}

#[test]
fn huge_values_are_cut_within_bounded_memory() {
    let huge = "x".repeat(64 << 20);
    let input =
        format!(r#"{{"state":"success","host":"h","result":{{"stdout":"{huge}","rc":0}}}}"#);
    let server = Server::start([OK]);
    let config = format!(
        "[inputs]\ncallback_url = {}\n[outputs]\nout = result.stdout\nrc = result.rc\ncut = event.truncated\n\
         [delivery]\ndrain = 100s\n",
        server.url()
    );
    let sandbox = Sandbox::with_config(&config);
    sandbox.file("event.json", input);
    let mut command = sandbox.command_in_little_memory(&["send", "event.json"]);
    outcome(command.spawn().unwrap()).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let payload = server.requests()[0].json();
    assert_eq!((&payload["rc"], &payload["cut"]), (&json!(0), &json!(true)));
    let out = payload["out"].as_str().unwrap();
    assert!(out.len() < 2 << 20 && out.ends_with(" [cut: 67108864 bytes]"));
}

#[test]
fn depth_and_size_have_limits() {
    let deep = format!(
        "{{\"state\":\"success\",\"result\":{}{}}}",
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    let (outcome, payloads) = send(format!(
        "{deep}\n{{\"state\":\"success\",\"host\":\"good\"}}"
    ));
    assert!(
        outcome
            .stderr
            .contains("standard input:1: is not valid JSON: recursion limit exceeded"),
        "{outcome:?}"
    );
    assert_eq!((outcome.code, hosts(&payloads)), (65, vec!["good"]));

    let wide = format!(
        "{{\"state\":\"success\",\"result\":[{}0]}}",
        "0,".repeat(3 << 20)
    );
    let (outcome, payloads) = send(format!(
        "{wide}\n{{\"state\":\"success\",\"host\":\"good\"}}"
    ));
    assert!(
        outcome
            .stderr
            .contains("standard input:1: is larger than 4 MiB"),
        "{outcome:?}"
    );
    assert_eq!((outcome.code, hosts(&payloads)), (65, vec!["good"]));
}

#[test]
fn numbers_and_names_stay_what_they_are() {
    let keys: String = (0..10_000).map(|n| format!("\"k{n}\":{n},")).collect();
    let (outcome, payloads) = send(format!(
        r#"{{"state":"success","host":"h","host":"last","result":{{{keys}"big":18446744073709551617,"huge":1e400,"zero":-0,"nan":NaN,"__proto__":1,"":2,"a.b":3}}}}"#
    ));
    outcome.expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let all = &payloads[0]["all"];
    assert_eq!(payloads[0]["host"], "last");
    assert_eq!(
        all["big"].to_string(),
        "18446744073709551616.0".replace("6.0", "7"),
        "{}",
        all["big"]
    );
    assert_eq!(
        (&all["huge"], &all["nan"]),
        (&json!("1e+400"), &json!("NaN"))
    );
    assert_eq!(
        (&all["__proto__"], &all[""], &all["a.b"], &all["k9999"]),
        (&json!(1), &json!(2), &json!(3), &json!(9999))
    );
}

#[test]
fn text_is_never_a_template() {
    let evil = "{{ 7*7 }} {% for x in y %} ${jndi:ldap://x} %(x)s @channel <!everyone>";
    let (_, payloads) =
        send(json!({"state": "success", "host": "h", "result": {"stdout": evil}}).to_string());
    assert_eq!(payloads[0]["out"], evil);
}

#[test]
fn no_log_goes_nowhere() {
    let (outcome, payloads) = send(json!({
        "state": "failed", "host": "h", "item": "canary",
        "result": {"_ansible_no_log": true, "changed": false, "stdout": "canary", "exception": "canary", "diff": {"after": "canary"},
            "results": [{"item": "canary"}]}
    }).to_string());
    assert_eq!(
        payloads[0],
        json!({"host": "h", "out": null, "all": {"changed": false}})
    );
    assert!(!outcome.stderr.contains("canary"));
}

#[test]
fn escape_sequences_do_not_reach_the_terminal() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[outputs]\nhost = {{{{ host }}}}\n",
        server.url()
    ));
    let event = json!({"state": "failed", "host": "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}", "id": "i\u{1b}[2J\r\nX-Evil: 1"});
    let outcome = sandbox.run_with_input(&["send", "-", "--dry-run"], event.to_string());
    assert!(
        !outcome
            .stdout
            .contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\r']),
        "{outcome:?}"
    );
    sandbox.run_with_input(&["send", "-"], event.to_string());
    let request = &server.requests()[0];
    assert_eq!(request.header("x-evil"), None);
    assert_eq!(
        request.json()["host"],
        event["host"],
        "JSON carries it without loss"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    sandbox.file("good.json", r#"{"state":"success","host":"good"}"#);
    let outcome = sandbox.run(&["send", "missing.json", ".", "good.json"]);
    assert_eq!(outcome.code, 66);
    assert!(
        outcome
            .stderr
            .contains("missing.json: cannot be read: No such file"),
        "{outcome:?}"
    );
    assert!(
        outcome.stderr.contains(".: contains no job events"),
        "{outcome:?}"
    );
    assert_eq!(
        server.requests().len(),
        1,
        "the others are sent all the same"
    );
    assert_eq!(sandbox.run(&["send"]).code, 2);
    assert_eq!(sandbox.run(&["sned", "x"]).code, 2);
}
