//! Values of several lines: texts keep theirs, keys of one line refuse a second one.

use crate::sandbox::Sandbox;
use crate::server::{OK, Server};

const EVENT: &str = r#"{"state":"failed","host":"h","result":{"rc":2}}"#;

fn project(text: &str) -> Sandbox {
    let sandbox = Sandbox::with_config(text);
    sandbox.file("event.json", EVENT);
    sandbox
}

#[test]
fn a_backslash_at_the_end_of_a_line_is_text() {
    let server = Server::start([OK]);
    let sandbox = project(&format!(
        "[inputs]\nusername = anna\\\npassword = abc\\\ncallback_url = {}\n[outputs]\na = 'c:\\\\'\nb = {{{{ host }}}}\\\nc = host\n",
        server.url()
    ));
    let sent = sandbox.run(&["send", "event.json"]);
    sent.expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let request = &server.requests()[0];
    // "anna\:abc\"
    assert_eq!(
        request.header("authorization"),
        Some("Basic YW5uYVw6YWJjXA==")
    );
    assert_eq!(request.body, r#"{"a":"c:\\","b":"h\\","c":"h"}"#);
}

#[test]
fn a_text_keeps_its_lines() {
    let server = Server::start([OK]);
    let sandbox = project(&format!(
        "[notifier:a]\ntype = webhook\non = any\nurl = {}\n[outputs:a]\n\
         markdown =\n  # {{{{ host }}}}\n\n  - a\n      - b\n  ; c\n# a comment of the file\n  {{# no comment #}}\n\
         sum = result.rc\n   # two\n   + 1\n\
         text =\n\t'# a\n\t# b'\n",
        server.url()
    ));
    let sent = sandbox.run(&["send", "event.json"]);
    sent.expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let body = server.requests()[0].json();
    assert_eq!(body["markdown"], "# h\n\n- a\n    - b\n; c\n");
    assert_eq!(body["sum"], 3);
    assert_eq!(body["text"], "# a\n# b");
}

#[test]
fn a_mail_keeps_its_style_sheet() {
    let sandbox = project(
        "[notifier:a]\ntype = email\non = any\nhost = h\nfrom = a@example.com\nto =\n  b@example.com\n  # nobody@example.com\n  c@example.com\n\
         body =\n  <style>\n    #x { color: red }\n\n  </style>\n  <p>{{ host }}</p>\n",
    );
    let shown = sandbox.run(&["send", "--dry-run", "event.json"]);
    shown.expect(0, "");
    assert!(!shown.stdout.contains("nobody@"), "{shown:?}");
    let text = shown.stdout.replace("=0A", "\n").replace("\r", "");
    assert!(
        text.contains("<style>\n  #x { color: red }\n\n</style>\n<p>h</p>"),
        "{text}"
    );
}

#[test]
fn channels_may_begin_a_line() {
    let sandbox = project(
        "[notifier:a]\ntype = irc\non = any\nserver = h\ntargets =\n  #ops\n  # a comment\n  #dev\n",
    );
    let shown = sandbox.run(&["send", "--dry-run", "event.json"]).stdout;
    assert!(
        shown.contains("JOIN #ops") && shown.contains("JOIN #dev"),
        "{shown}"
    );
    assert!(!shown.contains("comment"), "{shown}");
}

#[test]
fn a_key_of_one_line_refuses_another() {
    for (lines, line, key) in [
        (
            "callback_url = http://h/\n  username = anna",
            3,
            "callback_url",
        ),
        ("callback_url =\n  http://h/\n  more", 4, "callback_url"),
        (
            "callback_url = http://h/\ntimeout = 5s\n\n  concurrency = 3",
            5,
            "timeout",
        ),
        (
            "callback_url = http://h/\nusername = a\npassword = abcd\n\tefgh",
            5,
            "password",
        ),
        (
            "callback_url = http://h/\ntoken_command = a\n  | b",
            4,
            "token_command",
        ),
        ("callback_url = http://h/\nca_file = /x\n  y", 4, "ca_file"),
        (
            "callback_url = http://h/\nvalidate_certs = no\n  x",
            4,
            "validate_certs",
        ),
    ] {
        let sandbox = project(&format!("[inputs]\n{lines}\n"));
        let said = format!(
            "line {line} is indented, so it became part of `{key}`; remove the indentation"
        );
        let checked = sandbox.run(&["check-config"]);
        checked.expect_line(78, &["plugin_config.ini:", &said]);
    }
}

#[test]
fn one_line_may_stand_below_its_key_and_comments_anywhere() {
    let server = Server::start([OK]);
    let sandbox = project(&format!(
        "[inputs]\n  callback_url =\n      # the collector\n      {}\n  timeout = 5s\n      # username = anna\n\n",
        server.url()
    ));
    assert_eq!(sandbox.run(&["send", "event.json"]).code, 0);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn what_is_no_ini_is_said_in_one_line() {
    for (bytes, line, said) in [
        (
            &b"[inputs]\r\ncallback_url = http://h/\xe9\r\n"[..],
            2,
            "this is not UTF-8 text (byte 0xe9, in Latin-1 `\u{e9}`); save the file as UTF-8",
        ),
        (
            b"\xff\xfe[\0i\0]\0\n\0",
            1,
            "this is UTF-16; save the file as UTF-8",
        ),
        (
            b"[inputs]\rcallback_url = http://h/\r",
            1,
            "this line contains a carriage return",
        ),
        (
            b"---\ninputs:\n  callback_url: http://h/\n",
            1,
            "this looks like YAML",
        ),
        (
            b"inputs:\n  callback_url: http://h/\n  x: y\n",
            1,
            "this looks like YAML",
        ),
        (b"{\"inputs\": {}}\n", 1, "this looks like JSON"),
        (
            b"[inputs]\ncallback_url: http\n",
            2,
            "this line has no `=`; write `key = value`, not `key: value`",
        ),
    ] {
        let sandbox = Sandbox::new();
        sandbox.file("plugin_config.ini", bytes);
        let checked = sandbox.run(&["check-config"]);
        let said = format!("plugin_config.ini:{line}: {said}");
        assert!(checked.stderr.contains(&said), "{checked:?}");
        assert_eq!(
            (checked.code, checked.stderr.lines().count()),
            (78, 1),
            "{checked:?}"
        );
    }
    let sandbox = Sandbox::new();
    sandbox.file(
        "plugin_config.ini",
        "\u{feff}[inputs]\r\ncallback_url = http://h/\r\n\tx = y\r\n",
    );
    let checked = sandbox.run(&["check-config"]);
    checked.expect_line(78, &["line 3 is indented"]);
}

#[test]
fn a_command_is_split_as_a_shell_does_and_no_shell_runs_it() {
    let sandbox = project("");
    sandbox.file("show", "#!/bin/sh\nprintf '%s|' \"$@\"\n");
    sandbox.mode("show", 0o700);
    let show = sandbox.path("show").display().to_string();
    for (arguments, header) in [
        ("\"my item\" 'it''s' a\\ b", "my item|its|a b|"),
        ("a#x '#'", "a#x|#|"),
        ("'a | b' \"\\$c\"", "a | b|$c|"),
    ] {
        let server = Server::start([OK]);
        let text = format!(
            "[inputs]\ncallback_url = {}\ntoken_command = {show} {arguments}\n",
            server.url()
        );
        sandbox.file("plugin_config.ini", text);
        assert_eq!(sandbox.run(&["check-config"]).code, 0);
        assert_eq!(sandbox.run(&["send", "event.json"]).code, 0);
        let sent = server.requests()[0]
            .header("authorization")
            .map(str::to_owned);
        assert_eq!(sent, Some(format!("Bearer {header}")));
    }
    for (arguments, operator) in [
        ("a | b", "|"),
        ("$A", "$"),
        ("a > b", ">"),
        ("a && b", "&&"),
        ("a; b", ";"),
        ("`a`", "`"),
    ] {
        let text = format!(
            "[inputs]\ncallback_url = http://localhost/\ntoken_command = echo {arguments}\n"
        );
        sandbox.file("plugin_config.ini", text);
        let said = format!(
            "plugin_config.ini:3: `{operator}` has no special meaning, as `token_command` does not run in a shell"
        );
        sandbox
            .run(&["check-config"])
            .expect_line(0, &["warning: ", &said]);
    }
    sandbox.file(
        "plugin_config.ini",
        "[inputs]\ncallback_url = http://localhost/\ntoken_command = echo 'a\n",
    );
    sandbox.run(&["check-config"]).expect_line(
        78,
        &["plugin_config.ini:3: `token_command`: a quote is not closed"],
    );
}

#[test]
fn a_template_goes_nowhere_as_it_stands() {
    for (kind, key) in [
        ("type = slack\ntoken = xoxb-1\nchannels = a", "api_url"),
        ("type = mattermost\nurl = http://h/x", "username"),
        ("type = rocketchat", "url"),
        ("type = discord\nurl = http://h/x", "thread_id"),
        ("type = webhook\nurl = http://h/", "proxy"),
        ("type = zeromq", "url"),
    ] {
        for template in ["{{ host }}", "a{% if changed %}b{% endif %}"] {
            let template = match key {
                "url" | "api_url" | "proxy" => format!("http://h/{template}"),
                _ => template.to_owned(),
            };
            let sandbox = project(&format!(
                "[notifier:x]\non = any\n{kind}\n{key} = {template}\n"
            ));
            let said =
                format!("`{key}` cannot be a template; `{{{{ … }}}}` would be sent literally");
            sandbox
                .run(&["check-config"])
                .expect_line(78, &["plugin_config.ini:", &said]);
            let sent = sandbox.run(&["send", "event.json"]);
            sent.expect_warning(78, &[&said]);
        }
    }
}
