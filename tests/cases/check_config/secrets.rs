//! Secrets, and the files that hold them.

use std::os::unix::fs::symlink;

use super::problems;
use crate::sandbox::Sandbox;

#[test]
fn a_secret_that_cannot_be_read_is_the_only_problem() {
    for keys in [
        "type = webhook\nurl_env = UNSET",
        "type = webhook\nurl = http://localhost/\nsign = standard\nsigning_secret_env = UNSET",
        "type = grafana\nurl = http://localhost/\nusername = a\npassword_env = UNSET",
        "type = zeromq\nurl_env = UNSET",
        "type = pagerduty\nrouting_key_env = UNSET",
    ] {
        let found = problems(&format!("[notifier:x]\n{keys}\n"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("environment variable `UNSET` is not set"));
    }
}

#[test]
fn a_secret_in_a_url_or_a_header_is_one() {
    for (key, lines) in [
        (
            "callback_url",
            "callback_url = http://u:canary@localhost/\n",
        ),
        (
            "proxy",
            "callback_url = http://localhost/\nproxy = http://u:canary@localhost/\n",
        ),
        (
            "headers",
            "callback_url = http://localhost/\nheaders = Authorization: Bearer canary\n",
        ),
    ] {
        let sandbox = Sandbox::with_config(&format!("[inputs]\n{lines}"));
        assert_eq!(sandbox.run(&["check-config"]).code, 0, "{key}");
        sandbox.mode("plugin_config.ini", 0o644);
        let said = format!("`{key}` contains a secret, but this file can be read by others");
        sandbox.run(&["check-config"]).expect_line(78, &[&said]);
    }
}

#[test]
fn untrusted_files_are_rejected() {
    let config = "[inputs]\ncallback_url = http://localhost/\nusername = u\npassword = canary\n";
    let sandbox = Sandbox::with_config(config);
    let check = |reason: &str| {
        let outcome = sandbox.run(&["check-config"]);
        outcome.expect_line(78, &[reason]);
        assert!(!outcome.stdout.contains("canary") && !outcome.stderr.contains("canary"));
    };
    sandbox.mode("plugin_config.ini", 0o644);
    check(
        "plugin_config.ini:4: `password` must stay private, but this file can be read by others (mode 0644); chmod 600 it, or use `password_file`, `password_env` or `password_command`",
    );
    sandbox.mode("plugin_config.ini", 0o602);
    check("plugin_config.ini: can be written by everyone; chmod 600 it");
    sandbox.file(
        "plugin_config.ini",
        format!("{config}# {}", "x".repeat(1 << 20)),
    );
    check("the limit is 1 MiB");

    let path = sandbox.path("plugin_config.ini");
    std::fs::rename(&path, sandbox.path("other.ini")).unwrap();
    symlink(sandbox.path("other.ini"), &path).unwrap();
    check("plugin_config.ini: is a symbolic link; select the file itself with --config");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    check("plugin_config.ini: is not a file");
    std::fs::remove_dir(&path).unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    check("plugin_config.ini: is not a file");
    std::fs::remove_file(&path).unwrap();
    check("no notifier is configured: set `callback_url` in [inputs], or add a [notifier:NAME]");
    let outcome = sandbox.run(&["check-config", "--config", "missing.ini"]);
    outcome.expect(78, "ansible-notify: missing.ini: no such file\n");
}

#[test]
fn secrets_by_file_environment_and_command() {
    let sandbox = Sandbox::new();
    let check = |keys: &str| {
        sandbox.file(
            "plugin_config.ini",
            format!("[inputs]\ncallback_url = http://localhost/\nusername = u\n{keys}\n"),
        );
        sandbox.run(&["check-config"])
    };
    sandbox.file("secret", "canary\n");
    for keys in [
        "password_file = secret",
        "password_env = HOME",
        "password_command = echo canary",
    ] {
        check(keys).expect(0, "");
    }
    check("").expect_line(78, &["plugin_config.ini:3: `username` has no password"]);
    check("password_file = secret\npassword_env = HOME").expect_line(
        78,
        &["`password_file` and `password_env` are set; keep one of them"],
    );
    check("password_env = MISSING").expect_line(
        78,
        &["plugin_config.ini:4: environment variable `MISSING` is not set"],
    );
    check("password_file = missing").expect_line(78, &["cannot read `", "/missing`: No such file"]);
    check("password_command = false").expect(0, "");
    let run = sandbox.run(&["check-config", "--run-commands"]);
    run.expect_line(78, &["`false` failed: exit status: 1"]);
    sandbox.mode("secret", 0o640);
    check("password_file = secret")
        .expect_line(78, &["can be read by others (mode 0640); chmod 600 it"]);
}
