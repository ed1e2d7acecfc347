//! The end of a run is the last of it to each notifier.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::spool::run;
use crate::sandbox::Sandbox;
use crate::server::{OK, Reply, Request, Server, status};

/// A run with so many results on each host, and its end.
fn a_run(run: &str, hosts: &[&str], results: usize) -> String {
    let mut events = String::new();
    for n in 0..results {
        for host in hosts {
            let result =
                format!(r#"{{"state":"success","host":"{host}","task":"t{n}","run":"{run}"}}"#);
            events.push_str(&result);
        }
    }
    events + &format!(r#"{{"event":"playbook_on_stats","run":"{run}","status":"success"}}"#)
}

fn sandbox(server: &Server, drain: &str) -> Sandbox {
    Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\non = any\n[delivery]\ndrain = {drain}\n\
         [outputs]\nhost = host\ntask = task_name\nstatus = status\nrun = run_id\n",
        server.url()
    ))
}

/// Place of the end of a run among the requests.
fn end_of(requests: &[Request], run: &str) -> usize {
    let is_end = |body: &Value| body["run"] == run && body["status"] == "success";
    let mut bodies = requests.iter().map(Request::json);
    bodies.position(|body| is_end(&body)).expect("the end")
}

fn is_of(request: &Request, host: &str) -> bool {
    request.json()["host"] == host
}

#[test]
fn it_waits_for_a_host_whose_results_take_long() {
    let server = Server::answering(|request| {
        let is_slow = is_of(request, "slow");
        Reply::After(Duration::from_millis(if is_slow { 300 } else { 1 }))
    });
    let sandbox = sandbox(&server, "30s");
    let events = a_run("r1", &["fast", "slow", "third"], 6);
    let sent = run(&sandbox, &["send", "-"], &events);
    assert_eq!(sent.code, 0, "{sent:?}");
    assert_eq!(end_of(&server.requests(), "r1"), 18);
}

#[test]
fn it_waits_for_a_host_that_is_refused_for_less_than_the_drain() {
    for silent in [false, true] {
        let server = Server::answering(move |request| match is_of(request, "bad") {
            true if silent => Reply::Silence,
            true => status(503),
            false => OK,
        });
        let sandbox = sandbox(&server, "4s");
        let began = Instant::now();
        let sent = run(&sandbox, &["send", "-"], &a_run("r1", &["good", "bad"], 3));
        assert_eq!(sent.code, 75, "{sent:?}");
        let requests = server.requests();
        let end = end_of(&requests, "r1");
        let waited = requests[end].at - began;
        assert!(waited > Duration::from_secs(2), "{waited:?}");
        let good = requests[..end].iter().filter(|one| is_of(one, "good"));
        assert_eq!(good.count(), 3);
    }
}

#[test]
fn it_waits_for_what_an_earlier_process_left() {
    let server = Server::start(
        vec![status(503); 6]
            .into_iter()
            .chain([OK])
            .collect::<Vec<_>>(),
    );
    let sandbox = sandbox(&server, "300ms");
    for number in 1..=2 {
        let events = a_run(&format!("r{number}"), &["a", "b", "c"], 4);
        let sent = run(&sandbox, &["send", "-"], &events);
        assert_eq!(sent.code, 75, "{sent:?}");
    }
    let before = server.requests().len();
    let deadline = Instant::now() + Duration::from_secs(60);
    while run(&sandbox, &["flush"], "").code != 0 {
        assert!(Instant::now() < deadline);
    }
    let requests = &server.requests()[before..];
    for run in ["r1", "r2"] {
        let last = requests
            .iter()
            .rposition(|request| request.json()["run"] == run);
        assert_eq!(last, Some(end_of(requests, run)), "{run}");
    }
}
