//! Keys other than recipients that a template chooses for each message.

use serde_json::{Value, json};

use super::floods::free_port;
use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{Server, grafana, ntfy, pagerduty, sns, zmq};

const EVENT: &str = r#"{"state":"failed","host":"web1","task":"Install","result":{"msg":"no","level":"Critical",
    "wrong":"banana","tags":["a","b,c"],"text":"a,b","bad":"a\u0007b","region":"eu-central-1","team":"db"}}"#;

/// Sends the event to a notifier with these keys; returns the outcome and the recorded note.
fn send(keys: &str) -> (Outcome, String) {
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\non = any\n{keys}\n[delivery]\ndrain = 60\n"
    ));
    sandbox.file("event.json", EVENT);
    let outcome = sandbox.run_on_spool(&["send", "event.json", "--quiet"]);
    (outcome, sandbox.run_on_spool(&["history", "1"]).stdout)
}

/// Returns the requests that a service got from a notifier with these keys, and the recorded note.
fn body(server: &Server, keys: &str) -> (Value, String) {
    let (outcome, history) = send(keys);
    assert_eq!(outcome.code, 0, "{keys}: {outcome:?} {history}");
    (server.bodies().pop().unwrap(), history)
}

#[test]
fn a_page_is_sent_whatever_a_template_returns() {
    let (server, _) = pagerduty::start();
    let default = "site: Install: web1";
    let cases = [
        ("severity = {{ result.level }}", "critical", "", None),
        ("severity = {{ 'info' if changed }}", "error", "", None),
        (
            "severity = {% if host == 'web1' %}warning{% endif %}",
            "warning",
            "",
            None,
        ),
        (
            "severity = {{ result.wrong }}",
            "error",
            "",
            Some("or `info`, not `banana`; `error` is sent instead"),
        ),
        (
            "severity = {{ result.tags }}",
            "error",
            "",
            Some("not `a, b,c`; `error` is sent instead"),
        ),
        (
            "severity = {{ 1 // 0 }}",
            "error",
            "",
            Some("`severity` failed: "),
        ),
        (
            "dedup_key = {{ host }}/{{ task_name }}",
            "error",
            "web1/Install",
            None,
        ),
        (
            "dedup_key = {{ 1 // 0 }}",
            "error",
            default,
            Some("`dedup_key` failed: "),
        ),
    ];
    for (key, severity, dedup_key, note) in cases {
        let keys = format!(
            "type = pagerduty\napi_url = {}\nrouting_key = {}\nclient = on {{{{ host }}}}\nclient_url = {{{{ url }}}}\n{key}",
            server.at(""),
            pagerduty::ROUTING_KEY
        );
        let (body, history) = body(&server, &keys);
        assert_eq!(body["payload"]["severity"], severity, "{key}");
        assert_eq!(body["client"], "on web1");
        assert_eq!(body["client_url"], Value::Null, "none for this event");
        if !dedup_key.is_empty() && dedup_key != default {
            assert_eq!(body["dedup_key"], dedup_key, "{key}");
        }
        assert!(!body["dedup_key"].as_str().unwrap().is_empty(), "{key}");
        match note {
            Some(note) => assert!(history.contains(note), "{key}: {history}"),
            None => assert!(!history.contains("instead"), "{key}: {history}"),
        }
    }
}

#[test]
fn tags_and_priorities_depend_on_the_event() {
    let server = ntfy::start();
    let cases = [
        ("priority = {{ 'max' if host == 'web1' }}", 5, json!([]), ""),
        ("priority = {{ result.none }}", 4, json!([]), ""),
        (
            "priority = {{ result.wrong }}",
            4,
            json!([]),
            "not `banana`; the default is sent instead",
        ),
        ("tags = {{ result.tags }}", 4, json!(["a", "b,c"]), ""),
        ("tags = {{ result.text }}", 4, json!(["a", "b"]), ""),
        ("tags = x, {{ host }}", 4, json!(["x", "web1"]), ""),
        (
            "tags = x, {{ result.text }}",
            4,
            json!([]),
            "does not separate recipients (`a,b`)",
        ),
        ("tags = {{ none }}", 4, json!([]), ""),
    ];
    for (key, priority, tags, note) in cases {
        let (api, token) = (server.at(""), ntfy::TOKEN);
        let keys = format!("type = ntfy\ntopic = ops\napi_url = {api}\ntoken = {token}\n{key}");
        let (body, history) = body(&server, &keys);
        let mut expected = json!(["rotating_light"]);
        let more = tags.as_array().unwrap().clone();
        expected.as_array_mut().unwrap().extend(more);
        assert_eq!(body["priority"], priority, "{key}");
        assert_eq!(body["tags"], expected, "{key}");
        assert!(history.contains(note), "{key}: {history}");
        assert_eq!(
            history.contains("instead"),
            !note.is_empty(),
            "{key}: {history}"
        );
    }
}

#[test]
fn an_annotation_is_where_its_event_belongs() {
    let server = grafana::start();
    let board = grafana::DASHBOARD;
    let cases = [
        (
            "tags = {{ result.tags }}".to_owned(),
            json!(["a", "b,c"]),
            Value::Null,
        ),
        (
            "tags = {{ [] }}".to_owned(),
            json!(["ansible"]),
            Value::Null,
        ),
        (
            "tags = {{ 1 // 0 }}".to_owned(),
            json!(["ansible"]),
            Value::Null,
        ),
        (
            format!("dashboard_uid = {{{{ {{'web1': '{board}'}}[host] }}}}"),
            json!(["ansible"]),
            json!(board),
        ),
        (
            "dashboard_uid = {{ result.none }}".to_owned(),
            json!(["ansible"]),
            Value::Null,
        ),
    ];
    for (key, tags, dashboard) in cases {
        let (url, token) = (server.at(grafana::PATH), grafana::TOKEN);
        let keys = format!("type = grafana\nurl = {url}\ntoken = {token}\n{key}");
        let (body, history) = body(&server, &keys);
        assert_eq!(
            (&body["tags"], &body["dashboardUID"]),
            (&tags, &dashboard),
            "{key}"
        );
        assert_eq!(
            history.contains("instead"),
            key.contains("1 // 0"),
            "{key}: {history}"
        );
    }
}

#[test]
fn a_template_chooses_the_topic_of_sns() {
    let server = sns::start();
    let (id, secret) = sns::KEY;
    let keys = format!(
        "type = awssns\napi_url = {}\naccess_key_id = {id}\nsecret_access_key = {secret}\n",
        server.at("/")
    );
    let (sent, _) = send(&format!(
        "{keys}topic_arn = {{{{ ['{}', '{}'] }}}}",
        sns::TOPIC,
        sns::FIFO
    ));
    assert_eq!(sent.code, 0, "{sent:?}");
    let topic = |request| sns::parameters(request)["TopicArn"].clone();
    let topics: Vec<String> = server.requests().iter().map(topic).collect();
    assert_eq!(topics, [sns::TOPIC, sns::FIFO]);
    let (sent, history) = send(&format!("{keys}topic_arn = {{{{ result.none }}}}"));
    assert_eq!(sent.code, 0, "{sent:?}");
    assert!(history.contains("nobody was notified"), "{history}");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn only_a_region_chooses_the_host_of_sns() {
    let keys = "[notifier:x]\non = any\ntype = awssns\naccess_key_id = AKID\nsecret_access_key = canary-secret\n";
    let shown = |topic: &str, region: &str| {
        let event = json!({"state": "failed", "host": "web1", "result": {"region": region}});
        Sandbox::with_config(&format!("{keys}topic_arn = {topic}\n"))
            .run_with_input(&["send", "--dry-run", "-"], event.to_string())
            .stdout
    };
    let topic = "arn:aws:sns:{{ result.region }}:123456789012:runs";
    for (region, host) in [
        ("eu-central-1", "sns.eu-central-1.amazonaws.com"),
        ("ap-southeast-12", "sns.ap-southeast-12.amazonaws.com"),
        ("us-gov-west-1", "sns.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "sns.cn-north-1.amazonaws.com.cn"),
    ] {
        let shown = shown(topic, region);
        assert!(
            shown.contains(&format!("POST https://{host}/\n")),
            "{shown}"
        );
    }
    for region in [
        "evil.example.com/",
        "evil.example.com#",
        "evil.example.com?",
        "evil.example.com\\",
        "user@evil.example.com",
        "evil.example.com:443:1:x#",
        "eu-central-1.evil.example.com",
        "eu-central-1@evil.example.com",
        "%65vil.example.com%2f",
        "eu-central-1\r\nHost: evil",
        "eu central-1",
        "evil",
        "evil-1",
        "EU-CENTRAL-1",
        "eu-central-1-",
        "eu--1",
        "-eu-central-1",
        "éu-central-1",
        "",
    ] {
        let shown = shown(topic, region);
        assert!(!shown.contains("POST"), "{region:?}: {shown}");
        assert!(shown.contains("`topic_arn`"), "{region:?}: {shown}");
    }
    // `region` and `api_url` take precedence.
    let fixed = shown(&format!("{topic}\nregion = eu-west-1"), "evil");
    assert!(
        fixed.contains("POST https://sns.eu-west-1.amazonaws.com/\n"),
        "{fixed}"
    );
}

#[test]
fn a_topic_is_a_separate_frame() {
    let said = |more: &[u8]| [zmq::greeting(), zmq::ready("SUB"), more.to_vec()].concat();
    let cases = [
        (
            "{{ result.team }}.{{ state }}",
            &b"db."[..],
            &["db.failed"][..],
        ),
        ("{{ result.team }}.{{ state }}", b"", &["db.failed"]),
        ("#fixed", b"#f", &["#fixed"]),
        ("{{ ['a', result.team] }}", b"", &["a", "db"]),
    ];
    for (topic, subscription, topics) in cases {
        let port = free_port();
        let sandbox = Sandbox::with_config(&format!(
            "[delivery]\ndrain = 30s\n[notifier:x]\ntype = zeromq\non = any\nbind = true\nsocket = pub\n\
             url = tcp://127.0.0.1:{port}\ntopic = {topic}\n[outputs:x]\nhost = host\n"
        ));
        sandbox.file("event.json", EVENT);
        let child = sandbox.command(&["send", "event.json"]).spawn().unwrap();
        let receiver = zmq::come(port, &said(&zmq::subscribe(subscription)));
        let received = std::thread::spawn(move || zmq::receive(receiver));
        let sent = outcome(child);
        assert_eq!(sent.code, 0, "{sent:?}");
        let expected: Vec<String> = topics
            .iter()
            .flat_map(|topic| [(*topic).to_owned(), r#"{"host":"web1"}"#.to_owned()])
            .collect();
        assert_eq!(received.join().unwrap(), expected, "{topic}");
    }
}

#[test]
fn a_mistake_in_such_a_key_is_a_problem_of_its_line() {
    for (keys, problem) in [
        (
            "type = pagerduty\nrouting_key = x\nseverity = {{ hots }}",
            "unknown variable `hots`",
        ),
        (
            "type = pagerduty\nrouting_key = x\nseverity = banana",
            "`severity` must be `critical`",
        ),
        (
            "type = ntfy\ntopic = ops\npriority = {{ host",
            "`priority`: ",
        ),
        (
            "type = ntfy\ntopic = ops\npriority = 9",
            "`priority` must be `min`",
        ),
        ("type = ntfy\ntopic = ops\ntag = x", "`tags`"),
        (
            "type = zeromq\nurl = tcp://h:1\ntopic = {{ hots }}",
            "unknown variable `hots`",
        ),
        (
            "type = zeromq\nurl = tcp://h:1\nbatch = 2\ntopic = {{ host }}",
            "`batch` cannot be used",
        ),
        (
            "type = awssns\naccess_key_id = a\nsecret_access_key = b\ntopic_arn = runs, arn:aws:sns:eu-west-1:1:x",
            "`topic_arn` must have the form arn:aws:sns:eu-central-1:123456789012:NAME, not `runs`",
        ),
    ] {
        let checked =
            Sandbox::with_config(&format!("[notifier:x]\n{keys}\n")).run(&["check-config"]);
        assert_eq!(checked.code, 78, "{keys}: {checked:?}");
        assert!(checked.stderr.contains(problem), "{keys}: {checked:?}");
    }
}

#[test]
fn a_test_shows_the_result_of_a_template() {
    let (server, _) = pagerduty::start();
    let (api, key) = (server.at(""), pagerduty::ROUTING_KEY);
    let sns = crate::server::sns::start();
    let (id, secret) = sns::KEY;
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:pager]\ntype = pagerduty\napi_url = {api}\nrouting_key = {key}\nseverity = {{{{ 'banana' }}}}\n\
         [notifier:nobody]\ntype = awssns\napi_url = {}\naccess_key_id = {id}\nsecret_access_key = {secret}\n\
         topic_arn = {{{{ [] }}}}\n",
        sns.at("/")
    ));
    let tested = sandbox.run(&["test"]);
    let said = "or `info`, not `banana`; `error` is sent instead\n";
    assert_eq!(tested.code, 78, "{tested:?}");
    assert!(tested.stdout.contains("pager: delivered\n"), "{tested:?}");
    assert_eq!(tested.stderr.matches(said).count(), 1, "{tested:?}");
    assert!(
        tested
            .stdout
            .contains("nobody: nobody was notified: this event has no recipients"),
        "{tested:?}"
    );
    let nobody = sandbox.run(&["test", "nobody"]);
    nobody.expect(0, "");
}
