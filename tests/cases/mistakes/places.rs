//! Files, and the reported places.

use crate::sandbox::{Sandbox, outcome};

#[test]
fn a_shared_secret_is_reported_once_and_lines_are_in_order() {
    let webhook = |name: &str, more: &str| {
        format!("[notifier:{name}]\ntype = webhook\nurl = http://h/\n{more}\n")
    };
    let config = [
        webhook("z", "token_file = /nowhere/token"),
        webhook("m", "timeout = soon"),
        webhook("a", "token_file = /nowhere/token"),
        webhook("b", "timeout = soon"),
    ];
    let checked = Sandbox::with_config(&config.concat()).run(&["check-config"]);
    let lines: Vec<&str> = checked.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{checked:?}");
    assert!(
        lines[0].contains("ini:4: cannot read `/nowhere/token`: "),
        "{checked:?}"
    );
    assert!(lines[0].ends_with("; also on line 12"), "{checked:?}");
    assert!(
        lines[1].contains("ini:8: `timeout` must be a duration"),
        "{checked:?}"
    );
    assert!(
        lines[2].contains("ini:16: `timeout` must be a duration"),
        "{checked:?}"
    );
}

#[test]
fn a_spool_that_cannot_be_created_is_a_problem() {
    let config = |spool: &str| {
        Sandbox::with_config(&format!(
            "[inputs]\ncallback_url = http://h/\n[delivery]\nspool = {spool}\n"
        ))
    };
    for spool in ["/proc/nope", "/proc/nope/below"] {
        let said = format!("ini:4: `spool`: cannot create `{spool}`: ");
        config(spool)
            .run(&["check-config"])
            .expect_line(78, &[&said]);
    }
    let below = config("file/below");
    below.file("file", "");
    below.run(&["check-config"]).expect_line(
        78,
        &[
            "ini:4: `spool`: cannot create `",
            "/file` is not a directory",
        ],
    );
    let open = config("open");
    std::fs::create_dir(open.path("open")).unwrap();
    open.mode("open", 0o777);
    open.run(&["check-config"]).expect_line(
        78,
        &["ini:4: `spool`: others can write to `", "; chmod 700 it"],
    );
    let new = config("not/there/yet");
    new.run(&["check-config"]).expect(0, "");
    let left: Vec<_> = std::fs::read_dir(new.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["plugin_config.ini"]);
    let mut homeless = new.command(&["check-config"]);
    new.file("plugin_config.ini", "[inputs]\ncallback_url = http://h/\n");
    homeless.env("XDG_STATE_HOME", "/proc/nope");
    let said = outcome(homeless.spawn().unwrap());
    said.expect_line(
        0,
        &[
            "warning: spool: cannot create `/proc/nope/ansible-notify`: ",
            "; set `spool` in [delivery]",
        ],
    );
}

#[test]
fn the_ignored_one_of_two_files_is_reported() {
    let config = "[inputs]\ncallback_url = http://h/\n";
    let sandbox = Sandbox::with_config(config);
    sandbox.run(&["check-config"]).expect(0, "");
    sandbox.file("callback_plugins/plugin_config.ini", config);
    let (here, below) = (
        sandbox.path("plugin_config.ini"),
        sandbox.path("callback_plugins/plugin_config.ini"),
    );
    let said = |other: &std::path::Path, used: &std::path::Path| {
        format!(
            "{} is ignored: {} is used; keep one of them",
            other.display(),
            used.display()
        )
    };
    let checked = sandbox.run(&["check-config"]);
    checked.expect_line(0, &["warning: ", &said(&here, &below)]);
    let project = sandbox.root().to_str().unwrap();
    let checked = sandbox.run(&["check-config", "--project", project]);
    checked.expect_line(0, &["warning: ", &said(&below, &here)]);
    let checked = sandbox.run(&["check-config", "--config", "plugin_config.ini"]);
    checked.expect(0, "");
}
