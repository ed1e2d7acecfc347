//! `runs` and `report`: what happened in a run, in the terminal and as one page.

use std::process::Stdio;

use serde_json::{Value, json};

use super::spool::run;
use crate::sandbox::{Outcome, Sandbox};
use crate::server::{OK, Server, dead_url, status};

/// Hostile names of tasks and hosts, and hostile output.
const HOSTILE: &str =
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> {{ 7 * 7 }} \u{1b}[31m\u{202e}x";

fn sandbox(url: &str, record: &str) -> Sandbox {
    Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = webhook\nurl = {url}\non = failed, error\n[delivery]\ndrain = 60\nrecord = {record}\n"
    ))
}

/// A run with one result of each kind, as the plugin reports it.
fn play(sandbox: &Sandbox, id: &str, name: &str, failing: bool) -> Outcome {
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let run_record = json!({"id": id, "playbook": name, "path": format!("/srv/{name}"), "user": "deploy",
        "controller": "ctl1", "ansible_version": "2.19.3", "limit": "web*"});
    let mut lines = vec![
        json!({"hello": {"protocol": 1, "run": run_record}}),
        json!({"play": {"id": "p", "name": "web"}}),
        json!({"task": {"id": "1", "name": "install nginx", "action": "dnf", "path": "site.yml:12"}}),
        json!({"task": {"id": "2", "name": HOSTILE, "action": "template", "path": "site.yml:20"}}),
    ];
    let event = |seq: u64, event: &str, more: Value| {
        let mut whole = json!({"seq": seq, "event": event, "time": now, "play": "p"});
        let members = more.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(members);
        json!({"event": whole})
    };
    let result = |seq: u64, callback: &str, task: &str, host: &str, result: Value| {
        let changed = result["changed"] == true;
        let about = json!({"task": task, "host": {"name": host}, "duration": 0.25, "changed": changed, "result": result});
        event(seq, callback, about)
    };
    lines.push(event(1, "playbook_on_start", json!({})));
    let diff = json!({"changed": true, "diff": [{"before": "a\nold\n", "after": format!("a\n{HOSTILE}\n")}]});
    lines.push(result(2, "runner_on_ok", "2", "web1", diff));
    lines.push(result(
        3,
        "runner_on_ok",
        "1",
        "web1",
        json!({"changed": false}),
    ));
    if failing {
        let failed = json!({"msg": "No package nginx available.", "rc": 1, "stderr": HOSTILE});
        lines.push(result(4, "runner_on_failed", "1", "web3", failed));
    }
    let failures = u64::from(failing);
    let stats = json!({"result": {"stats": {"web1": {"ok": 2, "changed": 1}, "web3": {"failures": failures}}}});
    lines.push(event(5, "playbook_on_stats", stats));
    lines.push(json!({"end": {"reason": "exit", "code": if failing { 2 } else { 0 }}}));
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    run(sandbox, &["stream"], &input)
}

fn runs(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    run(sandbox, &[&["runs"], arguments].concat(), "")
}

/// Three runs: a success, a failure, and a killed one.
fn three() -> (Server, Sandbox) {
    let server = Server::start([OK]);
    let sandbox = sandbox(&server.url(), "failed");
    play(&sandbox, "0199aa2e-aaaa-1", "site.yml", false);
    play(&sandbox, "0199aa2e-bbbb-2", "site.yml", true);
    let hello = json!({"hello": {"protocol": 1, "run": {"id": "cut", "playbook": "backup.yml"}}});
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let started = json!({"event": {"seq": 1, "event": "playbook_on_start", "time": now}});
    run(&sandbox, &["stream"], &format!("{hello}\n{started}\n"));
    (server, sandbox)
}

#[test]
fn runs_are_listed_with_their_first_failure_and_notifications() {
    let (_server, sandbox) = three();
    let shown = runs(&sandbox, &[]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
    let row = |part: &str| {
        let line = shown.stdout.lines().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("no {part} in {shown:?}"))
    };
    assert!(row("RUN").contains("STATE") && row("RUN").ends_with("FIRST FAILURE"));
    let failed = row("0199aa2e-b  failed");
    for part in [
        "  site.yml  ",
        "  chat 2  ",
        "web3: install nginx: No package nginx available.",
    ] {
        assert!(failed.contains(part), "no {part} in {failed}");
    }
    assert!(row("0199aa2e-a  ok").contains("  site.yml  "));
    assert!(row("cut").contains("canceled"));

    let count = |arguments: &[&str]| runs(&sandbox, arguments).stdout.lines().skip(1).count();
    for (arguments, expected) in [
        (&["--state", "failed"][..], 1),
        (&["--state", "canceled"], 1),
        (&["--state", "running"], 0),
        (&["--playbook", "site.yml"], 2),
        (&["--playbook", "/srv/site.yml"], 2),
        (&["--host", "web3"], 1),
        (&["--since", "1h", "--state", "ok"], 1),
        (&["--limit", "1"], 1),
    ] {
        assert_eq!(count(arguments), expected, "{arguments:?}");
    }
    runs(&sandbox, &["--host", "nosuch"]).expect(0, "ansible-notify: no run matches --host\n");
    assert_eq!(runs(&sandbox, &["--state", "broken"]).code, 2);
    let lines = runs(&sandbox, &["--json", "--state", "failed"]).stdout;
    let line: Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(
        (&line["id"], &line["state"]),
        (&json!("0199aa2e-bbbb-2"), &json!("failed"))
    );
    assert_eq!(line["notified"][0]["notifier"], "chat");
    assert_eq!(line["counts"]["failed"], 1);
}

#[test]
fn nothing_recorded_is_one_line() {
    let sandbox = Sandbox::new();
    let folder = sandbox.path("state/ansible-notify");
    let said = format!(
        "ansible-notify: no run is recorded in the spool in {}\n",
        folder.display()
    );
    runs(&sandbox, &[]).expect(0, &said);
    runs(&sandbox, &["last"]).expect(66, "ansible-notify: no run is recorded yet\n");
    run(&sandbox, &["report"], "").expect(66, "ansible-notify: no run is recorded yet\n");
    assert!(!sandbox.path("state").exists());
}

#[test]
fn a_run_shows_failures_then_changes_then_notifications() {
    let (_server, sandbox) = three();
    let shown = runs(&sandbox, &["0199aa2e-b"]).stdout;
    let places: Vec<usize> = [
        "site.yml  failed\n",
        "  by         deploy on ctl1\n",
        "  exit code  2\n",
        "\nfailed\nHOST",
        "\nweb3  install nginx  failed  No package nginx available.\n",
        "\nchanged\nTASK",
        "\nnotified\nNOTIFIER",
        "\nchat      delivered           2\n",
    ]
    .iter()
    .map(|part| {
        shown
            .find(part)
            .unwrap_or_else(|| panic!("no {part:?} in {shown}"))
    })
    .collect();
    assert!(places.is_sorted(), "{shown}");
    assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    // Without a failure, that part is missing.
    let shown = runs(&sandbox, &["0199aa2e-aaaa-1"]).stdout;
    assert!(
        !shown.contains("\nfailed\n") && shown.contains("\nchanged\n"),
        "{shown}"
    );
    let shown = runs(&sandbox, &["last"]).stdout;
    assert!(shown.starts_with("backup.yml  canceled\n"), "{shown}");

    let whole = runs(&sandbox, &["0199aa2e-b", "--json"]).stdout;
    let whole: Value = serde_json::from_str(&whole).unwrap();
    assert_eq!(
        whole["failures"][0]["message"],
        "No package nginx available."
    );
    assert_eq!(whole["changes"][0]["host"], "web1");

    let several = runs(&sandbox, &["0199aa2e"]);
    assert_eq!(several.code, 66);
    assert!(
        several.stderr.contains("matches several runs: "),
        "{several:?}"
    );
    runs(&sandbox, &["nosuch"]).expect(
        66,
        "ansible-notify: run `nosuch` does not exist; see `ansible-notify runs`\n",
    );
}

#[test]
fn pending_deliveries_of_a_run_are_shown_with_their_error() {
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = webhook\nurl = {}\non = failed\n[delivery]\ndrain = 0\n",
        dead_url()
    ));
    play(&sandbox, "r", "site.yml", true);
    let shown = runs(&sandbox, &["last"]).stdout;
    assert!(shown.contains("\nchat      pending"), "{shown}");
    assert!(runs(&sandbox, &[]).stdout.contains("  chat 1 pending  "));
    let refusing = Server::start([status(400)]);
    let sandbox = self::sandbox(&refusing.url(), "failed");
    play(&sandbox, "r", "site.yml", true);
    let shown = runs(&sandbox, &["last"]).stdout;
    assert!(
        shown.contains("\nchat      dead") && shown.contains("  400 Bad Request"),
        "{shown}"
    );
}

#[test]
fn deliveries_are_filtered_by_a_recorded_run() {
    let (_server, sandbox) = three();
    let rows = |arguments: &[&str]| run(&sandbox, arguments, "").stdout.lines().skip(1).count();
    assert_eq!(rows(&["history", "--run", "0199aa2e-b"]), 2);
    assert_eq!(rows(&["history", "--run", "last"]), 0);
    // The text of the event is gone, but the record knows how the run ended.
    let shown = run(&sandbox, &["history", "--run", "0199aa2e-b"], "").stdout;
    assert!(
        shown.contains("  delivered  chat      run failed"),
        "{shown}"
    );
    assert_eq!(rows(&["status", "--run", "0199aa2e-b"]), 1);
    for command in ["history", "status"] {
        let several = run(&sandbox, &[command, "--run", "0199aa2e"], "");
        several.expect_line(66, &["`0199aa2e` matches several runs: "]);
    }
}

#[test]
fn a_report_is_one_file_in_which_texts_are_only_texts() {
    let (_server, sandbox) = three();
    let file = sandbox.path("run.html").display().to_string();
    let written = run(&sandbox, &["report", "0199aa2e-b", "-o", &file], "");
    written.expect(0, &format!("ansible-notify: wrote {file}\n"));
    let page = std::fs::read_to_string(&file).unwrap();
    let printed = run(&sandbox, &["report", "0199aa2e-b", "-o", "-"], "").stdout;
    let content = |page: &str| page.split("<footer>").next().unwrap().to_owned();
    assert_eq!(content(&page), content(&printed));
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    // The tags are those of the template: hostile texts add none.
    let tags: Vec<&str> = page
        .split('<')
        .skip(1)
        .map(|tag| tag.split([' ', '>', '\n']).next().unwrap())
        .collect();
    for tag in [
        "script", "img", "link", "iframe", "object", "a", "form", "svg",
    ] {
        assert!(!tags.contains(&tag), "{tag}");
    }
    assert!(!page.contains(['\u{1b}', '\u{202e}']));
    assert!(
        page.contains("&lt;script&gt;alert(1)"),
        "it is shown as text"
    );
    assert!(page.contains("{{ 7 * 7 }}"), "nothing in it is a template");
    assert!(!page.contains("://"), "nothing comes from elsewhere");
    assert!(!page.contains(" style="), "nothing inline");
    assert!(
        page.contains("default-src 'none'; style-src 'sha256-"),
        "{page}"
    );

    // State as a word and a shape, one heading of the page, tables with headers.
    assert!(page.contains("<title>failed · site.yml · "));
    assert_eq!(tags.iter().filter(|tag| **tag == "h1").count(), 1);
    assert!(page.contains("<span aria-hidden=\"true\">✗</span> failed</span>"));
    for part in [
        "web3: install nginx",
        "No package nginx available.",
        "site.yml:12",
        "- old",
        "chat",
        "delivered",
        "lang=\"en\"",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(part), "no {part}");
    }
    let tables = tags.iter().filter(|tag| **tag == "table").count();
    let captions = tags.iter().filter(|tag| **tag == "caption").count();
    assert!(tables >= 4 && tables == captions, "{tables} {captions}");
    for tag in [
        "section", "table", "tbody", "tr", "td", "th", "details", "pre", "article", "main",
    ] {
        let end = format!("/{tag}");
        let count = |wanted: &str| tags.iter().filter(|tag| **tag == wanted).count();
        assert_eq!(count(tag), count(&end), "{tag}");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_an_error() {
    let (_server, sandbox) = three();
    let failed = run(&sandbox, &["report", "-o", "nosuch/run.html"], "");
    failed.expect_line(74, &["cannot write `nosuch/run.html`: "]);
    let mut command = sandbox.command_on_spool(&["report", "0199aa2e-b"]);
    command.stdin(Stdio::null());
    let page = crate::sandbox::outcome(command.spawn().unwrap()).stdout;
    assert!(page.starts_with("<!DOCTYPE html>\n"), "{page}");
}
