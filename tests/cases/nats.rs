//! The store `nats`: servers that are not durable are refused, and a cluster survives the loss of any of its servers.

use crate::cases::relay::{EVENTS, check_arrived, run};
use crate::sandbox::fleet::{Fleet, SPOOL, hook};
use crate::sandbox::{Outcome, PATIENCE};
use crate::server::certificates::Authority;
use crate::server::nats::{DURABLE, Nats};
use crate::server::{OK, Server};

/// A relay with a tenant for these servers, which is not started.
fn fleet(server: &Server) -> Fleet {
    let mut fleet = Fleet::new();
    fleet.tenant("acme", &hook(server));
    fleet
}

/// Writes the configuration for servers, and returns what `relay init` says.
fn init(fleet: &Fleet, section: &str, apply: bool) -> Outcome {
    let text = format!(
        "[relay]\nlisten = 127.0.0.1:0\nstore = nats\nspool = {SPOOL}\n{section}[tenant:acme]\n\
         token = canary-token-of-acme\nconfig = acme.ini\n"
    );
    fleet.sandbox.file("relay.ini", text);
    let apply: &[&str] = if apply { &["--apply"] } else { &[] };
    let command = ["relay", "init", "--config", "relay.ini"];
    fleet.sandbox.run(&[&command, apply].concat())
}

#[test]
fn servers_that_are_not_durable_are_refused() {
    let server = Server::start([OK]);
    // The one of Debian 12 cannot be made durable.
    let one = fleet(&server);
    let old = Nats::with(&one.sandbox, "/usr/sbin/nats-server", "");
    let refused = init(&one, &old.section(), true);
    refused.expect_line(
        74,
        &[
            "nats-server 2.9.",
            " is too old: it cannot be told to write events to disk",
        ],
    );

    let two = fleet(&server);
    let lazy = Nats::unlike(&two.sandbox, "sync_interval: 1s");
    let refused = init(&two, &lazy.section(), true);
    let reason =
        "keeps what it has accepted in memory only, for minutes: set `sync_interval: always`";
    refused.expect_line(74, &["the server at http://127.0.0.1:", reason]);
    let accepted = format!("{}require_sync = false\n", lazy.section());
    let made = init(&two, &accepted, true);
    assert_eq!(made.code, 0, "{made:?}");
    assert!(
        made.stderr.contains("warning: `require_sync = false`"),
        "{made:?}"
    );

    // Nobody answers at the monitoring address.
    let section = lazy.section();
    let lines = section
        .lines()
        .map(|line| match line.starts_with("monitor") {
            true => "monitor = http://127.0.0.1:1",
            false => line,
        });
    let section: Vec<&str> = lines.collect();
    let refused = init(&two, &(section.join("\n") + "\n"), true);
    assert_eq!(refused.code, 74, "{refused:?}");
    let reason = "0 of the servers that `monitor` names answered, and 1 must for 1 replicas";
    assert!(refused.stderr.contains(reason), "{refused:?}");
}

#[test]
fn init_shows_the_difference_and_changes_nothing_unless_it_is_told_to() {
    let server = Server::start([OK]);
    let fleet = fleet(&server);
    let nats = Nats::unlike(&fleet.sandbox, DURABLE);
    let section = nats.section();
    for _ in 0..2 {
        let shown = init(&fleet, &section, false);
        assert_eq!(shown.code, 78, "{shown:?}");
        let expected = "there is no stream `ansible-notify`\n64 of 64 consumers are missing\nnothing was changed; with --apply, all of this is done\n";
        assert_eq!(shown.stdout, expected);
    }
    for command in ["relay", "deliver"] {
        let refused = fleet.sandbox.run(&[command, "--config", "relay.ini"]);
        assert_eq!(refused.code, 74, "{refused:?}");
        let reason = "there is no stream `ansible-notify`; run `ansible-notify relay init`";
        assert!(refused.stderr.contains(reason), "{refused:?}");
    }
    let made = init(&fleet, &section, true);
    assert!(
        made.stdout
            .ends_with("64 of 64 consumers are missing\ndone\n"),
        "{made:?}"
    );
    let shown = init(&fleet, &section, false);
    assert_eq!(
        (shown.code, shown.stdout.as_str()),
        (0, "the store is as it has to be\n")
    );
    let other = format!("{}max_age = 24h\n", section.replace("64MiB", "32MiB"));
    let shown = init(&fleet, &other, false);
    let expected = "the stream `ansible-notify` has max_age = 3d, and needs 1d\n\
                    the stream `ansible-notify` has max_bytes = 64MiB, and needs 32MiB\n";
    assert!(shown.stdout.starts_with(expected), "{shown:?}");
    assert_eq!(init(&fleet, &other, true).code, 0);
    assert_eq!(init(&fleet, &other, false).code, 0);
}

#[test]
fn a_server_with_tls_needs_a_certificate_of_the_known_authority() {
    let server = Server::start([OK]);
    let mut fleet = fleet(&server);
    let nats = Nats::encrypted(&fleet.sandbox);
    fleet
        .sandbox
        .file("other.pem", Authority::new("other").pem());
    let refused = init(&fleet, &nats.encrypted_section("other.pem"), true);
    assert_eq!(refused.code, 74, "{refused:?}");
    let parts = [
        "cannot connect to NATS at tls://localhost:",
        "invalid peer certificate",
    ];
    for part in parts {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    fleet.store_in("nats", &nats.encrypted_section("ca.pem"));
    fleet.start();
    fleet.deliver("");
    fleet.node("one", "acme", "");
    let sent = fleet.send("one", &run("r"));
    sent.expect_line(0, &["all delivered"]);
    check_arrived(&server.wait_for(EVENTS), &["r"]);
}

#[test]
fn a_cluster_loses_nothing_when_its_servers_are_killed_in_turn() {
    let server = Server::start([OK]);
    let mut fleet = fleet(&server);
    let mut nats = Nats::cluster(&fleet.sandbox);
    fleet.store_in("nats", &nats.section());
    fleet.start();
    fleet.deliver("");
    let runs: Vec<String> = (0..4).map(|number| format!("r{number}")).collect();
    for (number, name) in runs.iter().enumerate() {
        // None, until everything runs; the leader, another one, and all three.
        let leader = nats.leader();
        let killed: &[usize] = match number {
            0 => &[],
            1 => &[leader],
            2 => &[(leader + 1) % 3],
            _ => &[0, 1, 2],
        };
        killed.iter().for_each(|one| nats.kill(*one));
        fleet.node(name, "acme", "drain = 2s");
        fleet.send(name, &run(name));
        nats.restart(killed);
        let until = std::time::Instant::now() + PATIENCE;
        while fleet.flush(name).code != 0 {
            assert!(std::time::Instant::now() < until);
        }
        server.wait_for((number + 1) * EVENTS);
    }
    fleet.wait_for_delivered(4 * EVENTS as u64);
    let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
    check_arrived(&server.wait_for(4 * EVENTS), &runs);
    assert_eq!(fleet.count(SPOOL, "accepted"), 4 * EVENTS as u64);
}
