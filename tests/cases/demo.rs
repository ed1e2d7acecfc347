//! `demo` shows everything on this machine alone, and leaves nothing behind unless it is to.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{OK, Server};

/// The demo, with a folder for temporary files of its own.
fn demo(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    std::fs::create_dir_all(sandbox.path("tmp")).unwrap();
    let mut command = sandbox.command(&[&["demo"], arguments].concat());
    command.env("TMPDIR", sandbox.path("tmp"));
    command
}

/// What it left among temporary files.
fn left(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(sandbox.path("tmp")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn it_shows_what_each_service_got_and_ends_by_itself() {
    let sandbox = Sandbox::new();
    let Outcome {
        code,
        stdout,
        stderr,
    } = outcome(demo(&sandbox, &[]).spawn().unwrap());
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert_eq!(
        stderr,
        "ansible-notify: 17 events, 21 deliveries: all delivered\n"
    );
    for part in [
        "callback_url = http://127.0.0.1:",
        "callback  200        success  web2  go back to release 41\n",
        "callback  200        unreachable  web3  Gathering Facts\n",
        "chat      503, once  ",
        "phone     200        site.yml failed\n",
        "ERROR: column \"total\" of relation \"orders\" already exists",
        "3 ok, 9 changed, 2 failed, 1 unreachable, 1 skipped, 1 rescued",
        "set the password of the application  web",
    ] {
        assert!(stdout.contains(part), "no `{part}` in {stdout}");
    }
    assert_eq!(left(&sandbox), [] as [PathBuf; 0]);
}

#[test]
fn nothing_of_the_user_is_read_and_nobody_else_is_contacted() {
    let other = Server::start([OK]);
    let sandbox = Sandbox::sending_to(&other.url());
    let own = "home/.config/ansible-notify/plugin_config.ini";
    sandbox.file(own, crate::sandbox::config_for(&other.url()));
    let outcome = outcome(
        demo(&sandbox, &[])
            .env("ANSIBLE_NOTIFY_CALLBACK_URL", other.url())
            .env("ANSIBLE_NOTIFY_CONFIG", sandbox.path("plugin_config.ini"))
            .env("http_proxy", other.url())
            .env("HTTP_PROXY", other.url())
            .env("ALL_PROXY", other.url())
            .spawn()
            .unwrap(),
    );
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(other.requests().is_empty());
    let made: Vec<_> = std::fs::read_dir(sandbox.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("state"))
        .collect();
    assert!(made.is_empty(), "a spool of the user's: {made:?}");
}

#[test]
fn what_is_kept_can_be_looked_at() {
    let sandbox = Sandbox::new();
    let outcome = outcome(demo(&sandbox, &["--keep"]).spawn().unwrap());
    let kept = left(&sandbox);
    let [folder] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    let line = format!("`cd {}`", folder.display());
    assert!(outcome.stdout.contains(&line), "{outcome:?}");
    let mut history = sandbox.command(&["history", "--json", "--state", "delivered"]);
    let history = crate::sandbox::outcome(history.current_dir(folder).spawn().unwrap());
    assert_eq!(history.stdout.lines().count(), 21, "{history:?}");
    let report = sandbox.run(&[
        "report",
        "last",
        "--spool",
        folder.join("spool").to_str().unwrap(),
    ]);
    assert!(report.stdout.contains("migrate the schema"), "{report:?}");
}

/// Waits until the page of a demo is there, and returns the other lines that it printed to standard error.
fn wait_for_page(child: &mut Child) -> BufReader<std::process::ChildStderr> {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on http://127.0.0.1:") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "no page");
    }
    stderr
}

#[test]
fn the_page_stays_until_a_signal_and_goes_with_the_demo() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::new();
        let mut child = demo(&sandbox, &["--serve"]).spawn().unwrap();
        let mut stderr = wait_for_page(&mut child);
        assert_eq!(left(&sandbox).len(), 1);
        kill_process(Pid::from_child(&child), signal).unwrap();
        // It ends when no process of the demo is left.
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        let outcome = outcome(child);
        assert_eq!((outcome.code, rest.as_str()), (0, ""), "{outcome:?}");
        assert_eq!(left(&sandbox), [] as [PathBuf; 0]);
    }
}
