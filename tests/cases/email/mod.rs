//! Mail, through a real SMTP server: what arrives, and what never leaves.

mod server;

use serde_json::{Value, json};

use crate::sandbox::{Config, Outcome, Sandbox};
use crate::server::certificates::certified_sandbox;
use crate::server::smtp::Smtp;

const CANARY: &str = "canary";

fn config(server: &Smtp, keys: &str) -> Config {
    let port = server.port();
    Config::from(format!(
        "[delivery]\ndrain = 4\n[notifier:mail]\ntype = email\non = any\nhost = localhost\nport = {port}\nca_file = ca.pem\n\
         from = Ansible <ansible@example.com>\n{keys}\n"
    ))
}

fn configure(sandbox: &Sandbox, server: &Smtp, keys: &str) {
    sandbox.file("plugin_config.ini", config(server, keys).text());
}

fn failed(message: &str) -> Value {
    json!({"event": "runner_on_failed", "id": "run-1-7", "time": "2026-11-20T20:42:01Z",
        "run": {"id": "run-1", "playbook": "site.yml", "url": "https://ci.example.com/1?a&b"},
        "host": {"name": "web1"}, "task": {"name": "Install <nginx>"}, "result": {"msg": message}})
}

fn send(sandbox: &Sandbox, event: &Value) -> Outcome {
    sandbox.run_with_input(&["send", "-"], event.to_string())
}

const TO: &str = "to = ops@example.com";

#[test]
fn a_mail_says_it_as_text_and_as_html() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls"]);
    configure(
        &sandbox,
        &server,
        "to = Ops Team <ops@example.com>\ncc = b@example.com",
    );
    let event = failed("Größe & <b>\n.\n..two dots\nQUIT");
    send(&sandbox, &event).expect(0, "ansible-notify: 1 event, 1 delivery: delivered\n");
    let [mail] = &server.mails()[..] else {
        panic!("one mail")
    };
    assert_eq!(mail["encrypted"], true);
    assert_eq!(mail["from"], "ansible@example.com");
    assert_eq!(mail["to"], json!(["ops@example.com", "b@example.com"]));
    let expected = json!({
        "from": "Ansible <ansible@example.com>",
        "to": "Ops Team <ops@example.com>",
        "cc": "b@example.com",
        "subject": "web1: Install <nginx>: failed",
        "date": "Fri, 20 Nov 2026 20:42:01 +0000",
        "message-id": "<run-1-7.mail@example.com>",
        "in-reply-to": "<run.run-1.mail@example.com>",
        "references": "<run.run-1.mail@example.com>",
        "auto-submitted": "auto-generated",
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&mail["headers"][name], value, "{name}");
    }
    assert_eq!(
        mail["plain"],
        "Größe & <b>\n.\n..two dots\nQUIT\n\nHost: web1\nTask: Install <nginx>\nPlaybook: site.yml\n\nhttps://ci.example.com/1?a&b\n"
    );
    let html = mail["html"].as_str().unwrap();
    for part in [
        "<pre style=\"white-space: pre-wrap\">Größe &amp; &lt;b&gt;\n.\n..two dots\nQUIT</pre>",
        "<td style=\"white-space: pre-wrap\">Install &lt;nginx&gt;</td>",
        "<a href=\"https://ci.example.com/1?a&amp;b\">",
        "border-left: 4px solid #e01e5a",
    ] {
        assert!(html.contains(part), "no {part} in {html}");
    }
    assert_eq!(mail["defects"], json!([]));
}

#[test]
fn the_templates_make_the_mail() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--tls"]);
    let keys = "encryption = tls\nsubject = {{ host }} ist übel\nmessage = {{ reason }}\nbody = <h1>{{ reason }}</h1>";
    configure(
        &sandbox,
        &server,
        &format!("{TO}\nreply_to = a@example.com, b@example.com\n{keys}"),
    );
    assert_eq!(send(&sandbox, &failed("<&>")).code, 0);
    let mail = &server.mails()[0];
    assert_eq!(mail["encrypted"], true);
    assert_eq!(mail["headers"]["subject"], "web1 ist übel");
    assert_eq!(mail["headers"]["reply-to"], "a@example.com, b@example.com");
    assert!(mail["plain"].as_str().unwrap().starts_with("<&>\n"));
    assert_eq!(mail["html"], "<h1>&lt;&amp;&gt;</h1>");
}

#[test]
fn columns_stand_as_they_were_printed() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &[]);
    let table = "Filesystem      Size  Used\n/dev/sda1        20G   20G\n\tüb   5%";
    let keys = format!("{TO}\nencryption = none\nmessage = {{{{ task_output }}}}");
    configure(&sandbox, &server, &keys);
    let mut event = failed("x");
    event["result"]["stdout"] = json!(table);
    assert_eq!(send(&sandbox, &event).code, 0);
    let mail = &server.mails()[0];
    for (side, before) in [
        ("plain", ""),
        ("html", "<pre style=\"white-space: pre-wrap\">"),
    ] {
        let text = mail[side].as_str().unwrap();
        assert!(text.contains(&format!("{before}{table}")), "{text}");
    }
}

#[test]
fn names_may_hold_commas_and_some_get_a_blind_copy() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &[]);
    let keys = "encryption = none\nto = \"Roe, Jane\" <jane@example.com>, ops@example.com\n\
                cc = \"Doe, \\\"J, R\\\"\" <doe@example.com>\nbcc = boss@example.com, ops@example.com";
    configure(&sandbox, &server, keys);
    let shown = sandbox.run_with_input(&["send", "--dry-run", "-"], failed("x").to_string());
    assert!(
        shown.stdout.contains("RCPT TO:<boss@example.com>"),
        "{shown:?}"
    );
    assert_eq!(send(&sandbox, &failed("x")).code, 0);
    let mail = &server.mails()[0];
    let all = [
        "jane@example.com",
        "ops@example.com",
        "doe@example.com",
        "boss@example.com",
    ];
    assert_eq!(mail["to"], json!(all));
    let headers = mail["headers"].as_object().unwrap();
    assert_eq!(
        headers["to"],
        "\"Roe, Jane\" <jane@example.com>, ops@example.com"
    );
    assert!(!headers.contains_key("bcc"), "{headers:?}");
    assert!(!server.wire().contains("boss@example.com>\r\nTo"), "named");
    configure(
        &sandbox,
        &server,
        "encryption = none\nto = Roe, Jane <jane@example.com>",
    );
    let refused = sandbox.run(&["check-config"]);
    assert!(
        refused.stderr.contains("`Roe` is not an address"),
        "{refused:?}"
    );
}

#[test]
fn a_template_chooses_who_gets_a_mail() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &[]);
    let keys = [
        "to = {{ ['ops@example.com', host ~ '@example.com'] }}\ncc = {{ '\"Roe, Jane\" <jane@example.com>' }}",
        "to = {{ none }}\nbcc = {{ 'boss@example.com' if state == 'failed' }}",
        "to = {% if changed %}ops@example.com{% endif %}",
    ];
    for keys in keys {
        configure(&sandbox, &server, &format!("encryption = none\n{keys}"));
        assert_eq!(send(&sandbox, &failed("x")).code, 0, "{keys}");
    }
    let mails = server.mails();
    let to: Vec<&Value> = mails.iter().map(|mail| &mail["to"]).collect();
    let first = json!(["ops@example.com", "web1@example.com", "jane@example.com"]);
    assert_eq!(to, [&first, &json!(["boss@example.com"])]);
    assert_eq!(
        mails[0]["headers"]["cc"],
        "\"Roe, Jane\" <jane@example.com>"
    );
    configure(
        &sandbox,
        &server,
        "encryption = none\nto = {{ result.msg }}",
    );
    let sent = send(
        &sandbox,
        &failed("a@example.com\r\nBcc: victim@example.com"),
    );
    assert_eq!(sent.code, 69, "{sent:?}");
    // The other line is no address.
    let mails = server.mails();
    assert_eq!(mails.len(), 3);
    assert_eq!(mails[2]["to"], json!(["a@example.com"]));
    assert_eq!(mails[2]["headers"]["bcc"], Value::Null);
}

#[test]
fn no_line_of_a_mail_is_too_long() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &[]);
    let people: Vec<String> = (0..300)
        .map(|n| format!("{} <ops{n}@example.com>", "é".repeat(n % 60 + 1)))
        .collect();
    let name = "n".repeat(250);
    let keys = format!(
        "encryption = none\nto = {}\nreply_to = {name} <a@example.com>",
        people.join(", ")
    );
    let config = config(&server, &keys).delivery("drain = 100");
    sandbox.file("plugin_config.ini", config.text());
    let mut event = failed(&"x".repeat(5000));
    event["task"]["name"] = json!("y".repeat(5000));
    event["run"]["id"] = json!("z".repeat(5000));
    assert_eq!(send(&sandbox, &event).code, 0);
    let wire = server.wire();
    let longest = wire.split("\r\n").map(str::len).max().unwrap();
    assert!(longest <= 998, "{longest}");
    assert_eq!(server.mails()[0]["defects"], json!([]));
    let keys = format!("encryption = none\nto = n{name} <a@example.com>");
    configure(&sandbox, &server, &keys);
    let checked = sandbox.run(&["check-config"]);
    let problem = "the name of `a@example.com` must have at most 250 bytes";
    assert!(checked.stderr.contains(problem), "{checked:?}");
}

#[test]
fn no_value_becomes_a_header_or_a_command() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &[]);
    configure(&sandbox, &server, &format!("{TO}\nencryption = none"));
    let mut event = failed("a\r\n.\r\nMAIL FROM:<x@example.com>\r\nb\r.\rc\n.\nd\u{0}\u{1b}[2J");
    event["task"]["name"] = json!("Install\r\nBcc: victim@example.com\r\n\r\nbody");
    event["id"] = json!("a>\r\nX-Evil: <b");
    event["run"]["id"] = json!("r\nX-Evil: c");
    assert_eq!(send(&sandbox, &event).code, 0);
    let [mail] = &server.mails()[..] else {
        panic!("one mail")
    };
    assert_eq!(mail["to"], json!(["ops@example.com"]));
    let headers = mail["headers"].as_object().unwrap();
    assert!(
        !headers.contains_key("bcc") && !headers.contains_key("x-evil"),
        "{headers:?}"
    );
    assert_eq!(
        headers["subject"],
        "web1: Install Bcc: victim@example.com body: failed"
    );
    assert_eq!(
        headers["message-id"],
        "<a=3e=0d=0aX-Evil=3a=20=3cb.mail@example.com>"
    );
    assert!(
        mail["plain"]
            .as_str()
            .unwrap()
            .starts_with("a\n.\nMAIL FROM:<x@example.com>\nb.c\n.\nd\n"),
        "{mail}"
    );
}

#[test]
fn long_lines_and_long_subjects_travel_whole() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &[]);
    configure(
        &sandbox,
        &server,
        &format!("{TO}\nencryption = none\nmessage = {{{{ result.msg }}}}"),
    );
    let long = "0123456789 ".repeat(5000);
    let mut event = failed(&format!("{long}\nüber\n"));
    event["task"]["name"] = json!("ü".repeat(400));
    assert_eq!(send(&sandbox, &event).code, 0);
    let mail = &server.mails()[0];
    assert!(
        mail["longest"].as_u64().unwrap() <= 998,
        "{}",
        mail["longest"]
    );
    assert!(
        mail["plain"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{long}\nüber\n"))
    );
    let subject = mail["headers"]["subject"].as_str().unwrap();
    assert_eq!(subject.chars().count(), 250);
    assert!(
        subject.starts_with("web1: üü") && subject.ends_with(" […]"),
        "{subject}"
    );
}

#[test]
fn what_is_wrong_with_the_keys_is_said_at_once() {
    let sandbox = Sandbox::with_config(
        "[notifier:mail]\ntype = email\nport = 70000\nencryption = ssl\nauth = cram\nusername = svc\nto = ops\nfrom = a@exämple.com\n\
         [notifier:b]\ntype = email\nhost = h\nto = a@b\nfrom = a@b\ntoken = canary-token\n\
         [notifier:c]\ntype = email\nhost = h\nto = a@b\nfrom = a@b\nusername = u\ntoken = canary-token\npassword = canary\n\
         [notifier:d]\ntype = email\nhost = mail.example.com\nto = a@b\nfrom = a@b\nusername = u\npassword = canary-p\nencryption = none\n",
    );
    let outcome = sandbox.run(&["check-config"]);
    assert_eq!(outcome.code, 78);
    for problem in [
        "ini:1: [notifier:mail] has no `host`",
        "ini:3: `port` must be a whole number from 1 to 65535, not `70000`",
        "ini:4: `encryption` must be `none`, `starttls` or `tls`, not `ssl`",
        "ini:5: `auth` must be `plain`, `login` or `xoauth2`, not `cram`",
        "ini:1: [notifier:mail] has no `password`",
        "ini:7: `ops` is not an address such as ops@example.com",
        "ini:8: `a@exämple.com` must be an ASCII address",
        "ini:14: `token` requires `username`",
        "ini:22: `password` is not used with this `auth`; use `token`",
        "ini:30: the credentials are sent unencrypted",
    ] {
        assert!(
            outcome.stderr.contains(problem),
            "no {problem} in {}",
            outcome.stderr
        );
    }
    assert!(!outcome.stderr.contains(CANARY), "{outcome:?}");
}
