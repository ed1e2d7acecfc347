//! The files of the levels.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::sandbox::Sandbox;
use crate::server::{OK, Server, dead_url};

#[test]
fn levels_are_inherited_key_by_key() {
    let sandbox =
        Sandbox::with_config("[inputs]\nusername = project\n[notifier:chat]\nenabled = false\n");
    sandbox.file(
        "home/.config/ansible-notify/plugin_config.ini",
        "[inputs]\ncallback_url = http://localhost/\nusername = user\npassword = p-a-s-s\n\
         [notifier:chat]\ntype = webhook\nurl = http://localhost/chat\n[notifier:audit]\ntype = webhook\nurl = http://localhost/audit\n",
    );
    let outcome = sandbox.run(&["check-config", "--json"]);
    outcome.expect(0, "");
    assert!(!outcome.stdout.contains("p-a-s-s"));
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let names: Vec<&str> = report["notifiers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|notifier| notifier["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["callback", "audit"]);
    let place = |key: &str| {
        let values = report["values"].as_array().unwrap();
        let value = values
            .iter()
            .find(|value| value["section"] == "inputs" && value["key"] == key)
            .unwrap();
        (
            value["value"].as_str().unwrap().to_owned(),
            value["place"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(place("username").0, "project");
    assert!(place("username").1.ends_with("plugin_config.ini:2"));
    assert_eq!(place("password").0, "[redacted]");
    assert!(
        place("password")
            .1
            .contains("home/.config/ansible-notify/plugin_config.ini:4")
    );

    sandbox.file(
        "plugin_config.ini",
        "[inputs]\ninherit = false\ncallback_url = http://localhost/own\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    outcome.expect(0, "");
    assert!(
        outcome.stdout.contains("/own") && !outcome.stdout.contains("audit"),
        "{outcome:?}"
    );

    sandbox.file("plugin_config.ini", "[notifier:audit]\ninherit = false\n");
    let outcome = sandbox.run(&["check-config"]);
    outcome.expect_line(
        0,
        &["plugin_config.ini:2: `inherit` has an effect only in [inputs]"],
    );
    assert!(outcome.stdout.contains("localhost/audit"), "{outcome:?}");
    sandbox.file(
        "plugin_config.ini",
        "[inputs]\ninherit = false\ncallback_url = http://localhost/own\n",
    );

    // The environment overrides every file.
    let mut command = sandbox.command(&["check-config"]);
    command.env(
        "ANSIBLE_NOTIFY_CALLBACK_URL",
        "http://localhost/environment",
    );
    let outcome = crate::sandbox::outcome(command.spawn().unwrap());
    assert!(
        outcome.stdout.contains(
            "ANSIBLE_NOTIFY_CALLBACK_URL  callback_url    http://localhost/environment\n"
        ),
        "{outcome:?}"
    );
}

#[test]
fn a_given_project_means_exactly_that_directory() {
    let config = |name: &str| format!("[inputs]\ncallback_url = http://localhost/{name}\n");
    let sandbox = Sandbox::with_config(&config("here"));
    sandbox.file("flat/plugin_config.ini", config("flat"));
    sandbox.file("deep/callback_plugins/plugin_config.ini", config("deep"));
    for project in ["flat", "deep"] {
        let outcome = sandbox.run(&["check-config", "--project", project]);
        outcome.expect(0, "");
        assert!(
            outcome
                .stdout
                .contains(&format!("http://localhost/{project}\n")),
            "{outcome:?}"
        );
    }
    sandbox
        .run(&["check-config", "--project", "typo"])
        .expect(78, "ansible-notify: typo: no such directory\n");
    sandbox
        .run(&["test", "--project", "typo"])
        .expect_line(78, &["typo: no such directory"]);
    sandbox
        .run(&["check-config", "--project", "flat/plugin_config.ini"])
        .expect_line(
            78,
            &["flat/plugin_config.ini/plugin_config.ini: cannot be read"],
        );

    std::fs::create_dir(sandbox.path("bare")).unwrap();
    let bare = ["check-config", "--project", "bare"];
    sandbox
        .run(&bare)
        .expect_line(78, &["bare/plugin_config.ini: no notifier is configured"]);
    let user = "home/.config/ansible-notify/plugin_config.ini";
    sandbox.file(user, config("user"));
    let outcome = sandbox.run(&bare);
    outcome.expect(0, "");
    assert!(
        outcome.stdout.contains("http://localhost/user\n"),
        "{outcome:?}"
    );
}

#[test]
fn a_path_that_is_not_utf_8_works() {
    let sandbox = Sandbox::new();
    let project = sandbox.root().join(OsStr::from_bytes(b"x\xff"));
    let run = |arguments: &[&str]| {
        let mut command = sandbox.command_on_spool(arguments);
        command.current_dir(&project);
        crate::sandbox::outcome(command.spawn().unwrap())
    };
    std::fs::create_dir(&project).unwrap();
    let configure = |url: &str| {
        let file = sandbox.file(
            "new.ini",
            format!("[inputs]\ncallback_url = {url}\n[delivery]\ndrain = 0\n"),
        );
        std::fs::rename(file, project.join("plugin_config.ini")).unwrap();
    };
    configure(&dead_url());
    sandbox.file("event.json", r#"{"state":"failed"}"#);
    let checked = run(&["check-config", "--json"]);
    checked.expect(0, "");
    assert!(checked.stdout.contains("/x\u{fffd}/plugin_config.ini"));
    assert_eq!(run(&["send", "../event.json"]).code, 75);
    assert!(
        run(&["status", "--json"])
            .stdout
            .contains("/x\u{fffd}/plugin_config.ini")
    );
    // It is found again nevertheless.
    let server = Server::start([OK]);
    configure(&server.url());
    run(&["flush"]).expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn a_world_writable_directory_is_skipped() {
    let sandbox = Sandbox::with_config("[inputs]\ncallback_url = http://localhost/\n");
    sandbox.mode("", 0o777);
    let outcome = sandbox.run(&["check-config"]);
    assert_eq!(outcome.code, 78);
    assert!(
        outcome.stderr.contains(
            "is ignored: everyone can write to its directory; to use it, select it with --config"
        ),
        "{outcome:?}"
    );
    sandbox
        .run(&["check-config", "--config", "plugin_config.ini"])
        .expect(0, "");
}
