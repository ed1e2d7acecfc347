//! `[page]`: messages link to the run or the result on the page, where it says where that is.

use serde_json::{Value, json};

use super::spool::run;
use crate::sandbox::page::Served;
use crate::sandbox::{Outcome, Sandbox};
use crate::server::{OK, Server, dead_url};

/// A run with a failed result; its id and its page in a CI system.
fn records(id: &str, ci: Value) -> String {
    let result = json!({"event": {"seq": 2, "event": "runner_on_failed", "time": 1.0e9, "play": "p", "task": "1",
        "host": {"name": "web1"}, "result": {"msg": "no"}}});
    let lines = [
        json!({"hello": {"protocol": 1, "run": {"id": id, "playbook": "site.yml", "url": ci}}}),
        json!({"play": {"id": "p", "name": "web"}}),
        json!({"task": {"id": "1", "name": "install", "action": "dnf"}}),
        json!({"event": {"seq": 1, "event": "playbook_on_start", "time": 1.0e9}}),
        result,
        json!({"event": {"seq": 3, "event": "playbook_on_stats", "time": 1.0e9, "result": {"stats": {}}}}),
        json!({"end": {"reason": "exit", "code": 2}}),
    ];
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn configure(sandbox: &Sandbox, url: &str, rest: &str) {
    let outputs = "[outputs]\nurl = url | default('none')\nci = ci_url | default('none')\nown = event.url | default('none')\n";
    let config = format!(
        "[inputs]\ncallback_url = {url}\non = started, failed, error\n{outputs}[delivery]\ndrain = 2\n{rest}"
    );
    sandbox.file("plugin_config.ini", config);
}

/// The addresses in what was sent, in their order.
fn sent(server: &Server) -> Vec<[String; 3]> {
    let requests = server.requests();
    let text = |body: &Value, key: &str| body[key].as_str().unwrap_or_default().to_owned();
    let rows = requests.iter().map(|request| {
        let body = request.json();
        ["url", "ci", "own"].map(|key| text(&body, key))
    });
    let mut rows: Vec<[String; 3]> = rows.collect();
    rows.sort();
    rows
}

#[track_caller]
fn stream(sandbox: &Sandbox, records: &str) -> Outcome {
    run(sandbox, &["stream"], records)
}

#[test]
fn a_message_links_to_what_it_is_about_and_the_link_opens_it() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    let served = Served::start(&sandbox, &[]);
    let base = format!("http://{}", served.place);
    let ci = "https://ci.example/7";
    // Pending events keep their links.
    configure(&sandbox, &dead_url(), &format!("[page]\nurl = {base}/\n"));
    stream(&sandbox, &records("r 1/x", json!(ci)));
    configure(&sandbox, &server.url(), "");
    run(&sandbox, &["flush"], "");
    let whole = format!("{base}/runs/r%201%2Fx");
    let one = format!("{whole}/results/2");
    let expected = [&whole, &whole, &one].map(|url| [url.clone(), ci.to_owned(), url.clone()]);
    assert_eq!(sent(&server), expected);
    for (url, part) in [(whole, "<h2>Failed</h2>"), (one, "failed · web1 · install")] {
        let page = served.get(url.strip_prefix(&base).unwrap());
        assert_eq!(page.status, 200, "{url}");
        assert!(page.body.contains(part), "{}", page.body);
    }
}

#[test]
fn no_link_is_made_up() {
    let none = "none";
    let ci = "https://ci.example/7";
    for (rest, run_url, expected) in [
        ("", json!(null), [none, none, none]),
        ("", json!(ci), [ci, ci, none]),
        // Nothing would be shown.
        (
            "record = off\n[page]\nurl = https://p.example\n",
            json!(ci),
            [ci, ci, none],
        ),
        ("[page]\nurl =\n", json!(null), [none, none, none]),
    ] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::new();
        configure(&sandbox, &server.url(), rest);
        stream(&sandbox, &records("r", run_url));
        let expected = vec![expected.map(str::to_owned); 3];
        assert_eq!(sent(&server), expected, "{rest}");
    }
    // Events that are no run's, and tests, are not recorded.
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url(), "[page]\nurl = https://p.example\n");
    run(
        &sandbox,
        &["send", "-"],
        r#"{"state": "failed", "host": "web1"}"#,
    );
    run(&sandbox, &["test"], "");
    let all = sent(&server);
    assert!(all.len() >= 2, "{all:?}");
    assert!(all.iter().all(|[_, _, own]| own == none), "{all:?}");
}

#[test]
fn messages_of_other_kinds_link_to_it() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    let url = server.url();
    let config = format!(
        "[notifier:phone]\ntype = ntfy\napi_url = {url}\ntopic = ops\non = failed\n\
        [notifier:chat]\ntype = mattermost\nurl = {url}\non = failed\n[page]\nurl = https://p.example/notify\n"
    );
    sandbox.file("plugin_config.ini", config);
    stream(&sandbox, &records("r", json!("https://ci.example/7")));
    let requests = server.requests();
    let bodies: Vec<Value> = requests.iter().map(|request| request.json()).collect();
    let is_of_phone = |body: &&Value| body["topic"] == "ops";
    let of_phone = bodies.iter().filter(is_of_phone).count();
    assert!(0 < of_phone && of_phone < bodies.len(), "{bodies:?}");
    for body in bodies {
        let body = body.to_string();
        assert!(
            body.contains("\"https://p.example/notify/runs/r/results/2\""),
            "{body}"
        );
    }
}

#[test]
fn a_mistake_costs_the_links_only() {
    for (line, reason) in [
        (
            "url = notify.example.com",
            "`url` must begin with http:// or https://",
        ),
        ("url = https://u:secret@p.example", "no user, password"),
        ("url = https://p.example/?run=", "no user, password"),
        ("link = https://p.example", "unknown key `link` in [page]"),
    ] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::new();
        configure(&sandbox, &server.url(), &format!("[page]\n{line}\n"));
        let checked = run(&sandbox, &["check-config"], "");
        let said = format!("{}{}", checked.stdout, checked.stderr);
        assert_eq!(checked.code, 78, "{line}");
        assert!(said.contains(reason), "{said}");
        assert!(!said.contains("secret@"), "{said}");
        stream(&sandbox, &records("r", json!(null)));
        let all = sent(&server);
        assert_eq!(all.len(), 3, "{line}");
        assert!(all.iter().all(|[url, ..]| url == "none"), "{all:?}");
    }
}
