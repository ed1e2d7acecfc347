//! The kind `file`: whole lines, whatever happens.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use crate::disk::Disk;
use crate::sandbox::{Outcome, PATIENCE, Sandbox, outcome};

fn sandbox(keys: &str) -> Sandbox {
    let path = match keys.contains("path = ") {
        true => "",
        false => "path = log/events.jsonl",
    };
    Sandbox::with_config(&format!(
        "[notifier:log]\ntype = file\non = any\n{path}\n{keys}\n[delivery]\ndrain = 20\n"
    ))
}

fn event(id: &str, text: &str) -> String {
    let event = json!({"id": id, "state": "failed", "host": "web1", "task": "Install", "result": {"msg": text}});
    format!("{event}\n")
}

fn send(sandbox: &Sandbox, events: &str) -> Outcome {
    sandbox.file("events.json", events);
    sandbox.run_on_spool(&["send", "events.json"])
}

/// The lines of the files whose names begin with that of the log, the newest file first.
fn lines(sandbox: &Sandbox) -> Vec<Value> {
    let mut lines = Vec::new();
    for (_, text) in files(sandbox) {
        assert!(text.is_empty() || text.ends_with('\n'));
        let values = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.extend(values);
    }
    lines
}

fn files(sandbox: &Sandbox) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(sandbox.path("log")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = std::fs::read(&path).unwrap();
        let mut text = String::new();
        match name.ends_with(".gz") {
            true => drop(
                GzDecoder::new(&bytes[..])
                    .read_to_string(&mut text)
                    .unwrap(),
            ),
            false => text = String::from_utf8(bytes).unwrap(),
        }
        files.push((name, text));
    }
    files.sort();
    files
}

#[test]
fn each_event_is_a_line_that_only_its_owner_reads() {
    for keys in ["", "batch = 50", "fsync = false", "content = ndjson"] {
        let sandbox = sandbox(keys);
        let events: String = (0..20)
            .map(|n| event(&format!("e-{n}"), "a\nb \"c\""))
            .collect();
        assert_eq!(send(&sandbox, &events).code, 0, "{keys}");
        assert_eq!(send(&sandbox, &event("last", "x")).code, 0, "{keys}");
        let lines = lines(&sandbox);
        assert_eq!(lines.len(), 21, "{keys}");
        assert_eq!(lines[0]["host"], "web1");
        let mode = |name| {
            std::fs::metadata(sandbox.path(name))
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("log/events.jsonl") & 0o777, 0o600);
        assert_eq!(mode("log") & 0o777, 0o700);
    }
}

#[test]
fn a_body_and_a_mode_are_as_they_are_set() {
    let keys = "mode = 0640\nbody = {\"id\": \"{{ id }}\", \"text\": \"{{ reason }}\"}";
    let sandbox = sandbox(keys);
    assert_eq!(send(&sandbox, &event("e-1", "no \"x\"")).code, 0);
    assert_eq!(lines(&sandbox), [json!({"id": "e-1", "text": "no \"x\""})]);
    let metadata = std::fs::metadata(sandbox.path("log/events.jsonl")).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o640);
    for (keys, problem) in [
        ("mode = 0777", "`mode` must be 0600, 0640"),
        ("keep = 3", "max_size"),
        ("path = {{ host }}", "`path` must begin with a directory"),
        (
            "path = log/{{ host }}\nbatch = 5",
            "`batch` cannot be used with templates in `path`",
        ),
    ] {
        let checked = self::sandbox(keys).run(&["check-config"]);
        assert!(
            checked.code == 78 && checked.stderr.contains(problem),
            "{keys}: {checked:?}"
        );
    }
}

#[test]
fn several_processes_and_rotations_lose_and_tear_nothing() {
    let keys = "max_size = 1MiB\nkeep = 100\nfsync = false\nbatch = 5\nbody = {\"id\": \"{{ id }}\", \"text\": \"{{ result.msg }}\"}";
    let sandbox = sandbox(&format!("{keys}\ncompress = true"));
    let (processes, count) = (4, 40);
    let started = (0..processes).map(|process| {
        let events = (0..count).map(|n| event(&format!("{process}-{n}"), &"x".repeat(20_000)));
        sandbox.file(&format!("events-{process}"), events.collect::<String>());
        let events = format!("events-{process}");
        sandbox.command(&["send", &events]).spawn().unwrap()
    });
    let started: Vec<_> = started.collect();
    for child in started {
        let sent = outcome(child);
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    let mut ids: Vec<String> = lines(&sandbox)
        .iter()
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), processes * count);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), processes * count);
    let files = files(&sandbox);
    assert!(files.len() >= 3, "{}", files.len());
    for (name, text) in &files {
        assert!(text.len() <= 1 << 20, "{name}: {}", text.len());
        assert_eq!(name.ends_with(".gz"), name != "events.jsonl", "{name}");
    }
}

#[test]
fn only_so_many_files_are_kept() {
    let sandbox = sandbox(
        "max_size = 1MiB\nkeep = 2\nfsync = false\nbody = {\"id\": \"{{ id }}\", \"text\": \"{{ result.msg }}\"}",
    );
    for n in 0..5 {
        let large = event(&format!("e-{n}"), &"x".repeat(600_000));
        let sent = send(&sandbox, &large);
        assert_eq!(sent.code, 0, "{sent:?}");
    }
    let names: Vec<String> = files(&sandbox).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]);
    let ids: Vec<Value> = lines(&sandbox)
        .iter()
        .map(|line| line["id"].clone())
        .collect();
    assert_eq!(ids, ["e-4", "e-3", "e-2"]);
}

#[test]
fn a_template_leads_to_no_other_directory() {
    for (host, file) in [
        ("web1", Some("log/web1.jsonl")),
        ("a/b", Some("log/a%2Fb.jsonl")),
        ("../../x", Some("log/..%2F..%2Fx.jsonl")),
        ("web\u{0}\n1", None),
    ] {
        let sandbox = sandbox("path = log/{{ host | safe }}.jsonl");
        let event = json!({"id": "e-1", "state": "failed", "host": host, "task": "t"});
        let sent = send(&sandbox, &event.to_string());
        if let Some(file) = file {
            assert_eq!(sent.code, 0, "{host}: {sent:?}");
            assert!(sandbox.path(file).exists(), "{host}");
        }
        assert!(!sandbox.path("x.jsonl").exists());
    }
    for (path, host) in [
        ("log/{{ host }}", ".."),
        ("log/{{ host }}/x", ".."),
        ("log/{{ host }}", ""),
    ] {
        let sandbox = sandbox(&format!("path = {path}"));
        let event = json!({"id": "e-1", "state": "failed", "host": host, "task": "t"});
        let sent = send(&sandbox, &event.to_string());
        sent.expect_line(69, &["1 dead", "which is no file in "]);
    }
}

#[test]
fn a_torn_line_and_a_file_that_is_none_are_met() {
    let sandbox = sandbox("");
    sandbox.file("log/events.jsonl", "{\"half\": \"of a");
    assert_eq!(send(&sandbox, &event("e-1", "x")).code, 0);
    let text = std::fs::read_to_string(sandbox.path("log/events.jsonl")).unwrap();
    assert!(text.starts_with("{\"half\": \"of a\n{"), "{text}");
    for (name, said) in [("link", "symbolic link"), ("pipe", "it is not a file")] {
        let sandbox = self::sandbox(&format!("path = log/{name}"));
        sandbox.file("log/target", "");
        match name {
            "link" => std::os::unix::fs::symlink("target", sandbox.path("log/link")).unwrap(),
            _ => {
                let pipe = sandbox.path("log/pipe");
                let made = std::process::Command::new("mkfifo").arg(pipe).status();
                assert!(made.unwrap().success());
            }
        }
        let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
        sandbox.file(
            "plugin_config.ini",
            config.replace("drain = 20", "drain = 1"),
        );
        assert_eq!(send(&sandbox, &event("e-1", "x")).code, 75);
        sandbox.expect_reason(said);
        assert_eq!(std::fs::read(sandbox.path("log/target")).unwrap(), b"");
    }
}

#[test]
fn a_full_disk_leaves_no_part_of_a_line_and_is_waited_for() {
    let sandbox = sandbox("");
    assert_eq!(send(&sandbox, &event("e-1", "x")).code, 0);
    let config = std::fs::read_to_string(sandbox.path("plugin_config.ini")).unwrap();
    sandbox.file(
        "plugin_config.ini",
        config.replace("drain = 20", "drain = 1"),
    );
    sandbox.file("events.json", event("e-2", "y"));
    let disk = Disk::at(&sandbox, sandbox.path("log"));
    disk.fail("full 0");
    let on_disk = |arguments: &[&str]| {
        let mut command = disk.under(sandbox.command_on_spool(arguments));
        outcome(command.spawn().unwrap())
    };
    assert_eq!(on_disk(&["send", "events.json"]).code, 75);
    let deadline = Instant::now() + PATIENCE;
    while !sandbox
        .run_on_spool(&["history", "2"])
        .stdout
        .contains("No space left on device")
    {
        assert!(Instant::now() < deadline);
        on_disk(&["flush"]);
    }
    assert_eq!(lines(&sandbox).len(), 1);
    disk.mend();
    assert_eq!(on_disk(&["flush"]).code, 0);
    assert_eq!(lines(&sandbox).len(), 2);
}
