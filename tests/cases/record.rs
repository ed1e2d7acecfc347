//! The record of runs: every result of a run, whether or not a notifier wants it, and nothing that must be
//! hidden.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Instant;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::sandbox::{Outcome, PATIENCE, Sandbox, outcome};
use crate::server::{OK, Server, dead_url};

const HOSTS: [&str; 3] = ["web1", "web2", "web3"];

fn config(url: &str, on: &str, delivery: &str) -> String {
    format!(
        "[notifier:x]\ntype = webhook\nurl = {url}\non = {on}\n[outputs:x]\nid = event.id\n\
         [delivery]\ndrain = 0\n{delivery}\n"
    )
}

/// A run that began now, with three tasks.
fn start(run: &str) -> String {
    let run = json!({"id": run, "playbook": "site.yml", "path": "/srv/site.yml", "user": "deploy"});
    let task = |id: &str, name: &str| json!({"task": {"id": id, "name": name, "action": "dnf", "path": format!("site.yml:{id}")}});
    let records = [
        json!({"hello": {"protocol": 1, "run": run}}),
        json!({"play": {"id": "p", "name": "web"}}),
        task("1", "install"),
        task("2", "write"),
        task("3", "restart"),
    ];
    records.map(|record| format!("{record}\n")).concat()
}

fn event(seq: u64, name: &str, more: Value) -> String {
    let now = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
    let mut event = json!({"seq": seq, "event": name, "time": now, "play": "p"});
    event
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    format!("{}\n", json!({"event": event}))
}

fn result(seq: u64, name: &str, task: &str, host: &str, result: Value) -> String {
    let changed = result["changed"] == true;
    let about = json!({"task": task, "host": {"name": host}, "duration": 0.25, "changed": changed, "result": result});
    event(seq, name, about)
}

/// One result of each kind.
fn results() -> String {
    let diff = json!({"changed": true, "msg": "written", "diff": [{"before": "a\n", "after": "b\n"}], "size": 12});
    let failed = json!({"msg": "No package nginx available.", "rc": 1, "stderr": "E: no"});
    [
        event(1, "playbook_on_start", json!({})),
        event(2, "playbook_on_task_start", json!({"task": "1"})),
        result(
            3,
            "runner_on_ok",
            "1",
            HOSTS[0],
            json!({"msg": "there already", "results": [1]}),
        ),
        result(4, "runner_on_ok", "2", HOSTS[1], diff),
        result(
            5,
            "runner_on_skipped",
            "2",
            HOSTS[0],
            json!({"skip_reason": "no"}),
        ),
        result(6, "runner_on_failed", "1", HOSTS[2], failed),
        result(
            7,
            "runner_on_unreachable",
            "3",
            HOSTS[1],
            json!({"msg": "timed out"}),
        ),
    ]
    .concat()
}

fn end(seq: u64, failures: u64) -> String {
    let stats =
        json!({"result": {"stats": {"web3": {"ok": 1, "failures": failures, "rescued": 2}}}});
    event(seq, "playbook_on_stats", stats) + "{\"end\":{\"reason\":\"exit\",\"code\":2}}\n"
}

fn stream(sandbox: &Sandbox, input: &str) -> Outcome {
    super::spool::run(sandbox, &["stream"], input)
}

fn open(sandbox: &Sandbox) -> Connection {
    Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap()
}

/// The rows of a query, each as one text.
fn rows(sandbox: &Sandbox, sql: &str) -> Vec<String> {
    let spool = open(sandbox);
    let mut statement = spool.prepare(sql).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let values = (0..columns).map(|column| match row.get_ref(column).unwrap() {
            rusqlite::types::ValueRef::Null => "-".to_owned(),
            rusqlite::types::ValueRef::Integer(number) => number.to_string(),
            value => value.as_str().unwrap().to_owned(),
        });
        Ok(values.collect::<Vec<_>>().join(" | "))
    };
    statement
        .query_map([], row)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

const RUNS: &str = "SELECT run_id, name, status, exit_code, reason, ok, changed, failed, unreachable, skipped, rescued,
    hosts, tasks, partial FROM run ORDER BY id";
const RESULTS: &str = "SELECT result.seq, name.text, host.name, duration, flags & 7, message FROM result
    JOIN task ON task.id = result.task JOIN name ON name.id = task.name JOIN host ON host.id = result.host
    LEFT JOIN detail ON detail.id = detail ORDER BY result.seq";
const TEXTS: &str = "SELECT coalesce(result, '') FROM detail ORDER BY id";

/// A `stream` that a test feeds, and kills.
struct Fed {
    child: Child,
    input: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Fed {
    fn start(sandbox: &Sandbox, run: &str) -> Fed {
        let mut command = sandbox.command_on_spool(&["stream"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut fed = Fed {
            input: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        };
        fed.say(&start(run));
        fed
    }

    fn say(&mut self, text: &str) {
        self.input
            .as_mut()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
    }

    /// Waits until the events up to this one are safe.
    fn wait(&mut self, seq: u64) {
        let mut line = String::new();
        while !line.contains(&format!("\"safe\":{seq}}}")) {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0);
        }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn finish(mut self) -> Outcome {
        self.input = None;
        let Fed { child, .. } = self;
        outcome(child)
    }
}

/// Waits until a query has this answer.
#[track_caller]
fn wait_for(sandbox: &Sandbox, sql: &str, expected: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    while rows(sandbox, sql) != expected {
        assert!(Instant::now() < deadline, "{:?}", rows(sandbox, sql));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn every_result_is_recorded_even_if_nobody_wants_it() {
    let server = Server::start([OK]);
    for on in ["any", "failed", "canceled"] {
        let sandbox = Sandbox::with_config(&config(&server.url(), on, ""));
        let input = start("r") + &results() + &end(8, 1);
        let streamed = stream(&sandbox, &input);
        assert!([0, 75].contains(&streamed.code), "{streamed:?}");
        let reason = "web3: install: No package nginx available.";
        let run =
            format!("r | site.yml | error | 2 | {reason} | 1 | 1 | 1 | 1 | 1 | 2 | 3 | 3 | 0");
        assert_eq!(rows(&sandbox, RUNS), [run], "{on}");
        let expected = [
            "3 | install | web1 | 250 | 0 | -",
            "4 | write | web2 | 250 | 1 | written",
            "5 | write | web1 | 250 | 4 | -",
            "6 | install | web3 | 250 | 2 | No package nginx available.",
            "7 | restart | web2 | 250 | 3 | timed out",
        ];
        assert_eq!(rows(&sandbox, RESULTS), expected, "{on}");
        let texts = [
            r#"{"diff":[{"before":"a\n","after":"b\n"}]}"#,
            r#"{"msg":"No package nginx available.","rc":1,"stderr":"E: no"}"#,
            r#"{"msg":"timed out"}"#,
        ];
        assert_eq!(rows(&sandbox, TEXTS), texts, "{on}");
        let tasks = "SELECT name.text, seq, longest, ok + changed + failed + unreachable + skipped FROM task JOIN name ON name.id = name";
        assert_eq!(
            rows(&sandbox, tasks),
            [
                "install | 6 | 250 | 2",
                "write | 5 | 250 | 2",
                "restart | 7 | 250 | 1"
            ]
        );
    }
}

#[test]
fn the_configuration_sets_what_is_recorded() {
    let server = Server::start([OK]);
    let record = |delivery: &str| {
        let sandbox = Sandbox::with_config(&config(&server.url(), "any", delivery));
        stream(&sandbox, &(start("r") + &results() + &end(8, 1)));
        (rows(&sandbox, RUNS).len(), rows(&sandbox, TEXTS))
    };
    assert_eq!(record("record = off"), (0, Vec::new()));
    let (runs, texts) = record("record = all");
    assert_eq!(runs, 1);
    assert_eq!(texts.len(), 5);
    assert!(texts[0].contains("there already"), "{texts:?}");
    assert!(texts[1].contains("\"size\":12"), "{texts:?}");
    let sandbox = Sandbox::with_config(&config(&server.url(), "any", "record = some"));
    let said = "`record` must be `all`, `failed` or `off`, not `some`";
    sandbox.run(&["check-config"]).expect_line(78, &[said]);
}

#[test]
fn a_run_without_notifications_is_recorded_as_it_happens() {
    let sandbox = Sandbox::with_config(&config(&dead_url(), "canceled", ""));
    let mut fed = Fed::start(&sandbox, "r");
    fed.say(&results());
    fed.wait(7);
    wait_for(&sandbox, "SELECT count(*) FROM result", &["5"]);
    wait_for(&sandbox, "SELECT status FROM run", &["-"]);
    fed.say(&end(8, 0));
    assert_eq!(fed.finish().code, 0);
    assert_eq!(
        rows(&sandbox, "SELECT status, reason FROM run"),
        ["error | web2: restart: timed out"],
        "Ansible counts no failure of web3: it was rescued"
    );
}

#[test]
fn a_process_that_resumes_a_run_records_the_rest_of_it() {
    let sandbox = Sandbox::with_config(&config(&dead_url(), "any", ""));
    let mut fed = Fed::start(&sandbox, "r");
    fed.say(&results());
    fed.wait(7);
    fed.kill();
    let resumed = json!({"after": 5, "began": 1.0});
    let hello = json!({"hello": {"protocol": 1, "run": {"id": "r", "playbook": "site.yml"}, "resumed": resumed}});
    let rest = start("r")
        .lines()
        .skip(1)
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    // The plugin sends again what was not answered in time.
    let again: String = results()
        .lines()
        .skip(5)
        .map(|line| format!("{line}\n"))
        .collect();
    stream(
        &sandbox,
        &(format!("{hello}\n") + &rest + &again + &end(8, 1)),
    );
    assert_eq!(rows(&sandbox, "SELECT count(*) FROM result"), ["5"]);
    let counts = "SELECT ok, changed, failed, unreachable, skipped, hosts, tasks, status FROM run";
    assert_eq!(
        rows(&sandbox, counts),
        ["1 | 1 | 1 | 1 | 1 | 3 | 3 | error"]
    );
    let about = rows(&sandbox, "SELECT about FROM run").concat();
    let about: Value = serde_json::from_str(&about).unwrap();
    assert_eq!(about["user"], "deploy", "the fuller description stays");
}

/// Returns true if a process holds the lock of a run.
fn is_alive(sandbox: &Sandbox) -> bool {
    let entries = std::fs::read_dir(sandbox.path("state/ansible-notify")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut locks = paths.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("run-")
    });
    locks.any(|path| {
        std::fs::File::open(path)
            .unwrap()
            .try_lock_shared()
            .is_err()
    })
}

#[test]
fn a_run_that_is_killed_no_longer_holds_its_lock() {
    for record in ["failed", "off"] {
        let sandbox =
            Sandbox::with_config(&config(&dead_url(), "any", &format!("record = {record}")));
        let mut fed = Fed::start(&sandbox, "../r");
        fed.say(&results());
        fed.wait(7);
        assert_eq!(is_alive(&sandbox), record == "failed");
        fed.kill();
        assert!(!is_alive(&sandbox));
        let waiting = rows(&sandbox, "SELECT count(*) FROM delivery WHERE state = 0");
        assert_eq!(waiting, ["5"], "what was answered is there");
    }
    let sandbox = Sandbox::with_config(&config(&dead_url(), "any", ""));
    stream(&sandbox, &(start("r") + &results() + &end(8, 1)));
    let mut files = std::fs::read_dir(sandbox.path("state/ansible-notify")).unwrap();
    let is_lock = |name: &str| name.starts_with("run-");
    assert!(!files.any(|file| is_lock(&file.unwrap().file_name().to_string_lossy())));
}

#[test]
fn nothing_that_is_hidden_is_recorded() {
    let mask = "[mask]\nkeys = *password*\npatterns = canary-mask-\\w+\n";
    let text = config(&dead_url(), "canceled", "record = all")
        + "[notifier:y]\ntype = webhook\nurl = http://h/\n\
         token = canary-own-7f\non = canceled\n"
        + mask;
    let sandbox = Sandbox::with_config(&text);
    let task = json!({"task": {"id": "4", "name": "say canary-mask-a and canary-own-7f", "role": "canary-mask-b"}});
    let hidden =
        json!({"censored": "the output has been hidden", "msg": "canary", "changed": true});
    let shown = json!({"msg": "with canary-own-7f", "stdout": "canary-mask-c", "db_password": "canary",
        "invocation": {"module_args": {"x": "canary"}}, "diff": {"after": "canary-own-7f"}});
    let mut input = start("r") + &format!("{task}\n");
    for (seq, name) in [
        (1, "runner_on_ok"),
        (3, "runner_on_failed"),
        (5, "runner_item_on_failed"),
    ] {
        input += &result(seq, name, "4", "web1", hidden.clone());
        input += &result(seq + 1, name, "4", "web1", shown.clone());
    }
    stream(&sandbox, &(input + &end(7, 1)));
    assert_eq!(
        rows(&sandbox, "SELECT count(*) FROM result WHERE flags & 16"),
        ["3"]
    );
    assert_eq!(rows(&sandbox, "SELECT count(*) FROM detail"), ["6"]);
    let texts = rows(&sandbox, "SELECT message || result FROM detail").concat();
    assert!(texts.contains("with [redacted]"), "{texts}");
    sandbox.expect_no_canary_stored();
}

#[test]
fn a_full_spool_drops_the_record_before_any_event() {
    let sandbox = Sandbox::with_config(&config(&dead_url(), "any", "max_size = 1MiB"));
    let say = |run: &str, first: u64, count: u64| {
        let text = json!({"msg": "x".repeat(900)});
        let results = (first..first + count).map(|seq| {
            result(
                seq,
                "runner_on_failed",
                "1",
                &format!("h{seq}"),
                text.clone(),
            )
        });
        start(run) + &results.collect::<String>() + &end(first + count, 1)
    };
    let count = |table: &str| {
        rows(&sandbox, &format!("SELECT count(*) FROM {table}"))[0]
            .parse::<u64>()
            .unwrap()
    };
    let warning = "warning: the spool has no space to record the rest of this run; see `record` and `max_size` in [delivery]";
    let first = stream(&sandbox, &say("r1", 1, 80));
    assert!(!first.stderr.contains("warning"), "{first:?}");
    assert_eq!(count("run"), 1);
    // The first run gives way to the second one, and the record of that one to its events.
    let second = stream(&sandbox, &say("r2", 1, 220));
    assert_eq!(second.stderr.matches(warning).count(), 1, "{second:?}");
    assert!(!second.stderr.contains("memory only"), "{second:?}");
    assert_eq!(count("delivery"), 302);
    assert!(count("result") < 220);
    let run = rows(&sandbox, "SELECT run_id, status, partial FROM run");
    // How much of it fits depends on how many events were accepted together.
    assert!(run.is_empty() || run == ["r2 | error | 1"], "{run:?}");
    // Only then are events refused.
    let third = stream(&sandbox, &say("r3", 1, 300));
    assert!(third.stderr.contains("memory only"), "{third:?}");
    assert_eq!(rows(&sandbox, "SELECT count(*) FROM result"), ["0"]);
    let waiting = "SELECT count(*) FROM delivery WHERE state = 0";
    assert_eq!(
        rows(&sandbox, waiting),
        [count("delivery").to_string()],
        "none is dropped"
    );
}

#[cfg(feature = "failpoints")]
#[test]
fn an_old_run_is_deleted_but_not_its_day() {
    let sandbox = Sandbox::with_config(&config(&dead_url(), "any", "keep_runs = 7d"));
    stream(&sandbox, &(start("old") + &results() + &end(8, 1)));
    let mut going_on = Fed::start(&sandbox, "going on");
    going_on.say(&results());
    going_on.wait(7);
    let waiting = "SELECT count(*) FROM delivery WHERE state = 0";
    let before = rows(&sandbox, waiting);
    let name = "INSERT INTO name (text) VALUES ('of old runs')";
    open(&sandbox).execute(name, []).unwrap();
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(8 * 24);
    let mut command = sandbox.command_on_spool(&["stream"]);
    command.env("ANSIBLE_NOTIFY_CLOCK", later.to_string());
    let mut new = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = new.stdin.take().unwrap();
    input.write_all(start("new").as_bytes()).unwrap();
    wait_for(&sandbox, "SELECT run_id FROM run", &["going on"]);
    wait_for(
        &sandbox,
        "SELECT count(*) FROM name WHERE text = 'of old runs'",
        &["0"],
    );
    drop(input);
    outcome(new);
    let left = ["task", "host", "result", "detail"]
        .map(|table| rows(&sandbox, &format!("SELECT count(*) FROM {table}")).concat());
    assert_eq!(left.join(" "), "3 3 5 3", "those of the run that goes on");
    let day = "SELECT name, runs, failed, canceled FROM day";
    assert_eq!(rows(&sandbox, day), ["site.yml | 1 | 1 | 0"]);
    assert_eq!(
        rows(&sandbox, waiting),
        before,
        "deliveries have a time of their own"
    );
    going_on.kill();
}
