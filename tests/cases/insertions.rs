//! Texts of a host in addresses, headers and recipients: they cannot add parts or change the destination.

use serde_json::json;

use crate::sandbox::{Sandbox, side_by_side};
use crate::server::{OK, Server};

/// Values with every character that separates the parts of an address, a header or a list.
const VALUES: [&str; 22] = [
    "x@evil.example",
    "x@evil.example,y",
    "a,b",
    "a\nb",
    "a\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1",
    "a\rb",
    "/evil",
    "//evil.example",
    "\\\\evil.example\\x",
    "../evil",
    "..\\evil",
    "%2e%2e%2fevil",
    "%0d%0aX-Evil:1",
    "?evil=1",
    "#evil",
    "&evil=1",
    ";evil",
    ":80@evil.example/",
    "http://evil.example/",
    "a <x@evil.example>",
    "\"x@evil.example\"",
    "e\u{0}v\u{1b}[31mil\u{202e}\u{fdd0}",
];

fn event(value: &str) -> String {
    json!({"state": "failed", "host": "web1", "result": {"text": value}}).to_string()
}

/// Returns the request that a notifier with these keys would send.
fn shown(keys: &str, value: &str) -> String {
    let config = format!("[notifier:x]\non = any\n{keys}\n[outputs:x]\nstate = state\n");
    let sandbox = Sandbox::with_config(&config);
    let shown = sandbox.run_with_input(&["send", "--dry-run", "-"], event(value));
    shown.stdout
}

#[test]
fn a_value_stays_in_its_part_of_the_address_and_in_its_header() {
    side_by_side(&VALUES, |value| {
        let server = Server::start([OK]);
        let config = format!(
            "[notifier:x]\ntype = webhook\non = any\nurl = {}/{{{{ result.text | safe }}}}/b?q={{{{ result.text }}}}&r=1\n\
             headers = X-Text: <{{{{ result.text }}}}>\nheader.X-More = {{{{ result.text | safe }}}}\n",
            server.at("/a")
        );
        let sandbox = Sandbox::with_config(&config);
        let sent = sandbox.run_with_input(&["send", "-", "--quiet"], event(value));
        assert_eq!(sent.code, 0, "{value:?}: {sent:?}");
        let requests = server.requests();
        assert_eq!(requests.len(), 1, "{value:?}");
        let (path, query) = requests[0].target.split_once('?').unwrap();
        let segments: Vec<&str> = path.split('/').collect();
        assert_eq!(segments.len(), 4, "{value:?}: {path}");
        assert_eq!((segments[1], segments[3]), ("a", "b"), "{value:?}");
        let names: Vec<String> = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, _)| name.into_owned())
            .collect();
        assert_eq!(names, ["q", "r"], "{value:?}: {query}");
        assert_eq!(requests[0].header("x-evil"), None, "{value:?}");
        assert!(requests[0].header("x-text").is_some(), "{value:?}");
    });
}

#[test]
fn a_value_between_other_text_adds_no_recipient() {
    let mail = "type = email\nhost = localhost\nfrom = a@example.com\n";
    side_by_side(&VALUES, |value| {
        for to in [
            "{{ result.text }}@example.com",
            "Ops {{ result.text }} <ops@example.com>",
        ] {
            let shown = shown(&format!("{mail}to = {to}"), value);
            for line in shown.lines().filter(|line| line.starts_with("RCPT TO:")) {
                assert!(line.ends_with("@example.com>"), "{to} {value:?}: {line}");
            }
            let recipients = shown.matches("RCPT TO:").count();
            assert!(recipients <= 1, "{to} {value:?}: {shown}");
            assert_eq!(
                recipients == 0,
                shown.contains("`to`: "),
                "{to} {value:?}: {shown}"
            );
        }
        for (keys, marks) in [
            (
                "type = slack\ntoken = t\nchannels = ops-{{ result.text }}",
                "POST ",
            ),
            (
                "type = mattermost\nurl = http://h/x\nchannel = ops-{{ result.text }}",
                "POST ",
            ),
            ("type = ntfy\ntopic = ops-{{ result.text }}", "POST "),
            (
                "type = irc\nserver = h\ntargets = #ops-{{ result.text }}",
                "PRIVMSG ",
            ),
            (
                "type = irc\nserver = h\ntargets = {{ ['#ops-' ~ result.text] }}",
                "PRIVMSG ",
            ),
            (
                "type = zeromq\nurl = tcp://h:1\ntopic = ops.{{ result.text }}",
                "PUSH ",
            ),
        ] {
            let shown = shown(keys, value);
            let line = shown.lines().find(|line| line.starts_with(marks));
            assert!(
                shown.matches(marks).count() <= 1,
                "{keys} {value:?}: {shown}"
            );
            assert!(
                line.is_some() || shown.contains("`: "),
                "{keys} {value:?}: {shown}"
            );
            let targets = line.filter(|_| marks == "PRIVMSG ").unwrap_or_default();
            let targets = targets.split(' ').nth(1).unwrap_or_default();
            assert!(!targets.contains(','), "{keys} {value:?}: {line:?}");
        }
    });
}

#[test]
fn only_safe_inserts_several_recipients() {
    let keys = "type = ntfy\ntopic = ";
    for (topic, topics) in [
        ("ops, {{ ['a', 'b'] | join(',') | safe }}", 3),
        ("{% for name in ['a', 'b'] %}{{ name }},{% endfor %}", 2),
        ("{{ ['a', 'b'] | join(',') }}", 2),
        ("{{ ['a', 'b'] + ['c'] }}", 3),
        ("ops, {{ ['a', 'b'] | join(',') }}", 1),
    ] {
        let shown = shown(&format!("{keys}{topic}"), "");
        assert_eq!(shown.matches("POST ").count(), topics, "{topic}: {shown}");
        let is_split = topic.starts_with("ops, ") && topics == 1;
        assert_eq!(shown.contains("(not sent: `topic`: "), is_split, "{shown}");
    }
}
