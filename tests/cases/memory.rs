//! However large, broken or odd an input is, the memory stays below 64 MiB.

use serde_json::Value;

use crate::sandbox::{Config, Outcome, Sandbox, config_for};
use crate::server::{OK, Server, dead_url};

/// The most that the program may take, in KiB: 64 MiB, and what a debug build takes beyond a released one that does
/// the same.
pub const MOST_KIB: usize = (64 + 12) << 10;

#[track_caller]
fn send(sandbox: &Sandbox, input: &str) -> Outcome {
    let (outcome, peak) = sandbox.run_measured(&["send", "-"], input);
    assert!(peak < MOST_KIB, "{peak} KiB: {}", outcome.stderr);
    outcome
}

/// A configuration with time for large events, however slow the machine is.
fn config(url: &str) -> String {
    Config::to(url).delivery("drain = 600").text()
}

fn numbers(bytes: usize) -> String {
    format!("[{}1]", "1,".repeat(bytes / 2))
}

#[test]
fn mistakes_are_counted_and_the_first_are_said() {
    let sandbox = Sandbox::with_config(&config_for(&dead_url()));
    for (line, count) in [
        ("x\n", 8 << 20),
        ("{}\n", 100_000),
        ("{\"state\":1}\n", 100_000),
        ("{\"a\n", 100_000),
        ("1,", 8 << 20),
    ] {
        let begin = if line == "1," { "[" } else { "" };
        let outcome = send(&sandbox, &(begin.to_owned() + &line.repeat(count)));
        assert_eq!(outcome.code, 65, "{line}: {outcome:?}");
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 11, "{line}: {outcome:?}");
        let all = format!("{count} mistakes in total; the first 10 are shown");
        assert!(lines[10].contains(&all), "{line}: {outcome:?}");
    }
}

#[test]
fn an_event_of_many_values_is_delivered_whole_where_nobody_looks_inside() {
    let endpoint = Server::start([OK]);
    let config = format!(
        "{}big = result.big\nrc = result.rc\n",
        config(&endpoint.url())
    );
    let sandbox = Sandbox::with_config(&config);
    let big = numbers(3_900_000);
    let input = format!(r#"{{"state":"failed","host":"a","result":{{"big":{big},"rc":2}}}}"#);
    assert_eq!(send(&sandbox, &input).code, 0);
    let body = &endpoint.requests()[0].body;
    assert!(
        body.contains(&big) && body.contains(r#""rc":2"#),
        "{}",
        body.len()
    );
}

#[test]
fn of_an_event_of_many_values_a_template_sees_a_part() {
    let endpoint = Server::start([OK]);
    let config = format!(
        "{}count = result.big | length\nrc = result.rc\nall = event.result.big | length\nreason = reason\n",
        config(&endpoint.url())
    );
    let sandbox = Sandbox::with_config(&config);
    for piece in ["1,", "{},", "\"\",", "[1,2],", "{\"a\":1},"] {
        let count = 3_900_000 / piece.len();
        let big = format!("[{}1]", piece.repeat(count - 1));
        let input = format!(
            r#"{{"state":"failed","host":"a","result":{{"big":{big},"rc":2,"msg":"no"}}}}"#
        );
        assert_eq!(send(&sandbox, &input).code, 0, "{piece}");
        let body: Value = endpoint.requests().last().unwrap().json();
        let seen = body["count"].as_u64().unwrap();
        assert!((1000..count as u64).contains(&seen), "{piece}: {body}");
        assert_eq!(
            (&body["rc"], &body["reason"]),
            (&2.into(), &"no".into()),
            "{piece}"
        );
    }
}

#[test]
fn many_values_anywhere_in_an_event_are_bounded() {
    let endpoint = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&endpoint.url()));
    for key in ["item", "stats", "other", "run", "failed_tasks"] {
        let inner = match key {
            "stats" => format!("{{\"h\":{}}}", numbers(3_900_000)),
            "run" => format!(
                "{{\"id\":\"r\",\"tags\":[{}\"\"]}}",
                "\"\",".repeat(1_200_000)
            ),
            "failed_tasks" => format!("[{}{{}}]", "{},".repeat(1_200_000)),
            _ => numbers(3_900_000),
        };
        let input = format!(r#"{{"state":"failed","host":"a","{key}":{inner}}}"#);
        assert_eq!(send(&sandbox, &input).code, 0, "{key}");
    }
    let job = format!(
        r#"{{"uuid":"u","counter":1,"event":"runner_on_failed","event_data":{{"host":"a","task":"t","res":{{"big":{}}}}}}}"#,
        numbers(3_900_000)
    );
    assert_eq!(send(&sandbox, &job).code, 0);
    assert_eq!(endpoint.requests().len(), 6);
}

#[test]
fn many_large_events_wait_in_the_spool_and_not_in_memory() {
    let events: String = (0..20)
        .map(|number| {
            let text = "x".repeat(500_000);
            format!(
                "{{\"state\":\"failed\",\"host\":\"web{}\",\"result\":{{\"a\":\"{text}\",\"b\":\"{text}\",\"c\":\"{text}\",\"d\":\"{text}\"}}}}\n",
                number % 7
            )
        })
        .collect();
    let endpoint = Server::start([OK]);
    for (url, code) in [(dead_url(), 75), (endpoint.url(), 0)] {
        let drain = if code == 75 {
            "drain = 1"
        } else {
            "drain = 600"
        };
        let config = Config::to(&url).delivery(drain).text() + "result = result\n";
        let sandbox = Sandbox::with_config(&config);
        assert_eq!(send(&sandbox, &events).code, code);
    }
    assert_eq!(endpoint.requests().len(), 20);
}

#[test]
fn large_events_of_many_notifiers_share_the_memory() {
    let endpoint = Server::start([OK]);
    let mut config = config(&endpoint.url());
    for (number, more) in ["", "", "", "batch = 8\n", "group_by = run\n"]
        .iter()
        .enumerate()
    {
        config.push_str(&format!(
            "[notifier:more{number}]\ntype = webhook\nurl = {}\non = failed\n{more}",
            endpoint.url()
        ));
    }
    let sandbox = Sandbox::with_config(&config);
    let text = "x".repeat(500_000);
    let event = |number| {
        format!(
            "{{\"state\":\"failed\",\"host\":\"web{number}\",\"result\":{{\"a\":\"{text}\",\"b\":\"{text}\"}}}}\n"
        )
    };
    let events: String = (0..7).map(event).collect();
    assert_eq!(send(&sandbox, &events).code, 0);
    let requests = endpoint.requests();
    let sizes = requests.iter().map(|request| request.body.len());
    assert!(sizes.sum::<usize>() > 4 * 7 * 2 * text.len());
}

#[test]
fn a_stream_of_large_events_takes_little_memory() {
    let endpoint = Server::start([OK]);
    let config = format!("{}count = result.big | length\n", config(&endpoint.url()));
    let sandbox = Sandbox::with_config(&config);
    let hello = r#"{"hello":{"protocol":1,"run":{"id":"r"}}}"#;
    let mut input = format!("{hello}\n");
    for number in 1..=20 {
        input.push_str(&format!(
            "{{\"event\":{{\"seq\":{number},\"event\":\"runner_on_failed\",\"time\":1.0,\"host\":{{\"name\":\"h{}\"}},\"item\":{},\"result\":{{\"big\":{}}}}}}}\n",
            number % 5,
            numbers(100_000),
            numbers(2_800_000)
        ));
    }
    let (outcome, peak) = sandbox.run_measured(&["stream"], &input);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(peak < MOST_KIB, "{peak} KiB");
    assert!(endpoint.requests().len() >= 20);
}

#[test]
fn a_large_event_is_shown_in_little_memory() {
    let sandbox = Sandbox::with_config(&Config::to(&dead_url()).delivery("drain = 0").text());
    let big = numbers(3_900_000);
    let event = format!(r#"{{"state":"failed","host":"a","result":{{"big":{big}}}}}"#);
    sandbox.file("event.json", event);
    sandbox.run_on_spool(&["send", "event.json"]);
    for arguments in [
        &["history", "1"][..],
        &["history", "1", "--json"],
        &["status"],
    ] {
        let mut command = sandbox.measured(arguments);
        command.env("XDG_STATE_HOME", sandbox.path("state"));
        let outcome = crate::sandbox::outcome(command.spawn().unwrap());
        assert_eq!(outcome.code, 0, "{}", outcome.stderr);
        assert!(
            sandbox.peak() < MOST_KIB,
            "{arguments:?}: {} KiB",
            sandbox.peak()
        );
    }
}
