//! `flush` ends, whatever waits and however the endpoint fares.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::spool::{event, run};
use crate::sandbox::{Outcome, Sandbox, outcome, side_by_side};
use crate::server::{OK, Reply, Server, dead_url, status};

/// More than a notifier has in memory, twice; and more than two of the largest groups.
const EVENTS: usize = 2500;

/// Runs `flush`, which has to end within a minute.
#[track_caller]
fn flush(sandbox: &Sandbox, options: &[&str]) -> Outcome {
    let mut command = sandbox.command_on_spool(&["flush"]);
    let child = command.args(options).spawn().unwrap();
    let process = Pid::from_child(&child);
    let ended = std::thread::spawn(move || outcome(child));
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ended.is_finished() {
        if Instant::now() > deadline {
            kill_process(process, Signal::KILL).unwrap();
            panic!("`flush` does not end: {:?}", ended.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    ended.join().unwrap()
}

/// A configuration of one notifier with these keys.
fn config(url: &str, keys: &str) -> String {
    format!("[inputs]\ncallback_url = {url}\n{keys}\n[delivery]\ndrain = 0\n")
}

/// Leaves events in the spool, each of a host of its own or all of one.
fn leave(sandbox: &Sandbox, events: usize, hosts: usize) {
    let events: String = (0..events)
        .map(|n| event(&format!("h{}", n % hosts)))
        .collect();
    let sent = run(sandbox, &["send", "--no-wait", "--quiet", "-"], &events);
    assert_eq!(sent.code, 0, "{sent:?}");
}

#[test]
fn it_ends_however_much_waits_for_an_endpoint_that_is_gone() {
    let set_ups = [
        ("", 1),
        ("", EVENTS),
        ("batch = 100", 10),
        ("group_by = task", 10),
        ("group_by = host", EVENTS),
        ("order = run", 10),
        ("concurrency = 1", 3),
    ];
    side_by_side(&set_ups, |(keys, hosts)| {
        let sandbox = Sandbox::with_config(&config(&dead_url(), keys));
        leave(&sandbox, EVENTS, *hosts);
        let waiting = format!(
            "{EVENTS} deliveries: {EVENTS} pending until the next run, `flush` or the timer (callback: http://127.0.0.1:"
        );
        for options in [&["--due"][..], &[], &[], &["--due"]] {
            flush(&sandbox, options).expect_line(75, &[&waiting]);
        }
    });
}

#[test]
fn it_ends_whatever_the_endpoint_answers() {
    let answers = [
        (status(503), 75),
        (Reply::Full(503, "Retry-After: 1000\r\n", ""), 75),
        (status(401), 75),
        (status(410), 69),
        (status(400), 69),
        (Reply::Close, 75),
    ];
    side_by_side(&answers, |(answer, code)| {
        let server = Server::start([answer.clone()]);
        let sandbox = Sandbox::with_config(&config(&server.url(), ""));
        leave(&sandbox, 1200, 30);
        let ended = flush(&sandbox, &[]);
        assert_eq!(ended.code, *code, "{ended:?}");
    });
}

#[test]
fn a_slow_command_for_a_secret_holds_up_no_other_configuration() {
    let (slow, other) = (Server::start([OK]), Server::start([OK]));
    let sandbox = Sandbox::new();
    let notifier = |name: &str, server: &Server| {
        let url = server.url();
        format!("[notifier:{name}]\ntype = webhook\non = any\nurl = {url}\n")
    };
    let asking = |name| notifier(name, &slow) + "token_command = ./token\n";
    sandbox.file("slow.ini", asking("one") + &asking("two"));
    sandbox.file("other.ini", notifier("three", &other));
    let token =
        "#!/bin/sh\necho run >> runs\nuntil [ -e arrived ]; do sleep 0.05; done\necho secret\n";
    sandbox.file("token", token);
    sandbox.mode("token", 0o700);
    let arrived = sandbox.file("arrived", "");
    for config in ["slow.ini", "other.ini"] {
        let arguments = ["send", "--config", config, "--no-wait", "--quiet", "-"];
        let sent = run(&sandbox, &arguments, &event("h"));
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    std::fs::remove_file(&arrived).unwrap();
    let runs = sandbox.file("runs", "");
    let flushing = sandbox.command_on_spool(&["flush"]).spawn().unwrap();
    other.wait_for(1);
    assert_eq!(slow.requests().len(), 0);
    sandbox.file("arrived", "");
    outcome(flushing).expect_line(0, &["3 deliveries: all delivered"]);
    let runs = std::fs::read_to_string(runs).unwrap();
    assert_eq!(runs, "run\n", "once for both notifiers");
}

#[test]
fn a_configuration_is_read_once_and_only_what_is_due_asks_for_secrets() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    let notifier = |name: &str, on: &str| {
        let url = server.url();
        format!(
            "[notifier:{name}]\ntype = webhook\non = {on}\nurl = {url}\ntoken_command = ./token {name}\n"
        )
    };
    let due = notifier("one", "any") + &notifier("two", "any");
    let config = sandbox.file("all.ini", due + &notifier("idle", "unreachable"));
    sandbox.file("token", "#!/bin/sh\necho $1 >> runs\necho secret-$1\n");
    sandbox.mode("token", 0o700);
    let arguments = ["send", "--config", "all.ini", "--no-wait", "--quiet", "-"];
    let sent = run(&sandbox, &arguments, &event("h"));
    assert_eq!(sent.code, 0, "{sent:?}");
    let runs = sandbox.file("runs", "");
    // If it were read again after its commands, it would be unusable.
    let token = "#!/bin/sh\necho $1 >> runs\necho '[broken' > all.ini\necho secret-$1\n";
    sandbox.file("token", token);
    sandbox.mode("token", 0o700);
    flush(&sandbox, &[]).expect_line(0, &["2 deliveries: all delivered"]);
    assert_eq!(std::fs::read_to_string(config).unwrap(), "[broken\n");
    let runs = std::fs::read_to_string(runs).unwrap();
    assert_eq!(runs, "one\ntwo\n");
    let requests = server.requests();
    let tokens = requests.iter().map(|one| one.header("authorization"));
    let mut tokens: Vec<_> = tokens.flatten().collect();
    tokens.sort_unstable();
    assert_eq!(tokens, ["Bearer secret-one", "Bearer secret-two"]);
}

#[test]
fn a_dead_one_of_three_holds_up_neither_flush_nor_who_stays() {
    let server = Server::start([OK]);
    let notifier = |name: &str, url: &str| {
        format!("[notifier:{name}]\ntype = webhook\nurl = {url}\non = any\n")
    };
    let sandbox = Sandbox::with_config(&format!(
        "{}{}{}[delivery]\ndrain = 0\n",
        notifier("one", &server.at("/one")),
        notifier("dead", &dead_url()),
        notifier("two", &server.at("/two")),
    ));
    leave(&sandbox, EVENTS, 40);
    let ended = flush(&sandbox, &[]);
    let line = format!(
        "{} deliveries: {} delivered, {EVENTS} pending until the next run, `flush` or the timer (dead: ",
        3 * EVENTS,
        2 * EVENTS
    );
    ended.expect_line(75, &[&line]);

    let mut watch = sandbox.command_on_spool(&["flush", "--watch"]);
    let watch = watch.stdin(Stdio::null()).spawn().unwrap();
    leave(&sandbox, 100, 4);
    server.wait_for(2 * EVENTS + 200);
    kill_process(Pid::from_child(&watch), Signal::TERM).unwrap();
    assert_eq!(outcome(watch).code, 75);
}
