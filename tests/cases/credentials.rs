//! One source of credentials: each way to say who sends reaches the wire once, and two of them are a problem.

use crate::sandbox::Sandbox;
use crate::server::{OK, Server};

/// What an endpoint gets by way of credentials, where the section has these keys; `AT` is its URL after `//`.
fn sent(keys: &str) -> Vec<String> {
    let server = Server::start([OK]);
    let at = server.url().replace("http://", "");
    let sandbox = Sandbox::with_config(&format!("[inputs]\n{}\n", keys.replace("AT", &at)));
    sandbox
        .run_with_input(&["send", "-"], r#"{"state":"failed"}"#)
        .expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let request = &server.requests()[0];
    let credentials = request
        .headers
        .iter()
        .filter(|(name, _)| name == "authorization");
    credentials.map(|(_, value)| value.clone()).collect()
}

#[test]
fn each_source_reaches_the_wire_once() {
    for (keys, expected) in [
        (
            "callback_url = http://anna:secret@AT",
            Some("Basic YW5uYTpzZWNyZXQ="),
        ),
        ("callback_url = http://anna:@AT", Some("Basic YW5uYTo=")),
        ("callback_url = http://anna@AT", Some("Basic YW5uYTo=")),
        (
            "callback_url = http://:secret@AT",
            Some("Basic OnNlY3JldA=="),
        ),
        ("callback_url = http://:@AT", None),
        (
            "callback_url = http://AT\nusername = anna\npassword = secret",
            Some("Basic YW5uYTpzZWNyZXQ="),
        ),
        (
            "callback_url = http://AT\nusername = anna\npassword =",
            Some("Basic YW5uYTo="),
        ),
        (
            "callback_url = http://AT\nusername =\npassword = secret",
            Some("Basic OnNlY3JldA=="),
        ),
        (
            "callback_url = http://AT\npassword = secret",
            Some("Basic OnNlY3JldA=="),
        ),
        (
            "callback_url = http://AT\ntoken = secret",
            Some("Bearer secret"),
        ),
        (
            "callback_url = http://AT\nheaders = Authorization: Custom a b",
            Some("Custom a b"),
        ),
        (
            "callback_url = http://AT\nheaders = authorization: Token {{ host | default('x') }}secret",
            Some("Token xsecret"),
        ),
        (
            "callback_url = http://AT\nusername =\npassword =\ntoken =",
            None,
        ),
    ] {
        assert_eq!(sent(keys), Vec::from_iter(expected), "{keys}");
    }
}

#[test]
fn a_token_of_two_lines_is_named_with_its_place() {
    let sandbox = Sandbox::with_config(
        "[notifier:hook]\ntype = webhook\nurl = http://localhost/\ntoken_file = pw\n",
    );
    sandbox.file("pw", "one\ntwo\n");
    let checked = sandbox.run(&["check-config"]);
    let problem = "plugin_config.ini:4: `token` must be one line, without control characters";
    checked.expect_line(78, &[problem]);
}

#[test]
fn two_sources_are_a_problem() {
    let url = "callback_url = http://localhost/";
    let user = "callback_url = http://anna:secret@localhost/";
    let header = "headers = Authorization: Custom a";
    for (keys, line, problem) in [
        (format!("{url}\n{header}\ntoken = a"), 4, "`token` and `Authorization` in `headers` are set"),
        (format!("{url}\n{header}\nusername = a\npassword = b"), 4, "`username` and `Authorization` in `headers` are set"),
        (format!("{url}\n{header}\npassword = b"), 4, "`password` and `Authorization` in `headers` are set"),
        (format!("{user}\n{header}"), 2, "the user in `callback_url` and `Authorization` in `headers` are set"),
        (format!("{user}\ntoken = a"), 2, "the user in `callback_url` and `token` are set"),
        (format!("{user}\nusername = a\npassword = b"), 2, "the user in `callback_url` and `username` are set"),
        (format!("{url}\nusername = a\npassword = b\ntoken = c"), 5, "`token` and `username` are set"),
        (
            format!("{url}\nheaders =\n  Authorization: a\n  AUTHORIZATION: {{{{ host }}}}"),
            3,
            "the header `AUTHORIZATION` is set twice; keep one of them",
        ),
        (
            format!("{url}\nproxy = http://a:b@localhost:1\nheaders = Proxy-Authorization: Basic YTpi"),
            4,
            "the user in `proxy` and `Proxy-Authorization` in `headers` are set; keep one of them",
        ),
        (
            format!("{url}\nheaders = Proxy-Authorization: Basic YTpi"),
            3,
            "`Proxy-Authorization` in `headers` would go to the endpoint",
        ),
        (
            "callback_url = https://localhost/\nproxy = http://localhost:1\nheaders = Proxy-Authorization: x".to_owned(),
            4,
            "`Proxy-Authorization` in `headers` would go to the endpoint",
        ),
    ] {
        let sandbox = Sandbox::with_config(&format!("[inputs]\n{keys}\n"));
        let checked = sandbox.run(&["check-config"]);
        checked.expect_line(78, &[&format!("plugin_config.ini:{line}: {problem}")]);
    }
}

#[test]
fn a_service_s_own_address_names_no_user_beside_its_credentials() {
    for kind in [
        "type = slack\ntoken = a-token\nchannels = a",
        "type = hipchat\ntoken = a-token\nrooms = a",
        "type = twilio\naccount_sid = a\nauth_token = a-token\nfrom_number = +1\nto_numbers = +2",
        "type = awssns\ntopic_arn = arn:aws:sns:eu-central-1:1:a\naccess_key_id = an-id\nsecret_access_key = a-key",
    ] {
        let config = format!("[notifier:x]\n{kind}\napi_url = https://anna:secret@localhost/\n");
        let checked = Sandbox::with_config(&config).run(&["check-config"]);
        assert_eq!(checked.code, 78, "{checked:?}");
        assert!(
            checked.stderr.contains("the user in `api_url` and `"),
            "{checked:?}"
        );
    }
}

#[test]
fn a_proxy_is_told_who_sends_in_whatever_way() {
    for (user, keys, expected) in [
        ("anna:secret@", "", "Basic YW5uYTpzZWNyZXQ="),
        (":secret@", "", "Basic OnNlY3JldA=="),
        ("anna@", "", "Basic YW5uYTo="),
        (
            "",
            "headers = Proxy-Authorization: Basic YTpi",
            "Basic YTpi",
        ),
    ] {
        let proxy = Server::start([OK]);
        let proxy_url = proxy.url().replace("http://", &format!("http://{user}"));
        let sandbox = Sandbox::with_config(&format!(
            "[inputs]\ncallback_url = http://ops.invalid/\nproxy = {proxy_url}\n{keys}\n"
        ));
        let sent = sandbox.run_with_input(&["send", "-"], r#"{"state":"failed"}"#);
        assert_eq!(sent.code, 0, "{sent:?}");
        let request = &proxy.requests()[0];
        let told: Vec<&str> = request
            .headers
            .iter()
            .filter(|(name, _)| name == "proxy-authorization")
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(told, [expected], "{user}");
    }
}

#[test]
fn the_environment_s_user_takes_the_place_of_the_one_in_a_file_s_url() {
    let server = Server::start([OK]);
    let url = server.url().replace("http://", "http://anna:secret@");
    let sandbox = Sandbox::with_config(&format!("[inputs]\ncallback_url = {url}\n"));
    sandbox.file("event.json", r#"{"state":"failed"}"#);
    let mut command = sandbox.command(&["send", "event.json"]);
    command.env("ANSIBLE_NOTIFY_USERNAME", "bob");
    command.env("ANSIBLE_NOTIFY_PASSWORD", "other");
    assert_eq!(crate::sandbox::outcome(command.spawn().unwrap()).code, 0);
    let told = server.requests()[0]
        .header("authorization")
        .map(str::to_owned);
    assert_eq!(told.as_deref(), Some("Basic Ym9iOm90aGVy"));
}
