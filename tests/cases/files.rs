//! What is named as a file and is none, or has no end: said at once, and never read into memory.

use std::path::Path;

use crate::cases::memory::MOST_KIB;
use crate::sandbox::{Sandbox, config_for};
use crate::server::{OK, Server, dead_url};

fn fifo(sandbox: &Sandbox, name: &str) {
    let path = sandbox.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, 0o600.into()).unwrap();
}

#[test]
fn no_key_of_a_file_waits_or_fills_the_memory() {
    let sandbox = Sandbox::new();
    fifo(&sandbox, "fifo");
    sandbox.file("large", "x".repeat(5 << 20));
    let cases = [
        ("ca_file = /dev/zero", "is not a file"),
        ("ca_file = fifo", "is not a file"),
        ("ca_file = large", "is longer than"),
        ("client_cert = /dev/zero", "is not a file"),
        ("client_cert = fifo\nclient_key = fifo", "is not a file"),
        ("username = u\npassword_file = fifo", "is not a file"),
        ("username = u\npassword_file = /dev/zero", "is not a file"),
        (
            "username = u\npassword_file = large",
            "is longer than 64 KiB",
        ),
        (
            "username = u\npassword_command = cat /dev/zero",
            "printed more than 64 KiB",
        ),
        (
            "username = u\npassword_command = cat large",
            "printed more than 64 KiB",
        ),
    ];
    for (lines, problem) in cases {
        let config = format!("[inputs]\ncallback_url = https://ops.example.com/\n{lines}\n");
        sandbox.file("plugin_config.ini", config);
        let (checked, peak) = sandbox.run_measured(&["check-config", "--connect"], "");
        assert_ne!(checked.code, 0, "{lines}: {checked:?}");
        assert!(checked.stderr.contains(problem), "{lines}: {checked:?}");
        assert!(peak < MOST_KIB, "{lines}: {peak} KiB");
    }
}

#[test]
fn a_configuration_or_a_spool_that_is_no_file_is_said_at_once() {
    let sandbox = Sandbox::with_config(&config_for(&dead_url()));
    fifo(&sandbox, "fifo");
    for name in ["fifo", "/dev/zero", "/dev/stdin"] {
        for arguments in [
            &["check-config", "--config", name][..],
            &["send", "--config", name, "-"],
        ] {
            let outcome = sandbox.run(arguments);
            assert_eq!(outcome.code, 78, "{arguments:?}: {outcome:?}");
        }
    }
    for (number, name) in ["spool.db", "spool.db-wal", "spool.lock", "reserve"]
        .iter()
        .enumerate()
    {
        let folder = format!("spool-{number}");
        fifo(&sandbox, &format!("{folder}/{name}"));
        sandbox.mode(&folder, 0o700);
        if *name != "spool.db" {
            sandbox.file(&format!("{folder}/spool.db"), "");
        }
        for command in ["status", "history", "flush"] {
            let outcome = sandbox.run(&[command, "--spool", &folder]);
            let problem = format!("{name}` is not a file");
            assert!(
                outcome.code != 0 && outcome.stderr.contains(&problem),
                "{name}: {outcome:?}"
            );
        }
    }
}

#[test]
fn an_input_that_is_no_file_is_read_as_it_comes() {
    let endpoint = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&endpoint.url());
    fifo(&sandbox, "fifo");
    let event = r#"{"state":"failed","host":"a"}"#;
    let path = sandbox.path("fifo");
    let writer = std::thread::spawn(move || std::fs::write(path, event).unwrap());
    assert_eq!(sandbox.run(&["send", "fifo"]).code, 0);
    writer.join().unwrap();
    assert_eq!(
        sandbox.run_with_input(&["send", "/dev/stdin"], event).code,
        0
    );
    assert_eq!(endpoint.requests().len(), 2);
    let outcome = sandbox.run(&["send", "."]);
    assert!(
        outcome.code == 66 && outcome.stderr.contains("contains no job events"),
        "{outcome:?}"
    );
}

#[test]
fn a_directory_of_job_events_holds_files_only() {
    let endpoint = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&endpoint.url());
    let event = r#"{"uuid":"u","counter":1,"event":"runner_on_failed","event_data":{"host":"a","task":"t","res":{}}}"#;
    sandbox.file("artifacts/job_events/1-u.json", event);
    fifo(&sandbox, "artifacts/job_events/2-v.json");
    std::os::unix::fs::symlink("/dev/zero", sandbox.path("artifacts/job_events/3-w.json")).unwrap();
    assert!(Path::new("/dev/zero").exists());
    let outcome = sandbox.run(&["send", "artifacts"]);
    outcome.expect_line(0, &["1 event, 1 delivery: delivered"]);
}
