//! What every kind of notifier must do alike, from one table. A kind that is not in it fails the first test.

mod pages;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::server::{OK, Reply, Request, Server};

/// A kind that speaks HTTP.
struct Kind {
    name: &'static str,
    /// Keys with which it speaks to BASE; every secret holds `canary`.
    keys: &'static str,
    /// What the service says when it took a message.
    taken: (u16, &'static str),
    /// What it says with these statuses is not what HTTP says.
    exceptions: &'static [(u16, &'static str)],
}

const KINDS: [Kind; 25] = [
    Kind {
        name: "webhook",
        keys: "url_command = echo BASE/canary-path?key=canary-query\ntoken = canary-token\nsign = sha256\n\
               signing_secret = canary-secret\nheaders = X-Key: canary-key",
        taken: (204, ""),
        exceptions: &[],
    },
    Kind {
        name: "slack",
        keys: "api_url = BASE/\ntoken = xoxb-canary\nchannels = C1",
        taken: (200, r#"{"ok":true,"channel":"C1","ts":"1.2"}"#),
        exceptions: &[],
    },
    Kind {
        name: "hipchat",
        keys: "api_url = BASE/\ntoken = canary-token\nrooms = ops",
        taken: (204, ""),
        exceptions: &[],
    },
    Kind {
        name: "mattermost",
        keys: "url = BASE/hooks/canary",
        taken: (200, "ok"),
        exceptions: &[],
    },
    Kind {
        name: "rocketchat",
        keys: "url = BASE/hooks/canary-id/canary-token",
        taken: (200, r#"{"success":true}"#),
        exceptions: &[],
    },
    Kind {
        name: "pagerduty",
        keys: "api_url = BASE/\nrouting_key = canary-routing-key",
        taken: (202, r#"{"status":"success","dedup_key":"x"}"#),
        exceptions: &[],
    },
    Kind {
        name: "twilio",
        keys: "api_url = BASE/\naccount_sid = AC1\nauth_token = canary-token\nfrom_number = +1\nto_numbers = +2",
        taken: (201, r#"{"sid":"SM1"}"#),
        exceptions: &[],
    },
    Kind {
        name: "grafana",
        keys: "url = BASE/\ntoken = glsa_canary",
        taken: (200, r#"{"id":1}"#),
        exceptions: &[],
    },
    Kind {
        name: "awssns",
        keys: "api_url = BASE/\ntopic_arn = arn:aws:sns:eu-central-1:1:runs\naccess_key_id = AKIDcanary\n\
               secret_access_key = canary-secret\nsession_token = canary-session",
        taken: (200, "<MessageId>1</MessageId>"),
        exceptions: &[],
    },
    Kind {
        name: "teams",
        keys: "url = BASE/workflows/canary?sig=canary-signature",
        taken: (202, ""),
        exceptions: &[],
    },
    Kind {
        name: "discord",
        keys: "url = BASE/api/webhooks/1/canary-token",
        taken: (200, r#"{"id":"1","channel_id":"2"}"#),
        exceptions: &[],
    },
    Kind {
        name: "telegram",
        keys: "api_url = BASE/\ntoken = 1:canary\nchat_ids = 2",
        taken: (200, r#"{"ok":true,"result":{"message_id":1}}"#),
        exceptions: &[],
    },
    Kind {
        name: "ntfy",
        keys: "api_url = BASE/\ntoken = tk_canary\ntopic = ops",
        taken: (200, r#"{"id":"hwQ2YpKdmg","event":"message"}"#),
        exceptions: &[],
    },
    Kind {
        name: "relay",
        keys: "url = BASE/\ntoken = canary-token",
        taken: (202, r#"{"accepted":1}"#),
        // A proxy in front of a relay that restarts may say so.
        exceptions: &[(404, "waiting")],
    },
    Kind {
        name: "googlechat",
        keys: "url = BASE/v1/spaces/AAAA/messages?key=canary-key&token=canary-token",
        taken: (200, r#"{"name":"spaces/AAAA/messages/1.1"}"#),
        exceptions: &[],
    },
    Kind {
        name: "alertmanager",
        keys: "url = BASE/\ntoken = canary-token",
        taken: (200, ""),
        exceptions: &[],
    },
    Kind {
        name: "prometheus",
        keys: "url = BASE/\ntoken = canary-token",
        taken: (200, ""),
        exceptions: &[],
    },
    Kind {
        name: "gotify",
        keys: "api_url = BASE/\ntoken = canary-token",
        taken: (200, r#"{"id":25,"appid":5,"message":"no"}"#),
        exceptions: &[],
    },
    Kind {
        name: "matrix",
        keys: "api_url = BASE/\ntoken = syt_canary\nrooms = !a:example.com",
        taken: (200, r#"{"event_id":"$1"}"#),
        exceptions: &[],
    },
    Kind {
        name: "webex",
        keys: "api_url = BASE/\ntoken = canary-token\nto = Y2lz",
        taken: (200, r#"{"id":"Y2lz","roomId":"Y2lz"}"#),
        exceptions: &[],
    },
    Kind {
        name: "zulip",
        keys: "api_url = BASE/\nemail = bot@example.com\napi_key = canary-key\nchannel = ops",
        taken: (200, r#"{"result":"success","msg":"","id":42}"#),
        exceptions: &[],
    },
    Kind {
        name: "splunk",
        keys: "url = BASE/\ntoken = canary-token",
        taken: (200, r#"{"text":"Success","code":0}"#),
        exceptions: &[],
    },
    Kind {
        name: "elasticsearch",
        keys: "url = BASE/\napi_key = canary-key",
        taken: (
            200,
            r#"{"errors":false,"items":[{"create":{"status":201}}]}"#,
        ),
        exceptions: &[],
    },
    Kind {
        name: "loki",
        keys: "url = BASE/\nusername = 1\npassword = canary-password",
        taken: (204, ""),
        exceptions: &[],
    },
    Kind {
        name: "otlp",
        keys: "url = BASE/\ntoken = canary-token\nsignals = logs\nheaders = X-Key: canary-key",
        taken: (200, "{}"),
        exceptions: &[],
    },
];

/// The kinds that speak something else, as they are told of a server on this port.
const OTHERS: [(&str, &str); 6] = [
    (
        "email",
        "host = localhost\nport = PORT\nencryption = none\nusername = svc\npassword = canary-password\nfrom = a@example.com\nto = b@example.com",
    ),
    (
        "irc",
        "server = localhost\nport = PORT\ntls = false\npassword = canary-password\ntargets = #ops",
    ),
    ("syslog", "url = relp://localhost:PORT"),
    (
        "redis",
        "url = redis://localhost:PORT\npassword = canary-password",
    ),
    ("zeromq", "url = tcp://localhost:PORT"),
    ("exec", "command = sleep 1000"),
];

/// The kinds that wait for nobody.
const LOCAL: [&str; 1] = ["file"];

/// Answers that are final: of the address and the server, and of the request. The others may yet be mended.
const MISPLACED: [u16; 6] = [300, 301, 304, 308, 501, 505];
const REFUSED: [u16; 10] = [400, 402, 404, 405, 409, 410, 413, 415, 422, 451];
const WAITING: [u16; 10] = [401, 403, 407, 408, 425, 429, 500, 502, 503, 599];

const FAILED: &str =
    r#"{"id":"r-1","state":"failed","host":"web1","task":"Install","result":{"msg":"no"}}"#;
const ENDED: &str =
    r#"{"id":"e-1","event":"run_end","status":"error","run":{"playbook":"site.yml"}}"#;

/// The names of the kinds, as the program itself lists them.
fn names() -> Vec<String> {
    let outcome = Sandbox::with_config("[notifier:x]\n").run(&["check-config"]);
    let (_, list) = outcome.stderr.split_once("set it to one of: ").unwrap();
    let list = list.lines().next().unwrap();
    list.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_kind_is_tested_here() {
    let mut tested: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    tested.extend(OTHERS.iter().map(|(name, _)| name));
    tested.extend(LOCAL);
    let mut names = names();
    tested.sort_unstable();
    names.sort_unstable();
    assert_eq!(names, tested);
}

/// What became of an event that went to each of these notifiers, by their names.
struct Fates {
    rows: BTreeMap<String, Value>,
    /// All that was printed, and the bytes of the spool.
    traces: String,
    took: Duration,
}

impl Fates {
    #[track_caller]
    fn row(&self, notifier: &str) -> (&str, &str) {
        let row = self.rows.get(notifier);
        let row = row.unwrap_or_else(|| panic!("no row of {notifier}: {:?}", self.rows.keys()));
        (
            row["state"].as_str().unwrap(),
            row["error"].as_str().unwrap_or_default(),
        )
    }

    /// No secret is in anything that is printed or kept.
    #[track_caller]
    fn expect_no_secret(&self) {
        if let Some(at) = self.traces.find("canary") {
            let around = self.traces.as_bytes()[at.saturating_sub(200)..]
                .iter()
                .take(300);
            let around: Vec<u8> = around.copied().collect();
            panic!("a secret in {}", String::from_utf8_lossy(&around));
        }
    }
}

/// Sends an event to all of these notifiers: their names, and their sections. Each has had at least one
/// attempt afterwards, however busy the machine is.
fn send(sections: &[(String, String)], drain: &str) -> Fates {
    let sections: Vec<String> = sections
        .iter()
        .map(|(name, keys)| {
            // It sends metrics of whole runs only, the others a result.
            let is_of_runs = name.starts_with("prometheus");
            let is = if is_of_runs { "==" } else { "!=" };
            format!("[notifier:{name}]\non = any\nwhen = callback {is} 'run_end'\n{keys}\n")
        })
        .collect();
    let sandbox = Sandbox::with_config(&format!(
        "{}[delivery]\ndrain = {drain}\n",
        sections.concat()
    ));
    sandbox.file("event.json", format!("[{FAILED},{ENDED}]"));
    let run = |arguments: &[&str]| sandbox.run_on_spool(arguments);
    let began = Instant::now();
    let sent = run(&["send", "event.json"]);
    let took = began.elapsed();
    let mut history = run(&["history", "--json", "--limit", "1000"]);
    while history
        .stdout
        .contains(r#""state":"waiting","attempts":0,"#)
    {
        run(&["flush", "--due"]);
        history = run(&["history", "--json", "--limit", "1000"]);
    }
    let shown = run(&["send", "--dry-run", "event.json"]);
    let checked = run(&["check-config", "--json"]);
    let mut traces = format!("{sent:?}{history:?}{shown:?}{checked:?}");
    for file in std::fs::read_dir(sandbox.path("state/ansible-notify")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        traces += &String::from_utf8_lossy(&bytes);
    }
    let rows = history.stdout.lines().map(|line| {
        let row: Value = serde_json::from_str(line).unwrap();
        (row["notifier"].as_str().unwrap().to_owned(), row)
    });
    Fates {
        rows: rows.collect(),
        traces,
        took,
    }
}

/// Each kind, speaking to the server below a path of its own.
fn sections(server: &Server, paths: &[&str], more: &str) -> Vec<(String, String)> {
    let mut sections = Vec::new();
    for kind in &KINDS {
        for path in paths {
            let name = format!("{}-{path}", kind.name);
            let keys = kind.keys.replace("BASE", &server.at(&format!("/{name}")));
            sections.push((name, format!("type = {}\n{keys}\n{more}", kind.name)));
        }
    }
    sections
}

/// The kind that made a request, and the rest of its first segment.
fn sender(request: &Request) -> (&'static Kind, &str) {
    let segment = request.target.split('/').nth(1).unwrap();
    let (name, path) = segment.split_once('-').unwrap();
    (KINDS.iter().find(|kind| kind.name == name).unwrap(), path)
}

fn taken(kind: &Kind) -> Reply {
    let (status, body) = kind.taken;
    Reply::Full(status, "", body)
}

/// What became of an event at servers that answer with these statuses, as `fate` is not.
fn others_than(fate: &str, statuses: &[u16]) -> Vec<String> {
    let elsewhere = Server::start([OK]);
    let location = elsewhere.at("/canary");
    let server = Server::answering(move |request| {
        // The worst of servers: it says all that it was told.
        let said = format!("{} {:?} {}", request.target, request.headers, request.body);
        let location = format!("Location: {location}\r\n");
        Reply::Made(sender(request).1.parse().unwrap(), location, said)
    });
    let paths: Vec<String> = statuses.iter().map(u16::to_string).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let fates = send(&sections(&server, &paths, ""), "8");
    fates.expect_no_secret();
    assert_eq!(elsewhere.requests().len(), 0, "a redirect was followed");
    let mut others = Vec::new();
    for (kind, path) in KINDS
        .iter()
        .flat_map(|kind| paths.iter().map(move |path| (kind, path)))
    {
        let exception = kind
            .exceptions
            .iter()
            .find(|(code, _)| code.to_string() == *path);
        let expected = exception.map_or(fate, |(_, fate)| fate);
        let (state, error) = fates.row(&format!("{}-{path}", kind.name));
        if state != expected || !error.contains(path) {
            others.push(format!(
                "{}: {path}: {state}, not {expected}: {error}\n",
                kind.name
            ));
        }
    }
    others
}

#[test]
fn a_status_of_another_place_is_final_and_shows_no_secret() {
    assert_eq!(others_than("dead", &MISPLACED), [""; 0]);
}

#[test]
fn a_status_that_refuses_is_final_and_shows_no_secret() {
    assert_eq!(others_than("dead", &REFUSED), [""; 0]);
}

#[test]
fn a_status_that_may_pass_waits_and_shows_no_secret() {
    assert_eq!(others_than("waiting", &WAITING), [""; 0]);
}

#[test]
fn what_the_service_took_is_delivered() {
    let server = Server::answering(|request| taken(sender(request).0));
    let fates = send(&sections(&server, &["taken"], ""), "120");
    for kind in &KINDS {
        assert_eq!(
            fates.row(&format!("{}-taken", kind.name)),
            ("delivered", ""),
            "{}",
            kind.name
        );
    }
    fates.expect_no_secret();
}

#[test]
fn a_page_of_something_in_between_is_no_receipt() {
    let server = Server::answering(|request| {
        let page = "<html><head><title>Please log in</title></head></html>";
        let portal = "Location: https://login.example.com/?from=canary\r\n";
        let segment = request.target.split(['/', '?']).nth(1).unwrap();
        match segment.rsplit('-').next().unwrap() {
            "page" => Reply::Full(200, "Content-Type: text/html\r\n", page),
            "empty" => Reply::Full(200, "", ""),
            "json" => Reply::Full(200, "", r#"{"login":"https://login.example.com"}"#),
            status => Reply::Full(status.parse().unwrap(), portal, ""),
        }
    });
    let paths = ["page", "empty", "json", "302", "303", "307"];
    let mut all = sections(&server, &paths, "");
    for path in paths {
        let url = server.at(&format!("/hook-{path}/services/canary"));
        let keys = format!("type = slack\nurl = {url}\n");
        all.push((format!("hook-{path}"), keys));
    }
    let fates = send(&all, "8");
    fates.expect_no_secret();
    for (name, _) in &all {
        let (state, error) = fates.row(name);
        match name.split_once('-').unwrap() {
            // Its receiver is the user's own, and may answer what it likes.
            ("webhook", "page" | "empty" | "json") => assert_eq!(state, "delivered", "{name}"),
            ("webhook", _) => assert_eq!(state, "dead", "{name}: {error}"),
            // Its own answer is an empty one.
            ("alertmanager" | "otlp" | "prometheus", "empty") => {
                assert_eq!(state, "delivered", "{name}: {error}")
            }
            (_, path) => {
                assert_eq!(state, "waiting", "{name}: {error}");
                let words = "is a proxy or login portal in between?";
                assert!(error.contains(words), "{name}: {error}");
                let said = match path {
                    "page" => "200 OK: Please log in",
                    "empty" => "200 OK; not a response from",
                    "json" => "200 OK: {",
                    _ => "redirects to https://login.example.com; ",
                };
                assert!(error.contains(said), "{name}: {error}");
            }
        }
    }
}

#[test]
fn every_kind_waits_as_long_as_it_is_told() {
    let server = Server::answering(|request| {
        let (kind, path) = sender(request);
        static SEEN: std::sync::Mutex<Vec<String>> = std::sync::Mutex::new(Vec::new());
        let mut seen = SEEN.lock().unwrap();
        let sender = format!("{}-{path}", kind.name);
        if seen.contains(&sender) {
            return taken(kind);
        }
        seen.push(sender);
        Reply::Made(
            path.parse().unwrap(),
            "Retry-After: 2\r\n".into(),
            String::new(),
        )
    });
    let fates = send(&sections(&server, &["429", "503"], ""), "120");
    let mut times: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    for request in server.requests() {
        let (kind, path) = sender(&request);
        times
            .entry(format!("{}-{path}", kind.name))
            .or_default()
            .push(request.at);
    }
    assert_eq!(times.len(), 2 * KINDS.len());
    for (sender, times) in times {
        assert_eq!(fates.row(&sender), ("delivered", ""), "{sender}");
        assert_eq!(times.len(), 2, "{sender}");
        let waited = times[1].duration_since(times[0]);
        assert!(waited >= Duration::from_secs(2), "{sender}: {waited:?}");
    }
}

#[test]
fn no_kind_waits_for_ever() {
    let server = Server::start([Reply::Silence]);
    let mut all = sections(&server, &["silent"], "timeout = 500ms");
    let port = server.at("").rsplit(':').next().unwrap().to_owned();
    all.extend(OTHERS.iter().map(|(name, keys)| {
        let keys = keys.replace("PORT", &port);
        (
            format!("{name}-silent"),
            format!("type = {name}\n{keys}\ntimeout = 500ms"),
        )
    }));
    let fates = send(&all, "3");
    assert!(fates.took < Duration::from_secs(100), "{:?}", fates.took);
    for (name, _) in &all {
        let (state, error) = fates.row(name);
        assert_eq!(state, "waiting", "{name}: {error}");
        assert!(error.contains("within 500ms"), "{name}: {error}");
    }
    fates.expect_no_secret();
}

#[test]
fn no_reply_is_too_large() {
    let endless =
        |head: &'static [u8]| Reply::Endless(head, b"canary canary canary canary canary canary ");
    let server = Server::answering(move |request| match sender(request).1 {
        "endless" => endless(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"x\":\""),
        _ => endless(b"HTTP/1.1 422 Refused\r\nContent-Type: application/json\r\n\r\n{\"x\":\""),
    });
    let fates = send(
        &sections(&server, &["endless", "refused"], "timeout = 60s"),
        "5",
    );
    // An endless reply would take for ever.
    assert!(fates.took < Duration::from_secs(200), "{:?}", fates.took);
    for kind in &KINDS {
        let (state, error) = fates.row(&format!("{}-refused", kind.name));
        assert_eq!(state, "dead", "{}: {error}", kind.name);
        assert!(error.len() < 300, "{}: {error}", kind.name);
        let (_, error) = fates.row(&format!("{}-endless", kind.name));
        assert!(error.len() < 300, "{}: {error}", kind.name);
    }
}
