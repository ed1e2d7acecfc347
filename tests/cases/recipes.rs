//! The page of recipes: each configuration works unchanged, against a service that rejects what the vendor
//! rejects, or against the real one.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sandbox::{Config, Outcome, Sandbox, side_by_side};
use crate::server::daemon::Daemon;
use crate::server::{Request, Server, ntfy, vendors};

const PAGE: &str = include_str!("../../docs/recipes.md");

/// Output of a host with everything that has a meaning somewhere.
const EVIL: &str = "no \"space\" left \\ on <users/all> @**all** & more\nsecond line\t{{ 7 * 7 }} {% if %} \u{1b}[31mred\u{0} é\u{202e}😀 ]}\",'";

const RUN: &str = "0199a8e2-5c1f-4b7e-9a54-3f1f0b6d7c21";

/// Name and configuration of each recipe.
static RECIPES: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let recipe = |section: &str| {
        let (name, rest) = section.split_once('\n').unwrap();
        let (_, rest) = rest.split_once("```ini\n").unwrap();
        assert!(
            rest.contains("\nArrives: "),
            "{name} does not show what arrives"
        );
        (
            name.to_owned(),
            rest.split("```").next().unwrap().to_owned(),
        )
    };
    PAGE.split("\n## ").skip(1).map(recipe).collect()
});

fn recipe(name: &str) -> &'static str {
    let found = RECIPES.iter().find(|(known, _)| known == name);
    &found.unwrap_or_else(|| panic!("no recipe {name}")).1
}

/// The files that a recipe names, with the secrets that its service expects.
fn secret_of(name: &str, file: &str, base: &str) -> String {
    match (name, file) {
        ("Google Chat", _) => format!("{base}/v1/spaces/AAAA/messages?key=k&token=canary-google"),
        ("Home Assistant", _) => format!("{base}/api/webhook/canary-home"),
        ("Opsgenie", _) => "GenieKey canary-opsgenie".to_owned(),
        ("ntfy", _) => ntfy::TOKEN.to_owned(),
        _ => format!("canary-{file}"),
    }
}

/// The values of the keys that name a file.
fn files(config: &str) -> impl Iterator<Item = &str> {
    let pairs = config.lines().filter_map(|line| line.split_once('='));
    let files = pairs.filter(|(key, _)| key.trim().ends_with("_file"));
    files.map(|(_, file)| file.trim())
}

/// A sandbox with a recipe, unchanged except for its addresses.
fn sandbox(name: &str, base: &str, secret: impl Fn(&str) -> String) -> Sandbox {
    let mut config = String::new();
    for line in recipe(name).lines() {
        match line.split_once("https://") {
            Some((key, rest)) if key.trim_end().ends_with('=') && !line.starts_with([' ', '#']) => {
                let path = rest.find('/').map_or("", |at| &rest[at..]);
                config += &format!("{key}{base}{path}\n");
            }
            _ => config += &format!("{line}\n"),
        }
    }
    let sandbox = Sandbox::with_config(&format!("{config}[delivery]\ndrain = 60\n"));
    for file in files(&config) {
        sandbox.file(file, secret(file));
    }
    sandbox
}

const COMMIT: &str = "6dcb09b5b57875f334f61aebed695e2e4193db5e";

/// Variables that the recipes list in `[event]`.
fn vars() -> Value {
    json!({"commit": COMMIT, "deployment": "17"})
}

fn run(playbook: &str) -> Value {
    json!({"id": RUN, "playbook": playbook, "path": format!("/srv/{playbook}"), "inventory": ["hosts"],
        "controller": "control", "url": "https://ci.example.com/7"})
}

fn started() -> Value {
    json!({"event": "playbook_on_start", "id": "s-1", "run": run("site.yml"), "vars": vars()})
}

/// The end of a run that failed for this reason.
fn failed(reason: &str) -> Value {
    let task = json!({"host": "web1", "task": "Install", "message": reason});
    json!({"event": "run_end", "id": format!("e-{}", reason.len()), "status": "error", "reason": reason, "elapsed": 2.5,
        "time": Timestamp::now().to_string(), "failures": 1, "failed_tasks": [task], "run": run("site.yml"), "vars": vars(),
        "stats": {"web1": {"ok": 3, "failures": 1}, "we\"b\\2": {"ok": 1}}})
}

/// The end of a run that fixed everything.
fn recovered() -> Value {
    json!({"event": "run_end", "id": "r-1", "status": "success", "previous": "error", "elapsed": 2.5,
        "time": Timestamp::now().to_string(), "run": run("site.yml"), "vars": vars(), "stats": {"web1": {"ok": 4}}})
}

fn send(sandbox: &Sandbox, event: &Value) -> Outcome {
    sandbox.file("event.json", event.to_string());
    sandbox.run_on_spool(&["send", "event.json", "--quiet"])
}

/// Sends these events by a recipe to its service; the requests that it took.
fn sent(name: &str, events: &[Value]) -> Vec<Request> {
    let server = vendors::start(name).unwrap_or_else(|| panic!("no service {name}"));
    let sandbox = sandbox(name, &server.at(""), |file| {
        secret_of(name, file, &server.at(""))
    });
    for event in events {
        let outcome = send(&sandbox, event);
        let history = || sandbox.run_on_spool(&["history", "--failed"]).stdout;
        assert_eq!(
            outcome.code,
            0,
            "{name}: {outcome:?}
{}",
            history()
        );
    }
    let history = sandbox.run_on_spool(&["history", "--json"]).stdout;
    assert!(!history.contains("canary"), "{name}: {history}");
    assert!(!history.contains("instead"), "{name}: {history}");
    server.requests()
}

#[test]
fn every_recipe_is_a_valid_configuration() {
    assert!(RECIPES.len() >= 19, "{}", RECIPES.len());
    for (name, config) in RECIPES.iter() {
        let sandbox = Sandbox::with_config(config);
        for file in files(config) {
            sandbox.file(file, secret_of(name, file, "https://example.com"));
        }
        let checked = sandbox.run(&["check-config"]);
        checked.expect(0, "");
        assert!(
            !format!("{checked:?}").contains("canary"),
            "{name}: {checked:?}"
        );
        let anchor: String = name.to_lowercase().replace(' ', "-").replace('.', "");
        assert!(
            PAGE.contains(&format!("[{name}](#{anchor})")),
            "{name} is not in the list"
        );
    }
}

#[test]
fn every_service_accepts_every_event_of_its_recipe() {
    let names = RECIPES.iter().map(|(name, _)| name.as_str());
    let names: Vec<&str> = names
        .filter(|name| !["Alertmanager", "Pushgateway"].contains(name))
        .collect();
    side_by_side(&names, |name| {
        let huge = "é\"\\<&".repeat(40_000);
        let events = [
            started(),
            failed("web1: Install: no"),
            failed(EVIL),
            failed(&huge),
            failed(""),
            recovered(),
        ];
        let mut local = failed("on a laptop");
        local["run"]["url"] = Value::Null;
        let requests = sent(name, &[&events[..], &[local]].concat());
        // The pipeline starts after a success.
        let least = if *name == "GitLab pipeline" { 1 } else { 4 };
        assert!(requests.len() >= least, "{name}: {}", requests.len());
    });
}

#[test]
fn a_wrong_secret_is_rejected() {
    let names = RECIPES.iter().map(|(name, _)| name.as_str());
    // Services without credentials, or that do not report wrong ones.
    let open = [
        "Alertmanager",
        "Pushgateway",
        "healthchecks.io",
        "Home Assistant",
    ];
    let names: Vec<&str> = names.filter(|name| !open.contains(name)).collect();
    assert!(names.len() >= 10, "{names:?}");
    side_by_side(&names, |name| {
        let server = vendors::start(name).unwrap();
        let wrong =
            |file: &str| secret_of(name, file, &server.at("")).replace("canary", "canary-wrong");
        let sandbox = sandbox(name, &server.at(""), wrong);
        let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
        let config = Config::from(config).delivery("drain = 1");
        sandbox.file("plugin_config.ini", config.text());
        let event = match *name {
            "GitLab pipeline" => recovered(),
            _ => failed("no"),
        };
        let outcome = send(&sandbox, &event);
        assert!([69, 75].contains(&outcome.code), "{name}: {outcome:?}");
        assert!(
            !format!("{outcome:?}").contains("canary"),
            "{name}: {outcome:?}"
        );
    });
}

#[test]
fn the_page_shows_what_arrives() {
    let only = |name: &str, event: Value| sent(name, &[event]).remove(0);
    let reason = "web1: Install: no space left";
    let card = only("Google Chat", failed(reason)).json();
    assert_eq!(
        card["cardsV2"][0]["card"]["header"]["title"],
        "site.yml failed"
    );
    assert_eq!(card["thread"]["threadKey"], "site.yml");
    let push = only("Gotify", recovered()).json();
    assert_eq!(
        push,
        json!({"title": "site.yml recovered", "message": "No task failed.", "priority": 4})
    );
    let hook = only("Home Assistant", failed(reason)).json();
    assert_eq!(
        hook,
        json!({"run": "site.yml", "status": "error", "message": reason, "failed": 1})
    );
    let states = |name| {
        let requests = sent(name, &[started(), failed(reason), recovered()]);
        let state = |request: &Request| request.json()["state"].as_str().unwrap().to_owned();
        let states: Vec<String> = requests.iter().map(state).collect();
        (states.join(" "), requests[1].clone())
    };
    let (all, failure) = states("GitHub commit status");
    assert_eq!(all, "pending failure success");
    assert_eq!(
        failure.target,
        format!("/repos/example/site/statuses/{COMMIT}")
    );
    assert_eq!(failure.json()["context"], "ansible/site.yml");
    let (all, failure) = states("GitHub deployment status");
    assert_eq!(all, "in_progress failure success");
    assert_eq!(
        failure.target,
        "/repos/example/site/deployments/17/statuses"
    );
    let (all, _) = states("GitLab commit status");
    assert_eq!(all, "running failed success");
    let issue = only("Jira", failed(reason)).json();
    assert_eq!(issue["fields"]["summary"], "site.yml failed on web1");
    assert_eq!(
        issue["fields"]["description"],
        format!("{reason}\n\nhttps://ci.example.com/7")
    );
    for name in ["Matrix", "Webex"] {
        let body = only(name, failed(reason)).json();
        let text = body["body"].as_str().or(body["text"].as_str());
        assert_eq!(
            text,
            Some("site.yml failed: web1: Install: no space left"),
            "{name}"
        );
    }
    let started = sent("healthchecks.io", &[started(), failed(reason), recovered()]);
    let targets: Vec<&str> = started
        .iter()
        .map(|request| request.target.as_str())
        .collect();
    let check = "/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278";
    let expected = ["/start", "/fail", ""].map(|path| format!("{check}{path}?rid={RUN}"));
    assert_eq!(targets, expected);
    assert!(
        started[1].body.starts_with("site.yml failed\n"),
        "{:?}",
        started[1]
    );
    let closing = sent("Opsgenie", &[failed(reason), recovered()]);
    assert_eq!(closing[0].json()["alias"], "site.yml");
    assert_eq!(
        closing[1].target,
        "/v2/alerts/site.yml/close?identifierType=alias"
    );
    assert_eq!(
        only("ServiceNow", failed(reason)).json()["correlation_id"],
        RUN
    );
    let form = |name| {
        let body = only(name, failed(EVIL)).body;
        let pairs = url::form_urlencoded::parse(body.as_bytes()).into_owned();
        pairs.collect::<std::collections::BTreeMap<String, String>>()
    };
    assert_eq!(form("Pushover")["title"], "site.yml failed");
    assert_eq!(form("Pushover")["url"], "https://ci.example.com/7");
    let pipeline = only("GitLab pipeline", recovered()).body;
    assert!(
        pipeline.contains("variables%5BANSIBLE_RUN%5D=site.yml"),
        "{pipeline}"
    );
    assert_eq!(form("Zulip")["topic"], "site.yml");
    assert!(form("Zulip")["content"].contains("@\u{200b}**all**"));
}

#[test]
fn a_message_of_matrix_has_the_same_id_on_every_attempt() {
    let server = Server::start([
        crate::server::status(503),
        crate::server::json(200, &json!({"event_id": "$1"})),
    ]);
    let sandbox = sandbox("Matrix", &server.at(""), |file| {
        secret_of("Matrix", file, "")
    });
    let outcome = send(&sandbox, &failed("no"));
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let targets: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(targets.len(), 2);
    assert_eq!(targets[0], targets[1]);
    assert!(
        targets[0].ends_with("/send/m.room.message/e-2"),
        "{targets:?}"
    );
}

/// The alerts that a real Alertmanager has.
fn alerts(daemon: &Daemon) -> Vec<Value> {
    serde_json::from_str(&daemon.get("/api/v2/alerts")).unwrap()
}

#[test]
fn a_real_alertmanager_fires_and_resolves() {
    let home = Sandbox::new();
    let daemon = Daemon::alertmanager(&home);
    let sandbox = sandbox("Alertmanager", &daemon.url(), |_| String::new());
    for reason in [EVIL, "web1: Install: no space left"] {
        assert_eq!(send(&sandbox, &failed(reason)).code, 0);
        let alerts = alerts(&daemon);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        let labels = json!({"alertname": "AnsibleRunFailed", "severity": "warning", "run": "site.yml", "inventory": "hosts"});
        assert_eq!(alerts[0]["labels"], labels);
        assert_eq!(alerts[0]["status"]["state"], "active", "{alerts:?}");
        assert_eq!(alerts[0]["annotations"]["summary"], "site.yml failed");
        assert_eq!(alerts[0]["generatorURL"], "https://ci.example.com/7");
        let ends: Timestamp = alerts[0]["endsAt"].as_str().unwrap().parse().unwrap();
        assert!((ends - Timestamp::now()).as_hours() > 24 * 6, "{alerts:?}");
    }
    let alert = &alerts(&daemon)[0];
    assert_eq!(
        alert["annotations"]["description"],
        "web1: Install: no space left"
    );
    assert_eq!(send(&sandbox, &recovered()).code, 0);
    assert_eq!(alerts(&daemon), [] as [Value; 0]);
}

#[test]
fn a_real_pushgateway_has_the_metrics_of_each_playbook() {
    let home = Sandbox::new();
    let daemon = Daemon::pushgateway(&home);
    let sandbox = sandbox("Pushgateway", &daemon.url(), |_| String::new());
    let playbooks = ["site.yml", "pl\u{e4}y/b+?.yml", "a=b \"c\\d?>~.yml"];
    for playbook in playbooks {
        let mut event = failed(EVIL);
        event["run"] = run(playbook);
        event["id"] = playbook.into();
        let outcome = send(&sandbox, &event);
        assert_eq!(outcome.code, 0, "{outcome:?}");
    }
    let metrics = daemon.get("/metrics");
    for playbook in playbooks {
        let run = playbook.replace('\\', "\\\\").replace('"', "\\\"");
        let sample =
            format!("ansible_run_success{{instance=\"\",job=\"ansible\",run=\"{run}\"}} 0\n");
        assert!(metrics.contains(&sample), "{sample}: {metrics}");
    }
    let host =
        r#"ansible_host_failures{host="we\"b\\2",instance="",job="ansible",run="site.yml"} 0"#;
    assert!(metrics.contains(host), "{metrics}");
    assert!(
        metrics.contains(r#"host="web1",instance="",job="ansible",run="site.yml"} 1"#),
        "{metrics}"
    );
    let mut empty = recovered();
    empty["stats"] = json!({});
    assert_eq!(send(&sandbox, &empty).code, 0);
    let metrics = daemon.get("/metrics");
    assert!(
        metrics.contains(r#"ansible_run_success{instance="",job="ansible",run="site.yml"} 1"#),
        "{metrics}"
    );
    let old = metrics.lines().filter(|line| {
        line.starts_with("ansible_host_failures") && line.contains(r#"run="site.yml""#)
    });
    assert_eq!(
        old.count(),
        0,
        "the last run replaces the one before: {metrics}"
    );
}
