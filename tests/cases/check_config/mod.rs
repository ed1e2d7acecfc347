//! `check-config`: every problem in one run, each with its place; the levels; connecting.

mod levels;
mod secrets;

use crate::sandbox::Sandbox;
use crate::server::{OK, Reply, Server, dead_url, status};

/// Returns the lines on standard error for a project's configuration, without the directory.
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
fn all_problems_are_reported_at_once_with_their_lines() {
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
fn a_spool_that_is_a_file_is_reported() {
    let config =
        "[inputs]\ncallback_url = http://localhost/\n[delivery]\nspool = plugin_config.ini\n";
    assert_eq!(
        problems(config),
        ["plugin_config.ini:4: `spool`: `plugin_config.ini` is not a directory"]
    );
    assert!(problems(&config.replace("plugin_config.ini", "not/there/yet")).is_empty());
}

#[test]
fn an_invalid_url_is_reported_with_advice() {
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
fn a_value_that_looks_like_a_comment_is_a_warning() {
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
fn expressions_are_tried_on_samples() {
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
    // Some answer to nothing but a POST.
    connect(vec![status(501)]).0.expect(0, "");

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
fn the_verdict_precedes_values_by_file_and_line() {
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
