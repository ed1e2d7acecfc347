//! Runs on the page: what failed first, who was notified, and what happens while it is looked at.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::spool::run;
use crate::sandbox::page::Served;
use crate::sandbox::{PATIENCE, Sandbox};
use crate::server::{OK, Server};

/// The records of a run: its beginning, the results, and its end if it has one.
fn records(run: &str, host: &str, end: bool) -> String {
    let about = json!({"id": run, "playbook": "site.yml", "path": "/srv/site.yml", "user": "deploy",
        "url": "javascript:alert(1)", "tags": ["web"]});
    let result = |seq: u64, name: &str, task: &str, host: &str, result: Value| {
        let changed = result["changed"] == true;
        json!({"event": {"seq": seq, "event": name, "time": 1.0e9, "play": "p", "task": task,
            "host": {"name": host}, "duration": 1.5, "changed": changed, "result": result}})
    };
    let diff = json!({"changed": true, "diff": [{"before": "a\nold\n", "after": "a\nnew\n",
        "after_header": "/etc/motd"}]});
    let failed = json!({"msg": "No package <b>nginx</b> available.", "rc": 1, "stderr": "\u{1b}[31mE: no\u{1b}[0m"});
    let hidden = json!({"censored": "hidden", "_ansible_no_log": true, "secret": "canary-7d1f"});
    let mut lines = vec![
        json!({"hello": {"protocol": 1, "run": about}}),
        json!({"play": {"id": "p", "name": "web"}}),
        json!({"task": {"id": "1", "name": "install", "action": "dnf", "path": "site.yml:1"}}),
        json!({"task": {"id": "2", "name": "write", "action": "copy", "path": "site.yml:2"}}),
        json!({"event": {"seq": 1, "event": "playbook_on_start", "time": 1.0e9}}),
        result(2, "runner_on_ok", "2", host, diff),
        result(3, "runner_on_failed", "1", "web3", failed),
        result(4, "runner_on_ok", "1", host, hidden),
    ];
    if end {
        let stats = json!({"stats": {"web3": {"ok": 0, "failures": 1}, host: {"ok": 2}}});
        lines.push(
            json!({"event": {"seq": 5, "event": "playbook_on_stats", "time": 1.0e9 + 60.0,
            "result": stats}}),
        );
        lines.push(json!({"end": {"reason": "exit", "code": 2}}));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn configure(sandbox: &Sandbox, server: &Server) {
    let url = server.url();
    let config = format!(
        "[notifier:chat]\ntype = webhook\nurl = {url}\non = failed, error\n[delivery]\ndrain = 2\nkeep_bodies = true\n"
    );
    sandbox.file("plugin_config.ini", config);
}

/// A run that goes on until its process is killed.
fn going_on(sandbox: &Sandbox, run: &str) -> Child {
    let mut command = sandbox.command_on_spool(&["stream"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.as_mut().unwrap();
    stdin
        .write_all(records(run, "web1", false).as_bytes())
        .unwrap();
    let mut answers = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(answers.any(|answer| answer.unwrap() == "{\"safe\":4}"));
    child
}

#[test]
fn runs_are_listed_with_their_state_and_reason() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server);
    let served = Served::start(&sandbox, &[]);
    assert!(
        served
            .get("/")
            .body
            .contains("No run has been recorded in this spool yet.")
    );
    run(&sandbox, &["stream"], &records("r-1", "web1", true));
    run(&sandbox, &["stream"], &records("r-2", "web2", true));
    let mut child = going_on(&sandbox, "r-3");
    let states = || {
        let answer = served.get("/api/v1/runs").json();
        let runs = answer["runs"].as_array().unwrap().clone();
        let mut states: Vec<String> = runs
            .iter()
            .map(|run| {
                format!(
                    "{} {}",
                    run["id"].as_str().unwrap(),
                    run["state"].as_str().unwrap()
                )
            })
            .collect();
        states.sort();
        states
    };
    assert_eq!(states(), ["r-1 failed", "r-2 failed", "r-3 running"]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(states(), ["r-1 failed", "r-2 failed", "r-3 canceled"]);

    let page = served.get("/").body;
    for part in [
        "<a href=\"/runs/r-1\">site.yml</a>",
        "web3",
        "No package &lt;b&gt;nginx",
        "chat",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let ids = |query: &str| {
        let answer = served.get(&format!("/api/v1/runs?{query}")).json();
        let ids = answer["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].clone());
        (ids.collect::<Vec<Value>>(), answer["next"].clone())
    };
    assert_eq!(ids("state=canceled").0, ["r-3"]);
    assert_eq!(ids("host=web2").0, ["r-2"]);
    assert_eq!(ids("playbook=other.yml").0, Vec::<Value>::new());
    let (first, next) = ids("state=failed&limit=1");
    let (second, last) = ids(next.as_str().unwrap());
    assert_eq!((first.len(), second.len(), last), (1, 1, Value::Null));
    assert_ne!(first, second);
    assert!(
        served
            .get("/?playbook=other.yml")
            .body
            .contains("No run matches.")
    );
    for query in ["state=open", "task=1"] {
        assert_eq!(served.get(&format!("/?{query}")).status, 400, "{query}");
    }
    let metrics = served.get("/metrics").body;
    for line in [
        "{state=\"failed\"} 2",
        "{state=\"canceled\"} 1",
        "{state=\"running\"} 0",
    ] {
        assert!(
            metrics.contains(&format!("ansible_notify_runs{line}")),
            "{metrics}"
        );
    }
}

#[test]
fn a_run_begins_with_what_failed_and_leads_to_each_result() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server);
    run(&sandbox, &["stream"], &records("r-1", "web1", true));
    let served = Served::start(&sandbox, &[]);
    let page = served.get("/runs/r-1").body;
    assert!(
        page.contains("failed · site.yml · ansible-notify</title>"),
        "{page}"
    );
    let place = |part: &str| page.find(part).unwrap_or_else(|| panic!("{part}: {page}"));
    assert!(place("<h2>Failed</h2>") < place("<h2>Notified</h2>"));
    assert!(place("<h2>Notified</h2>") < place("<h2>Tasks</h2>"));
    assert!(place("<h2>Tasks</h2>") < place("<h2>Hosts</h2>"));
    assert!(!page.contains("href=\"javascript:"), "{page}");
    let answer = served.get("/api/v1/runs/r-1").json();
    assert_eq!(
        (&answer["run"]["exit_code"], &answer["total"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(answer["failed"][0]["host"], "web3");
    assert_eq!(answer["notified"][0]["notifier"], "chat");
    assert_eq!(answer["notified"][0]["state"], "delivered");
    let tasks = served.get("/api/v1/runs/r-1/tasks").json();
    let tasks = tasks["tasks"].as_array().unwrap();
    let named = |name: &str| tasks.iter().find(|task| task["name"] == name).unwrap();
    let install = named("install");
    assert_eq!(install["counts"]["failed"], 1);
    assert_eq!(named("write")["counts"]["changed"], 1);
    let hosts = served.get("/api/v1/runs/r-1/hosts").json();
    assert_eq!(hosts["hosts"][0]["name"], "web1");

    let events = |query: &str| -> Vec<Value> {
        let answer = served
            .get(&format!("/api/v1/runs/r-1/results?{query}"))
            .json();
        let rows = answer["results"].as_array().unwrap().iter();
        rows.map(|row| row["event"].clone()).collect()
    };
    assert_eq!(events(""), [2, 3, 4]);
    assert_eq!(events("state=failed"), [3]);
    assert_eq!(events("host=web1"), [2, 4]);
    assert_eq!(events("limit=1&after=2"), [3]);
    assert_eq!(events(&format!("task={}", install["id"])), [3, 4]);
    assert!(
        served
            .get("/runs/r-1/results?host=web3")
            .body
            .contains(">install</a>")
    );

    let page = served.get("/runs/r-1/results/3").body;
    for part in [
        "failed · web3 · install",
        "<h2>stderr</h2>",
        ">E: no</pre>",
        "delivered",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let page = served.get("/runs/r-1/results/2").body;
    for part in [
        "<span class=\"removed\">- old</span>",
        "<span class=\"added\">+ new</span>",
        "/etc/motd",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let result = served.get("/api/v1/runs/r-1/results/3").json();
    assert_eq!(result["result"]["result"]["rc"], 1);
    assert_eq!(result["deliveries"][0]["notifier"], "chat");
    for path in [
        "/",
        "/runs/r-1",
        "/runs/r-1/results",
        "/runs/r-1/results/4",
        "/api/v1/runs/r-1/results/4",
    ] {
        assert!(!served.get(path).body.contains("canary-7d1f"), "{path}");
    }
    let of_run = served.get("/api/v1/deliveries?run=r-1").json();
    assert_eq!(of_run["deliveries"].as_array().unwrap().len(), 2);
    let none = served.get("/api/v1/deliveries?run=r").json();
    assert_eq!(none["deliveries"], json!([]));
    for path in [
        "/runs/none",
        "/runs/r-1/results/99",
        "/runs/r-1/x",
        "/api/v1/runs/none/tasks",
    ] {
        assert_eq!(served.get(path).status, 404, "{path}");
    }
    assert!(
        served
            .get("/runs/none")
            .body
            .contains("this run is not in the spool")
    );
}

/// A stream of live updates.
struct Stream(BufReader<TcpStream>);

impl Stream {
    fn open(served: &Served, query: &str, headers: &str) -> Stream {
        let mut stream = TcpStream::connect(&served.place).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let allowed = served.allowed();
        let said = format!("GET /events{query} HTTP/1.1\r\n{allowed}{headers}\r\n");
        stream.write_all(said.as_bytes()).unwrap();
        Stream(BufReader::new(stream))
    }

    /// The next line that begins so.
    fn next(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "it has ended");
            if let Some(rest) = line.trim_end().strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }
}

#[test]
fn open_pages_are_told_when_something_changes() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server);
    let served = Served::start(&sandbox, &[]);
    let page = served.get("/").body;
    let version = page.split("data-version=\"").nth(1).unwrap();
    let version = version.split('"').next().unwrap().to_owned();
    let mut stream = Stream::open(&served, &format!("?after={version}"), "");
    assert_eq!(stream.next("HTTP/1.1 "), "200 OK");
    assert_eq!(stream.next("content-type: "), "text/event-stream");
    assert_eq!(stream.next("x-accel-buffering: "), "no");
    stream.next(": connected");
    run(&sandbox, &["stream"], &records("r-1", "web1", true));
    let id = stream.next("id: ");
    assert_eq!(stream.next("event: "), "change");
    assert_ne!(id, version);
    // What changed while nobody listened is told at once.
    let old = format!("Last-Event-ID: {version}\r\n");
    let newer = Stream::open(&served, "", &old).next("id: ");
    assert_ne!(newer, version);
    // A client that is gone leaves its place to another one.
    let mut streams: Vec<Stream> = (0..20).map(|_| Stream::open(&served, "", "")).collect();
    let mut statuses = streams.iter_mut().map(|stream| stream.next("HTTP/1.1 "));
    assert!(statuses.any(|status| status == "429 Too Many Requests"));
    drop(streams);
    let deadline = std::time::Instant::now() + PATIENCE;
    while Stream::open(&served, "", "").next("HTTP/1.1 ") != "200 OK" {
        assert!(std::time::Instant::now() < deadline);
    }
    let refused = served.ask("GET", "/events", &served.host(), "");
    assert_eq!(refused.status, 401);
    let other = format!(
        "{}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\n",
        served.allowed()
    );
    assert_eq!(served.ask("GET", "/events", &other, "").status, 403);
}
