//! Keys and values.

use serde_json::Value;

use super::expect;
use crate::sandbox::{Config, Sandbox};
use crate::server::Server;

#[test]
fn words_of_elsewhere_are_known() {
    const MAIL: &str =
        "[notifier:a]\ntype = email\nhost = h\nfrom = a@example.com\nto = b@example.com\n";
    let mistakes = [
        (
            "[inputs]\nurl = http://h/\n",
            2,
            "unknown key `url` in [inputs]; did you mean `callback_url`?",
        ),
        (
            "[notifier:a]\ntype = webhook\ncallback_url = http://h/\n",
            3,
            "unknown key `callback_url` in [notifier:a]; did you mean `url`?",
        ),
        (
            "[notifier:a]\ntype = slack\ntoken = xoxb-1\nchannels = ops\nhex_color = #fff\n",
            5,
            "unknown key `hex_color` in [notifier:a]; did you mean `color`?",
        ),
        (
            "[inputs]\ncallback_url = http://h/\ndrain = 5s\n",
            3,
            "unknown key `drain` in [inputs]; it belongs in [delivery]",
        ),
        (
            "[inputs]\ncallback_url = http://h/\n[delivery]\ntimeout = 5s\n",
            4,
            "unknown key `timeout` in [delivery]; it belongs in [inputs] or in a [notifier:NAME]",
        ),
        (
            "[inputs]\ncallback_url = http://h/\nwhen = inventory_hostname == 'a'\n",
            3,
            "unknown variable `inventory_hostname`; did you mean `host`?",
        ),
        (
            "[inputs]\ncallback_url = http://h/\n[outputs]\na = ansible_check_mode\n",
            4,
            "unknown variable `ansible_check_mode`; did you mean `check`?",
        ),
        (
            "[inputs]\ncallback_url = http://h/\n[outputs]\nsite = berlin\n",
            4,
            "unknown variable `berlin`; quote a constant: 'berlin'",
        ),
        (
            "[inputs]\ncallback_url = http://h/\nwhen = host == 'web1\n",
            3,
            "`when`: a quote (') is not closed",
        ),
        (
            "[inputs]\ncallback_url = http://h/\non = run_end\n",
            3,
            "unknown trigger `run_end`; write error, success, canceled",
        ),
        (
            "[inputs]\ncallback_url = http://h/\non = FAILED\n",
            3,
            "unknown trigger `FAILED`; did you mean `failed`?",
        ),
        (
            "[inputs]\ncallback_url = http://h/\non =\n",
            3,
            "`on` is empty; remove it, or list events",
        ),
        (
            "[slack]\ntoken = xoxb-1\n[inputs]\ncallback_url = http://h/\n",
            1,
            "unknown section [slack]; write [notifier:slack], with `type = slack` below it",
        ),
        (
            "[smtp]\nhost = h\n[inputs]\ncallback_url = http://h/\n",
            1,
            "unknown section [smtp]; write [notifier:smtp], with `type = email` below it",
        ),
        (
            "inputs:\n  callback_url: http://h/\n",
            1,
            "this looks like YAML; write an INI file: [inputs] on a line of its own",
        ),
    ];
    expect(78, "", &mistakes);
    for (wrong, said) in [
        (
            "sender = a@example.com",
            "unknown key `sender` in [notifier:a]; did you mean `from`?",
        ),
        (
            "recipients = a@example.com",
            "unknown key `recipients` in [notifier:a]; did you mean `to`?",
        ),
        (
            "use_tls = true",
            "unknown key `use_tls` in [notifier:a]; write `encryption = starttls`",
        ),
        (
            "use_ssl = true",
            "unknown key `use_ssl` in [notifier:a]; write `encryption = tls`",
        ),
    ] {
        let sandbox = Sandbox::with_config(&format!("{MAIL}{wrong}\n"));
        let checked = sandbox.run(&["check-config"]);
        checked.expect_line(78, &["plugin_config.ini:6: ", said]);
    }
}

#[test]
fn other_names_of_a_kind_are_known_and_all_kinds_said() {
    let kinds = Sandbox::with_config("[notifier:a]\n").run(&["check-config"]);
    let (_, kinds) = kinds.stderr.split_once("set it to one of: ").unwrap();
    for (word, kind) in [
        ("smtp", "email"),
        ("http", "webhook"),
        ("opsgenie", "webhook"),
        ("msteams", "teams"),
        ("Slack", "slack"),
        ("pagerdty", "pagerduty"),
    ] {
        let sandbox = Sandbox::with_config(&format!("[notifier:a]\ntype = {word}\n"));
        let said =
            format!("ini:2: unknown type `{word}`; did you mean `{kind}`?; known types: {kinds}");
        let checked = sandbox.run(&["check-config"]);
        checked.expect_line(78, &[&said]);
    }
}

#[test]
fn a_value_that_is_none_of_those_allowed_is_said_with_them() {
    expect(
        78,
        "",
        &[
            (
                "[inputs]\ncallback_url = http://h/\nenabled = perhaps\n",
                3,
                "`enabled` must be true or false, not `perhaps`",
            ),
            (
                "[inputs]\ncallback_url = http://h/\n[delivery]\noverflow = drop\n",
                4,
                "`overflow` must be `refuse` or `drop_oldest`, not `drop`",
            ),
            (
                "[inputs]\ncallback_url = http://h/\n[delivery]\nmax_size = 1TB\n",
                4,
                "`max_size` must be a size such as 64MiB or 1GiB, at least 1MiB, not `1TB`",
            ),
            (
                "[inputs]\ncallback_url = http://h/\norder = hosts\n",
                3,
                "`order` must be `host` or `run`, not `hosts`; did you mean `host`?",
            ),
            (
                "[inputs]\ncallback_url = http://h/\nmethod = GET\n",
                3,
                "`method` must be `POST`, `PUT` or `PATCH`, not `GET`",
            ),
            (
                "[notifier:a]\ntype = zeromq\nurl = tcp://h:1\nsocket = pull\n",
                4,
                "`socket` must be `push` or `pub`, not `pull`",
            ),
        ],
    );
    let cased = "[inputs]\ncallback_url = http://h/\nmethod = put\norder = Run\nformat = JSON\n";
    let checked = Sandbox::with_config(cased).run(&["check-config"]);
    checked.expect(0, "");
}

#[test]
fn what_is_no_url_and_no_host_is_a_problem() {
    const EVENT: &str = "`callback_url` is not a URL: write a value of the event as `{{ host }}`";
    const BLANK: &str =
        "`callback_url` is not a URL: it contains a space; put a comment on a line of its own";
    const SCHEME: &str = "`callback_url` must begin with http:// or https://";
    const PROXY: &str = "`proxy` must be `env`, or a URL such as http://proxy.example.com:3128 (also https, socks4a, socks5, socks5h)";
    expect(
        78,
        "",
        &[
            ("[inputs]\ncallback_url = http://h/a b\n", 2, BLANK),
            (
                "[inputs]\ncallback_url = http://h/ # the collector\n",
                2,
                BLANK,
            ),
            ("[inputs]\ncallback_url = http://h/{host}\n", 2, EVENT),
            ("[inputs]\ncallback_url = http://h/<host>\n", 2, EVENT),
            ("[inputs]\ncallback_url = ftp://h/\n", 2, SCHEME),
            ("[inputs]\ncallback_url = h:80/x\n", 2, SCHEME),
            (
                "[inputs]\ncallback_url = http://h/\nproxy = proxy.example.com:3128\n",
                3,
                PROXY,
            ),
            (
                "[inputs]\ncallback_url = http://h/\nproxy = proxy.example.com\n",
                3,
                PROXY,
            ),
            (
                "[notifier:a]\ntype = email\nhost = 127.0.0.1:25\nfrom = a@example.com\nto = a@example.com\n",
                3,
                "`host` must be only a host name or address; use `port`: `host = 127.0.0.1` and `port = 25`",
            ),
            (
                "[notifier:a]\ntype = email\nhost = smtps://mail\nfrom = a@example.com\nto = a@example.com\n",
                3,
                "`host` must be only a host name or address; remove `smtps://`",
            ),
            (
                "[notifier:a]\ntype = irc\nserver = irc.example.com:6697\ntargets = #ops\n",
                3,
                "`server` must be only a host name or address; use `port`: `server = irc.example.com` and `port = 6697`",
            ),
        ],
    );
}

#[test]
fn a_value_that_is_used_literally_is_a_warning() {
    let config = |key: &str, value: &str| {
        format!("[inputs]\ncallback_url = https://h/\nusername = u\n{key} = {value}\n")
    };
    let any = "use `password_env`, `password_file` or `password_command`";
    for (value, said) in [
        ("\"secret-canary\"", ", with its quotes; remove them"),
        (
            "$OPS_CANARY",
            ": variables are not expanded here; use `password_env = NAME`",
        ),
        (
            "${ops_canary}",
            ": variables are not expanded here; use `password_env = NAME`",
        ),
        (
            "{{ vault_canary }}",
            &format!(": templates are not rendered here; {any}"),
        ),
        (
            "!vault canary",
            &format!(": values are not decrypted here; {any}"),
        ),
        (
            "$(pass canary)",
            ": commands are not run here; use `password_command = COMMAND`",
        ),
        (
            "~/canary",
            ": files are not read here; use `password_file = PATH`",
        ),
    ] {
        let sandbox = Sandbox::with_config(&config("password", value));
        let checked = sandbox.run(&["check-config"]);
        let said = format!("plugin_config.ini:4: `password` is used literally{said}\n");
        checked.expect_line(0, &["warning: ", &said]);
        let all = checked.stdout + &checked.stderr;
        assert!(!all.to_lowercase().contains("canary"), "{all}");
    }
    let quoted =
        Sandbox::with_config(&config("password = pw\nsocket", "'/run/x'")).run(&["check-config"]);
    quoted.expect_line(
        0,
        &[
            "warning: ",
            "ini:5: `socket` is used literally, with its quotes",
        ],
    );
    for value in ["pa$$word", "$ecret", "a\"b\"", "!x"] {
        let checked = Sandbox::with_config(&config("password", value)).run(&["check-config"]);
        checked.expect(0, "");
    }
    // They are sent literally.
    let server = Server::start([crate::server::OK]);
    let quoted = Config::from(config("password", "\"pw\""));
    let sandbox = Sandbox::with_config(&quoted.with(&format!("callback_url = {}", server.url())));
    sandbox.run(&["test"]).expect(0, "");
    assert_eq!(
        server.requests()[0].header("authorization"),
        Some("Basic dToicHci")
    );
}

#[test]
fn a_wrong_state_is_repeated_with_the_right_one() {
    let sandbox = Sandbox::sending_to("http://h/");
    sandbox.file("event.json", r#"{"state":"sucess"}"#);
    let sent = sandbox.run(&["send", "event.json"]);
    let said = "event.json:1: `state` must be success, failed, skipped or unreachable, not `sucess`; did you mean `success`?";
    assert!(sent.code != 0 && sent.stderr.contains(said), "{sent:?}");
    let json = sandbox.run(&["check-config", "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&json.stdout).unwrap()["ok"],
        true
    );
}

#[test]
fn what_a_shell_would_put_in_place_is_doubted() {
    for (lines, said) in [
        (
            "headers = Authorization: Bearer $TOKEN",
            "the header `Authorization` is used literally: variables are not expanded, and commands are not run; for a bearer token write `token_env = NAME`",
        ),
        (
            "headers = X-Team: a\n  X-Api-Key: ${KEY}",
            "the header `X-Api-Key` is used literally: variables are not expanded",
        ),
        (
            "headers = X-A: 1\n  x-a: 2",
            "the header `x-a` is set twice; only the last one is sent",
        ),
        (
            "token = Bearer abcdefgh",
            "`token` must be the token only; `Bearer` is added",
        ),
    ] {
        let config = format!("[inputs]\ncallback_url = http://localhost/\n{lines}\n");
        let checked = Sandbox::with_config(&config).run(&["check-config"]);
        let begin = "plugin_config.ini:3: ";
        assert!(
            checked.code == 0 && checked.stderr.contains(&format!("{begin}{said}")),
            "{lines}: {checked:?}"
        );
        assert_eq!(checked.stderr.lines().count(), 1, "{checked:?}");
    }
    let config = "[inputs]\ncallback_url = https://$OPS_HOST/x\n";
    let checked = Sandbox::with_config(config).run(&["check-config"]);
    let said =
        "plugin_config.ini:2: `callback_url` is used literally: variables are not expanded here";
    assert!(checked.stderr.contains(said), "{checked:?}");
}
