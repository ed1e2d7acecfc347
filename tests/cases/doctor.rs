//! `doctor`: finds the problems between Ansible and the endpoints, and changes nothing. Real versions of
//! Ansible are in tests/ansible/test_doctor.py.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::spool::run;
use crate::sandbox::{BINARY, Config, Outcome, Sandbox, config_for, outcome, side_by_side};
use crate::server::{OK, Server, dead_url, status};

const FAILED: &str = r#"{"state":"failed","host":"h"}"#;

fn doctor(sandbox: &Sandbox, arguments: &[&str]) -> Outcome {
    run(sandbox, &[&["doctor"], arguments].concat(), "")
}

/// The checks in JSON: state, and text with advice, by check.
fn checks(outcome: &Outcome) -> BTreeMap<String, (String, String)> {
    let shown: Value = serde_json::from_str(&outcome.stdout).expect(&outcome.stdout);
    assert_eq!(shown["exit_code"], outcome.code);
    assert_eq!(shown["ok"], outcome.code == 0);
    let mut found = BTreeMap::new();
    for one in shown["checks"].as_array().unwrap() {
        let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        let (state, check) = (text("state"), text("check"));
        if state == "problem" {
            assert_ne!(text("advice"), "", "each problem says what to do: {one}");
        }
        let said = (state, format!("{}; {}", text("text"), text("advice")));
        // The first one of a kind counts.
        found.entry(check).or_insert(said);
    }
    found
}

/// Asserts one finding and the exit code.
#[track_caller]
fn expect(sandbox: &Sandbox, code: i32, check: &str, state: &str, part: &str) {
    let outcome = doctor(sandbox, &["--json"]);
    let found = checks(&outcome);
    let (is, text) = &found[check];
    assert!(
        is == state && text.contains(part),
        "{check} is {is}: {text}"
    );
    assert_eq!(outcome.code, code, "{outcome:?}");
}

/// Every file below a directory, with its content, except SQLite's shared memory.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if path.is_dir() {
            found.extend(content(&path));
            found.insert(name, Vec::new());
        } else {
            let is_shared = name.ends_with("-shm");
            let bytes = if is_shared {
                Vec::new()
            } else {
                std::fs::read(&path).unwrap()
            };
            found.insert(name, bytes);
        }
    }
    found
}

#[test]
fn everything_is_fine_without_ansible() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    let before = content(sandbox.root());
    let outcome = doctor(&sandbox, &[]);
    assert_eq!(
        (outcome.code, outcome.stderr.as_str()),
        (0, ""),
        "{outcome:?}"
    );
    assert!(
        outcome.stdout.starts_with("no problem found\n"),
        "{outcome:?}"
    );
    assert!(
        outcome.stdout.contains("no ansible-playbook on PATH"),
        "{outcome:?}"
    );
    assert_eq!(content(sandbox.root()), before);
    let found = checks(&doctor(&sandbox, &["--json"]));
    for (check, state, part) in [
        ("program", "ok", env!("CARGO_PKG_VERSION")),
        ("ansible", "note", "no ansible-playbook on PATH"),
        ("plugin", "note", "run `ansible-notify init` to write it"),
        ("configuration", "ok", "callback (webhook) in "),
        ("endpoint", "ok", "callback: OPTIONS http://127.0.0.1:"),
        ("spool", "ok", "nothing has been sent yet"),
        ("timer", "note", "ansible-notify-flush.timer"),
    ] {
        let (is, text) = &found[check];
        assert!(
            is == state && text.contains(part),
            "{check} is {is}: {text}"
        );
    }
    let asked = server.requests();
    assert!(asked.iter().all(|request| request.method == "OPTIONS"));
    // Once something was sent, no existing file changes.
    assert_eq!(run(&sandbox, &["send", "-"], FAILED).code, 0);
    let before = content(sandbox.root());
    expect(&sandbox, 0, "deliveries", "ok", "none pending, none dead");
    expect(&sandbox, 0, "spool", "ok", " of 256.0 MiB in use");
    assert_eq!(content(sandbox.root()), before);
}

#[test]
fn the_plugin_next_to_a_playbook_is_compared() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    assert_eq!(run(&sandbox, &["init"], "").code, 0);
    let plugin = "callback_plugins/ansible_notify.py";
    let text = std::fs::read_to_string(sandbox.path(plugin)).unwrap();
    sandbox.file(
        "callback_plugins/plugin_config.ini",
        config_for(&server.url()),
    );
    expect(&sandbox, 0, "versions", "ok", "plugin and program are ");
    let version = format!("VERSION = \"{}\"", env!("CARGO_PKG_VERSION"));
    let older = text.replace(&version, "VERSION = \"0.0.9\"");
    sandbox.file(plugin, &older);
    expect(
        &sandbox,
        0,
        "versions",
        "note",
        "version 0.0.9, older than ",
    );
    sandbox.file(plugin, text.replace("PROTOCOL = 1", "PROTOCOL = 2"));
    expect(
        &sandbox,
        78,
        "versions",
        "problem",
        "it speaks protocol 2, this program 1",
    );
    sandbox.file(plugin, "# mine\n");
    expect(&sandbox, 78, "versions", "problem", "a file of your own");
}

#[test]
fn a_wrong_configuration_is_named_by_line() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\ntimeot = 3\n[delivery]\nkeep = soon\n",
        server.url()
    ));
    let outcome = doctor(&sandbox, &[]);
    assert_eq!(outcome.code, 78, "{outcome:?}");
    for part in [
        "plugin_config.ini:3: ",
        "plugin_config.ini:5: ",
        "check-config",
    ] {
        assert!(outcome.stdout.contains(part), "no {part}: {outcome:?}");
    }
    assert_eq!(doctor(&sandbox, &["--config", "nosuch.ini"]).code, 78);
    sandbox.file(
        "plugin_config.ini",
        "[inputs]\nenabled = false\ncallback_url = http://localhost/\n",
    );
    expect(&sandbox, 0, "configuration", "ok", "");
}

#[test]
fn endpoints_that_do_not_answer_are_named() {
    let refusing = Server::start([status(401)]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:dead]\ntype = webhook\nurl = {}\n[notifier:strict]\ntype = webhook\nurl = {}\ntoken = canary\n",
        dead_url(),
        refusing.url()
    ));
    let outcome = doctor(&sandbox, &[]);
    assert_eq!(outcome.code, 75, "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "2 problems found");
    for (name, part) in [
        ("dead: ", "refused"),
        ("strict: ", "the credentials were refused: 401"),
    ] {
        let found = lines.iter().any(|line| {
            line.starts_with("problem  endpoint ") && line.contains(name) && line.contains(part)
        });
        assert!(found, "{outcome:?}");
    }
    assert!(!outcome.printed().contains("canary"));
}

#[test]
fn a_file_found_by_chance_gets_no_other_secrets() {
    let server = Server::start([OK]);
    let url = server.url();
    let touch = "sh -c 'touch trace; echo canary-token'";
    for (keys, state) in [
        (format!("token_command = {touch}"), "note"),
        ("token_env = TOKEN".to_owned(), "note"),
        ("token_file = secret".to_owned(), "note"),
        ("token = canary-token".to_owned(), "ok"),
    ] {
        let before = server.requests().len();
        let sandbox = Sandbox::with_config(&format!("[inputs]\ncallback_url = {url}\n{keys}\n"));
        sandbox.file("secret", "canary-token\n");
        let run = |arguments: &[&str]| {
            let mut command =
                sandbox.command_on_spool(&[&["doctor", "--json"], arguments].concat());
            command.env("TOKEN", "canary-token").stdin(Stdio::null());
            outcome(command.spawn().unwrap())
        };
        let outcome = run(&[]);
        assert!(!outcome.printed().contains("canary"), "{outcome:?}");
        assert_eq!(checks(&outcome)["endpoint"].0, state, "{keys}: {outcome:?}");
        assert_eq!(server.requests().len() > before, state == "ok", "{keys}");
        assert!(!sandbox.path("trace").exists(), "{keys}");
        let outcome = run(&["--connect"]);
        assert!(!outcome.printed().contains("canary"), "{outcome:?}");
        assert_eq!(checks(&outcome)["endpoint"].0, "ok", "{keys}: {outcome:?}");
        let last = server.requests().pop().unwrap();
        assert_eq!(
            last.header("authorization"),
            Some("Bearer canary-token"),
            "{keys}"
        );
    }
    // A file found here must not use secrets of the user's own level.
    let sandbox = Sandbox::with_config("[notifier:mixed]\ntimeout = 5s\n");
    let own = |name: &str| {
        format!("[notifier:{name}]\ntype = webhook\nurl = {url}\ntoken_file = token\n")
    };
    sandbox.file(
        "home/.config/ansible-notify/plugin_config.ini",
        own("own") + &own("mixed"),
    );
    sandbox.file("home/.config/ansible-notify/token", "canary-own\n");
    let before = server.requests().len();
    let outcome = doctor(&sandbox, &[]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let refused =
        "mixed: not contacted: the file here would send it settings or secrets from other files";
    assert!(outcome.stdout.contains(refused), "{outcome:?}");
    let asked = &server.requests()[before..];
    let tokens: Vec<_> = asked
        .iter()
        .map(|request| request.header("authorization"))
        .collect();
    assert_eq!(tokens, [Some("Bearer canary-own")], "{outcome:?}");
}

/// A sandbox with pending deliveries.
fn waiting(delivery: &str) -> Sandbox {
    let config = Config::to(&dead_url()).delivery(&format!("drain = 0\n{delivery}"));
    let sandbox = Sandbox::with_config(&config.text());
    assert_eq!(run(&sandbox, &["send", "-", "--no-wait"], FAILED).code, 0);
    sandbox.file(
        "plugin_config.ini",
        format!(
            "[inputs]\ncallback_url = http://localhost/\nenabled = false\n[delivery]\n{delivery}\n"
        ),
    );
    sandbox
}

#[test]
fn an_unusable_spool_is_explained_and_unchanged() {
    type Break = fn(&Path);
    let cases: [(Break, &str); 5] = [
        (
            |folder| {
                let spool = Connection::open(folder.join("spool.db")).unwrap();
                spool.execute_batch("PRAGMA user_version = 999").unwrap();
            },
            "it was written by a newer ansible-notify (version 999); use that one",
        ),
        (
            |folder| {
                std::fs::write(
                    folder.join("spool.db"),
                    "SQLite format 3, or something else",
                )
                .unwrap();
                let _ = std::fs::remove_file(folder.join("spool.db-wal"));
            },
            "it is damaged; the next run or `flush` sets it aside",
        ),
        (
            |folder| {
                let path = folder.join("spool.db");
                let mut bytes = std::fs::read(&path).unwrap();
                let end = bytes.len();
                bytes[4096..end].fill(0xa5);
                std::fs::write(&path, bytes).unwrap();
            },
            "it is damaged; the next run or `flush` sets it aside",
        ),
        (
            |folder| {
                std::fs::remove_file(folder.join("spool.db")).unwrap();
                std::fs::create_dir(folder.join("spool.db")).unwrap();
            },
            "is not a file",
        ),
        (
            |folder| {
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
                std::fs::set_permissions(folder, mode).unwrap();
            },
            "others can write to ",
        ),
    ];
    side_by_side(&cases, |(break_it, expected)| {
        let sandbox = waiting("");
        let folder = sandbox.path("state/ansible-notify");
        break_it(&folder);
        let before = content(&folder);
        expect(&sandbox, 74, "spool", "problem", expected);
        assert_eq!(content(&folder), before, "{expected}");
    });
}

#[test]
fn a_spool_that_a_stopped_process_holds_is_named() {
    let sandbox = waiting("");
    let lock = sandbox.path("state/ansible-notify/spool.lock");
    let mut holder = Command::new("flock")
        .arg(&lock)
        .args(["sh", "-c", "echo held; exec sleep 1000"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("flock is needed");
    let mut said = String::new();
    std::io::BufRead::read_line(
        &mut std::io::BufReader::new(holder.stdout.as_mut().unwrap()),
        &mut said,
    )
    .unwrap();
    kill_process(Pid::from_child(&holder), Signal::STOP).unwrap();
    let outcome = doctor(&sandbox, &["--json"]);
    kill_process(Pid::from_child(&holder), Signal::KILL).unwrap();
    holder.wait().unwrap();
    let (state, text) = &checks(&outcome)["spool"];
    assert_eq!(
        (outcome.code, state.as_str()),
        (74, "problem"),
        "{outcome:?}"
    );
    assert!(text.contains(" holds it"), "{text}");
}

#[test]
fn a_full_spool_is_a_problem_only_if_nothing_can_be_deleted() {
    let sandbox = waiting("max_size = 1MiB");
    let event = format!(
        r#"{{"state":"failed","host":"h","result":{{"stdout":"{}"}}}}"#,
        "x".repeat(9000)
    );
    sandbox.file(
        "plugin_config.ini",
        Config::to(&dead_url())
            .delivery("drain = 0\nmax_size = 1MiB")
            .text(),
    );
    let full = run(&sandbox, &["send", "-", "--no-wait"], &event.repeat(200));
    assert_eq!(full.code, 74, "{full:?}");
    expect(&sandbox, 75, "spool", "problem", "max_size");
}

#[test]
fn pending_and_dead_deliveries_are_counted() {
    let sandbox = waiting("");
    expect(
        &sandbox,
        75,
        "deliveries",
        "problem",
        "callback: 1 pending since ",
    );
    let refusing = Server::start([status(400), OK]);
    let sandbox = Sandbox::sending_to(&refusing.url());
    assert_eq!(run(&sandbox, &["send", "-"], FAILED).code, 69);
    expect(
        &sandbox,
        69,
        "deliveries",
        "problem",
        "callback: 1 dead (last error: 400",
    );
}

#[test]
fn a_timer_is_found_in_every_place() {
    let server = Server::start([OK]);
    let config = config_for(&server.url());
    let service =
        |program: &str| format!("[Service]\nType=oneshot\nExecStart={program} flush --due\n");
    let units = "home/.config/systemd/user";
    let sandbox = Sandbox::with_config(&config);
    expect(&sandbox, 0, "timer", "note", "none: pending events wait");
    sandbox.file(&format!("{units}/mine.service"), service(BINARY));
    sandbox.file(
        &format!("{units}/mine.timer"),
        "[Timer]\nOnCalendar=daily\n",
    );
    expect(&sandbox, 0, "timer", "note", "none: pending events wait");
    sandbox.file(&format!("{units}/timers.target.wants/mine.timer"), "");
    expect(&sandbox, 0, "timer", "ok", "mine.timer is enabled");
    sandbox.file(
        &format!("{units}/mine.service"),
        service("/nosuch/ansible-notify"),
    );
    expect(
        &sandbox,
        78,
        "timer",
        "problem",
        "/nosuch/ansible-notify, which does not exist",
    );

    let sandbox = Sandbox::with_config(&config);
    let watch = format!("[Service]\nExecStart={BINARY} flush --watch\n");
    sandbox.file(
        &format!("{units}/default.target.wants/watch.service"),
        watch,
    );
    expect(&sandbox, 0, "timer", "ok", "watch.service is enabled");

    let expecting = format!(
        "[notifier:hook]\ntype = webhook\nurl = {}\non = missing\nexpect = site.yml every 1d\n",
        server.url()
    );
    let sandbox = Sandbox::with_config(&expecting);
    expect(&sandbox, 78, "timer", "problem", "hook expects playbooks");
}
