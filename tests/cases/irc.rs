//! IRC, at a real server with users who read; and at one that answers what no real one here would.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox, side_by_side};
use crate::server::certificates::{Authority, certified_sandbox};
use crate::server::irc::{Inspircd, Reader};

fn configure(sandbox: &Sandbox, port: u16, keys: &str) {
    configure_draining(sandbox, port, keys, 20);
}

/// Waits only so many seconds for what will not be delivered.
fn configure_draining(sandbox: &Sandbox, port: u16, keys: &str, seconds: u32) {
    sandbox.file("plugin_config.ini", format!(
        "[delivery]\ndrain = {seconds}\n[notifier:chat]\ntype = irc\non = any\nserver = localhost\nport = {port}\nca_file = ca.pem\n{keys}\n"
    ));
}

fn failed(message: &str) -> Value {
    json!({"event": "runner_on_failed", "host": {"name": "web1"}, "task": {"name": "Install"},
        "result": {"msg": message}})
}

fn send(sandbox: &Sandbox, event: &Value) -> Outcome {
    sandbox.run_with_input(&["send", "-"], event.to_string())
}

const DELIVERED: &str = "ansible-notify: 1 event, 1 delivery: delivered\n";

#[test]
fn a_template_chooses_who_hears_it() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "");
    let mut reader = Reader::start(server.plain, "reader", &["JOIN #ops,#web1"]);
    let keys = "tls = no\ntargets = {{ ['#ops', '#' ~ host] if state == 'failed' }}";
    configure(&sandbox, server.plain, keys);
    send(&sandbox, &failed("no")).expect(0, DELIVERED);
    let line = |target: &str, text: &str| format!("ansible-notify {target} {text}");
    let expected =
        ["#ops", "#web1"].map(|target| [line(target, "web1: Install: failed"), line(target, "no")]);
    assert_eq!(reader.messages(), expected.concat());
    let nobody = json!({"state": "success", "host": "web1"});
    send(&sandbox, &nobody).expect(0, DELIVERED);
}

#[test]
fn channels_and_users_hear_it() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "");
    let mut reader = Reader::start(server.plain, "reader", &["JOIN #ops,#dev"]);
    let expected = |nickname: &str| {
        let line = |target, text| format!("{nickname} {target} {text}");
        ["#ops", "#dev", "reader"]
            .map(|target| {
                [
                    line(target, "web1: Install: failed"),
                    line(target, "größer & <b>"),
                ]
            })
            .concat()
    };
    for (port, tls, nickname) in [
        (server.tls, "", "ansible-notify"),
        (
            server.plain,
            "tls = no\nnotice = yes\nnickname = bot",
            "bot",
        ),
    ] {
        configure(
            &sandbox,
            port,
            &format!("targets = #ops, #dev, reader\n{tls}"),
        );
        let before = reader.messages().len();
        send(&sandbox, &failed("größer & <b>")).expect(0, DELIVERED);
        assert_eq!(reader.messages()[before..], expected(nickname));
        assert!(reader.heard(" QUIT :done"));
    }
}

#[test]
fn no_value_becomes_a_command_and_long_lines_are_cut() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "");
    let mut reader = Reader::start(server.plain, "reader", &["JOIN #ops", "TOPIC #ops :old"]);
    configure(
        &sandbox,
        server.tls,
        "targets = #ops\nmessage = {{ result.msg }}",
    );
    let long = "ü".repeat(600);
    let mut event = failed(&format!("a\r\nTOPIC #ops :new\0\rJOIN #x\n{long}\n5\n6\n"));
    event["task"]["name"] = json!("Install\r\nQUIT :x\u{1}VERSION\u{1}\u{2}bold");
    send(&sandbox, &event).expect(0, DELIVERED);
    let messages = reader.messages();
    assert_eq!(
        messages[..2],
        [
            "ansible-notify #ops web1: Install QUIT :xVERSIONbold: failed",
            "ansible-notify #ops a"
        ]
    );
    assert_eq!(messages[2], "ansible-notify #ops TOPIC #ops :newJOIN #x");
    let last = messages[3].strip_prefix("ansible-notify #ops ").unwrap();
    assert!(
        last.starts_with("üü") && last.ends_with(" […] [… 2 more lines]") && last.len() <= 400,
        "{last}"
    );
    assert_eq!(messages.len(), 4);
    assert!(!reader.heard("TOPIC #ops :new\r") && reader.heard("TOPIC #ops :old"));
}

#[test]
fn a_line_fits_with_all_that_the_server_puts_before_it() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "");
    let channel = format!("#{}", "c".repeat(60));
    let mut reader = Reader::start(server.plain, "reader", &[&format!("JOIN {channel}")]);
    let nickname = "n".repeat(30);
    let keys = format!("targets = {channel}\nnickname = {nickname}\nnotice = true");
    configure(&sandbox, server.tls, &keys);
    send(&sandbox, &failed(&"ü".repeat(600))).expect(0, DELIVERED);
    let messages = reader.messages();
    assert_eq!(messages.len(), 2);
    // 512 bytes with the line break, though a host may be called by 63 of them.
    let head = format!(
        ":{nickname}!~{nickname}@{} NOTICE {channel} :",
        "h".repeat(63)
    );
    let (_, text) = messages[1].split_once(&format!("{channel} ")).unwrap();
    assert!(text.ends_with("ü […]"), "{text}");
    assert!(
        (490..=510).contains(&(head.len() + text.len())),
        "{}",
        text.len()
    );
}

#[test]
fn a_taken_nickname_gives_way_to_another() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "");
    let mut reader = Reader::start(server.plain, "ansible-notify", &["JOIN #ops"]);
    let _other = Reader::start(server.plain, "ansible-notify1", &[]);
    configure(&sandbox, server.tls, "targets = #ops");
    send(&sandbox, &failed("x")).expect(0, DELIVERED);
    assert_eq!(
        reader.messages()[0],
        "ansible-notify2 #ops web1: Install: failed"
    );
}

#[test]
fn a_channel_that_is_closed_does_not_stop_the_others() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "");
    let mut reader = Reader::start(
        server.plain,
        "reader",
        &[
            "JOIN #key,#invited,#banned,#moderated,#full,#ops",
            "MODE #key +k canary-key",
            "MODE #invited +i",
            "MODE #banned +b *!*@*",
            "MODE #moderated +m",
            "MODE #full +l 1",
        ],
    );
    let cases = [
        (
            "#key, #ops",
            "",
            69,
            "1 of 2 not reached: #key: localhost:PORT: 475 ",
        ),
        (
            "#invited, #ops",
            "",
            69,
            "1 of 2 not reached: #invited: localhost:PORT: 473 ",
        ),
        (
            "#banned, #ops",
            "",
            69,
            "1 of 2 not reached: #banned: localhost:PORT: 474 ",
        ),
        (
            "#moderated, #ops",
            "",
            69,
            "1 of 2 not reached: #moderated: localhost:PORT: 404 ",
        ),
        (
            "nobody, #ops",
            "",
            69,
            "1 of 2 not reached: nobody: localhost:PORT: 401 ",
        ),
        (
            "#full, #ops",
            "",
            75,
            "1 of 2 not reached: #full: localhost:PORT: 471 ",
        ),
        (
            "#key",
            "channel_key = canary-key",
            0,
            "1 delivery: delivered",
        ),
    ];
    for (targets, keys, code, reason) in cases {
        configure_draining(
            &sandbox,
            server.tls,
            &format!("targets = {targets}\n{keys}"),
            4,
        );
        let before = reader.messages().len();
        let outcome = send(&sandbox, &failed("x"));
        let reason = reason.replace("PORT", &server.tls.to_string());
        outcome.expect_line(code, &[&reason]);
        assert!(!outcome.stderr.contains("canary"), "{outcome:?}");
        let heard = reader.messages()[before..].len();
        assert_eq!(heard, 2, "{targets}: once, whatever became of the other");
    }
}

#[test]
fn the_password_opens_the_server() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "canary-password");
    configure(
        &sandbox,
        server.tls,
        "targets = #ops\npassword = canary-password",
    );
    send(&sandbox, &failed("x")).expect(0, DELIVERED);
    let checked = sandbox.run(&["check-config", "--connect"]);
    assert!(
        checked.code == 0 && checked.stdout.contains(": logged in"),
        "{checked:?}"
    );
    configure_draining(
        &sandbox,
        server.tls,
        "targets = #ops\npassword = canary-wrong",
        4,
    );
    let outcome = send(&sandbox, &failed("x"));
    assert_eq!(outcome.code, 75, "{outcome:?}");
    assert!(
        outcome.stderr.contains("Access denied by configuration")
            && !outcome.stderr.contains("canary"),
        "{outcome:?}"
    );
}

#[test]
fn many_lines_go_slowly_enough_to_stay() {
    let sandbox = certified_sandbox();
    let server = Inspircd::start(&sandbox, "");
    let mut reader = Reader::start(server.plain, "reader", &["JOIN #ops"]);
    configure(
        &sandbox,
        server.tls,
        "targets = #ops\nlines = 8\nmessage = {{ result.msg }}",
    );
    let started = Instant::now();
    send(&sandbox, &failed("2\n3\n4\n5\n6\n7")).expect(0, DELIVERED);
    assert_eq!(reader.messages().len(), 7);
    // Five commands at once, one of them the JOIN; three more with 2 s before each.
    assert!(
        started.elapsed() >= Duration::from_secs(6),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_server_that_proves_nothing_hears_nothing() {
    let authority = Authority::new("private");
    let cases = [
        (
            Authority::new("stranger").sign(|_| {}),
            true,
            "UnknownIssuer; for a private CA, set `ca_file`",
        ),
        (
            authority.sign(|params| params.subject_alt_names = vec![]),
            true,
            "not valid for name \"localhost\"",
        ),
        (authority.sign(|_| {}), false, "no answer within 5s"),
    ];
    side_by_side(&cases, |(identity, encrypted, reason)| {
        let sandbox = Sandbox::new();
        sandbox.file("ca.pem", authority.pem());
        identity.install(&sandbox);
        let server = Inspircd::start(&sandbox, "");
        let mut reader = Reader::start(server.plain, "reader", &["JOIN #ops"]);
        let port = if *encrypted { server.tls } else { server.plain };
        // inspircd waits for the rest of what it takes for a line, and that is given up after 5 s.
        configure_draining(
            &sandbox,
            port,
            "targets = #ops\npassword = canary-password",
            9,
        );
        let outcome = send(&sandbox, &failed("x"));
        outcome.expect_line(
            75,
            &["1 pending", &format!("(chat: localhost:{port}: "), reason],
        );
        assert_eq!(reader.messages(), [""; 0]);
        if *encrypted {
            configure(&sandbox, port, "targets = #ops\nvalidate_certs = no");
            assert_eq!(send(&sandbox, &failed("x")).code, 0);
            assert_eq!(reader.messages().len(), 2);
        }
    });
}

/// A server that answers each line that begins with one of these words; what it was told is kept.
fn scripted(answers: &'static [(&'static str, &'static str)]) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Arc::new(Mutex::new(Vec::new()));
    let kept = told.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let lines = BufReader::new(client.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                let answer = answers.iter().find(|(word, _)| line.starts_with(word));
                kept.lock().unwrap().push(line.clone());
                if let Some((_, answer)) = answer {
                    let token = line.rsplit(':').next().unwrap_or_default();
                    let answer = answer.replace("TOKEN", token);
                    let _ = client.write_all(answer.as_bytes());
                }
                if line.starts_with("QUIT") {
                    break;
                }
            }
        }
    });
    (port, told)
}

const WELCOME: &str = ":s 001 bot :hello\r\n:s 376 bot :end\r\n";

#[test]
fn sasl_is_spoken_to_the_letter() {
    // The account is `svc` and the password `canary-password`, each after a zero byte but the first.
    let (port, told) = scripted(&[
        ("CAP REQ :sasl", "PING :early\r\n:s CAP * ACK :sasl\r\n"),
        ("AUTHENTICATE PLAIN", "AUTHENTICATE +\r\n"),
        (
            "AUTHENTICATE c3ZjAHN2YwBjYW5hcnktcGFzc3dvcmQ=",
            ":s 903 bot :done\r\n",
        ),
        ("AUTHENTICATE", ":s 904 bot :SASL authentication failed\r\n"),
        ("CAP END", WELCOME),
        (
            "JOIN #ops",
            ":other!o@h JOIN #ops\r\n:bot!b@h JOIN :#OPS\r\n",
        ),
        ("PING", ":s PONG s :TOKEN\r\n"),
    ]);
    let sandbox = certified_sandbox();
    let keys = "targets = #ops\nnickname = bot\ntls = no\nsasl = plain\nusername = svc";
    configure(
        &sandbox,
        port,
        &format!("{keys}\npassword = canary-password"),
    );
    send(&sandbox, &failed("x")).expect(0, DELIVERED);
    let expected = [
        "CAP REQ :sasl",
        "NICK bot",
        "USER bot 0 * :ansible-notify",
        "PONG :early",
        "AUTHENTICATE PLAIN",
        "AUTHENTICATE c3ZjAHN2YwBjYW5hcnktcGFzc3dvcmQ=",
        "CAP END",
        "JOIN #ops",
        "PRIVMSG #ops :web1: Install: failed",
        "PRIVMSG #ops :x",
        "PING :said-3",
        "QUIT :done",
    ];
    assert_eq!(*told.lock().unwrap(), expected);
    configure_draining(
        &sandbox,
        port,
        &format!("{keys}\npassword = canary-wrong"),
        4,
    );
    let outcome = send(&sandbox, &failed("x"));
    outcome.expect_line(75, &["904 SASL authentication failed"]);
    assert!(!outcome.stderr.contains("canary"), "{outcome:?}");
}

#[test]
fn a_server_in_trouble_is_tried_again() {
    let cases: [(&[(&str, &str)], &str); 4] = [
        (
            &[("NICK", "ERROR :Closing Link: throttled\r\n")],
            "ERROR Closing Link: throttled",
        ),
        (&[], "no answer within 1s"),
        (&[("USER", WELCOME)], "no answer within 1s"),
        (
            &[("USER", WELCOME), ("JOIN", "ERROR :bye\r\n")],
            "ERROR bye",
        ),
    ];
    side_by_side(&cases, |(answers, reason)| {
        let (port, _) = scripted(answers);
        let sandbox = certified_sandbox();
        configure_draining(
            &sandbox,
            port,
            "targets = #ops, #dev\nnickname = bot\ntls = no\ntimeout = 1s",
            4,
        );
        send(&sandbox, &failed("x")).expect_line(75, &["1 pending", reason]);
    });
}

#[test]
fn the_lines_are_shown_without_their_secrets() {
    let sandbox = certified_sandbox();
    configure(
        &sandbox,
        6697,
        "targets = #ops, jane\npassword = canary-password\nchannel_key = canary-key",
    );
    let shown = sandbox.run_with_input(
        &["send", "--dry-run", "-"],
        failed("canary-key").to_string(),
    );
    let expected = "# chat (irc)\nIRC to localhost:6697 (TLS)\nPASS :[redacted]\nNICK ansible-notify\nUSER ansible-notify 0 * :ansible-notify\n\
        JOIN #ops [redacted]\nPRIVMSG #ops :web1: Install: failed\nPRIVMSG #ops :[redacted]\n\
        PRIVMSG jane :web1: Install: failed\nPRIVMSG jane :[redacted]\nQUIT\n\n";
    assert_eq!(shown.stdout, expected);
}

#[test]
fn what_is_wrong_with_the_keys_is_said_at_once() {
    let sandbox = Sandbox::with_config(
        "[notifier:a]\ntype = irc\nnickname = a b\ntargets = #a b, :c\nsasl = scram\nusername = u\n\
         [notifier:b]\ntype = irc\nserver = h\ntargets = #a\nsasl = external\n\
         [notifier:c]\ntype = irc\nserver = h\ntargets = #a\nsasl = plain\nusername = u\n\
         [notifier:d]\ntype = irc\nserver = h\ntargets = #a\ntls = no\npassword = canary-p\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    assert_eq!(outcome.code, 78);
    for problem in [
        "ini:1: [notifier:a] has no `server`",
        "ini:3: `a b` is not a valid nickname",
        "ini:4: `#a b` must be a channel such as `#ops` or a nickname",
        "ini:4: `:c` must be a channel such as `#ops` or a nickname",
        "ini:5: `sasl` must be `plain` or `external`, not `",
        "ini:11: `sasl = external` needs `client_cert`, and `tls`",
        "ini:12: [notifier:c] has no `password`",
        "ini:22: the password is sent unencrypted",
    ] {
        assert!(
            outcome.stderr.contains(problem),
            "no {problem} in {}",
            outcome.stderr
        );
    }
}
