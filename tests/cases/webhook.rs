//! The webhook's forms: CloudEvents, signatures, and addresses and headers made of the event.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::json;

use crate::sandbox::{Outcome, Sandbox};
use crate::server::{OK, Request, Server};

const FAILED: &str = r#"{"id":"r-7","state":"failed","host":"web1","task":"Install it","result":{"msg":"no"},
    "time":"2026-11-20T20:42:01.5Z","run":{"id":"r 1","playbook":"site.yml"}}"#;

fn send(keys: &str, event: &str) -> Outcome {
    let config = format!(
        "[inputs]\n{keys}\n[outputs]\nhost = host\nwhy = result.msg\n[delivery]\ndrain = 3\n"
    );
    Sandbox::with_config(&config).run_with_input(&["send", "-", "--quiet"], event)
}

/// The one request that these keys cause.
fn sent(keys: &str, event: &str) -> Request {
    let server = Server::start([OK]);
    send(&keys.replace("SERVER", &server.at("")), event).expect(0, "");
    server.requests().remove(0)
}

#[test]
fn an_event_goes_as_a_cloudevent() {
    let keys = "callback_url = SERVER\nformat = cloudevents\n";
    let request = sent(keys, FAILED);
    assert_eq!(
        request.header("content-type"),
        Some("application/cloudevents+json; charset=utf-8")
    );
    let mut expected = json!({
        "specversion": "1.0", "id": "r-7", "source": "/ansible/runs/r%201", "type": "org.ansible.runner_on_failed",
        "time": "2026-11-20T20:42:01.500000Z", "datacontenttype": "application/json",
        "data": {"host": "web1", "why": "no"}, "subject": "web1",
    });
    assert_eq!(request.json(), expected);
    let request = sent(&format!("{keys}body = [\"{{{{ host }}}}\"]\n"), FAILED);
    expected["data"] = json!(["web1"]);
    assert_eq!(request.json(), expected);
    let bare = sent(keys, r#"{"state":"failed"}"#).json();
    assert!(bare.get("subject").is_none(), "{bare}");
}

fn hmac_sha256(key: &[u8], parts: &[&str]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, parts.join(".").as_bytes())
        .as_ref()
        .to_vec()
}

#[test]
fn a_body_is_signed_with_each_key() {
    let keys = [[7; 24], [8; 24]];
    let secrets = keys.map(|key| format!("whsec_{}", STANDARD.encode(key)));
    let config = format!(
        "callback_url = SERVER\nsign = standard\nsigning_secret = {}\n",
        secrets.join(" ")
    );
    let request = sent(&config, &FAILED.replace("r-7", "ä"));
    let header = |name: &str| request.header(name).unwrap();
    let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
    let expected = keys.map(|key| {
        let signature = hmac_sha256(&key, &[id, time, &request.body]);
        format!("v1,{}", STANDARD.encode(signature))
    });
    assert_eq!(header("webhook-signature"), expected.join(" "));

    let github = "callback_url = SERVER\nsign = sha256\nsigning_secret = It's a Secret\n";
    let request = sent(github, FAILED);
    let signature = hmac_sha256(b"It's a Secret", &[&request.body]);
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        request.header("x-hub-signature-256"),
        Some(format!("sha256={signature}").as_str())
    );
    assert_eq!(request.header("webhook-signature"), None);
}

#[test]
fn what_is_wrong_with_a_signature_is_said() {
    for (keys, problem) in [
        (
            "sign = sha1\n",
            "`sign` must be `standard` or `sha256`, not `sha1`",
        ),
        ("sign = sha256\n", "[inputs] has no `signing_secret`"),
        ("sign = standard\n", "[inputs] has no `signing_secret`"),
        (
            "signing_secret = canary\n",
            "`signing_secret` requires `sign`",
        ),
        (
            "sign = standard\nsigning_secret = whsec_canary!\n",
            "`signing_secret` must be `whsec_` followed by base64",
        ),
        (
            "format = cloudevents\nbatch = 10\n",
            "`batch` cannot be used with ",
        ),
        (
            "headers = X-Host: {{ host }}\nbatch = 10\n",
            "`batch` cannot be used with ",
        ),
        (
            "format = xml\n",
            "`format` must be `json`, `cloudevents` or `runner`, not `xml`",
        ),
    ] {
        let outcome = send(&format!("callback_url = http://localhost\n{keys}"), FAILED);
        outcome.expect_line(78, &[problem]);
        assert!(!outcome.stderr.contains("canary"), "{outcome:?}");
    }
}

#[test]
fn an_address_is_made_of_the_event() {
    let keys = "callback_url = SERVER/v1/{{ host }}/{{ task_name | lower }}?why={{ result.msg }}&n={{ 1 + 1 }}\n\
                headers =\n  X-Host: {{ host }}\n  X-Task: task {{ task_name }}\n  X-Fixed: 1\n";
    let request = sent(keys, FAILED);
    assert_eq!(request.target, "/v1/web1/install%20it?why=no&n=2");
    assert_eq!(request.header("x-host"), Some("web1"));
    assert_eq!(
        (request.header("x-task"), request.header("x-fixed")),
        (Some("task Install it"), Some("1"))
    );
    let open = sent("callback_url = SERVER/{{ host }}/\n", FAILED);
    assert_eq!(open.target, "/web1/");
}

/// Host names, task names and output are other people's text.
#[test]
fn no_value_leads_elsewhere() {
    let keys = "callback_url = SERVER/v1/{{ host | safe }}/events?why={{ result.msg | safe }}\nheaders = X-Host: {{ host | safe }}\n";
    for (host, path) in [
        ("../admin", "..%2Fadmin"),
        ("a/../../b", "a%2F..%2F..%2Fb"),
        ("//evil.example.com", "%2F%2Fevil.example.com"),
        ("@evil.example.com", "%40evil.example.com"),
        ("%2e%2e", "%252e%252e"),
        ("a?b#c", "a%3Fb%23c"),
        ("a\\..\\b", "a%5C..%5Cb"),
        ("...", "..."),
        ("é", "%C3%A9"),
    ] {
        let event =
            json!({"state": "failed", "host": host, "result": {"msg": "x&y=z#é +"}}).to_string();
        let request = sent(keys, &event);
        let expected = format!("/v1/{path}/events?why=x%26y%3Dz%23%C3%A9%20%2B");
        assert_eq!(request.target, expected, "{host}");
    }
    let split = json!({"state": "failed", "host": "a\r\nX-Evil: 1\r\n\r\nGET /"}).to_string();
    let request = sent(keys, &split);
    assert_eq!(request.header("x-host"), Some("a X-Evil: 1 GET /"));
    assert_eq!(request.header("x-evil"), None);
}

#[test]
fn a_path_with_a_gap_is_not_used() {
    let server = Server::start([OK]);
    for (address, host) in [
        ("/v1/{{ host }}/events", ".."),
        ("/v1/{{ host }}/events", "."),
        ("/v1/{{ host }}/events", ""),
        ("/v1/{{ host }}", ""),
        ("/v1/%2E{{ host }}", "."),
        ("/{{ item }}/x", "web1"),
    ] {
        let event = json!({"state": "failed", "host": host}).to_string();
        let outcome = send(
            &format!("callback_url = {}{address}\n", server.at("")),
            &event,
        );
        assert_eq!(outcome.code, 69, "{address} {host} {outcome:?}");
    }
    assert_eq!(server.requests().len(), 0);
    for (url, problem) in [
        ("http://{{ host }}/x", "not a URL"),
        ("http://example.com{{ host }}/x", "not in its host"),
        ("http://example.com:80{{ host }}", "not in its host"),
        ("{{ result.url }}", "must begin with http://"),
        ("http://example.com/{{ hots }}", "unknown variable `hots`"),
    ] {
        send(&format!("callback_url = {url}\n"), FAILED).expect_line(78, &[problem]);
    }
}

/// A body that these keys send, and its media type.
fn content(keys: &str) -> (String, String) {
    let request = sent(&format!("callback_url = SERVER\n{keys}"), FAILED);
    let media_type = request.header("content-type").unwrap().to_owned();
    (media_type, request.body)
}

#[test]
fn a_receiver_gets_the_content_that_it_reads() {
    let form = "application/x-www-form-urlencoded";
    let cases = [
        ("content = form", form, "host=web1&why=no"),
        (
            "content = form\nbody = {\"token\": \"a&b\", \"to\": [\"x\", \"{{ host }}\"], \"none\": \"{{ none }}\"}",
            form,
            "token=a%26b&to=x&to=web1",
        ),
        (
            "content = form\nbody = text={{ task_name ~ '&admin=1' }}",
            form,
            "text=Install%20it%26admin%3D1",
        ),
        (
            "content = text",
            "text/plain; charset=utf-8",
            "web1: Install it: failed\nno",
        ),
        (
            "content = text\nmessage = {{ reason }}!\nsubject = {{ host }}",
            "text/plain; charset=utf-8",
            "web1\nno!",
        ),
        (
            "content = text\nbody =\n  <{{ host }}>\n  {{ reason }}",
            "text/plain; charset=utf-8",
            "<web1>\n{{ reason }}",
        ),
        (
            "content = xml\nbody = <run host=\"{{ host ~ '\"<' }}\"/>",
            "application/xml; charset=utf-8",
            "<run host=\"web1&quot;&lt;\"/>",
        ),
        (
            "content = ndjson",
            "application/x-ndjson",
            "{\"host\":\"web1\",\"why\":\"no\"}\n",
        ),
        (
            "content = ndjson\nbody = {\"host\": \"{{ host }}\"}",
            "application/x-ndjson",
            "{\"host\":\"web1\"}\n",
        ),
        (
            "content = ndjson\nbody =\n  {\"index\": {}}\n  {{ {'host': host} | to_json }}",
            "application/x-ndjson",
            "{\"index\": {}}\n{\"host\": \"web1\"}\n",
        ),
        (
            "content = text\nheaders = Content-Type: text/markdown",
            "text/markdown",
            "web1: Install it: failed\nno",
        ),
    ];
    for (keys, media_type, body) in cases {
        let body = body.replace("{{ reason }}", "no");
        assert_eq!(content(keys), (media_type.into(), body), "{keys}");
    }
}

#[test]
fn a_batch_carries_the_body_of_each_event() {
    let events = r#"[{"state":"failed","host":"a"},{"state":"failed","host":"b"},{"state":"failed","host":"c"}]"#;
    let cases = [
        (
            "body = {\"h\": \"{{ host }}\"}",
            r#"[{"h":"a"},{"h":"b"},{"h":"c"}]"#,
        ),
        (
            "content = ndjson\nbody = {\"h\": \"{{ host }}\"}",
            "{\"h\":\"a\"}\n{\"h\":\"b\"}\n{\"h\":\"c\"}\n",
        ),
        (
            "content = ndjson\nbody =\n  {\"create\":{}}\n  {{ host | tojson }}",
            "{\"create\":{}}\n\"a\"\n{\"create\":{}}\n\"b\"\n{\"create\":{}}\n\"c\"\n",
        ),
    ];
    for (keys, expected) in cases {
        let keys = format!("callback_url = SERVER\nbatch = 3\nconcurrency = 1\n{keys}");
        let server = Server::start([OK]);
        send(&keys.replace("SERVER", &server.at("")), events).expect(0, "");
        let bodies: String = server
            .requests()
            .into_iter()
            .map(|request| request.body)
            .collect();
        assert_eq!(bodies, expected, "{keys}");
    }
}

#[test]
fn a_content_that_cannot_be_made_is_a_problem() {
    let cases = [
        (
            "content = yaml",
            "`content` must be `json`, `form`, `text`, `ndjson` or `xml`, not `yaml`",
        ),
        ("content = xml", "`content` requires `body`"),
        (
            "content = form\nbatch = 2",
            "`batch` cannot be used with this `content`",
        ),
        (
            "content = text\nformat = cloudevents",
            "`content` and `format` are set; keep one of them",
        ),
        (
            "content = form\nbody = [1]",
            "`body`: must be a JSON object, or a template of text",
        ),
        ("content = ndjson\nbody = {{ host }}", "does not give JSON"),
    ];
    for (keys, problem) in cases {
        let config = format!("[inputs]\ncallback_url = http://h/\n{keys}\n");
        let outcome = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(outcome.code, 78, "{keys}");
        assert!(outcome.stderr.contains(problem), "{keys}: {outcome:?}");
    }
}

#[test]
fn a_single_header_may_be_a_secret() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = any\nheader.X-Api-Key_file = key\nheader.X-Team = {{{{ host }}}}\n\
         header.X-Plain = plain\nheaders = X-Plain: other\n",
        server.at("/")
    ));
    sandbox.file("key", "canary{{ host }}\n");
    let shown = sandbox.run_with_input(&["send", "-", "--dry-run"], FAILED);
    assert!(!format!("{shown:?}").contains("canary"), "{shown:?}");
    let sent = sandbox.run_with_input(&["send", "-", "--quiet"], FAILED);
    sent.expect(0, "");
    let request = server.requests().remove(0);
    let headers = ["x-api-key", "x-team", "x-plain"].map(|name| request.header(name));
    assert_eq!(
        headers,
        [Some("canary{{ host }}"), Some("web1"), Some("plain")]
    );
}

#[test]
fn a_mistake_in_a_single_header_is_said() {
    let cases = [
        ("header.X Y = 1", "`X Y` is not a valid header"),
        (
            "header.Host = h",
            "the header `Host` is set by the program itself",
        ),
        (
            "header.X-Key = a\nheader.X-Key_env = B",
            "`header.X-Key` and `header.X-Key_env` are set; keep one of them",
        ),
        (
            "header.Authorization = Bearer a\ntoken = b",
            "`Authorization`",
        ),
        ("header.X-Key_file = nowhere", "nowhere"),
    ];
    for (keys, problem) in cases {
        let config = format!("[notifier:x]\ntype = webhook\nurl = http://h/\n{keys}\n");
        let outcome = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(outcome.code, 78, "{keys}");
        assert!(outcome.stderr.contains(problem), "{keys}: {outcome:?}");
    }
}

#[test]
fn a_field_of_the_body_may_be_a_secret() {
    let cases = [
        (
            "body.token_file = key\nbody = {\"a\": \"{{ host }}\", \"token\": \"old\"}",
            r#"{"a":"web1","token":"canary{{ host }}&"}"#,
        ),
        (
            "body.token_file = key",
            r#"{"host":"web1","why":"no","token":"canary{{ host }}&"}"#,
        ),
        (
            "content = form\nbody.token_file = key\nbody = {\"a\": \"{{ host }}\"}",
            "a=web1&token=canary%7B%7B+host+%7D%7D%26",
        ),
        (
            "content = form\nbody.token_file = key\nbody = a={{ host }}",
            "a=web1&token=canary%7B%7B+host+%7D%7D%26",
        ),
    ];
    for (keys, body) in cases {
        let server = Server::start([OK]);
        let url = server.at("/");
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:x]\ntype = webhook\non = any\nurl = {url}\n{keys}\nsign = sha256\nsigning_secret = abcdefgh\n\
             [outputs:x]\nhost = host\nwhy = reason\n"
        ));
        sandbox.file("key", "canary{{ host }}&\n");
        let shown = sandbox.run_with_input(&["send", "-", "--dry-run"], FAILED);
        assert!(!format!("{shown:?}").contains("canary"), "{shown:?}");
        let sent = sandbox.run_with_input(&["send", "-", "--quiet"], FAILED);
        sent.expect(0, "");
        let request = server.requests().remove(0);
        assert_eq!(request.body, body, "{keys}");
        assert!(request.header("x-hub-signature-256").is_some());
    }
}

#[test]
fn an_impossible_field_of_the_body_is_a_problem() {
    let cases = [
        ("content = text", "`content` to be `json` or `form`"),
        ("content = ndjson", "`content` to be `json` or `form`"),
        ("format = cloudevents", "and no other `format`"),
        ("batch = 2", "`batch` cannot be used with `body.NAME`"),
        ("body.token_env = X", "are set; keep one of them"),
    ];
    for (keys, problem) in cases {
        let config = format!(
            "[notifier:x]\ntype = webhook\nurl = http://h/\nbody.token = abcdefgh\n{keys}\n"
        );
        let outcome = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(outcome.code, 78, "{keys}");
        assert!(outcome.stderr.contains(problem), "{keys}: {outcome:?}");
        assert!(!format!("{outcome:?}").contains("abcdefgh"), "{outcome:?}");
    }
    let list = "[notifier:x]\ntype = webhook\non = any\nurl = http://h/\nbody.token = abcdefgh\nbody = [1]\n";
    let outcome = Sandbox::with_config(list).run_with_input(&["send", "-"], FAILED);
    outcome.expect_line(
        69,
        &["`body` must give a JSON object, to which `body.NAME` adds a field"],
    );
}
