//! What becomes of a delivery: statuses, faults, order, and the exit code that tells.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::stream::{END, event, greeting};
use crate::sandbox::{Config, Sandbox, outcome};
use crate::server::{OK, Reply, Request, Server, dead_url, status};

const EVENT: &str = r#"{"id":"e-1","state":"failed","host":"web1"}"#;

fn send(server: &Server, drain: &str) -> crate::sandbox::Outcome {
    let config = Config::to(&server.url())
        .delivery(&format!("drain = {drain}"))
        .text();
    Sandbox::with_config(&config).run_with_input(&["send", "-"], EVENT)
}

#[test]
fn what_may_pass_is_tried_again_under_the_same_id() {
    for fault in [
        status(408),
        status(429),
        status(500),
        status(503),
        Reply::Close,
        Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        Reply::Raw(b"junk\r\n\r\n"),
    ] {
        let server = Server::start([fault.clone(), OK]);
        let outcome = send(&server, "60");
        outcome.expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
        let requests = server.requests();
        assert_eq!(requests.len(), 2, "{fault:?}");
        assert_eq!(requests[0].header("webhook-id"), Some("e-1"));
        assert_eq!(requests[1].header("webhook-id"), Some("e-1"));
        let wait = requests[1].at - requests[0].at;
        assert!(
            wait >= Duration::from_millis(500) && wait < Duration::from_secs(30),
            "{fault:?}: {wait:?}"
        );
    }
}

#[test]
fn what_cannot_pass_is_dead_at_once() {
    for (reply, reason) in [
        (
            Reply::Full(400, "", "field `x` is\nmissing"),
            "400 Bad Request: field `x` is",
        ),
        (status(404), "404 Not Found"),
        (status(410), "410 Gone; off until its configuration changes"),
        (status(501), "501 Not Implemented"),
        (
            Reply::Full(
                302,
                "Location: https://elsewhere.example/secret-path\r\n",
                "",
            ),
            "302 Found: redirects to https://elsewhere.example; set the final URL",
        ),
        (
            Reply::Full(307, "Location: /login\r\n", ""),
            "307 Temporary Redirect: redirects to /login; set the final URL",
        ),
    ] {
        let server = Server::start([reply]);
        let outcome = send(&server, "5");
        outcome.expect(
            69,
            &format!("ansible-notify: 1 event, 1 delivery: 1 dead (callback: {reason})\n"),
        );
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn retry_after_is_obeyed() {
    let server = Server::start([Reply::Full(503, "Retry-After: 2\r\n", ""), OK]);
    send(&server, "5").expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let requests = server.requests();
    assert!(requests[1].at - requests[0].at >= Duration::from_millis(1990));
}

#[test]
fn an_endpoint_that_does_not_answer_leaves_the_event_waiting() {
    let server = Server::start([Reply::Silence]);
    let started = std::time::Instant::now();
    send(&server, "300ms").expect(
        75,
        "ansible-notify: 1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: no answer yet)\n",
    );
    assert!(started.elapsed() < Duration::from_secs(20));

    let sandbox = Sandbox::with_config(&Config::to(&dead_url()).delivery("drain = 100ms").text());
    let outcome = sandbox.run_with_input(&["send", "-"], EVENT);
    outcome.expect_line(
        75,
        &[
            "1 delivery: 1 pending until the next run, `flush` or the timer (callback: http://127.0.0.1:",
            "Connection refused",
        ],
    );
}

#[test]
fn an_attempt_has_a_time_limit() {
    let server = Server::start([Reply::Silence, OK]);
    let config = Config::to(&server.url()).with("timeout = 200ms").text();
    Sandbox::with_config(&config)
        .run_with_input(&["send", "-"], EVENT)
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
}

#[test]
fn refused_credentials_are_read_anew_once() {
    let server = Server::start([status(401), OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\nusername = anna\npassword_command = ./password\n",
        server.url()
    ));
    // Another password each time that it is asked for.
    sandbox.file("password", "#!/bin/sh\necho x >>count; wc -l <count");
    sandbox.mode("password", 0o700);
    sandbox
        .run_with_input(&["send", "-"], EVENT)
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_ne!(
        requests[0].header("authorization"),
        requests[1].header("authorization")
    );

    let server = Server::start([status(401)]);
    send(&server, "300ms").expect(
        75,
        "ansible-notify: 1 event, 1 delivery: 1 pending until the next run, `flush` or the timer (callback: 401 Unauthorized)\n",
    );
    assert_eq!(server.requests().len(), 2, "one more attempt, then a pause");
}

#[test]
fn a_slow_command_for_a_secret_holds_up_nobody_else() {
    let (slow, other) = (Server::start([status(401), OK]), Server::start([OK]));
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:slow]\ntype = webhook\non = any\nurl = {}\ntoken_command = ./token\n\
         [notifier:other]\ntype = webhook\non = any\nurl = {}\n",
        slow.url(),
        other.url()
    ));
    sandbox.file(
        "token",
        "#!/bin/sh\necho secret\n[ -e asked ] && sleep 2\ntouch asked\n",
    );
    sandbox.mode("token", 0o700);
    let mut command = sandbox.command(&["stream"]);
    let mut stream = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = stream.stdin.take().unwrap();
    let mut tell = |lines: String| input.write_all(lines.as_bytes()).unwrap();
    tell(greeting(json!({})) + &event(1, "runner_on_ok", json!({"host": {"name": "h"}})));
    slow.wait_for(1);
    other.wait_for(1);
    tell(event(2, "runner_on_ok", json!({"host": {"name": "h"}})));
    let told = other.wait_for(2)[1].at;
    let renewed = slow.wait_for(2)[1].at;
    assert!(told < renewed);
    tell(END.to_owned());
    drop(input);
    assert_eq!(outcome(stream).code, 0);
}

/// What arrived of a host, by the numbers `n` of its results.
fn numbers_of(requests: &[Request], host: &str) -> Vec<u64> {
    let bodies = requests.iter().map(Request::json);
    let of_host = bodies.filter(|body| body["host"] == host);
    of_host.map(|body| body["n"].as_u64().unwrap()).collect()
}

#[test]
fn each_host_is_in_order_and_hosts_go_side_by_side() {
    let server = Server::start([Reply::After(Duration::from_millis(20))]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\nconcurrency = 4\n[outputs]\nhost = host\nn = result.n\n",
        server.url()
    ));
    let events: String = (0..40)
        .map(|n| {
            format!(
                r#"{{"state":"success","host":"h{}","result":{{"n":{n}}}}}"#,
                n % 4
            )
        })
        .collect();
    let started = std::time::Instant::now();
    sandbox.run_with_input(&["send", "-"], &events).expect(
        0,
        "ansible-notify: 40 events, 40 deliveries: all delivered\n",
    );
    assert!(started.elapsed() >= Duration::from_millis(200));
    let requests = server.requests();
    for host in 0..4 {
        let numbers = numbers_of(&requests, &format!("h{host}"));
        assert_eq!(numbers, (0..10).map(|n| n * 4 + host).collect::<Vec<_>>());
    }
    let connections = requests
        .iter()
        .map(|request| request.connection)
        .max()
        .unwrap()
        + 1;
    assert!(connections <= 4, "connections are kept: {connections}");
}

#[test]
fn a_host_that_is_refused_does_not_stop_the_others_however_much_waits_for_it() {
    let heard = AtomicUsize::new(0);
    let server = Server::answering(move |request| {
        if request.json()["host"] == "good" {
            heard.fetch_add(1, Ordering::Relaxed);
        } else if heard.load(Ordering::Relaxed) < 50 {
            return status(503);
        }
        OK
    });
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 60\n[outputs]\nhost = host\nn = result.n\n",
        server.url()
    ));
    let events: String = (0..1300)
        .map(|n| {
            let host = if n < 1200 || n % 2 == 0 {
                "bad"
            } else {
                "good"
            };
            format!(r#"{{"state":"success","host":"{host}","result":{{"n":{n}}}}}"#)
        })
        .collect();
    let outcome = sandbox.run_with_input(&["send", "-"], &events);
    outcome.expect(
        0,
        "ansible-notify: 1300 events, 1300 deliveries: all delivered\n",
    );
    let requests = server.requests();
    let (bad, good) = (numbers_of(&requests, "bad"), numbers_of(&requests, "good"));
    let refused = bad.iter().filter(|number| **number == 0).count() - 1;
    assert!(refused < 5, "{refused}");
    assert_eq!(bad[refused..].len(), 1250);
    assert!(bad[refused..].is_sorted() && good.is_sorted());
}

#[test]
fn one_dead_notifier_does_not_delay_the_others() {
    let server = Server::start([OK]);
    let config = format!(
        "{}[notifier:dead]\ntype = webhook\nurl = {}\non = any\n",
        Config::to(&server.url()).delivery("drain = 10s").text(),
        dead_url()
    );
    let sandbox = Sandbox::with_config(&config);
    let events = EVENT.replace("\"id\":\"e-1\",", "").repeat(50);
    let outcome = sandbox.run_with_input(&["send", "-"], &events);
    outcome.expect_line(
        75,
        &["50 events, 100 deliveries: 50 delivered, 50 pending until the next run, `flush` or the timer (dead: http://127.0.0.1:"],
    );
    assert_eq!(server.requests().len(), 50);
}

/// Sends an event to an endpoint that takes no more than 10,000 bytes, and gives both requests: the whole
/// and the cut one. `URL` in the configuration stands for the endpoint's.
fn sent_twice(config: &str, event: &serde_json::Value) -> [Request; 2] {
    let server = Server::answering(|request| {
        if request.body.len() > 10_000 {
            status(413)
        } else {
            OK
        }
    });
    Sandbox::with_config(&config.replace("URL", &server.url()))
        .run_with_input(&["send", "-"], event.to_string())
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    server.requests().try_into().expect("two requests")
}

#[test]
fn an_end_of_a_run_that_is_too_large_is_cut_once() {
    let config = "[notifier:x]\ntype = webhook\nurl = URL\non = error\n[outputs:x]\nstats = stats\nfailed = failed_tasks\n";
    let failed: Vec<_> = (0..500)
        .map(|number| serde_json::json!({"host": format!("web{number}"), "message": "no space left"}))
        .collect();
    let stats: serde_json::Map<_, _> = (0..500)
        .map(|number| {
            (
                format!("web{number}"),
                serde_json::json!({"ok": 3, "failures": number % 2}),
            )
        })
        .collect();
    let event = serde_json::json!({"event": "run_end", "status": "error", "stats": stats, "failed_tasks": failed});
    let short = sent_twice(config, &event)[1].json();
    assert_eq!(short["failed"].as_array().unwrap().len(), 10);
    let stats = short["stats"].as_object().unwrap();
    assert_eq!(stats.len(), 10);
    assert!(stats.values().all(|counts| counts["failures"] == 1));
}

#[test]
fn what_is_too_large_is_cut_once() {
    let config = "[inputs]\ncallback_url = URL\n[outputs]\nhost = host\nwhole = result\nout = task_output\ncut = event.truncated | default(false)\n";
    let stdout = "äöü ".repeat(20_000);
    let event =
        serde_json::json!({"state": "failed", "host": "h", "result": {"rc": 3, "stdout": stdout}});
    let requests = sent_twice(config, &event);
    assert_eq!(
        requests[0].header("webhook-id"),
        requests[1].header("webhook-id")
    );
    let (whole, short) = (requests[0].json(), requests[1].json());
    assert_eq!(
        (&whole["cut"], &short["cut"]),
        (&false.into(), &true.into())
    );
    assert_eq!(
        (&short["host"], &short["whole"]["rc"]),
        (&"h".into(), &3.into())
    );
    let text = short["out"].as_str().unwrap();
    assert!(text.len() > 1000 && text.starts_with("äöü äöü ") && text.ends_with(" […]"));
}

#[test]
fn what_is_too_large_even_cut_is_dead() {
    let server = Server::start([status(413)]);
    send(&server, "5").expect(
        69,
        "ansible-notify: 1 event, 1 delivery: 1 dead (callback: 413 Payload Too Large; still too large when cut)\n",
    );
    assert_eq!(server.requests().len(), 2);
}
