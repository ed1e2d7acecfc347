//! `run`: a command behaves as it does alone, and its start and end are reported once.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use rustix::process::Pid;

use crate::sandbox::{BINARY, Config, Outcome, PATIENCE, Sandbox, outcome, side_by_side};
use crate::server::smtp::Smtp;
use crate::server::{OK, Server, dead_url};

/// Sends the start and the end of each run.
fn config(url: &str) -> String {
    format!(
        "[notifier:ends]\ntype = webhook\nurl = {url}\non = started, success, error, canceled\n\
         [outputs:ends]\nrun = run_id\nname = run_name\nstatus = status\ncode = exit_code\n\
         signal = signal\nreason = reason\noutput = output\n"
    )
}

/// Runs a shell's command line and returns its outcome and what was reported.
fn run(script: &str) -> (Outcome, Vec<Value>) {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let outcome = sandbox.run(&["run", "--quiet", "--", "sh", "-c", script]);
    (outcome, server.bodies())
}

/// The end of a run: status, exit code, signal and reason.
fn end(bodies: &[Value]) -> [Value; 4] {
    assert_eq!(bodies.len(), 2, "one start and one end: {bodies:?}");
    assert_eq!(bodies[0]["status"], "running");
    assert_eq!(bodies[0]["run"], bodies[1]["run"]);
    ["status", "code", "signal", "reason"].map(|key| bodies[1][key].clone())
}

#[test]
fn every_end_is_reported_once_with_its_status_and_reason() {
    let traceback =
        "printf 'Traceback (most recent call last):\\n  File \"a\"\\nKeyError: 1\\n' >&2; exit 1";
    let cases: [(&str, i32, [Value; 4]); 10] = [
        (
            "exit 0",
            0,
            [json!("success"), json!(0), Value::Null, Value::Null],
        ),
        (
            "exit 7",
            7,
            [
                json!("error"),
                json!(7),
                Value::Null,
                json!("`sh` ended with exit code 7"),
            ],
        ),
        (
            "echo 'ERROR! no role' >&2; exit 1",
            1,
            [json!("error"), json!(1), Value::Null, json!("no role")],
        ),
        (
            "echo 'fatal: not a repository'; exit 128",
            128,
            [
                json!("error"),
                json!(128),
                Value::Null,
                json!("fatal: not a repository"),
            ],
        ),
        (
            traceback,
            1,
            [json!("error"), json!(1), Value::Null, json!("KeyError: 1")],
        ),
        (
            "exit 130",
            130,
            [
                json!("canceled"),
                json!(130),
                Value::Null,
                json!("interrupted"),
            ],
        ),
        (
            "kill -9 $$",
            -1,
            [
                json!("error"),
                json!(137),
                json!("SIGKILL"),
                json!("`sh` was ended by SIGKILL"),
            ],
        ),
        (
            "kill -SEGV $$",
            -1,
            [
                json!("error"),
                json!(139),
                json!("SIGSEGV"),
                json!("`sh` was ended by SIGSEGV"),
            ],
        ),
        (
            "kill -TERM $$",
            -1,
            [
                json!("canceled"),
                json!(143),
                json!("SIGTERM"),
                json!("`sh` was ended by SIGTERM"),
            ],
        ),
        (
            "kill -INT $$",
            -1,
            [
                json!("canceled"),
                json!(130),
                json!("SIGINT"),
                json!("interrupted"),
            ],
        ),
    ];
    side_by_side(&cases, |(script, code, expected)| {
        let (outcome, bodies) = run(script);
        assert_eq!(outcome.code, *code, "{script}: {outcome:?}");
        assert_eq!(&end(&bodies), expected, "{script}");
        assert_eq!(bodies[1]["name"], "sh");
    });
}

#[test]
fn a_program_that_cannot_be_started_is_an_error() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let file = sandbox.file("plain", "no program");
    let plain = file.to_str().unwrap();
    let cases = [
        ("no-such-program", 127, "No such file or directory"),
        (plain, 126, "Permission denied"),
    ];
    for (number, (program, code, reason)) in cases.into_iter().enumerate() {
        let reason = format!("cannot run `{program}`: {reason}");
        let outcome = sandbox.run(&["run", "--quiet", program, "-x"]);
        outcome.expect(code, &format!("ansible-notify: {reason}\n"));
        let bodies = server.bodies().split_off(2 * number);
        let expected = [json!("error"), json!(code), Value::Null, json!(reason)];
        assert_eq!(end(&bodies), expected);
    }
}

#[test]
fn the_command_ends_this_program_by_the_same_signal() {
    let sandbox = Sandbox::with_config(&config(&dead_url()));
    for (name, number) in [
        ("KILL", 9),
        ("TERM", 15),
        ("HUP", 1),
        ("USR1", 10),
        ("SEGV", 11),
        ("PIPE", 13),
    ] {
        let script = format!("kill -{name} $$");
        let mut command =
            sandbox.command(&["run", "-q", "--config", "none.ini", "sh", "-c", &script]);
        let status = command.status().unwrap();
        assert_eq!(status.signal(), Some(number), "{name}");
    }
}

#[test]
fn a_mistake_in_the_configuration_is_reported_once_and_the_command_runs() {
    let sandbox = Sandbox::with_config("[notifier:x]\ntype = nothing\n");
    let outcome = sandbox.run(&["run", "sh", "-c", "echo done; exit 3"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, "done\n"));
    assert_eq!(
        outcome.stderr.matches("`nothing`").count(),
        1,
        "{outcome:?}"
    );
    let nothing = Sandbox::new();
    let outcome = nothing.run(&["run", "sh", "-c", "exit 3"]);
    assert_eq!(outcome.code, 3);
    assert_eq!(outcome.stderr.lines().count(), 2, "{outcome:?}");
    assert!(
        outcome.stderr.contains("this run is not reported"),
        "{outcome:?}"
    );
}

#[test]
fn an_endpoint_that_is_down_gets_the_end_later() {
    let sandbox = Sandbox::with_config(&format!("{}[delivery]\ndrain = 1\n", config(&dead_url())));
    let outcome = sandbox.run_on_spool(&["run", "false"]);
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.stderr.contains("pending until the next run"),
        "{outcome:?}"
    );
    let server = Server::start([OK]);
    sandbox.file("plugin_config.ini", config(&server.url()));
    sandbox.run_on_spool(&["flush"]);
    assert_eq!(end(&server.bodies())[0], "error");
}

#[test]
fn streams_stay_apart_and_every_byte_arrives() {
    let sandbox = Sandbox::with_config(&config(&dead_url()));
    let script = "import os\nfor n in range(256): os.write(1 + n % 2, bytes([n, 10, 0, 255]))";
    let arguments = ["run", "-q", "--config", "none.ini", "python3", "-c", script];
    let output = sandbox.command(&arguments).output().unwrap();
    let bytes = |first: u8| {
        let all = (first..=255).step_by(2).flat_map(|byte| [byte, 10, 0, 255]);
        all.collect::<Vec<u8>>()
    };
    assert_eq!(output.stdout, bytes(0));
    let stderr = output.stderr;
    let own = b"ansible-notify: ";
    let start = stderr
        .windows(own.len())
        .position(|part| part == own)
        .unwrap();
    let line = stderr[start..]
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap();
    let rest = [&stderr[..start], &stderr[start + line + 1..]].concat();
    let second = rest
        .windows(own.len())
        .position(|part| part == own)
        .unwrap_or(rest.len());
    let end = rest[second..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    assert_eq!([&rest[..second], &rest[second + end..]].concat(), bytes(1));
}

#[test]
fn both_streams_in_one_pipe_keep_their_order() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let script = "i=0; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let line = format!("{BINARY} run -q sh -c '{script}' 2>&1");
    let mut command = sandbox.command(&[]);
    let environment: Vec<_> = command
        .get_envs()
        .map(|(key, value)| (key.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = Command::new("sh");
    command
        .args(["-c", &line])
        .current_dir(sandbox.root())
        .env_clear();
    command.envs(
        environment
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let outcome = outcome(command.spawn().unwrap());
    let expected: String = (0..300)
        .map(|number| format!("out {number}\nerr {number}\n"))
        .collect();
    assert_eq!(outcome.stdout, expected);
    // Only the last lines are kept.
    let output = server.bodies()[1]["output"].as_str().unwrap().to_owned();
    assert_eq!(output.lines().count(), 200);
    assert!(output.starts_with("out 200\n") && output.ends_with("\nerr 299"));
}

#[test]
fn a_background_process_does_not_delay_the_end() {
    let began = Instant::now();
    let (outcome, bodies) = run("echo first; sleep 60 & echo last; exit 5");
    assert!(began.elapsed() < Duration::from_secs(50));
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (5, "first\nlast\n")
    );
    assert_eq!(bodies[1]["output"], "first\nlast");
}

#[test]
fn a_reader_that_leaves_ends_the_command() {
    let sandbox = Sandbox::with_config(&config(&dead_url()));
    let mut command = sandbox.command(&["run", "-q", "--config", "none.ini", "yes"]);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    drop(stdout);
    assert_eq!(line, "y\n");
    assert_eq!(
        child.wait().unwrap().signal(),
        Some(13),
        "SIGPIPE, as without"
    );
}

#[test]
fn much_output_needs_little_memory() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let script = "head -c 100000000 /dev/zero | tr '\\0' 'x'; echo; echo the end";
    let mut child = sandbox
        .measured(&["run", "-q", "sh", "-c", script])
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (mut piece, mut length) = (vec![0; 1 << 16], 0);
    loop {
        match stdout.read(&mut piece).unwrap() {
            0 => break,
            read => length += read,
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(length, 100_000_009);
    assert!(sandbox.peak() < 64 << 10, "{} KiB", sandbox.peak());
    let output = server.bodies()[1]["output"].as_str().unwrap().to_owned();
    assert_eq!(output, "the end");
}

/// Waits until a condition holds.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// True if a process has a child that runs the program of this name.
fn is_parent_of(parent: i32, program: &str) -> bool {
    let list = Command::new("ps")
        .args(["-A", "-o", "ppid=,comm="])
        .output()
        .unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    list.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(&parent.to_string()) && words.next() == Some(program)
    })
}

#[test]
fn signals_sent_to_this_program_alone_reach_the_command() {
    for (name, number, status) in [
        ("TERM", 15, "canceled"),
        ("HUP", 1, "canceled"),
        ("INT", 2, "canceled"),
        ("USR1", 10, "error"),
    ] {
        let server = Server::start([OK]);
        let sandbox = Sandbox::with_config(&config(&server.url()));
        let script = "echo ready; exec sleep 60";
        let child = sandbox
            .command(&["run", "-q", "sh", "-c", script])
            .spawn()
            .unwrap();
        // Not the shell before it, which may still fail to become `sleep`.
        let pid = Pid::from_child(&child).as_raw_nonzero().get();
        eventually("the final program", || is_parent_of(pid, "sleep"));
        let kill = Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number), "{name}: {output:?}");
        let [reported, code, signal, _] = end(&server.bodies());
        assert_eq!(
            (reported, code, signal),
            (
                json!(status),
                json!(128 + number),
                json!(format!("SIG{name}"))
            )
        );
    }
}

#[test]
fn the_output_goes_only_to_notifiers_that_use_it() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:one]\ntype = webhook\nurl = {url}/one\non = error\nbody = {{{{ event }}}}\n\
         [notifier:two]\ntype = webhook\nurl = {url}/two\non = error\n\
         [outputs:two]\nall = event\ntask_output = task_output\n",
        url = server.url()
    ));
    let outcome = sandbox.run_on_spool(&["run", "-q", "sh", "-c", "echo CANARY-7; exit 1"]);
    assert_eq!(outcome.code, 1);
    for request in server.wait_for(2) {
        assert!(!request.body.contains("CANARY-7"));
    }
    let spool = sandbox.path("state/ansible-notify");
    for entry in std::fs::read_dir(spool).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(8).any(|part| part == b"CANARY-7"));
    }
}

#[test]
fn secrets_of_the_configuration_are_masked_in_the_output() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(
        &Config::from(config(&server.url())).with("username = a\npassword = S3cret-Canary"),
    );
    sandbox.mode("plugin_config.ini", 0o600);
    sandbox.run(&[
        "run",
        "-q",
        "sh",
        "-c",
        "echo 'ERROR! S3cret-Canary'; exit 1",
    ]);
    let end = &server.bodies()[1];
    assert_eq!(
        (&end["reason"], &end["output"]),
        (&json!("[redacted]"), &json!("ERROR! [redacted]"))
    );
}

#[test]
fn the_output_is_attached_to_a_mail() {
    let sandbox = Sandbox::new();
    let server = Smtp::start(&sandbox, &[]);
    sandbox.file(
        "plugin_config.ini",
        format!(
            "[notifier:mail]\ntype = email\nhost = 127.0.0.1\nport = {}\nencryption = none\n\
             from = a@x.example\nto = b@x.example\non = error\nattach = output\n",
            server.port()
        ),
    );
    let outcome = sandbox.run(&[
        "run",
        "-q",
        "sh",
        "-c",
        "echo Grüße; echo 'ERROR! no'; exit 1",
    ]);
    outcome.expect(1, "ERROR! no\n".replace("ERROR! no\n", "").as_str());
    let mails = server.mails();
    assert_eq!(mails.len(), 1);
    let wire = server.wire();
    assert!(
        wire.contains("Content-Disposition: attachment; filename=\"output.txt\""),
        "{wire}"
    );
    assert!(
        wire.contains("Gr=C3=BC=C3=9Fe") || wire.contains("R3LDvMOfZQ"),
        "{wire}"
    );
}

#[test]
fn without_tail_the_command_writes_directly() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let outcome = sandbox.run(&[
        "run",
        "-q",
        "--tail",
        "0",
        "--name",
        "nightly",
        "sh",
        "-c",
        "echo x; exit 1",
    ]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, "x\n"));
    let bodies = server.bodies();
    assert_eq!(
        (&bodies[1]["output"], &bodies[1]["name"]),
        (&Value::Null, &json!("nightly"))
    );
}

#[test]
fn a_nested_run_is_the_same_run() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url()));
    let outcome = sandbox.run(&["run", "-q", BINARY, "run", "-q", "sh", "-c", "exit 4"]);
    assert_eq!(outcome.code, 4);
    assert_eq!(end(&server.bodies())[1], 4);
}

#[test]
fn a_success_after_an_error_has_recovered() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&Config::from(config(&server.url())).with("on = recovered"));
    for script in ["exit 0", "exit 1", "exit 1", "exit 0", "exit 0"] {
        sandbox.run_on_spool(&["run", "-q", "--name", "deploy", "sh", "-c", script]);
    }
    assert_eq!(server.bodies().len(), 1);
}

#[test]
fn no_core_limit_is_set_for_the_command() {
    let sandbox = Sandbox::with_config(&config(&dead_url()));
    let run = sandbox.run(&[
        "run",
        "-q",
        "--config",
        "none.ini",
        "sh",
        "-c",
        "ulimit -c; ulimit -Hc",
    ]);
    let alone = Command::new("sh")
        .args(["-c", "ulimit -c; ulimit -Hc"])
        .output()
        .unwrap();
    assert_eq!(run.stdout.as_bytes(), alone.stdout);
}
