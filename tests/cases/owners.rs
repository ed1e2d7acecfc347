//! What says where events and secrets go is read only where nobody else could have written it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;

use serde_json::json;

use crate::sandbox::{Outcome, Sandbox, config_for, outcome};
use crate::server::{OK, Server, dead_url};

/// A user who is neither root nor whoever runs the tests.
const STRANGER: u32 = 54_321;

/// What another user can do to a path: own it, which only root can rehearse; or write to it.
fn by_others(path: &Path) -> Vec<Box<dyn Fn() + '_>> {
    let mode = path.metadata().unwrap().permissions().mode();
    let writable = move || {
        let open = std::fs::Permissions::from_mode(mode | 0o002);
        std::fs::set_permissions(path, open).unwrap();
    };
    let mut ways: Vec<Box<dyn Fn()>> = vec![Box::new(writable)];
    // A test's directory belongs to who runs it.
    if path.metadata().unwrap().uid() == 0 {
        ways.push(Box::new(move || {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
            chown(path, Some(STRANGER), None).unwrap();
        }));
    }
    ways
}

/// Something waits that was accepted in `project`, which is the only one to say where it goes.
fn accept(sandbox: &Sandbox, project: &str) {
    sandbox.file("event.json", r#"{"state":"failed","host":"h"}"#);
    let send = ["send", "event.json", "--no-wait", "--project", project];
    assert_eq!(sandbox.run_on_spool(&send).code, 0);
}

fn flush(sandbox: &Sandbox) -> Outcome {
    let mut command = sandbox.command_on_spool(&["flush"]);
    command.current_dir("/");
    outcome(command.spawn().unwrap())
}

#[test]
fn a_project_that_somebody_else_could_have_put_there_says_nothing() {
    let stranger = Server::start([OK]);
    for above in ["outer", "outer/project", "outer/project/plugin_config.ini"] {
        let sandbox = Sandbox::new();
        sandbox.file("outer/project/plugin_config.ini", config_for(&dead_url()));
        accept(&sandbox, "outer/project");
        sandbox.file(
            "outer/project/plugin_config.ini",
            config_for(&stranger.url()),
        );
        for way in by_others(&sandbox.path(above)) {
            way();
            let flushed = flush(&sandbox);
            assert_eq!(flushed.code, 78, "{above}: {flushed:?}");
            assert!(flushed.stderr.contains(above), "{above}: {flushed:?}");
            let passed = "callback: skipping 1 delivery";
            assert!(flushed.stderr.contains(passed), "{flushed:?}");
        }
    }
    assert_eq!(stranger.requests().len(), 0);
}

#[test]
fn a_project_in_a_directory_such_as_tmp_is_its_owner_s() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::new();
    sandbox.file("outer/project/plugin_config.ini", config_for(&server.url()));
    sandbox.mode("outer", 0o1777);
    accept(&sandbox, "outer/project");
    flush(&sandbox).expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn a_link_in_the_place_of_a_project_is_looked_behind() {
    let stranger = Server::start([OK]);
    let sandbox = Sandbox::new();
    sandbox.file("project/plugin_config.ini", config_for(&dead_url()));
    accept(&sandbox, "project");
    std::fs::remove_dir_all(sandbox.path("project")).unwrap();
    sandbox.file("open/other/plugin_config.ini", config_for(&stranger.url()));
    sandbox.mode("open", 0o777);
    symlink(sandbox.path("open/other"), sandbox.path("project")).unwrap();
    let flushed = flush(&sandbox);
    assert_eq!(flushed.code, 78, "{flushed:?}");
    let reason = "/open` can be written by everyone";
    assert!(flushed.stderr.contains(reason), "{flushed:?}");
    assert_eq!(stranger.requests().len(), 0);
}

/// What the plugin of ansible-runner writes of a run with these settings.
fn runner_input(file: &str, url: &str) -> String {
    let runner = json!({"settings": file, "emitters": {"runner_http_url": url}});
    let hello = json!({"hello": {"protocol": 1, "run": {"id": "r"}, "runner": runner}});
    let record = json!({"event": "runner_on_ok", "counter": 1, "uuid": "u", "event_data": {}});
    let record = json!({"runner": {"seq": 1, "time": 1.0, "record": record}});
    format!("{hello}\n{record}\n{{\"end\":{{}}}}\n")
}

#[test]
fn settings_of_ansible_runner_that_somebody_else_could_have_written_are_not_used() {
    let stranger = Server::start([OK]);
    for above in ["private", "private/env", "private/env/settings"] {
        let sandbox = Sandbox::new();
        let dead = dead_url();
        sandbox.file(
            "home/.config/ansible-notify/plugin_config.ini",
            "[delivery]\ndrain = 0\n",
        );
        let settings =
            |url: &str| sandbox.file("private/env/settings", format!("runner_http_url: {url}\n"));
        let file = settings(&dead);
        sandbox.file("input", runner_input(file.to_str().unwrap(), &dead));
        let mut command = sandbox.command_on_spool(&["stream", "--quiet"]);
        command.stdin(std::fs::File::open(sandbox.path("input")).unwrap());
        outcome(command.spawn().unwrap()).expect(75, "");
        // It is gone, and somebody makes the same path.
        std::fs::remove_dir_all(sandbox.path("private")).unwrap();
        settings(&stranger.url());
        for way in by_others(&sandbox.path(above)) {
            way();
            let flushed = flush(&sandbox);
            assert_eq!(flushed.code, 75, "{above}: {flushed:?}");
            let said = flushed.stderr.contains(above) && flushed.stderr.contains("RUNNER_HTTP_URL");
            assert!(said, "{above}: {flushed:?}");
        }
    }
    assert_eq!(stranger.requests().len(), 0);
}

#[test]
fn every_file_that_a_section_names_is_looked_at() {
    let cases = [
        "token_file = FILE",
        "url_file = FILE",
        "ca_file = FILE",
        "client_cert = FILE",
        "client_cert = good.pem\nclient_key = FILE",
        "sign = standard\nsigning_secret_file = FILE",
    ];
    for keys in cases {
        let sandbox = Sandbox::new();
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = certificate.cert.pem() + &certificate.signing_key.serialize_pem();
        sandbox.file("good.pem", &pem);
        let file = sandbox.file("named", &pem);
        let url = if keys.contains("url") {
            ""
        } else {
            "url = http://localhost/\n"
        };
        let keys = keys.replace("FILE", "named");
        sandbox.file(
            "plugin_config.ini",
            format!("[notifier:x]\ntype = webhook\n{url}{keys}\n"),
        );
        for way in by_others(&file) {
            way();
            let checked = sandbox.run(&["check-config"]);
            assert_eq!(checked.code, 78, "{keys}: {checked:?}");
            let named = format!("`{}` ", file.display());
            assert!(checked.stderr.contains(&named), "{keys}: {checked:?}");
        }
    }
}

#[test]
fn a_key_that_everyone_can_read_gets_a_warning() {
    let sandbox = Sandbox::with_config(
        "[notifier:x]\ntype = webhook\nurl = https://localhost/\nclient_cert = both.pem\n",
    );
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = certificate.cert.pem() + &certificate.signing_key.serialize_pem();
    sandbox.file("both.pem", pem);
    sandbox.run(&["check-config"]).expect(0, "");
    sandbox.mode("both.pem", 0o644);
    let checked = sandbox.run(&["check-config"]);
    checked.expect_line(
        0,
        &["plugin_config.ini:4: it contains a key that everyone can read; chmod 600 it"],
    );
}
