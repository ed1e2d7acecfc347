//! An event, a template or a reply that makes the program fail must cost itself, and nothing else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chat::{TELEGRAM, failed_run};
use crate::sandbox::spooled::Spooled;
use crate::sandbox::{Outcome, Sandbox, outcome, side_by_side};
use crate::server::certificates::certified_sandbox;
use crate::server::smtp::Smtp;
use crate::server::{OK, Server, telegram};

/// More than any template may take, on a machine with much else to do.
const LONG: Duration = Duration::from_secs(60);
const TOO_MUCH: &str = "it exceeds the time or memory limit of templates";

const EVENT: &str = r#"{"id": "1", "state": "failed", "host": "web1", "task": "t", "result": {"stdout": "", "zero": 0}}"#;

/// What `send --dry-run` says of an output, and what else is in the payload.
fn output(template: &str) -> Outcome {
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = http://localhost/\n[outputs]\nx = {template}\nhost = host\n"
    ));
    let mut command = sandbox.command_in_little_memory(&["send", "--dry-run", "-"]);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), EVENT.as_bytes()).unwrap();
    let outcome = outcome(child);
    assert!(began.elapsed() < LONG, "{template}");
    assert_eq!(outcome.code, 0, "{template}: {outcome:?}");
    outcome
}

#[track_caller]
fn expect_failure(template: &str, reason: &str) {
    expect_failure_for(template, &[reason]);
}

/// The same, for one of these reasons: a busy machine may exceed the time first.
#[track_caller]
fn expect_failure_for(template: &str, reasons: &[&str]) {
    let outcome = output(template);
    let failed = "ansible-notify: output `x` failed and is sent as null: ";
    let reason = outcome.stderr.trim_end().strip_prefix(failed);
    assert!(
        reason.is_some_and(|reason| reasons.contains(&reason)),
        "{template}: {outcome:?}"
    );
    assert!(outcome.stdout.contains(r#""host":"web1""#), "{outcome:?}");
}

#[test]
fn what_panicked_in_the_template_engine_is_a_value_or_a_reason() {
    let outcome = output("result.stdout[::-1]");
    assert!(outcome.stdout.contains(r#""x":"""#), "{outcome:?}");
    expect_failure("5 is divisibleby(result.zero)", "unable to calculate 5 % 0");
}

#[test]
fn a_template_takes_no_more_than_it_may() {
    let doubled = |operator: &str| {
        let step = format!("{{% set s = s {operator} s %}}");
        format!(
            "{{% set s = 'xxxxxxxx' %}}{}{{{{ s | length }}}}",
            step.repeat(40)
        )
    };
    let paired = "{% set a = [a, a] %}".repeat(40);
    let templates = [
        "{{ 'a\nb'.replace('a', 'c') | indent(1000000000, true) }}".replace('\n', "\\n"),
        doubled("~"),
        doubled("+"),
        "{% set n = namespace(s='x') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}".into(),
        "[1, 2] | batch(1000000000, 'x')".into(),
        "'x' * 100000000".into(),
        "(1, 2) * 50000000".into(),
        "([1] * 100000000) | list".into(),
        "('x' * 1000000).replace('', 'y' * 1000000)".into(),
        "('x' * 1000000) | replace('x', 'y' * 1000000)".into(),
        "([('x' * 1000000)] * 100000) | join".into(),
        "''.join([('x' * 1000000)] * 100000)".into(),
        "'{:1000000000}'.format(1)".into(),
        "('{0}' * 10000).format('x' * 1000000)".into(),
        "'%1000000000d' | format(1)".into(),
        "('x ' * 5000000).split()".into(),
        "{% for i in range(100000) %}{% for j in range(100000) %}{{ j }}{% endfor %}{% endfor %}".into(),
        format!("{{% set x %}}{{% for i in range(90000) %}}{}{{% endfor %}}{{% endset %}}", "y".repeat(9000)),
        format!("{{% set a = ['x'] %}}{{% set b = ['x'] %}}{paired}{}{{{{ a == b }}}}", paired.replace(" a ", " b ").replace("[a, a]", "[b, b]")),
        "('[' ~ '1,' * 1000000 ~ '1]') | from_json | length".into(),
        "('[' ~ '1,' * 1000000 ~ '1]') | from_yaml | length".into(),
    ];
    side_by_side(&templates, |template| expect_failure(template, TOO_MUCH));
    let large = "a value is too large or nested too deeply to be written out";
    let nested =
        "{% set n = namespace(x=1) %}{% for i in range(90000) %}{% set n.x = [n.x] %}{% endfor %}";
    for template in ["[1] * 100000000", nested] {
        expect_failure_for(template, &[large, TOO_MUCH]);
    }
    expect_failure(
        &format!("{{% set a = ['x'] %}}{paired}{{{{ a | tojson }}}}"),
        TOO_MUCH,
    );
    // What is set holds itself twice, again and again; or it is a namespace, in itself.
    let steps = format!("{{% set a = [1] %}}{paired}");
    let loops = "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] -%} {% endfor %}{% set a = n.a %}";
    let sums = "{% set n = namespace(a=[1]) %}{% for i in range(60) %}{% set n.a = n.a + n.a %}{% endfor %}{% set a = n.a %}";
    let uses = ["hash", "upper", "flatten", "unique", "length"];
    let templates: Vec<String> = [steps.as_str(), loops, sums]
        .iter()
        .flat_map(|steps| uses.map(|filter| format!("{steps}{{{{ a | {filter} }}}}")))
        .collect();
    side_by_side(&templates, |template| expect_failure(template, TOO_MUCH));
    for own in ["n", "[n]", "{'b': n}"] {
        let template = format!("{{% set n = namespace() %}}{{% set n.a = {own} %}}{{{{ n ~ n }}}}");
        expect_failure(&template, "a namespace cannot be in another value");
    }
    let sum = "{%- set n = namespace(all=[], names='') -%}{%- for i in [1, 2] -%}{% set n.all = n.all + [i] %}{% set n.names = n.names ~ i if i == 1 else n.names -%}{%- endfor -%}{% set a, b = 'x', \"=\" %}{{ n.all }}{{ n.names }}{{ a }}{{ b }}";
    let outcome = output(sum);
    assert!(outcome.stdout.contains(r#""x":"[1, 2]1x=""#), "{outcome:?}");
    expect_failure(
        "'x' | regex_search('x|' * 1000000)",
        "a regular expression can have at most 32768 bytes; this one has 2000000",
    );
    expect_failure(
        "[[1]] | tojson(indent=1000000000)",
        "an indent of `tojson` must be at most 100",
    );
}

#[test]
fn a_template_of_a_large_event_has_what_it_needs() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[inputs]\ncallback_url = {}\n[outputs]\nx = {{{{ result | tojson | length }}}}\n\
         y = result.items | map('upper') | join(',') | length\n",
        server.url()
    ));
    let items: Vec<String> = (0..20_000).map(|n| format!("i{n:0159}")).collect();
    let event = json!({"state": "failed", "host": "h", "result": {"items": items}});
    sandbox
        .run_with_input(&["send", "-"], event.to_string())
        .expect_line(0, &["1 delivery: delivered"]);
    let sent: Value = serde_json::from_str(&server.requests()[0].body).unwrap();
    assert_eq!(sent["y"], 20_000 * 161 - 1);
    assert_eq!(sent["x"], (20_000 * 164 + 11).to_string());
}

#[test]
fn what_cannot_be_compiled_safely_is_a_problem_of_its_line() {
    let chain = "an expression can have at most 1000 operators";
    let templates = [
        ("-".repeat(30_000) + "1", chain),
        ("not ".repeat(8000) + "1", chain),
        ("(".repeat(15_000) + "1" + &")".repeat(15_000), chain),
        ("[".repeat(900) + &"]".repeat(900), "maximum recursion"),
        ("1".to_owned() + &"+1".repeat(16_000), chain),
        ("host".to_owned() + &"|e".repeat(15_000), chain),
        (
            "{% if a %}".to_owned() + &"{% elif a %}".repeat(2500) + "{% endif %}",
            chain,
        ),
        ("x".repeat(40_000), "at most 32768 bytes"),
    ];
    side_by_side(&templates, |(template, reason)| {
        let sandbox = Sandbox::with_config(&format!(
            "[inputs]\ncallback_url = http://localhost/\nwhen = {template}\n"
        ));
        let outcome = sandbox.run(&["check-config"]);
        assert_eq!(outcome.code, 78, "{outcome:?}");
        assert!(
            outcome.stderr.contains("plugin_config.ini:3: "),
            "{outcome:?}"
        );
        assert!(outcome.stderr.contains(reason), "{reason}: {outcome:?}");
    });
}

#[test]
fn a_mail_of_another_century_is_sent() {
    let sandbox = certified_sandbox();
    let server = Smtp::start(&sandbox, &["--starttls"]);
    let port = server.port();
    sandbox.file(
        "plugin_config.ini",
        format!(
            "[notifier:mail]\ntype = email\non = any\nhost = localhost\nport = {port}\nca_file = ca.pem\n\
             from = a@example.com\nto = b@example.com\n"
        ),
    );
    let times = [
        "1969-07-20T20:17:40Z",
        "0001-01-01T00:00:00Z",
        "9999-12-30T00:00:00Z",
    ];
    for time in times {
        let event =
            json!({"event": "runner_on_failed", "id": time, "time": time, "host": {"name": "h"}});
        sandbox
            .run_with_input(&["send", "-"], event.to_string())
            .expect_line(0, &["1 delivery: delivered"]);
    }
    let mails = server.mails();
    let dates: Vec<&Value> = mails.iter().map(|mail| &mail["headers"]["date"]).collect();
    let first = "Thu, 01 Jan 1970 00:00:00 +0000";
    assert_eq!(dates, [first, first, "Thu, 30 Dec 9999 00:00:00 +0000"]);
}

#[cfg(feature = "failpoints")]
mod faults {
    use super::*;

    /// Waiting deliveries of hosts h0 to h4, ten times, to an endpoint that is there now.
    fn waiting() -> (Spooled, Server) {
        let spooled = Spooled::waiting(10);
        let server = Server::start([OK]);
        spooled.configure(&server.url(), "", "");
        (spooled, server)
    }

    fn flush(spooled: &Spooled, failpoints: &str) -> std::process::Output {
        let mut command = spooled.command(&["flush"]);
        command.env("ANSIBLE_NOTIFY_FAILPOINTS", failpoints);
        command.output().unwrap()
    }

    #[test]
    fn a_message_that_panics_is_dead_and_the_others_go_on() {
        let (spooled, server) = waiting();
        let output = flush(&spooled, "make_message/h3=panic@1");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("1 dead"), "{stderr}");
        assert!(
            !stderr.contains("src/") && !stderr.contains("panicked"),
            "{stderr}"
        );
        assert_eq!(server.requests().len(), 9);
        let history = spooled.run(&["history"]).stdout;
        assert!(history.contains("internal error (failpoint)"), "{history}");
        spooled.run(&["flush", "--dead"]);
        assert_eq!(server.requests().len(), 10);
    }

    #[test]
    fn a_panic_at_one_recipient_leaves_the_others_their_message() {
        let server = telegram::start();
        let sandbox = Sandbox::with_config(&TELEGRAM.config(&server, "1, 2, -1005"));
        sandbox.file("event.json", failed_run(1).to_string());
        let mut command = sandbox.command_on_spool(&["send", "event.json"]);
        command.env("ANSIBLE_NOTIFY_FAILPOINTS", "deliver_to/2=panic@1");
        let told = outcome(command.spawn().unwrap());
        told.expect_line(69, &["1 of 3 not reached: 2: internal error"]);
        let revived = sandbox.run_on_spool(&["flush", "--dead"]);
        revived.expect_line(0, &["1 delivery: delivered"]);
        let bodies = server.bodies();
        let chats: Vec<&Value> = bodies.iter().map(|body| &body["chat_id"]).collect();
        assert_eq!(chats, ["1", "-1005", "2"]);
    }

    #[test]
    fn a_message_that_ends_the_process_three_times_is_dead() {
        let (spooled, server) = waiting();
        for _ in 0..3 {
            let output = flush(&spooled, "make_message/h3=abort@1");
            assert_eq!(output.status.code(), None, "{output:?}");
        }
        let sent = server.requests().len();
        let output = flush(&spooled, "");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let reason = "given up: the process ended 3 times while it built the message";
        assert!(stderr.contains(reason), "{stderr}");
        assert!(sent < 9, "what the first process had not sent waits");
        // Those under way in the first process may have come twice.
        let requests = server.requests();
        assert!((9..=9 + 8).contains(&requests.len()), "{}", requests.len());
        let history = spooled.run(&["history"]).stdout;
        assert!(history.contains(reason), "{history}");
        let status = spooled.run(&["status", "--json"]);
        assert!(status.stdout.contains("\"dead\": 1,"), "{status:?}");
        // Mended, it goes.
        spooled.run(&["flush", "--dead"]);
        assert_eq!(server.requests().len(), requests.len() + 1);
    }

    #[test]
    fn two_such_ends_are_forgotten_when_the_message_is_made() {
        let (spooled, _server) = waiting();
        for _ in 0..3 {
            for _ in 0..2 {
                flush(&spooled, "make_message/h3=abort@1");
            }
            // It is made, and the process ends later, at another one.
            flush(&spooled, "after_send=abort@9");
        }
        spooled.run(&["flush"]).expect_line(0, &["deliver"]);
    }

    #[test]
    fn a_panic_elsewhere_ends_the_process_with_one_line() {
        for place in ["before_commit", "before_mark", "after_commit"] {
            let (spooled, server) = waiting();
            let output = flush(&spooled, &format!("{place}=panic@2"));
            let stderr = String::from_utf8(output.stderr).unwrap();
            let line = "ansible-notify: internal error (failpoint); exiting\n";
            assert_eq!(
                (output.status.code(), stderr.as_str()),
                (Some(1), line),
                "{place}"
            );
            spooled.run(&["flush"]).expect_line(0, &["deliver"]);
            assert!(server.requests().len() >= 10);
        }
    }
}
