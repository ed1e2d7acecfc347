//! The store `postgres`: a server that would lose what it has committed is refused.

use crate::sandbox::Outcome;
use crate::sandbox::fleet::{Fleet, hook};
use crate::server::postgres::Postgres;
use crate::server::{OK, Server};

/// Writes the configuration for a server, and returns what `relay init` says.
fn init(fleet: &Fleet, section: &str, apply: bool) -> Outcome {
    let text = format!(
        "[relay]\nlisten = 127.0.0.1:0\nstore = postgres\n{section}[tenant:acme]\n\
         token = canary-token-of-acme\nconfig = acme.ini\n"
    );
    fleet.sandbox.file("relay.ini", text);
    let apply: &[&str] = if apply { &["--apply"] } else { &[] };
    let command = ["relay", "init", "--config", "relay.ini"];
    let said = fleet.sandbox.run(&[&command, apply].concat());
    assert!(!said.printed().contains("canary"), "{said:?}");
    said
}

#[test]
fn servers_that_are_not_durable_are_refused() {
    let server = Server::start([OK]);
    let mut fleet = Fleet::new();
    fleet.tenant("acme", &hook(&server));
    let mut postgres = Postgres::start();
    let section = postgres.section();
    let missing = "there is no table `ansible_notify_segments`\n";
    let shown = init(&fleet, &section, false);
    let nothing = format!("{missing}nothing was changed; with --apply, all of this is done\n");
    assert_eq!((shown.code, shown.stdout), (78, nothing));
    let refused = fleet.sandbox.run(&["relay", "--config", "relay.ini"]);
    refused.expect_line(
        74,
        &["there is no table", "run `ansible-notify relay init`"],
    );
    let status = ["relay", "status", "--config", "relay.ini"];
    fleet.sandbox.run(&status).expect_line(
        74,
        &["there is no table", "run `ansible-notify relay init`"],
    );
    assert_eq!(
        init(&fleet, &section, true).stdout,
        format!("{missing}done\n")
    );
    let shown = init(&fleet, &section, false);
    assert_eq!(
        (shown.code, shown.stdout.as_str()),
        (0, "the store is as it has to be\n")
    );

    // At once, as no other try would end differently.
    let other = section.replacen("/postgres\n", "/no-such-database\n", 1);
    let refused = init(&fleet, &other, false);
    refused.expect_line(
        74,
        &["database \"no-such-database\" does not exist; `url` of [postgres] names "],
    );
    assert!(!refused.stderr.contains("trying again"), "{refused:?}");

    let alone = format!("{section}require_standby = true\n");
    let refused = init(&fleet, &alone, false);
    refused.expect_line(74, &["PostgreSQL has no synchronous standby now"]);
    postgres
        .ask("COMMENT ON TABLE ansible_notify_segments IS 'other'")
        .unwrap();
    let refused = init(&fleet, &section, false);
    refused.expect_line(
        74,
        &["`ansible_notify_segments` has another layout (`other`)"],
    );
    postgres.ask("ALTER SYSTEM SET fsync = off").unwrap();
    postgres.crash();
    postgres.restart();
    let refused = init(&fleet, &section, false);
    refused.expect_line(74, &["PostgreSQL has `fsync = off`, so it loses events"]);

    let far = "[postgres]\nurl = canary-canary-canary\n";
    let refused = init(&fleet, far, false);
    assert_eq!(refused.code, 78, "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("`url` must be an address such as postgres://"),
        "{refused:?}"
    );
}
