//! Events of many machines pass a relay: all of them arrive, once, in order, and at their own tenant's endpoint only.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::Signal;

use crate::sandbox::fleet::{Fleet, SPOOL, end, events, hook, ids};
use crate::sandbox::page::Served;
use crate::server::{OK, Request, Server, status};

/// Number of events of a run in these tests, its end included.
pub const EVENTS: usize = 41;

/// The events of a run.
pub fn run(name: &str) -> String {
    events(name, EVENTS - 1, "text")
}

/// All events of these runs arrived, those of each run and host in order.
#[track_caller]
pub fn check_arrived(requests: &[Request], runs: &[&str]) {
    let mut last: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for request in requests {
        let body = request.json();
        let id = body["id"].as_str().unwrap();
        if !seen.insert(id.to_owned()) {
            continue;
        }
        let (run, number) = id.rsplit_once('-').unwrap();
        let host = body["host"].as_str().unwrap_or_default();
        if let Ok(number) = number.parse() {
            let key = (run.to_owned(), host.to_owned());
            let before = last.insert(key, number);
            assert!(before < Some(number), "{id} after {before:?}");
        }
    }
    let all = runs.iter().flat_map(|run| {
        let numbers = (1..EVENTS).map(|number| number.to_string());
        let names = numbers.chain(["end".to_owned()]);
        names.map(move |name| format!("{run}-{name}"))
    });
    assert_eq!(seen, all.collect());
}

#[test]
fn events_of_two_nodes_arrive_in_their_order() {
    let server = Server::start([OK]);
    let fleet = Fleet::with_hook(&server);
    for node in ["one", "two"] {
        fleet.node(node, "acme", "");
    }
    std::thread::scope(|scope| {
        for node in ["one", "two"] {
            let fleet = &fleet;
            scope.spawn(move || {
                let sent = fleet.send(node, &run(node));
                sent.expect_line(0, &["41 events, 41 deliveries: all delivered"]);
            });
        }
    });
    let requests = server.wait_for(2 * EVENTS);
    check_arrived(&requests, &["one", "two"]);
    assert_eq!(requests.len(), 2 * EVENTS);
    fleet.wait_for_delivered(2 * EVENTS as u64);
    // The record names the tenant and the machine.
    let runs = fleet.sandbox.run(&["runs", "--spool", SPOOL, "--json"]);
    for part in [
        "acme:one",
        "acme:two",
        "\"controller\":\"node\"",
        "\"state\":\"ok\"",
    ] {
        assert!(runs.stdout.contains(part), "{part}: {runs:?}");
    }
    let shown = fleet.sandbox.run(&["runs", "--spool", SPOOL, "acme:one"]);
    assert!(shown.stdout.contains("by         node"), "{shown:?}");
    let history = ["history", "--spool", SPOOL, "--run", "acme:one"];
    let history = fleet.sandbox.run(&history).stdout;
    assert!(history.contains("web1"), "{history}");
    let page = Served::start(&fleet.sandbox, &["--spool", SPOOL]);
    let run = page.get("/api/v1/runs/acme:one");
    assert_eq!(run.status, 200, "{run:?}");
    let shown = page.get("/runs/acme:one").body;
    assert!(
        shown.contains("site.yml") && shown.contains("Install"),
        "{shown}"
    );
    fleet.sandbox.expect_no_canary_stored();
}

#[test]
fn a_relay_that_is_down_is_waited_for() {
    let server = Server::start([OK]);
    let mut fleet = Fleet::with_hook(&server);
    fleet.node("one", "acme", "drain = 0");
    let (ended, said) = fleet.end(Signal::TERM);
    assert_eq!((ended.code(), said.as_str()), (Some(0), ""));
    let sent = fleet.send("one", &run("r"));
    sent.expect_line(75, &["41 pending until the next run"]);
    fleet.start();
    fleet.node("one", "acme", "");
    let flushed = fleet.flush("one");
    flushed.expect_line(0, &["41 deliveries: all delivered"]);
    check_arrived(&server.wait_for(EVENTS), &["r"]);
    // Nothing is sent twice without a reason.
    fleet.flush("one").expect_line(0, &["nothing"]);
    assert_eq!(fleet.count(SPOOL, "accepted"), EVENTS as u64);
}

#[test]
fn the_next_relay_takes_what_one_does_not_answer() {
    let (gone, server) = (Server::start([status(503)]), Server::start([OK]));
    let fleet = Fleet::with_hook(&server);
    let here = format!("https://localhost:{}", fleet.port());
    let urls = [
        format!("{}, {here}", gone.at("")),
        format!("{here}, http://127.0.0.1:1"),
        format!("http://127.0.0.1:1,\n  {here}"),
    ];
    for (number, urls) in urls.iter().enumerate() {
        let (node, name) = (format!("node{number}"), format!("r{number}"));
        fleet.node_at(&node, "acme", urls, "");
        let sent = fleet.send(&node, &run(&name));
        sent.expect_line(0, &["all delivered"]);
    }
    check_arrived(&server.wait_for(3 * EVENTS), &["r0", "r1", "r2"]);
    fleet.node_at(
        "none",
        "acme",
        "http://127.0.0.1:1, http://127.0.0.1:2",
        "drain = 0",
    );
    let sent = fleet.send("none", &end("r9", "success"));
    assert_eq!(sent.code, 75, "{sent:?}");
}

#[test]
fn tenants_never_meet() {
    let servers = [Server::start([OK]), Server::start([OK])];
    let mut fleet = Fleet::new();
    for (tenant, server) in ["acme", "beta"].iter().zip(&servers) {
        fleet.tenant(tenant, &hook(server));
    }
    fleet.start();
    for tenant in ["acme", "beta"] {
        fleet.node(tenant, tenant, "");
        // Their ids are the same, and so are their playbooks.
        let text = format!("belongs-to-{tenant}{}", "x".repeat(2 * tenant.len()));
        let lines = events("r", EVENTS - 1, &text);
        fleet
            .send(tenant, &lines)
            .expect_line(0, &["all delivered"]);
    }
    fleet.send("beta", &end("s", "error")).expect_line(0, &[]);
    fleet.send("acme", &end("s", "success")).expect_line(0, &[]);
    for (tenant, server, count) in [("acme", &servers[0], 42), ("beta", &servers[1], 42)] {
        let requests = server.wait_for(count);
        assert_eq!(requests.len(), count);
        let other = if tenant == "acme" { "beta" } else { "acme" };
        for request in &requests {
            assert!(!request.body.contains(&format!("belongs-to-{other}")));
        }
    }
    // A success after a success, although the other tenant failed meanwhile.
    let last = servers[0].requests().last().unwrap().json();
    assert_eq!(
        (&last["id"], &last["previous"]),
        (&"s-end".into(), &"success".into())
    );
    let runs = fleet
        .sandbox
        .run(&["runs", "--spool", SPOOL, "--json"])
        .stdout;
    for id in ["acme:r", "beta:r", "acme:s", "beta:s"] {
        assert!(runs.contains(&format!("\"{id}\"")), "{id}: {runs}");
    }
}

#[test]
fn pending_deliveries_are_chosen_by_tenant_and_run() {
    let mut fleet = Fleet::new();
    for tenant in ["acme", "beta"] {
        let nobody = hook(&Server::start([status(503)]));
        fleet.tenant(tenant, &nobody);
    }
    fleet.start();
    for tenant in ["acme", "beta"] {
        fleet.node(tenant, tenant, "");
        let sent = fleet.send(tenant, &run("r"));
        sent.expect_line(0, &["all delivered"]);
    }
    fleet.end(Signal::TERM);
    let shown = |arguments: &[&str]| {
        let place = ["--spool", SPOOL, "--run"];
        let shown = fleet
            .sandbox
            .run(&[arguments, &place, &["acme:r"]].concat());
        assert_eq!(shown.code, 0, "{shown:?}");
        shown.printed()
    };
    let history = shown(&["history", "--json"]);
    assert_eq!(history.lines().count(), EVENTS, "{history}");
    assert!(
        history
            .lines()
            .all(|line| line.contains("\"run\":\"acme:r\""))
    );
    assert!(shown(&["discard"]).contains("41"));
    assert_eq!(fleet.count(SPOOL, "dropped"), EVENTS as u64);
    assert_eq!(fleet.count(SPOOL, "waiting"), EVENTS as u64);
}

#[test]
fn a_relay_knows_how_the_last_run_ended_on_another_machine() {
    let server = Server::start([OK]);
    let mut fleet = Fleet::new();
    fleet.tenant(
        "acme",
        &hook(&server).replace("any, started", "error, recovered"),
    );
    fleet.start();
    for (node, run, status) in [
        ("one", "a", "error"),
        ("two", "b", "success"),
        ("three", "c", "success"),
    ] {
        fleet.node(node, "acme", "");
        let sent = fleet.send(node, &end(run, status));
        sent.expect_line(0, &["delivered"]);
    }
    fleet.wait_for_delivered(2);
    assert_eq!(ids(&server.requests()), ["a-end", "b-end"]);
}

#[test]
fn what_is_larger_than_a_segment_is_divided() {
    let server = Server::start([OK]);
    let fleet = Fleet::with_hook(&server);
    fleet.node("one", "acme", "");
    // Random text cannot be compressed.
    let random = |_| char::from(fastrand::alphanumeric() as u8);
    let lines: Vec<String> = (0..40)
        .map(|number| {
            let text: String = (0..20_000).map(random).collect();
            let line = events(&format!("r{number}"), 1, &text);
            line.lines()
                .next()
                .unwrap()
                .replace(&format!("\"id\":\"r{number}\""), "\"id\":\"r\"")
        })
        .collect();
    let sent = fleet.send("one", &lines.join("\n"));
    sent.expect_line(0, &["40 deliveries: all delivered"]);
    fleet.wait_for_delivered(40);
}

#[test]
fn a_full_relay_leaves_the_events_with_the_node() {
    let server = Server::start([status(503)]);
    let mut fleet = Fleet::new();
    fleet.tenant("acme", &hook(&server));
    fleet.start_with("max_size = 1MiB", "");
    fleet.node("one", "acme", "drain = 0");
    let text: String = (0..3000).map(|_| fastrand::alphanumeric()).collect();
    let lines = events("r", 600, &text);
    let sent = fleet.send("one", &lines);
    assert_eq!(sent.code, 75, "{sent:?}");
    let flushed = fleet.flush("one");
    flushed.expect_line(
        75,
        &[
            "507 Insufficient Storage",
            "the spool has reached its `max_size`",
        ],
    );
    let taken = fleet.count(SPOOL, "accepted");
    let known = fleet.count("one/ansible-notify", "delivered");
    // An answer may have come too late.
    assert!(known <= taken && taken < 601, "{known}, {taken}");
    assert_eq!(fleet.count("one/ansible-notify", "waiting"), 601 - known);
    // With an endpoint that answers and more room, all of it arrives.
    fleet.end(Signal::TERM);
    let server = Server::start([OK]);
    fleet.sandbox.file("acme.ini", hook(&server));
    fleet.start_with("max_size = 64MiB", "");
    fleet.node("one", "acme", "");
    assert_eq!(fleet.flush("one").code, 0);
    fleet.wait_for_delivered(601);
    let arrived: BTreeSet<String> = ids(&server.requests()).into_iter().collect();
    assert_eq!((arrived.len(), fleet.count(SPOOL, "accepted")), (601, 601));
}

#[test]
fn a_new_token_counts_once_the_relay_is_told_to_read_it() {
    let server = Server::start([OK]);
    let mut fleet = Fleet::with_hook(&server);
    fleet.node("one", "acme", "drain = 0");
    let config = std::fs::read_to_string(fleet.sandbox.path("relay.ini")).unwrap();
    let other = config.replace("canary-token-of-acme", "canary-token-of-others");
    for (text, code) in [(other, 75), (config, 0)] {
        fleet.sandbox.file("relay.ini", text);
        fleet.signal(Signal::HUP);
        let until = std::time::Instant::now() + crate::sandbox::PATIENCE;
        let mut number = 0;
        loop {
            number += 1;
            fleet.node("one", "acme", "drain = 0");
            fleet.send("one", &end(&format!("r{code}-{number}"), "success"));
            // What the other token could not send waits until then.
            if fleet.flush("one").code == code {
                break;
            }
            assert!(std::time::Instant::now() < until);
        }
    }
    let (ended, said) = fleet.end(Signal::TERM);
    assert_eq!(ended.code(), Some(0), "{said}");
    let again = "ansible-notify: the tokens and rates of 1 tenants were read again\n";
    assert_eq!(said, again.repeat(2));
}

#[test]
fn a_spool_that_vanishes_is_waited_for_and_its_loss_is_said() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let config = |drain: &str| {
        format!(
            "[notifier:relay]\ntype = relay\nurl = http://127.0.0.1:1\ntoken = canary-token-of-acme\n\
             [delivery]\nspool = {}\n{drain}\n",
            folder.path().display()
        )
    };
    let fleet = Fleet::new();
    fleet.sandbox.file("node.ini", config(""));
    let checked = fleet.sandbox.run(&["check-config", "--config", "node.ini"]);
    let drain = checked
        .stdout
        .lines()
        .find(|line| line.trim().starts_with("drain"));
    assert!(drain.unwrap().ends_with(" 1m"), "{checked:?}");
    fleet.sandbox.file("node.ini", config("drain = 0"));
    let sent = fleet.send("node", &run("r"));
    let lost = format!(
        "; the relay did not take 41 events, lost unless {} is kept",
        folder.path().display()
    );
    sent.expect_line(75, &["41 pending", &lost]);
}

#[test]
fn a_relay_may_ask_for_certificates_of_clients() {
    let server = Server::start([OK]);
    let mut fleet = Fleet::new();
    fleet.tenant("acme", &hook(&server));
    fleet.start_with("client_ca = ca.pem", "");
    fleet.node("one", "acme", "drain = 0");
    let line = end("r", "success");
    assert_eq!(fleet.send("one", &line).code, 75);
    let flushed = fleet.flush("one");
    flushed.expect_line(75, &["alert: CertificateRequired; set `client_cert`"]);
    // One that the authority signed: the server's own.
    let text = std::fs::read_to_string(fleet.sandbox.path("one.ini")).unwrap();
    let keys = "ca_file = ca.pem\nclient_cert = server.pem\nclient_key = server.key";
    fleet
        .sandbox
        .file("one.ini", text.replace("ca_file = ca.pem", keys));
    fleet.flush("one").expect_line(0, &["delivered"]);
    server.wait_for(1);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_relay_that_is_asked_to_end_answers_first() {
    let server = Server::start([OK]);
    let mut fleet = Fleet::new();
    fleet.tenant("acme", &hook(&server));
    fleet.start_with("", "relay_read=terminate");
    fleet.node("one", "acme", "");
    let sent = fleet.send("one", &end("r", "success"));
    sent.expect_line(0, &["1 delivery: delivered"]);
    let (ended, said) = fleet.ended();
    assert_eq!((ended.code(), said.as_str()), (Some(0), ""));
    fleet.start();
    fleet.wait_for_delivered(1);
    assert_eq!(ids(&server.wait_for(1)), ["r-end"]);
}

/// Sends a run while the relay ends at a place, and again to the next one: nothing is lost, and nothing is accepted
/// twice.
#[cfg(feature = "failpoints")]
fn end_relay_at(place: &str) {
    let server = Server::start([OK]);
    let mut fleet = Fleet::new();
    fleet.tenant("acme", &hook(&server));
    // Some places are passed before it listens.
    let mut times = 1..;
    times.find(|times| fleet.try_start("", &format!("{place}=abort@{times}")));
    fleet.node("one", "acme", "drain = 500ms\nmax_age = 1h");
    fleet.send("one", &run("r"));
    let (ended, said) = fleet.ended();
    assert!(
        ended.code().is_none() && said.is_empty(),
        "{place}: {ended} {said}"
    );
    fleet.start();
    fleet.node("one", "acme", "");
    let flushed = fleet.flush("one");
    assert_eq!(flushed.code, 0, "{place}: {flushed:?}");
    fleet.wait_for_delivered(EVENTS as u64);
    check_arrived(&server.requests(), &["r"]);
    assert_eq!(fleet.count(SPOOL, "accepted"), EVENTS as u64, "{place}");
    assert_eq!(
        fleet.count("one/ansible-notify", "delivered"),
        EVENTS as u64
    );
}

#[cfg(feature = "failpoints")]
#[test]
fn a_crash_of_the_relay_loses_nothing_and_repeats_nothing() {
    let places = [
        "relay_read",
        "before_commit",
        "after_commit",
        "relay_committed",
        "before_send",
        "after_send",
        "before_mark",
        "after_mark",
    ];
    crate::sandbox::side_by_side(&places, |place| end_relay_at(place));
}

#[cfg(feature = "failpoints")]
#[test]
fn what_a_crashed_node_sends_again_is_accepted_once() {
    for place in ["before_relay", "after_send", "before_mark"] {
        let server = Server::start([OK]);
        let fleet = Fleet::with_hook(&server);
        fleet.node("one", "acme", "");
        let sent = fleet.send_with("one", &run("r"), &format!("{place}=abort"));
        assert_eq!(sent.code, -1, "{place}: {sent:?}");
        let flushed = fleet.flush("one");
        assert_eq!(flushed.code, 0, "{place}: {flushed:?}");
        // Events that were not read before the crash are not in the node's spool.
        let known = fleet.count("one/ansible-notify", "delivered");
        fleet.send("one", &run("r"));
        fleet.wait_for_delivered(EVENTS as u64);
        assert!(known > 0, "{place}");
        assert_eq!(fleet.count(SPOOL, "accepted"), EVENTS as u64, "{place}");
        let arrived = ids(&server.requests());
        assert_eq!(arrived.len(), EVENTS, "{place}: {arrived:?}");
    }
}
