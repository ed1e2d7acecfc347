//! The kinds that send many events in a request, each against a server that refuses what the service refuses: an event
//! that is refused costs no other one, and none is lost.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use crate::sandbox::{Outcome, Sandbox, outcome, side_by_side};
use crate::server::store::{BUSY, POISON, Store};
use crate::server::{OK, Server, dead_url, elasticsearch, loki, splunk};

/// One kind, and its service.
struct Sink {
    kind: &'static str,
    start: fn() -> Store,
    /// Keys besides `type` and `url`.
    keys: &'static str,
    /// What it says of a poisoned event.
    error: &'static str,
}

const SINKS: [Sink; 3] = [
    Sink {
        kind: "splunk",
        start: splunk::start,
        keys: "token = canary-splunk-token",
        error: "400 Bad Request: Invalid data format",
    },
    Sink {
        kind: "elasticsearch",
        start: elasticsearch::start,
        keys: "api_key = aWQ6Y2FuYXJ5LWtleQ==",
        error: "400: document_parsing_exception: Limit of total fields [1000] has been exceeded",
    },
    Sink {
        kind: "loki",
        start: loki::start,
        keys: "username = 1234\npassword = canary-password\ntenant = ops",
        error: "400 Bad Request: entry for stream",
    },
];

/// Sections of a notifier of this kind at this address.
fn config(sink: &Sink, url: &str, more: &str) -> String {
    format!(
        "[notifier:sink]\ntype = {}\nurl = {url}\n{}\non = failed, ok\n{more}\n\
         [outputs:sink]\nid = id\nhost = host\nmsg = result.msg\n[delivery]\ndrain = 60\n",
        sink.kind, sink.keys
    )
}

/// Results of a run as the callback plugin tells them: host and text of each.
fn run(results: &[(String, String)]) -> String {
    let mut lines = String::new();
    let mut write = |line: serde_json::Value| writeln!(lines, "{line}").unwrap();
    write(json!({"hello": {"protocol": 1, "run": {"id": "r", "playbook": "site.yml"}}}));
    write(json!({"task": {"id": "t", "name": "Install", "path": "site.yml:3"}}));
    for (index, (host, msg)) in results.iter().enumerate() {
        let event = json!({"seq": index + 1, "event": "runner_on_ok", "time": 1714000000.5 + index as f64,
            "task": "t", "host": {"name": host}, "result": {"msg": msg}});
        write(json!({ "event": event }));
    }
    write(json!({"end": {"reason": "exit"}}));
    lines
}

/// So many results of these hosts in turn, each with its number as its text.
fn numbered(count: usize, hosts: usize) -> Vec<(String, String)> {
    let result = |number: usize| (format!("web{}", number % hosts), format!("{number}"));
    (0..count).map(result).collect()
}

/// Feeds `stream`, always with the same spool.
fn stream(sandbox: &Sandbox, results: &[(String, String)]) -> Outcome {
    sandbox.file("input", run(results));
    let mut command = sandbox.command_on_spool(&["stream"]);
    command.stdin(std::fs::File::open(sandbox.path("input")).unwrap());
    outcome(command.spawn().unwrap())
}

/// Checks that these events were stored, and only those, each this often at most.
#[track_caller]
fn expect_stored(sink: &Sink, store: &Store, numbers: impl Iterator<Item = usize>, most: usize) {
    let times = store.shelf.times();
    let expected: Vec<String> = numbers.map(|number| format!("r-{}", number + 1)).collect();
    for id in &expected {
        let known = times.get(id).copied().unwrap_or_default();
        assert!(
            (1..=most).contains(&known),
            "{}: {id}: {known} times",
            sink.kind
        );
    }
    assert_eq!(times.len(), expected.len(), "{}", sink.kind);
}

/// Checks that the events of each host were stored in their order.
#[track_caller]
fn expect_order(sink: &Sink, store: &Store) {
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    for stored in store.shelf.all() {
        let number: usize = stored.id.strip_prefix("r-").unwrap().parse().unwrap();
        let before = last.insert(stored.host.clone(), number).unwrap_or(0);
        let (kind, host) = (sink.kind, &stored.host);
        assert!(before < number, "{kind}: {host}: {number} after {before}");
    }
}

#[test]
fn many_events_are_few_requests_and_each_host_is_in_order() {
    side_by_side(&SINKS, |sink| {
        let store = (sink.start)();
        let sandbox = Sandbox::with_config(&config(sink, &store.server.at(""), "batch = 100"));
        stream(&sandbox, &numbered(2000, 20)).expect_line(0, &["2000 deliveries: all delivered"]);
        expect_stored(sink, &store, 0..2000, 1);
        expect_order(sink, &store);
        let requests = store.server.requests();
        assert!(requests.len() < 400, "{}: {}", sink.kind, requests.len());
        let connections = requests.iter().map(|request| request.connection).max();
        assert!(connections > Some(0), "{}: one at a time", sink.kind);
    });
}

#[test]
fn all_events_are_in_order_if_wanted() {
    side_by_side(&SINKS, |sink| {
        let store = (sink.start)();
        let more = "batch = 30\norder = run";
        let sandbox = Sandbox::with_config(&config(sink, &store.server.at(""), more));
        stream(&sandbox, &numbered(300, 20)).expect_line(0, &["300 deliveries: all delivered"]);
        let ids = store.shelf.all().into_iter().map(|stored| stored.id);
        let expected: Vec<String> = (1..=300).map(|number| format!("r-{number}")).collect();
        // Loki has the lines by stream, of which there is one here.
        assert_eq!(ids.collect::<Vec<_>>(), expected, "{}", sink.kind);
    });
}

#[test]
fn one_poisoned_event_of_500_costs_no_other_one() {
    side_by_side(&SINKS, |sink| {
        let store = (sink.start)();
        let more = "batch = 500\nconcurrency = 1\nbatch_wait = 1h";
        let sandbox = Sandbox::with_config(&config(sink, &store.server.at(""), more));
        let mut results = numbered(500, 50);
        results[137].1 = POISON.to_owned();
        stream(&sandbox, &results)
            .expect_line(69, &["500 deliveries: 499 delivered, 1 dead", sink.error]);
        let others = (0..500).filter(|number| *number != 137);
        expect_stored(sink, &store, others, usize::MAX);
        let history = sandbox.run_on_spool(&["history", "--failed", "--json", "--limit", "1000"]);
        let dead = history.stdout.lines();
        let dead: Vec<&str> = dead
            .filter(|line| line.contains(r#""state":"dead""#))
            .collect();
        let said = |text: &str| dead[0].contains(text);
        assert!(
            dead.len() == 1 && said(r#""r-138""#) && said(sink.error),
            "{}: {dead:?}",
            sink.kind
        );
    });
}

#[test]
fn an_event_that_is_refused_for_now_arrives_later() {
    side_by_side(&SINKS, |sink| {
        let store = (sink.start)();
        let more = "batch = 100\nbatch_wait = 1h";
        let sandbox = Sandbox::with_config(&config(sink, &store.server.at(""), more));
        let mut results = numbered(200, 10);
        for number in [3, 50, 51, 120, 199] {
            results[number].1 = format!("{BUSY} {number}");
        }
        stream(&sandbox, &results).expect_line(0, &["200 deliveries: all delivered"]);
        expect_stored(sink, &store, 0..200, 1);
    });
}

#[test]
fn what_is_too_large_for_a_request_is_sent_in_several() {
    side_by_side(&SINKS, |sink| {
        let store = (sink.start)();
        let sandbox = Sandbox::with_config(&config(sink, &store.server.at(""), "compress = none"));
        let large = |number: usize| (format!("web{}", number % 3), "x".repeat(30_000));
        let results: Vec<_> = (0..100).map(large).collect();
        stream(&sandbox, &results).expect_line(0, &["100 deliveries: all delivered"]);
        expect_stored(sink, &store, 0..100, 1);
        expect_order(sink, &store);
    });
}

#[test]
fn what_waited_for_a_server_arrives_once_it_is_back() {
    side_by_side(&SINKS, |sink| {
        let sandbox =
            Sandbox::with_config(&config(sink, &dead_url(), "").replace("drain = 60", "drain = 0"));
        assert_eq!(
            stream(&sandbox, &numbered(1500, 30)).code,
            75,
            "{}",
            sink.kind
        );
        let store = (sink.start)();
        sandbox.file("plugin_config.ini", config(sink, &store.server.at(""), ""));
        sandbox
            .run_on_spool(&["flush"])
            .expect_line(0, &["1500 deliveries: all delivered"]);
        expect_stored(sink, &store, 0..1500, 1);
        expect_order(sink, &store);
    });
}

#[test]
fn a_process_that_is_killed_loses_nothing() {
    side_by_side(&SINKS, |sink| {
        let more = "batch = 50\nconcurrency = 3";
        let sandbox = Sandbox::with_config(
            &config(sink, &dead_url(), more).replace("drain = 60", "drain = 0"),
        );
        let mut results = numbered(3000, 30);
        results[700].1 = POISON.to_owned();
        assert_eq!(stream(&sandbox, &results).code, 75, "{}", sink.kind);
        let store = (sink.start)();
        sandbox.file(
            "plugin_config.ini",
            config(sink, &store.server.at(""), more),
        );
        let mut kills = 0;
        while store.shelf.times().len() < 2500 {
            let before = store.shelf.len();
            let mut flush = sandbox.command_on_spool(&["flush"]).spawn().unwrap();
            store.shelf.wait_for(before + 1 + 37 * kills % 300);
            flush.kill().unwrap();
            flush.wait().unwrap();
            kills += 1;
        }
        let flushed = sandbox.run_on_spool(&["flush"]);
        assert!(
            flushed.stderr.contains("1 dead") || kills > 0,
            "{flushed:?}"
        );
        let others = (0..3000).filter(|number| *number != 700);
        expect_stored(sink, &store, others, usize::MAX);
        // No more than what was under way at a kill comes twice; loki is told of the halves of a batch again.
        let again = store.shelf.len() - 2999;
        assert!(
            kills > 2 && again <= kills * 3 * 50 + 100,
            "{}: {again} after {kills}",
            sink.kind
        );
        let status = sandbox.run_on_spool(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
        let notifier = &status[0];
        assert_eq!(
            (&notifier["delivered"], &notifier["dead"]),
            (&json!(2999), &json!(1)),
            "{status}"
        );
    });
}

#[test]
fn a_second_server_is_tried_at_once() {
    side_by_side(&SINKS, |sink| {
        let store = (sink.start)();
        let away = Server::start([crate::server::status(502), OK]);
        let urls = format!("{}, {}, {}", dead_url(), away.at(""), store.server.at(""));
        let sandbox = Sandbox::with_config(&config(sink, &urls, "batch = 10"));
        stream(&sandbox, &numbered(5, 1)).expect_line(0, &["5 deliveries: all delivered"]);
        expect_stored(sink, &store, 0..5, 1);
    });
}

/// A batch of a webhook that gathers, and is compressed.
#[test]
fn a_batch_gathers_until_the_end_of_the_run() {
    let server = Server::start([OK]);
    let keys = "batch = 1000\nbatch_wait = 1h\ncompress = gzip\non = ok";
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\n{keys}\n[outputs:x]\nmsg = result.msg\n",
        server.url()
    ));
    stream(&sandbox, &numbered(400, 20)).expect_line(0, &["400 deliveries: all delivered"]);
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("content-encoding"), Some("gzip"));
    let sent = requests[0].json();
    let sent: Vec<&str> = sent
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["msg"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..400).map(|number| number.to_string()).collect();
    assert_eq!(sent, expected);
    let alone = "[notifier:x]\ntype = webhook\nurl = http://localhost/\nbatch_wait = 1s\n";
    Sandbox::with_config(alone)
        .run(&["check-config"])
        .expect_line(78, &["`batch`"]);
}
