//! The user's own data in events: variables, labels and custom stats, from the stream to the endpoint.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::server::{OK, Server};

const EVENT: &str = "[event]\nvars = team, ci_*\nlabel.env = prod\n\
    label.site = {{ host_vars.site | default(vars.site) }}\nlabel.empty = {{ vars.nothing }}\n";

fn config(server: &Server, rest: &str) -> String {
    let url = server.url();
    format!("{EVENT}[inputs]\ncallback_url = {url}\non = any, playbook_on_start\n{rest}")
}

fn line(record: Value) -> String {
    format!("{record}\n")
}

fn result(seq: u64, play: &str, host: &str) -> String {
    line(
        json!({"event": {"seq": seq, "event": "runner_on_ok", "time": 1.0, "play": play, "host": {"name": host}}}),
    )
}

fn hello(rest: Value) -> String {
    let mut hello = json!({"protocol": 1, "run": {"id": "r"}});
    hello
        .as_object_mut()
        .unwrap()
        .extend(rest.as_object().unwrap().clone());
    line(json!({ "hello": hello }))
}

fn host(name: &str, site: &str) -> String {
    line(json!({"host": {"id": "1", "name": name, "vars": {"site": site}, "groups": ["web"]}}))
}

fn sent(server: &Server) -> Vec<Value> {
    let requests = server.requests();
    requests.iter().map(|request| request.json()).collect()
}

#[test]
fn variables_have_the_values_of_the_play_and_the_host() {
    let server = Server::start([OK]);
    let fields = "[outputs]\ne = event\nteam = vars.team\nsite = host_vars.site\ngroups = host_groups\n\
        env = labels.env\nmissing = vars.no.such | default('none')\nstats = custom_stats.version\n";
    let sandbox = Sandbox::with_config(&config(&server, fields));
    let stats = json!({"stats": {"h": {"ok": 1}}, "custom_stats": {"version": "1.2"}, "custom_stats_per_host": {"h": {"n": 1}}});
    let input = [
        hello(json!({"early": true})),
        line(json!({"event": {"seq": 1, "event": "playbook_on_start", "time": 1.0}})),
        line(json!({"play": {"id": "1", "name": "p", "vars": {"team": "a", "ci": 1}}})),
        host("h", "ulm"),
        result(2, "1", "h"),
        result(3, "1", "other"),
        host("h", "bonn"),
        result(4, "1", "h"),
        line(json!({"play": {"id": "2", "name": "p", "vars": {"team": "b"}}})),
        result(5, "2", "h"),
        line(
            json!({"event": {"seq": 6, "event": "playbook_on_stats", "time": 1.0, "result": stats}}),
        ),
        line(json!({"end": {"reason": "exit", "code": 0}})),
    ];
    let outcome = sandbox.run_with_input(&["stream"], input.concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let first = outcome.stdout.lines().next().unwrap();
    assert_eq!(
        first,
        r#"{"config":{"vars":["team","ci_*"],"groups":true}}"#
    );
    let mut all = sent(&server);
    all.sort_by_key(|one| one["e"]["id"].as_str().unwrap().to_owned());
    let column = |key: &str| -> Vec<Value> { all.iter().map(|one| one[key].clone()).collect() };
    assert_eq!(
        column("team"),
        ["a", "a", "a", "a", "b", "b"].map(Value::from)
    );
    let sites = [None, Some("ulm"), None, Some("bonn"), Some("bonn"), None];
    assert_eq!(column("site"), sites.map(Value::from));
    assert_eq!(all[1]["groups"], json!(["web"]));
    assert_eq!(all[1]["e"]["host"]["vars"], json!({"site": "ulm"}));
    assert_eq!(all[1]["e"]["labels"], json!({"env": "prod", "site": "ulm"}));
    assert_eq!(all[2]["e"]["labels"], json!({"env": "prod"}));
    assert_eq!(column("missing"), vec![json!("none"); 6]);
    assert_eq!(all[5]["e"]["vars"], json!({"team": "b", "ci": 1}));
    assert_eq!(all[5]["stats"], "1.2");
    assert_eq!(all[5]["e"]["custom_stats_per_host"], json!({"h": {"n": 1}}));
}

#[test]
fn a_process_that_resumes_the_run_has_its_variables() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server, "[outputs]\ne = event\n"));
    let resumed = json!({"resumed": {"after": 9, "began": 1.0, "stats": {"h": {"ok": 1}},
        "vars": {"team": "a"}, "custom_stats": {"version": 3}}});
    let input = [
        hello(resumed),
        line(json!({"play": {"id": "1", "name": "p", "vars": {"team": "b"}}})),
        result(10, "1", "h"),
        line(json!({"end": {"reason": "exit", "code": 0}})),
    ];
    let outcome = sandbox.run_with_input(&["stream"], input.concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let all = sent(&server);
    let end = all
        .iter()
        .find(|one| one["e"]["event"] == "run_end")
        .unwrap();
    assert_eq!(end["e"]["vars"], json!({"team": "b"}));
    assert_eq!(end["e"]["custom_stats"], json!({"version": 3}));
}

#[test]
fn labels_decide_who_is_notified() {
    let server = Server::start([OK]);
    let rest = "when = labels.env == 'prod' and labels.site == 'ulm'\n[outputs]\nlabels = labels\n";
    let sandbox = Sandbox::with_config(&config(&server, rest));
    let event = |site: &str| json!({"state": "failed", "host": {"name": "h", "vars": {"site": site}}, "labels": {"own": "kept", "env": "other"}});
    sandbox.file(
        "events.json",
        json!([event("ulm"), event("bonn")]).to_string(),
    );
    let routes = sandbox.run(&["routes", "events.json"]);
    assert_eq!(
        routes.stdout.matches("callback (webhook): yes").count(),
        1,
        "{routes:?}"
    );
    let outcome = sandbox.run(&["send", "events.json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let labels = json!({"own": "kept", "env": "prod", "site": "ulm"});
    assert_eq!(sent(&server), [json!({ "labels": labels })]);
}

#[test]
fn a_mistake_affects_only_its_label() {
    let server = Server::start([OK]);
    for (line, problem) in [
        ("label.x = {{ nowhere }}", "unknown variable `nowhere`"),
        ("label.x = {{ host", "`label.x`: "),
        ("label. = y", "a label needs a name: `label.NAME`"),
        ("labels = y", "unknown key `labels` in [event]"),
        (
            "vars = a b",
            "`vars` must be names of variables, such as team or ci_*, not `a b`",
        ),
        (
            "groups = maybe",
            "`groups` must be true or false, not `maybe`",
        ),
    ] {
        let url = server.url();
        let sandbox = Sandbox::with_config(&format!(
            "[event]\n{line}\nlabel.env = prod\n[inputs]\ncallback_url = {url}\n[outputs]\nlabels = labels\n"
        ));
        sandbox
            .run(&["check-config"])
            .expect_line(78, &["plugin_config.ini:2: ", problem]);
        let outcome = sandbox.run_with_input(&["send", "-"], r#"{"state":"failed","host":"h"}"#);
        assert!(outcome.stderr.contains(problem), "{outcome:?}");
        let last = sent(&server).pop().unwrap();
        assert_eq!(last, json!({"labels": {"env": "prod"}}));
    }
}

#[test]
fn a_mask_covers_own_data() {
    let server = Server::start([OK]);
    let rest = "[outputs]\ne = event\n[mask]\nkeys = team\npatterns = ulm\n";
    let sandbox = Sandbox::with_config(&config(&server, rest));
    let input = [
        hello(json!({})),
        line(json!({"play": {"id": "1", "name": "p", "vars": {"team": "a"}}})),
        host("h", "ulm"),
        result(1, "1", "h"),
        line(
            json!({"event": {"seq": 2, "event": "playbook_on_stats", "time": 1.0,
            "result": {"stats": {"h": {"ok": 1}}, "custom_stats": {"team": "a", "n": "in ulm"}}}}),
        ),
        line(json!({"end": {"reason": "exit", "code": 0}})),
    ];
    let outcome = sandbox.run_with_input(&["stream"], input.concat());
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let all = sent(&server);
    assert_eq!(all[0]["e"]["vars"], json!({"team": "[redacted]"}));
    assert_eq!(all[0]["e"]["host"]["vars"], json!({"site": "[redacted]"}));
    assert_eq!(all[0]["e"]["labels"]["site"], "[redacted]");
    let end = all
        .iter()
        .find(|one| one["e"]["event"] == "run_end")
        .unwrap();
    assert_eq!(
        end["e"]["custom_stats"],
        json!({"team": "[redacted]", "n": "in [redacted]"})
    );
    assert_eq!(end["e"]["stats"]["h"]["ok"], 1);
}

#[test]
fn a_label_that_uses_other_labels_is_a_warning() {
    for (label, warns) in [
        ("{{ labels.env }}", true),
        ("{{ event.labels.env | default('x') }}", true),
        ("{% if labels %}x{% endif %}", true),
        ("{{ event.run.playbook }} labels", false),
    ] {
        let sandbox = Sandbox::with_config(&format!(
            "[inputs]\ncallback_url = http://localhost/\n[event]\nlabel.env = prod\nlabel.x = {label}\n"
        ));
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 0, "{checked:?}");
        let warning = "`label.x` does not see the other labels";
        assert_eq!(
            checked.stderr.contains(warning),
            warns,
            "{label}: {checked:?}"
        );
    }
}
