//! A relay refuses what is not meant for it, is too much, or would be unsafe, and says so without quoting it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Child;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::sandbox::fleet::{events, hook};
use crate::sandbox::page::{Answer, answer};
use crate::sandbox::{PATIENCE, Sandbox};
use crate::server::certificates::Identity;
use crate::server::{OK, Server};

const TOKEN: &str = "Authorization: Bearer canary-token-of-acme\r\n";
const FORM: &str = "Ansible-Notify-Format: 1\r\nContent-Encoding: gzip\r\n";

/// A relay without TLS, which is stopped when dropped.
struct Plain {
    sandbox: Sandbox,
    child: Child,
    place: String,
}

impl Plain {
    fn start(server: &Server) -> Plain {
        Plain::with(server, "")
    }

    /// The same with more lines in the tenant's section.
    fn with(server: &Server, lines: &str) -> Plain {
        let sandbox = Sandbox::new();
        configure(&sandbox, "listen = 127.0.0.1:0", &hook(server));
        let text = std::fs::read_to_string(sandbox.path("relay.ini")).unwrap();
        sandbox.file("relay.ini", text + lines);
        let mut child = sandbox
            .command(&["relay", "--config", "relay.ini"])
            .spawn()
            .unwrap();
        let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stderr, &mut line).unwrap();
        let place = line.trim_end().rsplit("://").next().unwrap().to_owned();
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Plain {
            sandbox,
            child,
            place,
        }
    }

    /// Says this on a connection of its own.
    fn ask(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.place).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        // It may be answered before all is said.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let mut text = Vec::new();
        let _ = stream.read_to_end(&mut text);
        answer(&String::from_utf8_lossy(&text))
    }

    fn post(&self, headers: &str, body: &[u8]) -> Answer {
        self.ask("POST", "/v1/segments", headers, body)
    }

    /// The memory that it has taken at the most, in KiB.
    fn peak(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = line.unwrap().trim().trim_end_matches(" kB");
        peak.parse().unwrap()
    }

    #[track_caller]
    fn refuses(&self, headers: &str, body: &[u8], status: u16, reason: &str) {
        let answer = self.post(headers, body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.body.contains(reason), "{reason}: {answer:?}");
        assert!(!answer.body.contains("canary"), "{answer:?}");
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configure(sandbox: &Sandbox, relay: &str, tenant: &str) {
    sandbox.file("acme.ini", tenant);
    let text = format!(
        "[relay]\n{relay}\nspool = state-relay/ansible-notify\n[tenant:acme]\ntoken = canary-token-of-acme\nconfig = acme.ini\n"
    );
    sandbox.file("relay.ini", text);
}

fn packed(text: impl AsRef<[u8]>) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_ref()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn only_segments_of_tenants_are_taken() {
    let server = Server::start([OK]);
    let relay = Plain::start(&server);
    let good = packed(events("r", 2, "text"));
    let both = format!("{TOKEN}{FORM}");
    for token in [
        "",
        "Authorization: Bearer canary-token-of-beta\r\n",
        "Authorization: Basic Y2FuYXJ5\r\n",
    ] {
        relay.refuses(
            &format!("{token}{FORM}"),
            &good,
            401,
            "the token is missing or unknown",
        );
    }
    relay.refuses(
        TOKEN,
        &good,
        400,
        "`ansible-notify-format: 1` and `Content-Encoding: gzip`",
    );
    let newer = both.replace("Format: 1", "Format: 2");
    relay.refuses(&newer, &good, 503, "upgrade it");
    relay.refuses(
        &both.replace("Format: 1", "Format: canary"),
        &good,
        400,
        "a segment needs",
    );
    relay.refuses(
        &both,
        b"canary, and no gzip",
        400,
        "the segment is not gzip, or was cut off",
    );
    relay.refuses(&both, &good[..good.len() / 2], 400, "cut off");
    for (text, reason) in [
        ("", "line 1: there are no events"),
        ("canary\n", "line 1: is not a JSON object"),
        ("{\"canary\": tru}", "line 1: is not valid JSON"),
        ("{\"state\":\"canary\"}", "`state` must be"),
        (
            "{\"state\":\"failed\",\"host\":\"canary\"}",
            "no `id` or no `run`",
        ),
        (
            "{\"state\":\"failed\",\"id\":\"canary\"}",
            "no `id` or no `run`",
        ),
    ] {
        relay.refuses(&both, &packed(text), 400, reason);
    }
    let long = json!({"state": "failed", "id": "x".repeat(300), "run": {"id": "r"}});
    relay.refuses(
        &both,
        &packed(long.to_string()),
        400,
        "longer than 256 bytes",
    );
    assert_eq!(relay.ask("GET", "/v1/segments", TOKEN, b"").status, 405);
    assert_eq!(relay.ask("GET", "/", TOKEN, b"").status, 404);
    let health = relay.ask("GET", "/healthz", "", b"");
    assert_eq!(
        (health.status, health.json()),
        (200, json!({"status": "ok"}))
    );
    // After all of that, it takes what it should, and what comes again is not sent again.
    for _ in 0..2 {
        let taken = relay.post(&both, &good);
        assert_eq!((taken.status, taken.json()), (202, json!({"accepted": 3})));
    }
    server.wait_for(3);
    let third = relay.post(&both, &packed(events("s", 0, "")));
    assert_eq!(third.status, 202);
    assert_eq!(server.wait_for(4).len(), 4);
}

#[test]
fn what_is_too_large_is_refused_in_little_memory() {
    let server = Server::start([OK]);
    let relay = Plain::start(&server);
    let both = format!("{TOKEN}{FORM}");
    let bomb = packed(vec![b' '; 40 << 20]);
    assert!(bomb.len() < 1 << 20);
    relay.refuses(&both, &bomb, 413, "the segment has too many bytes");
    let open = packed(format!("{{\"a\":\"{}", "canary".repeat(4 << 20)));
    relay.refuses(&both, &open, 413, "too many bytes");
    relay.refuses(
        &both,
        &packed(events("r", 1001, "")),
        413,
        "too many events",
    );
    relay.refuses(&both, &vec![0; 2 << 20], 413, "the segment was not read");
    // A body without a length is counted, too.
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut stream = TcpStream::connect(&relay.place).unwrap();
    let head = format!("POST /v1/segments HTTP/1.1\r\nHost: localhost\r\n{both}{chunked}\r\n");
    let _ = stream.write_all(head.as_bytes());
    let piece = [b"10000\r\n".as_slice(), &[0; 1 << 16], b"\r\n"].concat();
    while stream.write_all(&piece).is_ok() {}
    let taken = relay.post(&both, &packed(events("r", 2, "text")));
    assert_eq!(taken.status, 202, "{taken:?}");
    server.wait_for(3);
    let peak = relay.peak();
    assert!(peak < 128 << 10, "{peak} KiB");
}

#[test]
fn a_tenant_beyond_its_rate_is_asked_to_wait() {
    let server = Server::start([OK]);
    let relay = Plain::with(&server, "rate = 1\n");
    let both = format!("{TOKEN}{FORM}");
    let taken = relay.post(&both, &packed(events("r", 999, "text")));
    assert_eq!(taken.status, 202, "{taken:?}");
    let refused = relay.post(&both, &packed(events("s", 1, "text")));
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.body.contains("more than 1 events per second"));
    let pause: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1000).contains(&pause), "{pause}");
}

#[test]
fn what_must_not_be_kept_is_removed_again() {
    let server = Server::start([OK]);
    let relay = Plain::start(&server);
    let hidden = json!({
        "event": "runner_on_ok", "id": "r-1", "run": {"id": "r"}, "host": {"name": "web1"}, "time": "2026-11-28T10:00:00Z",
        "item": "canary",
        "result": {"_ansible_no_log": true, "stdout": "canary", "invocation": {"module_args": {"password": "canary"}}},
        "record": {"event_data": {"task_args": "canary"}},
    });
    let facts = json!({
        "event": "runner_on_ok", "id": "r-2", "run": {"id": "r"}, "host": {"name": "web1"}, "time": "2026-11-28T10:00:00Z",
        "result": {"ansible_facts": {"ansible_env": {"TOKEN": "canary"}}},
    });
    let taken = relay.post(
        &format!("{TOKEN}{FORM}"),
        &packed(format!("{hidden}\n{facts}")),
    );
    assert_eq!(taken.status, 202, "{taken:?}");
    for request in server.wait_for(2) {
        assert!(!request.body.contains("canary"), "{request:?}");
    }
    relay.sandbox.expect_no_canary_stored();
}

/// Checks a relay that must not start.
#[track_caller]
fn mistaken(relay: &str, tenant: &str, more: &str, expected: &[&str]) {
    let sandbox = Sandbox::new();
    configure(&sandbox, relay, tenant);
    let text = std::fs::read_to_string(sandbox.path("relay.ini")).unwrap();
    sandbox.file("relay.ini", text + more);
    for check in [&["--check"][..], &[]] {
        let said = sandbox.run(&[&["relay", "--config", "relay.ini"], check].concat());
        assert_eq!(said.code, 78, "{said:?}");
        for part in expected {
            assert!(said.stderr.contains(part), "{part}: {said:?}");
        }
        assert!(!said.printed().contains("canary"), "{said:?}");
    }
}

#[test]
fn mistakes_in_its_configuration_are_told_with_their_places() {
    let tenant = "[notifier:hook]\ntype = webhook\nurl = http://127.0.0.1:1/\n";
    let here = "listen = 127.0.0.1:0";
    mistaken(
        "lisen = 127.0.0.1:0\nstore = x",
        tenant,
        "",
        &[
            "relay.ini:2: unknown key `lisen` in [relay]; did you mean `listen`?",
            "relay.ini:3: `store` must be `spool`, `nats` or `postgres`, not `x`",
        ],
    );
    mistaken(
        &format!("{here}\ncert = server.pem"),
        tenant,
        "",
        &["relay.ini:3: `cert` requires `key`"],
    );
    mistaken(
        &format!("{here}\nmax_size = 1"),
        tenant,
        "",
        &["relay.ini:3: `max_size` must be a size"],
    );
    mistaken(
        here,
        tenant,
        "[tenant:b]\ntoken = canary-token-of-acme\nconfig = acme.ini\n",
        &["relay.ini:8: [tenant:b] has the same token as [tenant:acme]"],
    );
    mistaken(
        here,
        tenant,
        "[tenant:b/c]\ntoken = canary\nconfig = acme.ini\nrates = 5\n",
        &[
            "relay.ini:7: the name of a tenant has 1 to 64 letters",
            "relay.ini:8: `token` must have at least 16 characters",
            "relay.ini:10: unknown key `rates` in [tenant:b/c]; did you mean `rate`?",
        ],
    );
    mistaken(
        here,
        tenant,
        "[tenant:c]\ntoken_env = NO_SUCH\n",
        &["[tenant:c] has no `config`", "NO_SUCH"],
    );
    mistaken(
        here,
        tenant,
        "[tenant:d]\ntoken = canary-token-of-d\nconfig = no.ini\n",
        &["relay.ini:9: `", "no.ini` does not exist"],
    );
    mistaken(
        here,
        tenant,
        "[tenants:e]\n",
        &["relay.ini:7: unknown section [tenants:e]"],
    );
    mistaken(
        &format!("{here}\nstore = nats"),
        tenant,
        "",
        &["relay.ini: has no section [nats], which `store = nats` needs"],
    );
    mistaken(
        here,
        tenant,
        "[nats]\nservers = nats://127.0.0.1\n",
        &["relay.ini:7: [nats] has no effect; set `store = nats` in [relay]"],
    );
    mistaken(
        &format!("{here}\nstore = nats"),
        tenant,
        "[nats]\nservers = nats://nats.example.com, tls://u:canary@nats.example.com, ops\nstream = a.b\nreplicas = 9\n\
         require_sync = x\ncredentials_file = none.creds\n",
        &[
            "relay.ini:9: `servers` must begin with tls://",
            "relay.ini:9: `servers` cannot contain a user or a password",
            "relay.ini:9: `servers` must be addresses such as tls://nats1.example.com:4222",
            "relay.ini:10: `stream` has letters, digits, `_` and `-` only",
            "relay.ini:11: `replicas` must be a whole number from 1 to 5",
            "relay.ini:12: `require_sync` must be true or false",
            "none.creds",
        ],
    );
    mistaken(
        &format!("{here}\nstore = nats"),
        tenant,
        "[nats]\nservers = nats://127.0.0.1:4222\n",
        &[
            "[nats] has no `monitor`, so nobody knows if the servers write to disk before they answer",
        ],
    );
    mistaken(
        here,
        &format!("{tenant}onn = any\n[delivery]\nspool = x\n[event]\nvars = a\n"),
        "",
        &[
            "acme.ini:4: unknown key `onn` in [notifier:hook]; did you mean `on`?",
            "acme.ini:6: `spool` has no effect here",
            "acme.ini:8: `vars` has no effect here: set it on the machine that runs the plays",
        ],
    );
}

#[test]
fn without_tls_only_this_machine_is_listened_to() {
    let sandbox = Sandbox::new();
    configure(
        &sandbox,
        "listen = 0.0.0.0:0",
        "[notifier:hook]\ntype = webhook\nurl = http://127.0.0.1:1/\n",
    );
    let said = sandbox.run(&["relay", "--config", "relay.ini"]);
    said.expect_line(
        78,
        &[
            "0.0.0.0:",
            "can be reached from other machines; set `cert` and `key` in [relay]",
        ],
    );
    // Nor does a node send its token in clear text.
    for (url, problem) in [
        ("http://relay.example.com", "`url` must begin with https://"),
        (
            "https://relay.example.com, ops",
            "`url` must begin with http:// or https://",
        ),
        (
            "https://user:canary@relay.example.com",
            "`url` cannot contain a user or a password",
        ),
    ] {
        let config = format!("[notifier:relay]\ntype = relay\nurl = {url}\ntoken = canary\n");
        sandbox.file("plugin_config.ini", config);
        let checked = sandbox.run(&["check-config"]);
        assert_eq!(checked.code, 78, "{checked:?}");
        assert!(
            checked
                .printed()
                .contains(&format!("plugin_config.ini:3: {problem}")),
            "{checked:?}"
        );
    }
    let useless =
        "url = http://localhost\ntoken = x\ngroup_by = host\nbody = 1\n[outputs:relay]\na = b\n";
    sandbox.file(
        "plugin_config.ini",
        format!("[notifier:relay]\ntype = relay\n{useless}"),
    );
    let checked = sandbox.run(&["check-config"]).printed();
    for part in [
        ":5: unknown key `group_by`",
        ":6: unknown key `body`",
        ":7: a relay sends events as they are",
    ] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
}

#[test]
fn two_relays_do_not_share_a_spool() {
    let server = Server::start([OK]);
    let relay = Plain::start(&server);
    let second = relay.sandbox.run(&["relay", "--config", "relay.ini"]);
    second.expect_line(
        74,
        &["state-relay/ansible-notify: another relay or `deliver` uses this spool"],
    );
}

/// A sandbox with the files of an example, and the secrets that they name.
fn example(name: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let folder = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        sandbox.file(
            path.file_name().unwrap().to_str().unwrap(),
            std::fs::read(&path).unwrap(),
        );
    }
    let identity = Identity::self_signed();
    for (name, content) in [
        ("relay.crt", identity.chain.as_str()),
        ("relay.key", identity.key.as_str()),
        ("ca.pem", identity.chain.as_str()),
        ("web.token", "canary-token-of-web"),
        ("databases.token", "canary-token-of-databases"),
        (
            "web-slack-hook",
            "https://hooks.slack.com/services/T0/B0/canary",
        ),
        ("web-archive-token", "canary-archive"),
        ("databases-routing-key", "canary0123456789canary0123456789"),
        ("nats-password", "canary-password"),
    ] {
        sandbox.file(name, content);
    }
    sandbox
}

#[test]
fn the_examples_are_sound() {
    for (name, command, tenants) in [
        ("relay", "relay", "web: archive, chat\ndatabases: oncall\n"),
        ("relay-nats", "deliver", "web: archive, chat\n"),
        ("relay-nats", "relay", "web\n"),
    ] {
        let sandbox = example(name);
        // Each command gets only what it needs.
        match (name, command) {
            ("relay-nats", "relay") => std::fs::remove_file(sandbox.path("web.ini")).unwrap(),
            ("relay-nats", _) => std::fs::remove_file(sandbox.path("web.token")).unwrap(),
            _ => {}
        }
        let checked = sandbox.run(&[command, "--config", "relay.ini", "--check"]);
        assert_eq!(
            (checked.code, checked.stdout.as_str()),
            (0, tenants),
            "{checked:?}"
        );
    }
    // The servers accept their example, apart from the certificates.
    let sandbox = example("relay-nats");
    let config = std::fs::read_to_string(sandbox.path("nats.conf")).unwrap();
    let here = sandbox.path("").display().to_string();
    let config = config.replace("/etc/nats/nats.crt", &format!("{here}relay.crt"));
    let config = config.replace("/etc/nats/nats.key", &format!("{here}relay.key"));
    sandbox.file(
        "nats.conf",
        config.replace("/etc/nats/ca.pem", &format!("{here}ca.pem")),
    );
    let checked = std::process::Command::new(crate::server::nats::SERVER)
        .args(["-t", "-c", "nats.conf"])
        .env("ANSIBLE_NOTIFY_NATS_PASSWORD", "canary")
        .current_dir(sandbox.root())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
