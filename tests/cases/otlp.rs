//! The kind `otlp`, against a collector that decodes what it gets, and a real one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::otlp::{Collector, Rotel, attributes};

const RUN: &str = "0199a4be-52c5-7d3c-9a52-3e0f5a2b7c10";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn configured(sandbox: &Sandbox, keys: &str) {
    let config = format!("[notifier:otel]\ntype = otlp\n{keys}\n[delivery]\ndrain = 60\n");
    sandbox.file("plugin_config.ini", config);
}

fn run() -> Value {
    json!({"id": RUN, "playbook": "site.yml", "path": "/srv/site.yml", "user": "ann", "controller": "node1",
        "ansible_version": "2.19.1", "url": "https://ci.example.com/7"})
}

/// A result at a second of a minute, which took two of them.
fn result(number: u32, host: &str, state: &str) -> Value {
    json!({"id": format!("{RUN}-{number}"), "time": format!("2026-11-20T20:42:{number:02}.5Z"), "state": state,
        "host": host, "duration": 2.0, "changed": state == "success", "run": run(), "play": {"id": "p1", "name": "Web"},
        "task": {"id": "t1", "name": "Install nginx", "action": "ansible.builtin.package", "path": "/srv/site.yml:7"},
        "result": {"msg": "No package", "rc": 1}})
}

fn end() -> Value {
    json!({"id": format!("{RUN}-end"), "event": "run_end", "time": "2026-11-20T20:42:30Z", "elapsed": 30.0,
        "status": "error", "reason": "web2: Install nginx: No package", "failures": 1, "run": run(),
        "stats": {"web1": {"ok": 2, "changed": 1}, "web2": {"ok": 1, "failures": 1}},
        "plays": [{"id": "p1", "name": "Web", "start": "2026-11-20T20:42:01Z", "end": "2026-11-20T20:42:29Z", "failures": 1}]})
}

fn events() -> Vec<Value> {
    let mut ignored = result(13, "web1", "failed");
    ignored["ignored"] = json!(true);
    vec![
        result(11, "web1", "success"),
        result(12, "web2", "failed"),
        ignored,
        end(),
    ]
}

fn send(sandbox: &Sandbox, events: &[Value]) -> Outcome {
    let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
    sandbox.file("events.json", lines);
    sandbox.run_on_spool(&["send", "events.json"])
}

fn spans_by_name(collector: &Collector) -> BTreeMap<String, Vec<Value>> {
    let mut spans: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for span in collector.items("traces") {
        let name = span["name"].as_str().unwrap().to_owned();
        spans.entry(name).or_default().push(span);
    }
    // Hosts are not in order among each other.
    for named in spans.values_mut() {
        named.sort_by_key(|span| span["startTimeUnixNano"].to_string());
    }
    spans
}

fn in_order(mut items: Vec<Value>) -> Vec<Value> {
    items.sort_by_key(|item| (item["timeUnixNano"].to_string(), item.to_string()));
    items
}

#[test]
fn a_run_is_a_trace_in_either_encoding() {
    let mut all = Vec::new();
    for protocol in ["http/protobuf", "http/json"] {
        let sandbox = Sandbox::new();
        let collector = Collector::start(&sandbox);
        let url = collector.url("");
        configured(&sandbox, &format!("url = {url}\nprotocol = {protocol}"));
        send(&sandbox, &events()).expect_line(0, &["4 deliveries: all delivered"]);
        let spans = spans_by_name(&collector);
        let (root, play, tasks) = (
            &spans["RUN site.yml"][0],
            &spans["Web"][0],
            &spans["Install nginx"],
        );
        // The trace has the id of the run, and each span its parent.
        for span in [root, play].into_iter().chain(tasks) {
            assert_eq!(span["traceId"], RUN.replace('-', ""));
        }
        assert_eq!(root["parentSpanId"], Value::Null);
        assert_eq!(play["parentSpanId"], root["spanId"]);
        assert!(
            tasks
                .iter()
                .all(|task| task["parentSpanId"] == play["spanId"])
        );
        assert_eq!(
            (&root["kind"], &play["kind"]),
            (&json!("SPAN_KIND_SERVER"), &json!("SPAN_KIND_INTERNAL"))
        );
        assert_eq!(root["status"]["code"], "STATUS_CODE_ERROR");
        assert_eq!(root["status"]["message"], "web2: Install nginx: No package");
        let seconds = |span: &Value| {
            let time = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
            (time("endTimeUnixNano") - time("startTimeUnixNano")) as f64 / 1e9
        };
        assert_eq!(
            (seconds(root), seconds(play), seconds(&tasks[0])),
            (30.0, 28.0, 2.0)
        );
        let of = attributes(root);
        assert_eq!(of["cicd.pipeline.result"], "failure");
        assert_eq!(of["cicd.pipeline.run.url.full"], "https://ci.example.com/7");
        assert_eq!(
            (&of["ansible.version"], &of["ansible.host.user"]),
            (&json!("2.19.1"), &json!("ann"))
        );
        // A success and an ignored failure have no status.
        let statuses: Vec<bool> = tasks
            .iter()
            .map(|task| task["status"].is_object())
            .collect();
        assert_eq!(statuses, [false, true, false]);
        let of = attributes(&tasks[1]);
        for (key, value) in [
            ("error.type", json!("failed")),
            ("cicd.pipeline.task.run.result", json!("failure")),
            ("ansible.task.host.name", json!("web2")),
            ("ansible.task.name", json!("[web2] Web: Install nginx")),
            ("ansible.task.module", json!("ansible.builtin.package")),
            ("ansible.task.result", json!("1")),
            ("code.line.number", json!("7")),
        ] {
            assert_eq!(of[key], value, "{key}");
        }
        let resource = &collector.requests()[0]["message"]["resourceSpans"][0]["resource"];
        let resource = attributes(resource);
        assert_eq!(
            (&resource["service.name"], &resource["host.name"]),
            (&json!("ansible"), &json!("node1"))
        );
        let headers = &collector.requests()[0]["headers"];
        assert_eq!(headers["content-encoding"], "gzip");
        assert!(
            headers["user-agent"]
                .as_str()
                .unwrap()
                .starts_with("ansible-notify/")
        );
        all.push([
            in_order(collector.items("traces")),
            in_order(collector.items("logs")),
        ]);
    }
    assert_eq!(all[0], all[1], "both encodings say the same");
}

#[test]
fn logs_belong_to_spans_and_metrics_count() {
    let sandbox = Sandbox::new();
    let collector = Collector::start(&sandbox);
    let url = collector.url("");
    configured(
        &sandbox,
        &format!("url = {url}\nservice_name = deploys\nresource_attributes = team=o%20ps,env=prod"),
    );
    assert_eq!(send(&sandbox, &events()).code, 0);
    let spans = collector.items("traces");
    let logs = in_order(collector.items("logs"));
    assert_eq!(logs.len(), 4);
    let severities: Vec<&str> = logs
        .iter()
        .map(|log| log["severityText"].as_str().unwrap())
        .collect();
    assert_eq!(severities, ["INFO", "ERROR", "WARN", "ERROR"]);
    for log in &logs {
        assert!(
            spans
                .iter()
                .any(|span| span["spanId"] == log["spanId"] && span["traceId"] == log["traceId"]),
            "{log}"
        );
    }
    assert_eq!(
        (&logs[1]["eventName"], &logs[3]["eventName"]),
        (&json!("ansible.result"), &json!("ansible.run_end"))
    );
    let body = logs[1]["body"]["kvlistValue"]["values"].as_array().unwrap();
    let host = body.iter().find(|one| one["key"] == "host").unwrap();
    assert_eq!(host["value"]["stringValue"], "web2");
    let metrics: BTreeMap<String, Value> = collector
        .items("metrics")
        .into_iter()
        .map(|metric| (metric["name"].as_str().unwrap().to_owned(), metric))
        .collect();
    let run = &metrics["cicd.pipeline.run.duration"]["histogram"];
    assert_eq!(
        run["aggregationTemporality"],
        "AGGREGATION_TEMPORALITY_DELTA"
    );
    assert_eq!(
        (&run["dataPoints"][0]["count"], &run["dataPoints"][0]["sum"]),
        (&json!("1"), &json!(30.0))
    );
    let count = |name: &str, state: &str| {
        let points = metrics[name]["sum"]["dataPoints"].as_array().unwrap();
        let point = points
            .iter()
            .find(|point| attributes(point)["ansible.state"] == state);
        point.map_or(0, |point| point["asInt"].as_str().unwrap().parse().unwrap())
    };
    assert_eq!(
        [
            count("ansible.tasks", "ok"),
            count("ansible.tasks", "failed"),
            count("ansible.hosts", "ok")
        ],
        [3, 1, 2]
    );
    let metrics = collector.items("metrics");
    let tasks = metrics
        .iter()
        .filter(|metric| metric["name"] == "ansible.task.duration");
    let points = tasks.flat_map(|metric| metric["histogram"]["dataPoints"].as_array().unwrap());
    let counts: usize = points
        .map(|point| point["count"].as_str().unwrap().parse::<usize>().unwrap())
        .sum();
    assert_eq!(counts, 3);
    let resource = attributes(&collector.requests()[0]["message"]["resourceSpans"][0]["resource"]);
    assert_eq!(
        (
            &resource["service.name"],
            &resource["team"],
            &resource["env"]
        ),
        (&json!("deploys"), &json!("o ps"), &json!("prod"))
    );
}

#[test]
fn a_trace_that_began_elsewhere_goes_on() {
    let sandbox = Sandbox::new();
    let collector = Collector::start(&sandbox);
    configured(
        &sandbox,
        &format!("url = {}\nsignals = traces", collector.url("")),
    );
    let mut all = events();
    for event in &mut all {
        event["run"]["traceparent"] = json!(TRACEPARENT);
    }
    assert_eq!(send(&sandbox, &all).code, 0);
    let spans = spans_by_name(&collector);
    let root = &spans["RUN site.yml"][0];
    assert_eq!(
        (&root["traceId"], &root["parentSpanId"]),
        (
            &json!("0af7651916cd43dd8448eb211c80319c"),
            &json!("b7ad6b7169203331")
        )
    );
    assert_eq!(root["flags"], 0x301);
    // Whoever decided that it is not recorded meant these spans, too.
    let unsampled = TRACEPARENT.replace("-01", "-00");
    for (number, event) in all.iter_mut().enumerate() {
        event["id"] = json!(format!("other-{number}"));
        event["run"]["traceparent"] = json!(unsampled);
    }
    assert_eq!(send(&sandbox, &all).code, 0);
    assert_eq!(collector.items("traces").len(), 5);
    // Each playbook of a command is a trace.
    let play = |id: &str, file: &str, second: u32, failures: u32| {
        json!({"id": id, "name": id, "playbook": format!("/srv/{file}"), "failures": failures,
            "start": format!("2026-11-20T20:42:{second:02}Z"), "end": format!("2026-11-20T20:42:{:02}Z", second + 5)})
    };
    let mut end = end();
    end["id"] = json!("several-end");
    end["run"]["playbooks"] = json!(["/srv/a.yml", "/srv/b.yml"]);
    end["plays"] = json!([
        play("first", "a.yml", 1, 1),
        play("second", "a.yml", 7, 0),
        play("third", "b.yml", 20, 0)
    ]);
    assert_eq!(send(&sandbox, &[end]).code, 0);
    let spans = spans_by_name(&collector);
    let (a, b) = (&spans["RUN a.yml"][0], &spans["RUN b.yml"][0]);
    assert_ne!(a["traceId"], b["traceId"]);
    assert_eq!(spans["second"][0]["parentSpanId"], a["spanId"]);
    assert_eq!(spans["third"][0]["traceId"], b["traceId"]);
    assert_eq!(attributes(a)["cicd.pipeline.result"], "failure");
}

#[test]
fn a_repeat_is_the_same_span_and_no_second_record() {
    let sandbox = Sandbox::new();
    let collector = Collector::start(&sandbox);
    configured(&sandbox, &format!("url = {}", collector.url("halflogs")));
    let sent = send(&sandbox, &events());
    assert_eq!(sent.code, 0, "{sent:?}");
    let of = |signal: &str| collector.items(signal).len();
    assert_eq!([of("traces"), of("logs")], [5, 4]);
    // Another process knows nothing of it: the ids are the same.
    let ids = |collector: &Collector| {
        let spans = collector.items("traces");
        let ids = spans
            .iter()
            .map(|span| span["spanId"].as_str().unwrap().to_owned());
        ids.collect::<BTreeSet<String>>()
    };
    let (before, other) = (ids(&collector), Sandbox::new());
    configured(&other, &format!("url = {}", collector.url("again")));
    assert_eq!(send(&other, &events()).code, 0);
    assert_eq!(ids(&collector), before);
    assert_eq!(collector.items("traces").len(), 2 * before.len());
}

#[test]
fn a_collector_is_answered_as_the_standard_says() {
    // A part that is rejected is not sent again.
    let sandbox = Sandbox::new();
    let collector = Collector::start(&sandbox);
    configured(&sandbox, &format!("url = {}", collector.url("partial")));
    let sent = send(&sandbox, &events());
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(
        sent.stderr
            .contains("the collector rejected 1 spans: one is too old"),
        "{sent:?}"
    );
    assert_eq!(
        [
            collector.items("traces").len(),
            collector.items("logs").len()
        ],
        [5, 4]
    );
    let history = sandbox.run_on_spool(&["history", "1"]).stdout;
    assert!(history.contains("the collector rejected 1"), "{history}");
    // One that is busy is asked again, and one that takes no more gets smaller requests.
    for (mode, count) in [("busy", 4), ("large", 450)] {
        let sandbox = Sandbox::new();
        let collector = Collector::start(&sandbox);
        configured(
            &sandbox,
            &format!(
                "url = {}\nsignals = logs\nbatch = 1000",
                collector.url(mode)
            ),
        );
        let events: Vec<Value> = (0..count)
            .map(|number| {
                let mut event = result(11, "web1", "success");
                event["id"] = json!(format!("e-{number}"));
                event
            })
            .collect();
        let sent = send(&sandbox, &events);
        assert_eq!(sent.code, 0, "{sent:?}");
        assert_eq!(collector.items("logs").len(), count, "{mode}");
    }
}

#[test]
fn a_real_collector_takes_every_signal() {
    let sandbox = Sandbox::new();
    let rotel = Rotel::start(&sandbox);
    for protocol in ["http/protobuf", "http/json"] {
        configured(
            &sandbox,
            &format!("url = {}\nprotocol = {protocol}", rotel.url()),
        );
        let events = events().into_iter().map(|mut event| {
            event["id"] = json!(format!("{}-{protocol}", event["id"].as_str().unwrap()));
            event
        });
        let events: Vec<Value> = events.collect();
        send(&sandbox, &events).expect_line(0, &["4 deliveries: all delivered"]);
    }
    rotel.expect(&[
        "RUN site.yml",
        "Install nginx",
        "cicd.pipeline.run.duration",
        "ansible.result",
    ]);
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert!(
        checked.code == 0 && checked.stdout.contains("POST traces: 200 OK"),
        "{checked:?}"
    );
}

#[test]
fn the_variables_of_opentelemetry_stand_for_missing_keys() {
    let sandbox = Sandbox::new();
    let collector = Collector::start(&sandbox);
    configured(&sandbox, "on = any");
    let lines: String = events().iter().map(|event| format!("{event}\n")).collect();
    sandbox.file("events.json", lines);
    let with_variables = |arguments: &[&str]| {
        let mut command = sandbox.command_on_spool(arguments);
        command
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url("base"))
            .env(
                "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
                collector.url("own/v1/logs"),
            )
            .env(
                "OTEL_EXPORTER_OTLP_HEADERS",
                "api-key=canary%20key,x-team=ops",
            )
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
            .env("OTEL_EXPORTER_OTLP_TIMEOUT", "20000")
            .env("OTEL_SERVICE_NAME", "from-variable")
            .env("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,team=ops");
        outcome(command.spawn().unwrap())
    };
    let shown = with_variables(&["check-config"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.stdout.contains("OTEL_EXPORTER_OTLP_ENDPOINT"),
        "{shown:?}"
    );
    assert!(!shown.printed().contains("canary"), "{shown:?}");
    let sent = with_variables(&["send", "events.json"]);
    assert_eq!(sent.code, 0, "{sent:?}");
    let requests = collector.requests();
    assert_eq!(
        [
            collector.items("traces").len(),
            collector.items("logs").len()
        ],
        [5, 4]
    );
    for request in &requests {
        assert_eq!(request["headers"]["api-key"], "canary key");
        assert_eq!(request["headers"]["content-type"], "application/json");
    }
    let spans = requests
        .iter()
        .find(|request| request["signal"] == "traces")
        .unwrap();
    let resource = attributes(&spans["message"]["resourceSpans"][0]["resource"]);
    assert_eq!(
        (&resource["service.name"], &resource["team"]),
        (&json!("from-variable"), &json!("ops"))
    );
    sandbox.expect_no_canary_stored();
    // A configuration with an address gets nothing that belongs to another one.
    configured(&sandbox, &format!("url = {}", collector.url("file")));
    sandbox.file("events.json", result(40, "web9", "success").to_string());
    assert_eq!(with_variables(&["send", "events.json"]).code, 0);
    let last = collector.requests().pop().unwrap();
    assert_eq!(
        (
            &last["headers"]["api-key"],
            &last["headers"]["content-type"]
        ),
        (&Value::Null, &json!("application/x-protobuf"))
    );
}

#[test]
fn a_mistake_is_named() {
    let sandbox = Sandbox::new();
    for (keys, problem) in [
        ("signals = spans", "`signals` must be"),
        (
            "url = http://127.0.0.1\nprotocol = grpc",
            "`protocol` must be",
        ),
        (
            "url = http://127.0.0.1\nheaders = X-Host: {{ host }}",
            "cannot be a template",
        ),
        (
            "url = http://127.0.0.1\nresource_attributes = team",
            "`resource_attributes` must be NAME=VALUE",
        ),
        ("signals = logs", "url"),
    ] {
        configured(&sandbox, keys);
        let checked = sandbox.run(&["check-config"]);
        assert!(
            checked.code == 78 && checked.stderr.contains(problem),
            "{keys}: {checked:?}"
        );
    }
}
