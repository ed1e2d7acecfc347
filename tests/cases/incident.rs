//! The life of an incident, as one run of a playbook after the other tells it.

use serde_json::{Value, json};

use super::runs::{failing, stream, succeeding};
use crate::sandbox::Sandbox;
use crate::server::{OK, Server, pagerduty, slack};

#[test]
fn a_playbook_that_fails_twice_and_recovers_is_one_incident() {
    let slack = slack::start();
    let (pagerduty, incidents) = pagerduty::start();
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = slack\napi_url = {}\ntoken = {}\nchannels = ops\n\
         [notifier:pager]\ntype = pagerduty\napi_url = {}\nrouting_key = {}\non = error, recovered\n",
        slack.at("/api"),
        slack::TOKEN,
        pagerduty.at(""),
        pagerduty::ROUTING_KEY,
    ));
    for (run, alerts) in [
        (failing("1"), Some(1)),
        (failing("2"), Some(2)),
        (succeeding("3"), None),
        (succeeding("4"), None),
    ] {
        assert_eq!(stream(&sandbox, &run).code, 0);
        let open: Vec<u32> = incidents.lock().unwrap().values().copied().collect();
        assert_eq!(
            open,
            Vec::from_iter(alerts),
            "one incident with so many alerts"
        );
    }
    let actions = pagerduty.bodies().into_iter();
    let actions: Vec<Value> = actions
        .map(|mut body| body["event_action"].take())
        .collect();
    // The recovery is a change too.
    let expected = ["trigger", "trigger", "resolve"].map(Value::from);
    assert_eq!(
        (&actions[..3], &actions[3..]),
        (&expected[..], &[json!(null)][..])
    );

    let posts = slack.bodies();
    let threads: Vec<&Value> = posts.iter().map(|post| &post["thread_ts"]).collect();
    assert_eq!((threads[0], threads[3]), (&json!(null), &json!(null)));
    assert!(
        threads[1].is_string(),
        "it fails again in the thread of the first"
    );
    assert_eq!(threads[1], threads[2], "and recovers there");
    assert_eq!(posts[2]["reply_broadcast"], true);
}

/// A run of `site.yml` with these options, whose only task fails on the hosts with a `!`.
fn run_on(id: &str, options: &Value, hosts: &str) -> String {
    let mut run =
        json!({"id": id, "playbook": "site.yml", "path": "/srv/site.yml", "inventory": ["prod"]});
    run.as_object_mut()
        .unwrap()
        .extend(options.as_object().unwrap().clone());
    let mut stats = json!({});
    for host in hosts.split(' ') {
        let failures = u32::from(host.ends_with('!'));
        stats[host.trim_end_matches('!')] = json!({"ok": 1, "failures": failures});
    }
    let result = json!({"stats": stats});
    [
        json!({"hello": {"protocol": 1, "run": run}}),
        json!({"event": {"seq": 1, "event": "playbook_on_start", "time": 1.5}}),
        json!({"event": {"seq": 2, "event": "playbook_on_stats", "time": 2.5, "result": result}}),
        json!({"end": {"reason": "exit"}}),
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

/// What happens to the incident that a run on h1 and h2 opened, with each later run of the playbook.
fn after_a_failure(later: &[(Value, &str)]) -> (Vec<bool>, Vec<Value>) {
    let (pagerduty, incidents) = pagerduty::start();
    let hook = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:pager]\ntype = pagerduty\napi_url = {}\nrouting_key = {}\n\
         [notifier:end]\ntype = webhook\nurl = {}\non = error, success\n[outputs:end]\n\
         told = [status, previous, recovered, still_failing]\n",
        pagerduty.at(""),
        pagerduty::ROUTING_KEY,
        hook.url(),
    ));
    let mut open = Vec::new();
    for (number, (options, hosts)) in std::iter::once(&(json!({}), "h1! h2"))
        .chain(later)
        .enumerate()
    {
        let input = run_on(&number.to_string(), options, hosts);
        assert_eq!(stream(&sandbox, &input).code, 0);
        open.push(!incidents.lock().unwrap().is_empty());
    }
    let told = hook
        .bodies()
        .into_iter()
        .map(|mut body| body["told"].take());
    (open.split_off(1), told.skip(1).collect())
}

#[test]
fn only_a_run_that_covers_what_failed_resolves() {
    let limit = |host: &str| json!({"limit": host});
    let tags = |tag: &str| json!({"tags": [tag]});
    for (options, hosts) in [
        (json!({"check": true}), "h1 h2"),
        (limit("h2"), "h2"),
        (json!({"extra": "target=h2"}), "h2"),
        (tags("b"), "h1 h2"),
        (json!({"skip_tags": ["a"]}), "h1 h2"),
        (json!({"start_at_task": "harmless"}), "h1 h2"),
    ] {
        let (open, told) = after_a_failure(&[(options.clone(), hosts)]);
        assert_eq!(open, [true], "{options}");
        let left = if options["check"] == true {
            json!([])
        } else {
            json!(["h1"])
        };
        assert_eq!(told, [json!(["success", null, false, left])], "{options}");
    }
    for (options, hosts) in [
        (json!({}), "h1 h2"),
        (json!({"tags": ["all"]}), "h1 h2"),
        (limit("h1"), "h1"),
    ] {
        let (open, told) = after_a_failure(&[(options, hosts)]);
        assert_eq!(open, [false]);
        assert_eq!(told, [json!(["success", "error", true, []])]);
    }
}

#[test]
fn what_several_runs_mend_in_turn_recovers_with_the_last() {
    let limit = |host: &str| json!({"limit": host});
    let (open, told) = after_a_failure(&[
        (limit("h2"), "h2!"),
        (limit("h1"), "h1"),
        (limit("h2"), "h2"),
        (limit("h2"), "h2"),
    ]);
    assert_eq!(open, [true, true, false, false]);
    let expected = [
        json!(["error", "error", false, ["h1", "h2"]]),
        json!(["success", null, false, ["h2"]]),
        json!(["success", "error", true, []]),
        json!(["success", "success", false, []]),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_thread_ends_with_what_resolves_it() {
    let slack = slack::start();
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = slack\napi_url = {}\ntoken = {}\nchannels = ops\nupdate = true\n",
        slack.at("/api"),
        slack::TOKEN,
    ));
    for (id, options, hosts) in [
        ("1", json!({}), "h1! h2"),
        ("2", json!({"limit": "h2"}), "h2"),
        ("3", json!({"check": true}), "h1 h2"),
        ("4", json!({"limit": "h1"}), "h1"),
        ("5", json!({}), "h1 h2"),
    ] {
        stream(&sandbox, &run_on(id, &options, hosts));
    }
    let bodies = slack.bodies();
    let updates: Vec<bool> = bodies.iter().map(|body| body["ts"].is_string()).collect();
    assert_eq!(updates, [false, false, false, true, false], "{bodies:?}");
    let text = |number: usize| bodies[number]["text"].as_str().unwrap();
    assert!(
        text(1).starts_with("site.yml succeeded\n")
            && text(1).contains("still failing from earlier runs: h1")
    );
    assert!(
        text(2).starts_with("site.yml succeeded (check mode)\n"),
        "{}",
        text(2)
    );
    assert!(text(3).starts_with("site.yml recovered\n"));
}

#[test]
fn ad_hoc_commands_are_told_apart_by_module_and_hosts() {
    let (pagerduty, incidents) = pagerduty::start();
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:pager]\ntype = pagerduty\napi_url = {}\nrouting_key = {}\n",
        pagerduty.at(""),
        pagerduty::ROUTING_KEY,
    ));
    let ad_hoc =
        |module: &str| json!({"playbook": null, "path": null, "module": module, "pattern": "web"});
    for (id, module, hosts, open) in [
        ("1", "command", "h1!", 1),
        ("2", "ping", "h1", 1),
        ("3", "command", "h1", 0),
    ] {
        stream(&sandbox, &run_on(id, &ad_hoc(module), hosts));
        assert_eq!(incidents.lock().unwrap().len(), open, "{module}");
    }
    let first = &pagerduty.bodies()[0];
    assert_eq!(first["payload"]["summary"], "ansible web -m command failed");
    assert_eq!(first["dedup_key"], "ansible web -m command @ prod");
}

#[test]
fn check_mode_says_what_is_heard_of_checks() {
    let said = |kind: &str, own: &str, check: bool| {
        let hook = Server::start([OK]);
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\n{}\n{own}\n",
            kind.replace("URL", &hook.url())
        ));
        let event = json!({"event": "run_end", "status": "error", "run": {"id": "r", "check": check, "playbook": "site.yml"}});
        sandbox.file("event.json", event.to_string());
        sandbox.run(&["send", "--quiet", "event.json"]);
        !hook.bodies().is_empty()
    };
    let webhook = "type = webhook\nurl = URL";
    let pagerduty =
        "type = pagerduty\napi_url = URL\nrouting_key = 0123456789abcdef0123456789abcdef";
    for (kind, own, check, heard) in [
        (webhook, "", true, true),
        (webhook, "check_mode = exclude", true, false),
        (webhook, "check_mode = exclude", false, true),
        (webhook, "check_mode = only", true, true),
        (webhook, "check_mode = only", false, false),
        (pagerduty, "", true, false),
        (pagerduty, "", false, true),
        (pagerduty, "check_mode = include", true, true),
    ] {
        assert_eq!(said(kind, own, check), heard, "{own} {check}");
    }
    let sandbox = Sandbox::with_config(
        "[notifier:x]\ntype = webhook\nurl = http://127.0.0.1:1\ncheck_mode = exlude\n",
    );
    let checked = sandbox.run(&["check-config"]);
    assert_eq!(checked.code, 78);
    let problem = "`check_mode` must be `include`, `exclude` or `only`, not `exlude`; did you mean `exclude`?";
    assert!(checked.stderr.contains(problem), "{}", checked.stderr);
}
