//! `run`: output that cannot be written, commands that only list or check, and the content and counts of the
//! reports.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::sandbox::{BINARY, Sandbox, outcome};
use crate::server::{OK, Server};

/// Sends the start and the end of each run.
fn config(url: &str) -> String {
    format!(
        "[notifier:ends]\ntype = webhook\nurl = {url}\non = started, success, error, canceled, recovered\n\
         [outputs:ends]\nname = run_name\nplaybook = playbook\nstatus = status\ncode = exit_code\n\
         reason = reason\nrecovered = recovered\nlabels = labels\n"
    )
}

/// Runs a shell's command line, in which `$RUN` is `ansible-notify run`; or nothing, to run it alone.
fn shell(sandbox: &Sandbox, is_alone: bool, line: &str) -> crate::sandbox::Outcome {
    let run = match is_alone {
        true => String::new(),
        false => format!("{BINARY} run -q"),
    };
    let template = sandbox.command_on_spool(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(sandbox.root());
    command.env_clear().env("RUN", run);
    for (key, value) in template.get_envs() {
        if let Some(value) = value {
            command.env(key, value);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    outcome(command.spawn().unwrap())
}

#[test]
fn output_to_a_failing_device_ends_the_command_as_usual() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    for command in [
        "echo x >/dev/full",
        "seq 100000 >/dev/full",
        "sh -c 'echo x; exit 0' >/dev/full",
        "sh -c 'echo x || exit 9' >/dev/full",
        "python3 -c 'print(1)' >/dev/full",
        "python3 -c 'print(1)' >/dev/full 2>&1",
        "sh -c 'echo x >&2; exit 4' 2>/dev/full",
        "sh -c 'echo x; exit 3' >/dev/null",
    ] {
        let line = format!("set -- $RUN; exec env \"$@\" {command}");
        let alone = shell(&sandbox, true, &line);
        let wrapped = shell(&sandbox, false, &line);
        assert_eq!(
            (wrapped.code, &wrapped.stderr),
            (alone.code, &alone.stderr),
            "{command}"
        );
        let end = server.bodies().pop().unwrap();
        assert_eq!(end["code"], json!(alone.code), "{command}: {end}");
    }
}

#[test]
fn output_that_a_file_rejects_is_a_failure() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    // The shell ignores the signal of a file that is too large, so that writing fails.
    for (command, code) in [
        ("yes", 1),
        ("sh -c 'head -c 100000 /dev/zero'", 1),
        ("sh -c 'head -c 100000 /dev/zero; exit 5'", 5),
    ] {
        let line = format!("trap '' XFSZ; ulimit -f 8; $RUN {command} >big");
        let wrapped = shell(&sandbox, false, &line);
        assert_eq!(wrapped.code, code, "{command}: {wrapped:?}");
        assert!(
            wrapped.stderr.contains("cannot be written: File too large"),
            "{wrapped:?}"
        );
        let end = server.bodies().pop().unwrap();
        let reason = end["reason"].as_str().unwrap();
        assert!(
            reason.ends_with("cannot be written: File too large"),
            "{end}"
        );
        assert_eq!(
            (&end["status"], &end["code"]),
            (&json!("error"), &json!(code))
        );
    }
}

#[test]
fn a_child_has_a_status_even_if_sigchld_is_ignored() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    for (command, code) in [("exit 3", 3), ("kill -HUP $$", -1), ("exit 0", 0)] {
        let line = format!("trap '' CHLD; exec $RUN sh -c '{command}'");
        assert_eq!(shell(&sandbox, false, &line).code, code, "{command}");
    }
}

#[test]
fn a_command_that_lists_or_checks_does_not_count_for_its_playbook() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let program = sandbox.file("bin/ansible-playbook", "#!/bin/sh\ntest -e good\n");
    sandbox.mode("bin/ansible-playbook", 0o755);
    let program = program.to_str().unwrap();
    sandbox.file("site.yml", "[]\n");
    let run = |options: &[&str]| {
        let arguments = [&["run", "-q", program, "site.yml"], options].concat();
        sandbox.run_on_spool(&arguments);
        server.bodies().pop().unwrap()
    };
    let failed = run(&[]);
    assert_eq!(
        (&failed["status"], &failed["playbook"]),
        (&json!("error"), &json!("site.yml"))
    );
    sandbox.file("good", "");
    for option in [
        "--list-tasks",
        "--list-hosts",
        "--list-tags",
        "--syntax-check",
        "--version",
        "--help",
        "-h",
    ] {
        let listed = run(&[option]);
        let name = match option {
            "-h" => "ansible-playbook -h site.yml".to_owned(),
            option => format!("ansible-playbook {option} site.yml"),
        };
        let told = ["status", "recovered", "playbook", "name"].map(|key| listed[key].clone());
        assert_eq!(
            told,
            [json!("success"), json!(false), Value::Null, json!(name)]
        );
    }
    assert_eq!(run(&["-v"])["recovered"], true);
}

#[test]
fn the_summary_counts_the_start_and_events_have_labels() {
    let server = Server::start([OK]);
    let labels = "[event]\nlabel.env = prod\nlabel.name = {{ run_name }}\n";
    let sandbox = Sandbox::with_config(&(config(&server.url()) + labels));
    let told = sandbox.run(&["run", "true"]);
    told.expect(0, "ansible-notify: 2 events, 2 deliveries: all delivered\n");
    let bodies = server.bodies();
    assert_eq!(bodies.len(), 2, "{bodies:?}");
    for body in bodies {
        assert_eq!(body["labels"], json!({"env": "prod", "name": "true"}));
    }
    // Nothing is sent twice if the spool cannot be used.
    sandbox.file("file", "");
    let mut command = sandbox.command(&["run", "true"]);
    let told = outcome(
        command
            .env("XDG_STATE_HOME", sandbox.path("file"))
            .spawn()
            .unwrap(),
    );
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(server.bodies().len(), 4);
}

#[test]
fn a_message_about_a_command_has_no_counts_of_hosts() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:chat]\ntype = mattermost\nurl = {}/hooks/x\non = success, error\n",
        server.url()
    ));
    for script in ["exit 0", "exit 3"] {
        sandbox.run(&["run", "-q", "sh", "-c", script]);
        let body = server.bodies().pop().unwrap().to_string();
        assert!(body.contains("after "), "{body}");
        for word in ["host", "changed"] {
            assert!(!body.contains(word), "{body}");
        }
    }
}
