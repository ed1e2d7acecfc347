//! Poor surroundings: few files, little memory, no home, another's files.

use std::process::{Command, Stdio};

use crate::sandbox::spooled::Spooled;
use crate::sandbox::{BINARY, Outcome, Sandbox, outcome};
use crate::server::{OK, Server};

const EVENT: &str = r#"{"state":"failed","host":"web1"}"#;
const DELIVERED: &str = "ansible-notify: 1 event, 1 delivery: delivered\n";

/// Sends event.json from a shell that has done `before`, with next to nothing in its environment.
fn send_in_shell(sandbox: &Sandbox, before: &str) -> Outcome {
    let script = format!("{before}; exec {BINARY} send event.json");
    let mut command = Command::new("sh");
    command
        .args(["-c", &script])
        .current_dir(sandbox.root())
        .env_clear()
        .env("LANG", "C")
        .env("XDG_STATE_HOME", "/proc/nowhere")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    outcome(command.spawn().unwrap())
}

/// Sends an event under the limits that a shell sets.
fn send_under(limits: &str) {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    sandbox.file("event.json", EVENT);
    let outcome = send_in_shell(&sandbox, limits);
    assert!(
        outcome.code == 0 && outcome.stderr.ends_with(DELIVERED),
        "{limits}: {outcome:?}"
    );
    assert!(outcome.stderr.contains("kept in memory only: "));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn without_a_home_the_password_database_has_one() {
    let home = Command::new("sh")
        .args(["-c", "getent passwd $(id -u) | cut -d: -f6"])
        .output()
        .unwrap();
    let home = String::from_utf8(home.stdout).unwrap();
    let expected = format!("{}/.config/ansible-notify/plugin_config.ini", home.trim());
    let sandbox = Sandbox::new();
    for home in [None, Some("")] {
        let mut command = sandbox.command(&["check-config"]);
        command.env_remove("HOME");
        command.envs(home.map(|home| ("HOME", home)));
        let outcome = outcome(command.spawn().unwrap());
        let said = outcome.stdout.clone() + &outcome.stderr;
        assert!(said.contains(&expected), "{outcome:?}");
    }
}

#[test]
fn little_is_enough() {
    for limits in [
        "true",
        "ulimit -n 16",
        "ulimit -v 131072",
        "ulimit -f 0",
        "export TMPDIR=/nonexistent",
    ] {
        send_under(limits);
    }
}

#[test]
fn files_that_may_not_grow_cost_only_the_spool() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&server.url());
    sandbox.file("event.json", EVENT);
    let outcome = send_in_shell(&sandbox, "ulimit -f 0; export XDG_STATE_HOME=.");
    assert!(
        outcome.code == 0 && outcome.stderr.ends_with(DELIVERED),
        "{outcome:?}"
    );
    assert!(
        outcome
            .stderr
            .starts_with("ansible-notify: events are kept in memory only: "),
        "{outcome:?}"
    );
}

#[test]
fn without_descriptors_the_reason_is_said() {
    let sandbox = Sandbox::sending_to("http://127.0.0.1:1/");
    sandbox.file("event.json", EVENT);
    send_in_shell(&sandbox, "ulimit -n 4").expect_line(1, &["Too many open files"]);
}

#[test]
fn a_configuration_of_another_user_is_refused() {
    let sandbox = Sandbox::sending_to("http://127.0.0.1:1/");
    let path = sandbox.path("plugin_config.ini");
    let given = std::os::unix::fs::chown(&path, Some(12345), None);
    let problem = sandbox.run(&["check-config"]);
    match given {
        Ok(()) => problem.expect_line(
            78,
            &["plugin_config.ini: belongs to another user (uid 12345)"],
        ),
        // Only root can give a file away; for others there is nothing to see here.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
    }
}

#[test]
fn few_descriptors_and_little_memory_are_enough_for_the_spool() {
    for limit in ["--nofile=20", "--as=134217728", "--data=67108864"] {
        let server = Server::start([OK]);
        let mut spooled = Spooled::new(&server.url(), "", "drain = 30s");
        let program = spooled.command(&["stream"]);
        let mut command = Command::new("prlimit");
        command
            .arg(limit)
            .arg(program.get_program())
            .args(program.get_args());
        command.current_dir(spooled.sandbox.root()).env_clear();
        command.envs(
            program
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = spooled.stream(command, "r", 500, |_, _| ());
        assert_eq!(ended.status.code(), Some(0), "{limit}: {ended:?}");
        assert_eq!(spooled.safe(), 500, "{limit}: {ended:?}");
        assert_eq!(spooled.check_arrived(&server.requests()), 0, "{limit}");
        spooled.check_numbers();
    }
}
