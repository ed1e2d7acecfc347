//! A secret is masked in whatever form it comes back, where it is shown and where it is stored.

use crate::sandbox::{Outcome, Sandbox, outcome};
use crate::server::{Reply, Server, json};

/// Every byte of the spool, and what each command says of it.
fn kept_and_said(sandbox: &Sandbox) -> String {
    let mut all = String::new();
    for file in std::fs::read_dir(sandbox.path("state/ansible-notify")).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        all += &String::from_utf8_lossy(&bytes);
    }
    for arguments in [
        &["history"][..],
        &["history", "1"],
        &["status"],
        &["status", "--json"],
    ] {
        all += &sandbox.run_on_spool(arguments).stdout;
    }
    all
}

fn send(sandbox: &Sandbox) -> Outcome {
    sandbox.file("event.json", r#"{"state":"failed","host":"h"}"#);
    outcome(
        sandbox
            .command_on_spool(&["send", "event.json"])
            .spawn()
            .unwrap(),
    )
}

/// What an endpoint says back of these keys is nowhere to be found; `URL` is its own.
#[track_caller]
fn masked(keys: &str, said: &str, secrets: &[&str]) {
    let server = Server::start([Reply::Made(400, String::new(), said.to_owned())]);
    let url = server.url().replace("/events", "");
    let sandbox = Sandbox::with_config(&format!("[inputs]\n{}\n", keys.replace("URL", &url)));
    sandbox.file(
        "hook",
        format!("{url}/services/T0CanaryTeam/b0%2Fcanarybot?sig=Canary%20Signature"),
    );
    let sent = send(&sandbox);
    assert_eq!(sent.code, 69, "{sent:?}");
    assert!(sent.stderr.contains("[redacted]"), "{sent:?}");
    let all = sent.stderr + &kept_and_said(&sandbox);
    for secret in secrets {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
}

#[test]
fn each_part_of_a_secret_url_is_masked() {
    for said in [
        "no T0CanaryTeam here",
        "no t0canaryteam here",
        "no B0%2FCANARYBOT here",
        "no b0/canarybot here",
        "no canary signature here",
        "no Canary%20Signature here",
    ] {
        let part = said.trim_start_matches("no ").trim_end_matches(" here");
        masked("callback_url_file = hook", said, &[part]);
    }
}

#[test]
fn the_fixed_parts_of_a_templated_header_are_masked() {
    let keys = "callback_url = URL\nheaders = X-Api-Key: canary-one-{{ host ~ 'canary-two' }}-canary-three";
    masked(keys, "canary-one-hcanary-two-canary-three", &["canary"]);
    let keys = "callback_url = URL\nheaders = Authorization: Bearer canary one{{ host }}";
    masked(keys, "the token is canary one", &["canary one"]);
    masked(
        "callback_url = URL\nheaders = X-Token: Key canary two words",
        "canary two words",
        &["canary"],
    );
}

#[test]
fn a_password_is_masked_however_it_is_written() {
    let keys = "callback_url = URL\nusername = anna\npassword = pass \"é\"/<canary>&'x'";
    for said in [
        "pass \"é\"/<canary>&'x'",
        "PASS \"é\"/<CANARY>&'X'",
        r#"pass \"é\"/<canary>&'x'"#,
        r#"pass \"\u00e9\"\/<canary>&'x'"#,
        "pass &quot;é&quot;/&lt;canary&gt;&amp;&#39;x&#39;",
        "pass &#34;é&#34;/&lt;canary&gt;&amp;&#39;x&#39;",
        "pass+%22%C3%A9%22%2F%3Ccanary%3E%26%27x%27",
        "pass%20%22%c3%a9%22%2f%3ccanary%3e%26%27x%27",
        // Each escapes what it likes, and what is escaped is in a text that escapes again.
        "pass%20%22%C3%A9%22/%3Ccanary%3E%26'x'",
        "pass%2520%2522%25C3%25A9%2522%252F%253Ccanary%253E%2526%2527x%2527",
        r#"pass \"é\"\/\u003ccanary\u003e\u0026'x'"#,
        r#"pass \u0022\u00E9\u0022/\u003Ccanary\u003E\u0026\u0027x\u0027"#,
        r#"pass \\\"\\u00e9\\\"/<canary>&'x'"#,
        "pass \"&#xE9;\"/&lt;canary&gt;&amp;'x'",
        "pass &amp;quot;é&amp;quot;/&amp;lt;canary&amp;gt;&amp;amp;&amp;#39;x&amp;#39;",
        r#"pass \"é\"/\u0026lt;canary\u0026gt;\u0026amp;'x'"#,
        // "anna:…", as basic authentication has it; and one, two and three bytes after another beginning.
        "YW5uYTpwYXNzICLDqSIvPGNhbmFyeT4mJ3gn",
        "eHBhc3MgIsOpIi88Y2FuYXJ5PiYneCd5",
        "eHhwYXNzICLDqSIvPGNhbmFyeT4mJ3gneQ==",
        "eHh4cGFzcyAiw6kiLzxjYW5hcnk+Jid4J3k=",
    ] {
        let hidden = ["canary", "CANARY", "5hcnk", "W5hcnk", "FuYXJ5"];
        masked(keys, said, &hidden);
    }
}

#[test]
fn what_slack_calls_a_message_is_kept_only_if_it_could_be_that() {
    for name in ["canary-token".to_owned(), "1".repeat(60_000)] {
        let ok = serde_json::json!({"ok": true, "channel": "C1", "ts": name});
        let server = Server::start([json(200, &ok)]);
        let sandbox = Sandbox::with_config(&format!(
            "[notifier:slack]\ntype = slack\napi_url = {}\ntoken = canary-token\nchannels = a\non = any\n",
            server.url()
        ));
        let sent = send(&sandbox);
        assert_eq!(sent.code, 0, "{sent:?}");
        let all = kept_and_said(&sandbox);
        assert!(!all.contains("canary") && !all.contains(&"1".repeat(300)));
    }
}

#[test]
fn an_error_without_end_is_kept_in_short() {
    let no = serde_json::json!({"ok": false, "error": "x".repeat(50_000)});
    let server = Server::start([json(200, &no)]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:slack]\ntype = slack\napi_url = {}\ntoken = a-token\nchannels = a\non = any\n",
        server.url()
    ));
    assert_eq!(send(&sandbox).code, 69);
    assert!(!kept_and_said(&sandbox).contains(&"x".repeat(2001)));
}

#[test]
fn what_is_hidden_stays_so_in_the_item_and_under_any_spelling_of_a_key() {
    let config =
        "[inputs]\ncallback_url = http://localhost/\n[outputs]\nitem = item\nresult = result\n";
    for event in [
        r#"{"state":"failed","item":{"_ansible_no_log":true,"k":"canary"}}"#,
        r#"{"state":"failed","item":{"k":{"invocation":{"a":"canary"}}}}"#,
        r#"{"state":"failed","item":[{"censored":"hidden","k":"canary"}]}"#,
        r#"{"state":"failed","item":{"name":"a","k":"canary"},"result":{"_ansible_item_label":"a"}}"#,
        r#"{"state":"failed","item":"canary","result":{"\u005fansible_no_log":true,"stdout":"canary"}}"#,
        r#"{"state":"failed","result":{"\u0069nvocation":"canary"}}"#,
        r#"{"state":"failed","result":{"a":[{"censore\u0064":"x","b":"canary"}]}}"#,
        r#"{"state":"failed","\u0069tem":{"_ansible\u005Fno_log":true,"k":"canary"}}"#,
        r#"{"uuid":"u","counter":1,"event":"runner_on_failed","event_data":{"host":"h","res":{"_ansible\u005fno_log":true,"msg":"canary"}}}"#,
    ] {
        let sandbox = Sandbox::with_config(config);
        let shown = sandbox.run_with_input(&["send", "--dry-run", "-"], event);
        assert_eq!(shown.code, 0, "{shown:?}");
        assert!(!shown.stdout.contains("canary"), "{event}: {shown:?}");
    }
    let hello = r#"{"hello":{"protocol":1,"run":{"id":"r"}}}"#;
    let event = r#"{"event":{"seq":1,"event":"runner_on_failed","time":1.0,"item":{"_ansible_no_log":true,"a":"canary"},"result":{"\u005fansible_no_log":true,"msg":"canary"}}}"#;
    let sandbox = Sandbox::with_config(&format!("[delivery]\ndrain = 0\n{config}"));
    sandbox.file("input", format!("{hello}\n{event}\n{{\"end\":{{}}}}\n"));
    let mut command = sandbox.command_on_spool(&["stream"]);
    command.stdin(std::fs::File::open(sandbox.path("input")).unwrap());
    outcome(command.spawn().unwrap());
    assert!(!kept_and_said(&sandbox).contains("canary"));
}
