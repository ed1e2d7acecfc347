//! What waits is on disk: it outlives the process, and can be delivered, looked at and given up later.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::{Config, Outcome, Sandbox, config_for, outcome};
use crate::server::{OK, Reply, Server, dead_url, status};

/// Runs the binary with the one spool of this sandbox.
pub fn run(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Outcome {
    let mut command = sandbox.command_on_spool(arguments);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    outcome(child)
}

pub fn event(host: &str) -> String {
    format!("{{\"state\":\"failed\",\"host\":\"{host}\",\"task\":\"install\"}}\n")
}

pub fn configure(sandbox: &Sandbox, url: &str) {
    sandbox.file(
        "plugin_config.ini",
        Config::to(url).delivery("drain = 500ms").text(),
    );
}

/// `status --json` of the only destination.
pub fn only_status(sandbox: &Sandbox) -> Value {
    let text = run(sandbox, &["status", "--json"], "").stdout;
    let rows: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    rows[0].clone()
}

/// accepted = delivered + waiting + dead + dropped.
#[track_caller]
pub fn expect_status(sandbox: &Sandbox, delivered: i64, waiting: i64, dead: i64, dropped: i64) {
    let status = only_status(sandbox);
    let found =
        ["delivered", "waiting", "dead", "dropped"].map(|key| status[key].as_i64().unwrap());
    assert_eq!(found, [delivered, waiting, dead, dropped], "{status}");
    assert_eq!(
        status["accepted"].as_i64().unwrap(),
        found.iter().sum::<i64>()
    );
}

#[test]
fn what_could_not_be_delivered_is_delivered_later() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    let events: String = (0..30).map(|n| event(&format!("h{}", n % 3))).collect();
    let sent = run(&sandbox, &["send", "-"], &events);
    sent.expect_line(
        75,
        &[
            "30 events, 30 deliveries: 30 pending until the next run, `flush` or the timer (callback: ",
            "Connection refused",
        ],
    );
    expect_status(&sandbox, 0, 30, 0, 0);
    assert!(
        only_status(&sandbox)["last_error"]
            .as_str()
            .unwrap()
            .contains("Connection refused")
    );

    let flushed = run(&sandbox, &["flush"], "");
    flushed.expect_line(
        75,
        &[
            "30 deliveries: 30 pending until the next run, `flush` or the timer (callback: ",
            "Connection refused",
        ],
    );

    let server = Server::start([OK]);
    configure(&sandbox, &server.url());
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 30 deliveries: all delivered\n");
    expect_status(&sandbox, 30, 0, 0, 0);
    assert_eq!(server.requests().len(), 30);
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 0 deliveries: nothing to deliver\n");
}

#[test]
fn each_project_keeps_its_own_settings() {
    let (first, second) = (Server::start([OK]), Server::start([OK]));
    let sandbox = Sandbox::new();
    for (project, server) in [("a", &first), ("b", &second)] {
        let config = Config::to(&dead_url()).delivery("drain = 100ms").text();
        let file = format!("{project}/plugin_config.ini");
        sandbox.file(&file, config);
        run(
            &sandbox,
            &["send", "-", "--project", project],
            &event(project),
        );
        sandbox.file(&file, config_for(&server.url()));
    }
    // From another directory: what was relative then is found again.
    let mut command = sandbox.command_on_spool(&["flush"]);
    command.current_dir("/");
    outcome(command.spawn().unwrap()).expect(0, "ansible-notify: 2 deliveries: all delivered\n");
    let hosts = [&first, &second].map(|server| server.requests()[0].json()["host"].clone());
    assert_eq!(hosts, ["a", "b"]);
}

#[test]
fn what_the_plays_vars_said_is_not_stored() {
    let sandbox = Sandbox::with_config("[delivery]\ndrain = 100ms\n[outputs]\nhost = host\n");
    let url = format!("{}?token=canary-token", dead_url());
    let overrides = json!({"callback_url": url, "username": "anna", "password": "canary-password"});
    let input = format!(
        "{}\n{}\n{{\"end\":{{}}}}\n",
        json!({"hello": {"protocol": 1, "run": {"id": "r"}, "overrides": overrides}}),
        json!({"event": {"seq": 1, "event": "runner_on_ok", "time": 1.0, "host": {"name": "h"}}}),
    );
    assert_eq!(run(&sandbox, &["stream"], &input).code, 75);
    for file in std::fs::read_dir(sandbox.path("state/ansible-notify")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("canary"));
    }
    // The file has no URL at all: the configuration is one that only a play completes.
    let flushed = run(&sandbox, &["flush"], "");
    assert_eq!(flushed.code, 78);
    assert!(
        flushed.stderr.contains("callback: skipping 1 delivery"),
        "{flushed:?}"
    );

    sandbox.file("plugin_config.ini", config_for(&dead_url()));
    let flushed = run(&sandbox, &["flush"], "");
    let reason = "the play's vars set values that are not stored; set ANSIBLE_NOTIFY_CALLBACK_URL, ANSIBLE_NOTIFY_USERNAME, ANSIBLE_NOTIFY_PASSWORD";
    assert!(
        flushed.code == 75 && flushed.stderr.contains(reason),
        "{flushed:?}"
    );

    let server = Server::start([OK]);
    let mut command = sandbox.command_on_spool(&["flush"]);
    command
        .env("ANSIBLE_NOTIFY_CALLBACK_URL", server.url())
        .env("ANSIBLE_NOTIFY_USERNAME", "anna")
        .env("ANSIBLE_NOTIFY_PASSWORD", "canary-password");
    outcome(command.spawn().unwrap()).expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert!(server.requests()[0].header("authorization").is_some());
}

#[test]
fn a_killed_process_loses_nothing_that_was_answered() {
    let server = Server::start([Reply::Silence]);
    let sandbox = Sandbox::sending_to(&server.url());
    let mut command = sandbox.command_on_spool(&["stream"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut input = json!({"hello": {"protocol": 1, "run": {"id": "r"}}}).to_string() + "\n";
    for seq in 1..=500 {
        let host = json!({"name": format!("h{}", seq % 7)});
        input += &format!(
            "{}\n",
            json!({"event": {"seq": seq, "event": "runner_on_ok", "time": 1.0, "host": host}})
        );
    }
    stdin.write_all(input.as_bytes()).unwrap();
    let answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let last = answers
        .map(Result::unwrap)
        .find(|answer| answer == "{\"safe\":500}");
    assert!(last.is_some());
    child.kill().unwrap();
    child.wait().unwrap();

    let server = Server::start([OK]);
    sandbox.file("plugin_config.ini", config_for(&server.url()));
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 500 deliveries: all delivered\n");
    let mut ids: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.header("webhook-id").unwrap().to_owned())
        .collect();
    for host in 0..7 {
        let in_order: Vec<u32> = server
            .requests()
            .iter()
            .filter(|request| request.json()["host"] == format!("h{host}"))
            .map(|request| request.header("webhook-id").unwrap()[2..].parse().unwrap())
            .collect();
        assert!(in_order.is_sorted(), "{in_order:?}");
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 500);
}

#[test]
fn the_dead_can_be_looked_at_tried_again_and_given_up() {
    let sandbox = Sandbox::new();
    let server = Server::start([status(400), status(422), OK]);
    configure(&sandbox, &server.url());
    run(&sandbox, &["send", "-"], &(event("web1") + &event("web1")));
    expect_status(&sandbox, 0, 0, 2, 0);
    let shown = run(
        &sandbox,
        &["history", "--failed", "--host", "web1", "--task", "install"],
        "",
    )
    .stdout;
    assert_eq!(
        shown
            .matches("  dead   callback  failed  web1  install  4")
            .count(),
        2,
        "{shown}"
    );
    assert_eq!(run(&sandbox, &["history", "--host", "web2"], "").stdout, "");
    let one = run(&sandbox, &["history", "1"], "").stdout;
    assert!(one.contains(" ms  400 Bad Request\n"), "{one}");

    run(&sandbox, &["discard", "2"], "").expect(0, "ansible-notify: 1 discarded\n");
    expect_status(&sandbox, 0, 0, 1, 1);
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 0 deliveries: nothing to deliver\n");
    run(&sandbox, &["flush", "--dead"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
    expect_status(&sandbox, 1, 0, 0, 1);
    let rows = run(&sandbox, &["history", "--json", "--since", "1h"], "").stdout;
    let states: Vec<Value> = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["state"].clone())
        .collect();
    assert_eq!(states, ["discarded", "delivered"]);
    run(&sandbox, &["discard", "99"], "")
        .expect(66, "ansible-notify: no pending or dead delivery: 99\n");
    run(&sandbox, &["history", "99"], "")
        .expect(66, "ansible-notify: delivery 99 does not exist\n");
    for which in [
        &[][..],
        &["--spool", "state/ansible-notify"],
        &["1", "--dead"],
    ] {
        assert_eq!(run(&sandbox, &[&["discard"], which].concat(), "").code, 2);
    }
}

#[test]
fn many_processes_share_one_spool() {
    let server = Server::start([OK]);
    let config = Config::to(&server.url()).delivery("drain = 10m").text();
    let sandbox = Sandbox::with_config(&config);
    let events: String = (0..50).map(|n| event(&format!("h{}", n % 5))).collect();
    let children: Vec<_> = (0..16)
        .map(|_| {
            let mut command = sandbox.command_on_spool(&["send", "-"]);
            command.stdin(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(events.as_bytes())
                .unwrap();
            child
        })
        .collect();
    for child in children {
        outcome(child).expect(
            0,
            "ansible-notify: 50 events, 50 deliveries: all delivered\n",
        );
    }
    assert_eq!(server.requests().len(), 16 * 50);
    expect_status(&sandbox, 16 * 50, 0, 0, 0);
}

#[test]
fn a_spool_that_cannot_be_used_costs_nothing_but_its_safety() {
    let server = Server::start([OK]);
    let use_spool = |prepare: &dyn Fn(&Path)| {
        let sandbox = Sandbox::new();
        configure(&sandbox, &server.url());
        let folder = sandbox.path("state/ansible-notify");
        std::fs::create_dir_all(&folder).unwrap();
        prepare(&folder);
        run(&sandbox, &["send", "-"], &event("h"))
    };
    let write = |content: &'static [u8]| {
        move |folder: &Path| std::fs::write(folder.join("spool.db"), content).unwrap()
    };
    let newer = |folder: &Path| {
        let spool = rusqlite::Connection::open(folder.join("spool.db")).unwrap();
        spool.execute_batch("PRAGMA user_version = 99").unwrap();
    };
    let open_to_all = |folder: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    };
    let no_folder = |folder: &Path| {
        std::fs::remove_dir(folder).unwrap();
        std::fs::write(folder, "").unwrap();
    };
    for (prepare, reason) in [
        (
            &newer as &dyn Fn(&Path),
            "it was written by a newer ansible-notify (version 99); use that one",
        ),
        (&open_to_all, "others can write to `"),
        (&no_folder, "cannot create `"),
    ] {
        let outcome = use_spool(prepare);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert!(
            outcome
                .stderr
                .starts_with("ansible-notify: events are kept in memory only: "),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains(reason) && outcome.stderr.ends_with("1 delivery: delivered\n"),
            "{outcome:?}"
        );
    }
    use_spool(&write(b"")).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
}

#[test]
fn a_damaged_spool_is_put_aside_and_what_can_be_read_is_saved() {
    let server = Server::start([OK]);
    for (damage, least) in [
        ("not a database", 0),
        ("cut short", 100),
        ("overwritten at its start", 0),
    ] {
        let sandbox = Sandbox::new();
        configure(&sandbox, &dead_url());
        let events: String = (0..1000).map(|n| event(&format!("h{n}"))).collect();
        assert_eq!(run(&sandbox, &["send", "-"], &events).code, 75);
        let path = sandbox.path("state/ansible-notify/spool.db");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
            .unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let length = bytes.len();
        match damage {
            "not a database" => bytes = b"this is no database, however long it may be".to_vec(),
            "cut short" => bytes.truncate(length * 9 / 10),
            _ => bytes[..1024].fill(7),
        }
        std::fs::write(&path, bytes).unwrap();

        configure(&sandbox, &server.url());
        let flushed = run(&sandbox, &["flush"], "");
        assert!(
            flushed
                .stderr
                .contains("the spool was damaged; it was set aside as `"),
            "{damage}: {flushed:?}"
        );
        let saved = flushed
            .stderr
            .split(" pending deliveries were")
            .next()
            .unwrap()
            .rsplit(' ')
            .next()
            .unwrap();
        let saved: i64 = saved.parse().unwrap();
        assert!(saved >= least, "{damage}: {flushed:?}");
        let aside = std::fs::read_dir(sandbox.path("state/ansible-notify")).unwrap();
        assert!(
            aside
                .map(|file| file.unwrap().file_name())
                .any(|name| name.to_string_lossy().contains("damaged"))
        );
        let sent = run(&sandbox, &["send", "-"], &event("fresh"));
        sent.expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
        expect_status(&sandbox, saved + 1, 0, 0, 0);
    }
}

#[test]
fn an_event_that_cannot_be_read_any_more_is_dead() {
    let sandbox = Sandbox::new();
    configure(&sandbox, &dead_url());
    run(&sandbox, &["send", "-"], &(event("a") + &event("b")));
    let spool = rusqlite::Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap();
    spool
        .execute("UPDATE event SET body = '{' WHERE host = 'a'", [])
        .unwrap();
    let server = Server::start([OK]);
    configure(&sandbox, &server.url());
    let flushed = run(&sandbox, &["flush"], "");
    assert!(
        flushed
            .stderr
            .contains("delivery 1: the event in the spool cannot be read"),
        "{flushed:?}"
    );
    expect_status(&sandbox, 1, 0, 1, 0);
}

#[test]
fn a_full_spool_makes_room_or_says_what_is_lost() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    let configure = |url: &str, drain: &str| {
        let delivery = format!("drain = {drain}\nmax_size = 1MiB");
        let config = Config::to(url).delivery(&delivery).text();
        sandbox.file("plugin_config.ini", config);
    };
    configure(&server.url(), "60");
    // Far more than fits, all of it delivered: what is finished makes room.
    let events: String = (0..20_000)
        .map(|n| event(&format!("h{}", n % 50)))
        .collect();
    let sent = run(&sandbox, &["send", "-"], &events);
    assert!(
        sent.stderr
            .ends_with("20000 events, 20000 deliveries: all delivered\n"),
        "{sent:?}"
    );
    assert_eq!(sent.code, 0);

    configure(&dead_url().replace("/events", "/dead"), "0");
    let sent = run(&sandbox, &["send", "-"], &events);
    assert_eq!(sent.code, 74, "{sent:?}");
    assert!(
        sent.stderr.contains("the spool has reached its `max_size`"),
        "{sent:?}"
    );
    assert!(
        sent.stderr
            .contains(" of the pending deliveries were in memory only and are lost"),
        "{sent:?}"
    );
    let size = std::fs::metadata(sandbox.path("state/ansible-notify/spool.db"))
        .unwrap()
        .len();
    assert!(size <= 3 << 19, "{size}");

    // What waits is delivered from a full spool, and room is there again.
    configure(&server.url(), "60");
    let flushed = run(&sandbox, &["flush"], "");
    assert_eq!(flushed.code, 0, "{flushed:?}");
    run(&sandbox, &["send", "-"], &event("fresh"))
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
}

#[test]
fn what_only_waited_for_long_is_no_failure() {
    let server = Server::start([status(503), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    run(&sandbox, &["send", "-", "--no-wait"], &event("h")).expect(
        0,
        "ansible-notify: 1 event, 1 delivery: 1 pending until the next run, `flush` or the timer\n",
    );
    assert!(server.requests().is_empty());
    let spool = rusqlite::Connection::open(sandbox.path("state/ansible-notify/spool.db")).unwrap();
    spool
        .execute("UPDATE event SET created = created - 30 * 86400000", [])
        .unwrap();
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn the_spool_that_the_configuration_names_is_the_one_asked() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    let config = Config::to(&server.url()).delivery("spool = other");
    sandbox.file("plugin_config.ini", config.text());
    assert_eq!(
        run(&sandbox, &["send", "-", "--no-wait"], &event("h")).code,
        0
    );
    expect_status(&sandbox, 0, 1, 0, 0);
    run(&sandbox, &["flush"], "").expect(0, "ansible-notify: 1 delivery: delivered\n");
    assert!(sandbox.path("other/spool.db").exists());
    assert!(!sandbox.path("state").exists());
}

#[test]
fn runs_with_the_same_credentials_of_the_environment_learn_from_each_other() {
    let server = Server::start([Reply::Full(503, "Retry-After: 1000\r\n", ""), OK]);
    let sandbox = Sandbox::new();
    configure(&sandbox, &server.url());
    let send = |password: &str| {
        sandbox.file("event.json", event("h"));
        let mut command = sandbox.command_on_spool(&["send", "event.json"]);
        command.env("ANSIBLE_NOTIFY_USERNAME", "anna");
        command.env("ANSIBLE_NOTIFY_PASSWORD", password);
        outcome(command.spawn().unwrap()).code
    };
    assert_eq!([send("canary-1"), send("canary-1")], [75, 75]);
    assert_eq!(server.requests().len(), 1, "it asked for a pause");
    assert_eq!([send("canary-2"), send("canary-3")], [0, 0]);
    let shown = run(&sandbox, &["status"], "").stdout;
    let counts = |line: &str| line.split_whitespace().skip(1).take(5).collect::<String>();
    let lines: Vec<String> = shown.lines().skip(1).map(counts).collect();
    let is_waiting = lines.iter().any(|line| line == "20200");
    assert!(
        lines.iter().any(|line| line == "22000") && is_waiting,
        "those that are done with are one line: {shown}"
    );
}
