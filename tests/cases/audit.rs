//! What people do to deliveries and notifiers is recorded: who, where, what and when.

use std::process::Stdio;

use serde_json::{Value, json};

use super::spool::{configure, event, expect_status, run};
use crate::sandbox::page::Served;
use crate::sandbox::{Sandbox, outcome};
use crate::server::{Server, dead_url, status};

/// The actions that `history` lists, newest first, without their numbers and times.
fn listed(sandbox: &Sandbox) -> Vec<Value> {
    let shown = run(sandbox, &["history", "--actions", "--json"], "");
    assert_eq!(shown.code, 0, "{shown:?}");
    let rows = shown.stdout.lines().map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        assert!(row["time"].as_i64().unwrap() > 1_700_000_000_000, "{row}");
        json!([
            row["who"],
            row["via"],
            row["what"],
            row["target"],
            row["note"]
        ])
    });
    rows.collect()
}

/// A spool with a dead delivery and two pending ones.
fn spooled() -> Sandbox {
    let bad = Server::start([status(404)]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &bad.url());
    run(&sandbox, &["send", "-"], &event("web1"));
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &(event("web2") + &event("web3")));
    expect_status(&sandbox, 0, 2, 1, 0);
    sandbox
}

#[test]
fn commands_that_change_deliveries_are_recorded_with_their_user() {
    let sandbox = spooled();
    let empty = run(&sandbox, &["history", "--actions"], "");
    empty.expect_line(0, &["no actions are recorded"]);
    let as_anna = |arguments: &[&str]| {
        let mut command = sandbox.command_on_spool(arguments);
        command.env("LOGNAME", "anna").stdin(Stdio::null());
        outcome(command.spawn().unwrap())
    };
    assert_eq!(as_anna(&["flush"]).code, 75);
    assert_eq!(as_anna(&["discard", "7"]).code, 66);
    let nothing: [Value; 0] = [];
    assert_eq!(listed(&sandbox), nothing, "nothing was changed");
    assert_eq!(as_anna(&["discard", "2"]).code, 0);
    assert_eq!(as_anna(&["flush", "--dead"]).code, 75);
    assert_eq!(as_anna(&["discard", "--all"]).code, 0);
    let expected = [
        json!([
            "anna",
            "terminal",
            "discard",
            "1, 3",
            "2 pending or dead deliveries"
        ]),
        json!(["anna", "terminal", "retry", "callback", "1 dead delivery"]),
        json!([
            "anna",
            "terminal",
            "discard",
            "2",
            "1 pending or dead delivery"
        ]),
    ];
    assert_eq!(listed(&sandbox), expected);
    let table = run(&sandbox, &["history", "--actions", "--limit", "1"], "");
    let line = table.stdout.lines().nth(1).unwrap();
    assert!(line.contains("anna  terminal  discard  1, 3"), "{table:?}");
    assert_eq!(table.stdout.lines().count(), 2, "{table:?}");
    let both = run(&sandbox, &["history", "--actions", "--failed"], "");
    assert_eq!(both.code, 2, "{both:?}");
}

#[test]
fn the_page_records_the_user_that_a_proxy_names() {
    let sandbox = spooled();
    let arguments = ["--trust-header", "X-User", "--proxy", "127.0.0.1"];
    let served = Served::start(&sandbox, &arguments);
    let named = |name: &str| format!("{}X-User: {name}\r\n", served.host());
    let act = |path: &str| {
        let answer = served.ask("POST", path, &named("ben; --all <b>"), "");
        assert!(answer.json()["exit"].is_number(), "{answer:?}");
    };
    act("/api/v1/deliveries/2/discard");
    act("/api/v1/notifiers/1/try");
    act("/api/v1/notifiers/1/revive");
    act("/api/v1/notifiers/1/test");
    let done = |what: &str, target: &str, note: &str| {
        json!(["ben; --all <b>", "page", what, target, note])
    };
    let expected = [
        done("test", "callback", "failed"),
        done("retry", "callback", "1 dead delivery"),
        done("try", "callback", ""),
        done("discard", "2", "1 pending or dead delivery"),
    ];
    assert_eq!(listed(&sandbox), expected);
    let page = served.ask("GET", "/actions", &named("ben"), "").body;
    assert!(page.contains("ben; --all &lt;b&gt;"), "{page}");
    let path = "/api/v1/actions?limit=3";
    let answer = served.ask("GET", path, &named("ben"), "").json();
    assert_eq!(answer["actions"][0]["what"], "test", "{answer}");
    assert_eq!(answer["actions"][0]["via"], "page", "{answer}");
    let rest = format!("/api/v1/actions?{}", answer["next"].as_str().unwrap());
    let rest = served.ask("GET", &rest, &named("ben"), "").json();
    assert_eq!(rest["actions"].as_array().unwrap().len(), 1, "{rest}");
    assert_eq!(
        (&rest["actions"][0]["what"], &rest["next"]),
        (&json!("discard"), &Value::Null)
    );
    expect_status(&sandbox, 0, 2, 0, 1);
}

#[test]
fn an_action_that_is_refused_is_not_recorded() {
    let sandbox = spooled();
    let served = Served::start(&sandbox, &["--read-only"]);
    let headers = served.allowed();
    for path in ["/deliveries/2/discard", "/notifiers/1/revive"] {
        assert_eq!(served.ask("POST", path, &headers, "").status, 403);
    }
    let nothing: [Value; 0] = [];
    assert_eq!(listed(&sandbox), nothing);
    let page = served.get("/actions");
    assert!(page.body.contains("None is recorded."), "{page:?}");
}

#[test]
fn what_changed_nothing_is_not_recorded() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &event("web1"));
    assert_eq!(run(&sandbox, &["flush", "--dead"], "").code, 75);
    let nothing: [Value; 0] = [];
    assert_eq!(listed(&sandbox), nothing, "no delivery is dead");
}

#[test]
fn notifiers_with_one_name_are_told_apart() {
    let sandbox = Sandbox::new();
    for (config, hosts) in [("a.ini", "web1"), ("b.ini", "web2")] {
        let text = format!(
            "[inputs]\ncallback_url = {}\n[delivery]\ndrain = 500ms\n",
            dead_url()
        );
        sandbox.file(config, text);
        run(&sandbox, &["send", "-", "--config", config], &event(hosts));
    }
    assert_eq!(run(&sandbox, &["discard", "1", "2"], "").code, 0);
    let list = |more: &[&str]| run(&sandbox, &[&["history", "--actions"], more].concat(), "");
    let rows: Vec<Value> = list(&["--json"])
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let told = |row: &Value| {
        let config = row["config"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap()
            .to_owned();
        (row["target"].clone(), row["notifier"].clone(), config)
    };
    let callback = || json!("callback");
    assert_eq!(
        rows.iter().map(told).collect::<Vec<_>>(),
        [
            (json!("2"), callback(), "b.ini".to_owned()),
            (json!("1"), callback(), "a.ini".to_owned())
        ]
    );
    let table = list(&["--notifier", "callback"]).stdout;
    assert!(
        table.contains("/a.ini)") && table.contains("/b.ini)"),
        "{table}"
    );
    let none = list(&["--notifier", "other"]);
    none.expect_line(0, &["no actions on `other` are recorded"]);
    let served = Served::start(&sandbox, &[]);
    let page = served.get("/actions").body;
    assert!(page.contains("/b.ini</span>"), "{page}");
    let all = served.get("/api/v1/actions?notifier=callback").json();
    assert_eq!(all["actions"][0]["notifier_id"], 2, "{all}");
    assert_eq!(
        served.get("/api/v1/actions?notifier=other").json()["actions"],
        json!([])
    );
}
