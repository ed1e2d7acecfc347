//! A program and plugins of different versions.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use crate::cases::stream::{END, event};
use crate::sandbox::{Sandbox, config_for};
use crate::server::{OK, Server};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PLUGIN: &str = include_str!("../../callback_plugins/ansible_notify.py");
const PACKAGE: &str = include_str!("../../python/ansible_notify/__init__.py");

#[test]
fn plugins_and_program_have_one_version() {
    for text in [PLUGIN, PACKAGE] {
        let line = format!("\nVERSION = \"{VERSION}\"\n");
        assert_eq!(text.matches(&line).count(), 1);
    }
}

#[test]
fn another_protocol_is_refused_with_both_versions_and_what_to_upgrade() {
    let sandbox = Sandbox::sending_to("http://localhost/");
    let refused = |hello: Value, parts: &[&str]| {
        let input = format!("{}\n{END}", json!({"hello": hello}));
        let outcome = sandbox.run_with_input(&["stream"], input);
        let program = format!("this program (version {VERSION}) protocol 1; ");
        outcome.expect_line(78, &[&[program.as_str()], parts].concat());
        assert_eq!(outcome.stdout, "");
    };
    let newer = [
        "the plugin (version 3.0.0) speaks protocol 9,",
        "upgrade the program",
    ];
    refused(json!({"protocol": 9, "version": "3.0.0"}), &newer);
    // A later protocol may have everything else in another form.
    refused(
        json!({"run": 5, "overrides": [], "version": "3.0.0", "protocol": 9}),
        &newer,
    );
    refused(
        json!({"protocol": 0}),
        &[
            "the plugin (version unknown) speaks protocol 0,",
            "`ansible-notify init --upgrade`",
        ],
    );
    refused(
        json!({"protocol": 0, "version": "0.0.1", "runner": {"emitters": {}}}),
        &[
            "(version 0.0.1)",
            "upgrade the Python package ansible-notify",
        ],
    );
}

#[test]
fn another_version_with_the_same_protocol_goes_on_in_silence() {
    let server = Server::start([OK]);
    for version in [None, Some("0.0.1"), Some("99.0.0"), Some("nonsense")] {
        let sandbox = Sandbox::with_config(&config_for(&server.url()));
        let hello = json!({"hello": {"protocol": 1, "version": version, "run": {"id": "r"}}});
        let input = format!("{hello}\n{}{END}", event(1, "runner_on_failed", json!({})));
        let outcome = sandbox.run_with_input(&["stream", "--quiet"], input);
        outcome.expect(0, "");
        assert!(outcome.stdout.contains("{\"safe\":1}"), "{outcome:?}");
    }
}

/// A plugin as `init` writes it: with a last line that has the hash of the others.
fn written(plugin: &str) -> String {
    let sandbox = Sandbox::new();
    sandbox.run(&["init"]).expect(0, "");
    let file = sandbox.path("callback_plugins/ansible_notify.py");
    let last = std::fs::read_to_string(file).unwrap();
    let last = last.strip_prefix(PLUGIN).unwrap();
    let (start, _) = last.rsplit_once(' ').unwrap();
    let hash = ring::digest::digest(&ring::digest::SHA256, plugin.as_bytes());
    let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("{plugin}{start} {}\n", hash.collect::<String>())
}

/// A sandbox with this plugin and a configuration of the user's.
fn with_plugin(plugin: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.file("callback_plugins/ansible_notify.py", plugin);
    sandbox.file("callback_plugins/plugin_config.ini", "mine");
    sandbox
}

fn read(sandbox: &Sandbox, name: &str) -> String {
    std::fs::read_to_string(sandbox.path(&format!("callback_plugins/{name}"))).unwrap()
}

/// The plugin with another version, or without one.
fn of_version(line: &str) -> String {
    PLUGIN.replace(&format!("VERSION = \"{VERSION}\""), line)
}

#[test]
fn init_replaces_an_unchanged_plugin_on_request() {
    let cases = [
        (
            of_version("VERSION = \"0.0.9\""),
            format!("version 0.0.9, older than {VERSION} of this program"),
        ),
        (
            of_version("VERSION = \"99.1.0-rc.1\""),
            format!("version 99.1.0-rc.1, newer than {VERSION} of this program"),
        ),
        (
            format!("{PLUGIN}# a later build\n"),
            format!("version {VERSION} as in this program, with another text"),
        ),
    ];
    for (text, said) in &cases {
        let text = written(text);
        let sandbox = with_plugin(&text);
        let outcome = sandbox.run(&["init"]);
        assert_eq!(outcome.code, 0);
        let expected = format!("already exists, left unchanged: {said}; `--upgrade` replaces it\n");
        assert!(outcome.stderr.contains(&expected), "{outcome:?}");
        assert_eq!(read(&sandbox, "ansible_notify.py"), text);

        let outcome = sandbox.run(&["init", "--upgrade"]);
        assert_eq!(outcome.code, 0);
        let expected = format!(
            "replaced ./callback_plugins/ansible_notify.py with version {VERSION}; it was {said}\n"
        );
        assert!(outcome.stdout.contains(&expected), "{outcome:?}");
        assert_eq!(read(&sandbox, "ansible_notify.py"), written(PLUGIN));
        assert_eq!(read(&sandbox, "plugin_config.ini"), "mine");

        let outcome = sandbox.run(&["init", "--upgrade"]);
        let expected = format!("already exists: version {VERSION}, as in this program\n");
        assert!(outcome.stderr.contains(&expected), "{outcome:?}");
    }
}

#[test]
fn init_keeps_a_changed_plugin_and_reports_it() {
    let cases = [
        // Changed after `init` wrote it: in the middle, and at the end.
        (
            written(&of_version("VERSION = \"0.0.9\"")).replace("PYTHON2", "PYTHON_2"),
            format!("version 0.0.9, older than {VERSION} of this program"),
        ),
        (
            written(PLUGIN) + "# mine\n",
            format!("version {VERSION} as in this program, with another text"),
        ),
        // Not written by `init` at all.
        (
            of_version("VERSION = \"0.0.9\""),
            format!("version 0.0.9, older than {VERSION} of this program"),
        ),
        (
            of_version("VERSION = \"mine\""),
            "version `mine`".to_owned(),
        ),
        (
            of_version(""),
            format!("a version before {VERSION}, or a file of your own"),
        ),
    ];
    for (text, said) in &cases {
        let sandbox = with_plugin(text);
        for arguments in [&["init"][..], &["init", "--upgrade"]] {
            let outcome = sandbox.run(arguments);
            assert_eq!(outcome.code, 0);
            let expected = format!(
                "already exists, left unchanged: {said}, not as `init` wrote it; \
                 to replace it, delete it and run `ansible-notify init`\n"
            );
            assert!(outcome.stderr.contains(&expected), "{outcome:?}");
            assert_eq!(&read(&sandbox, "ansible_notify.py"), text);
        }
    }
    // A copy of this program's plugin is as good as one that `init` wrote.
    let sandbox = with_plugin(PLUGIN);
    let outcome = sandbox.run(&["init", "--upgrade"]);
    let expected = format!("already exists: version {VERSION}, as in this program\n");
    assert!(outcome.stderr.contains(&expected), "{outcome:?}");
    assert_eq!(read(&sandbox, "ansible_notify.py"), PLUGIN);
}

#[test]
fn init_replaces_only_plugins() {
    let older = written(&of_version("VERSION = \"0.0.9\""));
    // A link stays one, and so does the mode; nothing else is left behind.
    let sandbox = Sandbox::new();
    let shared = sandbox.file("shared/plugin.py", &older);
    sandbox.mode("shared/plugin.py", 0o640);
    let folder = sandbox.path("callback_plugins");
    std::fs::create_dir(&folder).unwrap();
    symlink(&shared, folder.join("ansible_notify.py")).unwrap();
    assert_eq!(sandbox.run(&["init", "--upgrade"]).code, 0);
    assert!(folder.join("ansible_notify.py").is_symlink());
    assert_eq!(std::fs::read_to_string(&shared).unwrap(), written(PLUGIN));
    assert_eq!(
        shared.metadata().unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(
        std::fs::read_dir(sandbox.path("shared")).unwrap().count(),
        1
    );

    // A folder, or a link to nothing, is no plugin.
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("callback_plugins/ansible_notify.py")).unwrap();
    sandbox
        .run(&["init", "--upgrade"])
        .expect_line(66, &["ansible_notify.py`: it is not a file"]);
}
