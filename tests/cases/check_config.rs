//! `check-config`: every problem in one run, each with its place; the levels; connecting.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use crate::sandbox::Sandbox;
use crate::server::{OK, Reply, Server, dead_url, status};

/// The lines on standard error for a project's configuration, with the directory cut off.
fn problems(config: &str) -> Vec<String> {
    let sandbox = Sandbox::with_config(config);
    let outcome = sandbox.run(&["check-config"]);
    let root = format!("{}/", sandbox.root().display());
    let lines: Vec<String> = outcome
        .stderr
        .lines()
        .map(|line| line.replace("ansible-notify: ", "").replace(&root, ""))
        .collect();
    assert_eq!(
        outcome.code,
        if lines.is_empty() { 0 } else { 78 },
        "{outcome:?}"
    );
    lines
}

#[test]
fn all_problems_are_said_at_once_with_their_lines() {
    let found = problems(
        "[inputs]\ncalback_url = http://localhost/\nvalidate_certs = maybe\non = ok, faild\ntimeout = soon\n\
         when = stat == 'failed'\nconcurrency = 0\nca_file = nowhere.pem\n[outputs]\na = result.\nb = hots\nc = item | nofilter\n\
         [notifier:x]\ntype = webhok\n[notifier:y]\nurl = ftp://x\n[outputs:z]\na = state\n[output]\n",
    );
    let expected = [
        "plugin_config.ini:19: unknown section [output]; did you mean [outputs]?",
        "plugin_config.ini:10: `a`: unexpected end of input, expected identifier or integer",
        "plugin_config.ini:11: unknown variable `hots`; did you mean `host`?",
        "plugin_config.ini:12: `c`: no filter `nofilter` exists; see docs/expressions.md",
        "plugin_config.ini:4: unknown trigger `faild`; did you mean `failed`?",
        "plugin_config.ini:6: unknown variable `stat`; did you mean `stats`?",
        "plugin_config.ini:7: `concurrency` must be a whole number from 1 to 64, not `0`",
        "plugin_config.ini:3: `validate_certs` must be true or false, not `maybe`",
        "plugin_config.ini:8: cannot read `nowhere.pem`: No such file or directory (os error 2)",
        "plugin_config.ini:5: `timeout` must be a duration such as 500ms, 30s, 5m or 72h, not `soon`",
        "plugin_config.ini:2: unknown key `calback_url` in [inputs]; did you mean `callback_url`?",
        "plugin_config.ini:14: unknown type `webhok`; did you mean `webhook`?",
        "plugin_config.ini:15: [notifier:y] has no `type`; set it to one of: webhook, ",
        "plugin_config.ini:17: [outputs:z] has no matching [notifier:z]",
    ];
    for line in expected {
        assert!(
            found.iter().any(|found| found.starts_with(line)),
            "no `{line}` in {found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn a_spool_that_is_a_file_is_said() {
    let config =
        "[inputs]\ncallback_url = http://localhost/\n[delivery]\nspool = plugin_config.ini\n";
    assert_eq!(
        problems(config),
        ["plugin_config.ini:4: `spool`: `plugin_config.ini` is not a directory"]
    );
    assert!(problems(&config.replace("plugin_config.ini", "not/there/yet")).is_empty());
}

#[test]
fn what_is_no_url_is_said_with_what_to_do() {
    for (url, problem) in [
        ("\"http://localhost/\"", "is not a URL: remove the quotes"),
        ("127.0.0.1:8080/x", "must begin with http:// or https://"),
        ("localhost:8080/x", "must begin with http:// or https://"),
        ("ops.example.com/x", "must begin with http:// or https://"),
    ] {
        assert_eq!(
            problems(&format!("[inputs]\ncallback_url = {url}\n")),
            [format!("plugin_config.ini:2: `callback_url` {problem}")]
        );
    }
}

#[test]
fn mistakes_in_the_text_of_the_file() {
    assert_eq!(
        problems("[inputs]\ncallback_url\n[inputs]\n"),
        [
            "plugin_config.ini:2: this line has no `=`; write `key = value`",
            "plugin_config.ini:3: duplicate section [inputs]; first on line 1",
        ]
    );
}

#[test]
fn what_looks_like_a_comment_is_warned_of() {
    let sandbox = Sandbox::with_config(
        "[inputs]\ncallback_url = http://h/x\n[outputs]\na = {{ 'x' }} # note\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    outcome.expect_line(
        0,
        &["plugin_config.ini:4: the value of `a` contains what looks like a comment"],
    );
}

#[test]
fn what_the_expressions_do_with_a_sample_is_tried() {
    let found =
        problems("[inputs]\ncallback_url = http://localhost/\n[outputs]\na = result.rc + 'x'\n");
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("plugin_config.ini:4: ")
            && found[0].ends_with("(tried on a sample of runner_on_ok)"),
        "{found:?}"
    );
}

#[test]
fn the_name_of_the_main_notifier_is_taken() {
    let found = problems(
        "[inputs]\ncallback_url = http://localhost/\n\
         [notifier:callback]\ntype = webhook\nurl = http://localhost/\n",
    );
    assert_eq!(
        found,
        ["plugin_config.ini:3: [inputs] is the notifier `callback`; give this one another name"]
    );
}

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
fn an_endless_expression_is_refused() {
    let sum = "1+".repeat(20_000);
    let found = problems(&format!(
        "[inputs]\ncallback_url = http://localhost/\n[outputs]\na = {sum}1\n"
    ));
    assert_eq!(
        found,
        [
            "plugin_config.ini:4: `a`: an expression or template can have at most 32768 bytes; this one has 40001"
        ]
    );
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
fn files_that_are_not_to_be_trusted_are_refused() {
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

    // What the environment says wins over every file.
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
fn a_project_that_is_named_is_that_directory_and_no_other() {
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
fn a_path_that_is_no_text_is_a_path_all_the_same() {
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
    // It is found again for all that.
    let server = Server::start([OK]);
    configure(&server.url());
    run(&["flush"]).expect(0, "ansible-notify: 1 delivery: delivered\n");
}

#[test]
fn a_directory_that_everyone_can_write_to_is_passed_over() {
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

#[test]
fn connecting_notifies_nobody() {
    let connect = |reply: Vec<Reply>| {
        let server = Server::start(reply);
        let sandbox = Sandbox::sending_to(&server.url());
        let outcome = sandbox.run(&["check-config", "--connect"]);
        (outcome, server.requests())
    };
    let (outcome, requests) = connect(vec![OK]);
    outcome.expect(0, "");
    assert!(
        outcome
            .stdout
            .contains("callback: OPTIONS http://127.0.0.1:"),
        "{outcome:?}"
    );
    assert_eq!(
        (requests[0].method.as_str(), requests[0].body.as_str()),
        ("OPTIONS", "")
    );

    let (outcome, requests) = connect(vec![status(405), status(200)]);
    outcome.expect(0, "");
    assert!(
        outcome.stdout.contains("callback: HEAD http://127.0.0.1:"),
        "{outcome:?}"
    );
    assert_eq!(requests[1].method, "HEAD");

    for (reply, reason) in [
        (
            401,
            "401 Unauthorized: asks for credentials; set `username` and `password`, or `token`",
        ),
        (403, "the credentials were refused: 403 Forbidden"),
        (
            302,
            "redirects (302 Found) to another address; set the final URL",
        ),
        (404, "nothing found: 404 Not Found"),
    ] {
        let (outcome, _) = connect(vec![status(reply)]);
        outcome.expect_line(78, &[reason]);
    }
    let outcome = Sandbox::sending_to(&dead_url()).run(&["check-config", "--connect"]);
    outcome.expect_line(78, &["Connection refused"]);
    let outcome =
        Sandbox::sending_to("http://no-such-host.invalid/").run(&["check-config", "--connect"]);
    outcome.expect_line(
        78,
        &["http://no-such-host.invalid: the host name cannot be resolved"],
    );
}

#[test]
fn test_sends_a_sample_through_the_real_settings() {
    let server = Server::start([OK]);
    let outcome = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\non = ok\n[outputs]\nt = task_name\ntest = event.test\n",
        server.url()
    ))
    .run(&["test"]);
    outcome.expect(0, "");
    assert_eq!(outcome.stdout, "callback: delivered\n");
    assert_eq!(
        server.requests()[0].body,
        r#"{"t":"a test message from ansible-notify","test":true}"#
    );

    Sandbox::sending_to(&dead_url())
        .run(&["test", "callback"])
        .expect_line(75, &["callback: http://127.0.0.1:"]);
    let refusing = Server::start([status(400)]);
    Sandbox::sending_to(&refusing.url()).run(&["test"]).expect(
        69,
        &format!(
            "ansible-notify: callback: {}: 400 Bad Request\n",
            refusing.url().trim_end_matches("/events")
        ),
    );
}

#[test]
fn json_keeps_its_keys_whatever_the_secrets_are() {
    let sandbox = Sandbox::with_config(
        "[inputs]\ncallback_url = https://ops.example.com/\nusername = anna\npassword = values\n",
    );
    let shown = sandbox.run(&["check-config", "--json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let values = report["values"].as_array().unwrap();
    let password = values.iter().find(|value| value["key"] == "password");
    assert_eq!(password.unwrap()["value"], "[redacted]");
}

#[test]
fn the_values_stand_by_file_and_line_behind_the_verdict() {
    let sandbox = Sandbox::with_config(
        "[inputs]\ncallback_url = http://localhost/\n[notifier:b]\ntype = webhook\nurl = http://b/\n\
         headers = A: 1\n   B: 2\n[delivery]\ndrain = 2m\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    let (first, rest) = outcome.stdout.split_once('\n').unwrap();
    assert_eq!(first, "configuration OK");
    let file = sandbox.path("plugin_config.ini").display().to_string();
    let (_, table) = rest.split_once(&format!("{file}  (project)\n")).unwrap();
    let expected = "  [inputs]
     2  callback_url    http://localhost/
  [notifier:b]
     4  type            webhook
     5  url             http://b/
     6  headers         A: 1
                        B: 2
  [delivery]
     9  drain           2m

defaults in effect
  [delivery]
        keep            14d
        keep_bodies     false
        keep_runs       30d
        max_age         3d
        max_size        256MiB
";
    assert!(table.starts_with(expected), "{table}");
    assert!(!table.contains(&file) && !table.contains('\x1b'), "{table}");

    sandbox.file(
        "plugin_config.ini",
        "[inputs]\ncallback_url = http://localhost/\non = faild\nx = 1\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    assert!(
        outcome
            .stdout
            .starts_with("configuration not OK: 2 problems\n"),
        "{outcome:?}"
    );
}
