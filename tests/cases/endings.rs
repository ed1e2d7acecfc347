//! Runs that die early, several playbooks of one command line, and names that differ from host to host.

use serde_json::{Value, json};

use super::runs::{failing, stream, succeeding};
use super::stream::{END, event, greeting as hello};
use crate::sandbox::Sandbox;
use crate::server::{OK, Server};

fn config(url: &str, on: &str) -> String {
    format!(
        "[notifier:x]\ntype = webhook\nurl = {url}\non = {on}\n[outputs:x]\nstatus = status\n\
         code = exit_code\nreason = reason\ntask = task_name\naction = task_action\n"
    )
}

fn told(input: &str) -> Vec<Value> {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&config(&server.url(), "any, started"));
    assert_eq!(stream(&sandbox, input).code, 0);
    server.bodies()
}

fn end(record: Value) -> String {
    format!("{}\n", json!({"end": record}))
}

#[test]
fn what_comes_before_the_first_play_waits_for_its_variables() {
    let started = event(1, "playbook_on_start", json!({}));
    let play = json!({"play": {"id": "1", "name": "web"}}).to_string() + "\n";
    let (guess, known) = (Server::start([OK]), Server::start([OK]));
    let first = json!({"overrides": {"callback_url": guess.url()}, "early": true});
    let overrides = json!({"overrides": {"callback_url": known.url(), "generation": 2}});
    for (records, places) in [
        // The play says so, or it never began.
        (format!("{overrides}\n{play}{END}"), (0, 2)),
        (format!("{overrides}\n{END}"), (0, 2)),
        (overrides.to_string() + "\n", (0, 2)),
        (play, (2, 0)),
        (String::new(), (2, 0)),
    ] {
        let before = (guess.bodies().len(), known.bodies().len());
        let sandbox = Sandbox::with_config("[inputs]\non = any, started\n");
        let input = hello(first.clone()) + &started + &records;
        let outcome = stream(&sandbox, &input);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        assert_eq!(outcome.stdout.matches("ready").count(), 1);
        let after = (guess.bodies().len(), known.bodies().len());
        assert_eq!(
            (after.0 - before.0, after.1 - before.1),
            places,
            "{records}"
        );
    }
}

#[test]
fn the_end_says_how_ansible_ended() {
    let stats = |failures| {
        let result = json!({"stats": {"h": {"ok": 1, "failures": failures}}});
        event(3, "playbook_on_stats", json!({"result": result}))
    };
    let failed = json!({"host": {"name": "h"}, "result": {"msg": "no"}});
    let failed = event(2, "runner_on_failed", failed);
    let cut_off = "Ansible was killed, or ended without saying so";
    for (records, status, code, reason) in [
        (stats(0) + END, "success", Value::Null, Value::Null),
        (
            stats(0) + &end(json!({"reason": "exit", "code": null, "error": "OSError: x"})),
            "error",
            Value::Null,
            json!("OSError: x"),
        ),
        (
            stats(0) + &end(json!({"reason": "exit", "code": 120, "error": "cannot write"})),
            "error",
            json!(120),
            json!("cannot write"),
        ),
        (
            stats(0) + &end(json!({"reason": "exit", "code": 3})),
            "error",
            json!(3),
            json!("Ansible ended with exit code 3"),
        ),
        (
            failed.clone() + &stats(1) + &end(json!({"reason": "exit", "code": 2, "said": "?"})),
            "error",
            json!(2),
            json!("h: : no"),
        ),
        (
            stats(0) + &end(json!({"reason": "exit", "code": 2, "said": "no such role\n"})),
            "error",
            json!(2),
            json!("no such role"),
        ),
        (
            stats(0) + &end(json!({"reason": "exit", "code": 0, "said": "rescued"})),
            "success",
            json!(0),
            Value::Null,
        ),
        (
            end(json!({"reason": "exit", "code": 99})),
            "canceled",
            json!(99),
            json!("interrupted"),
        ),
        (
            end(json!({"reason": "exit", "code": 130})),
            "canceled",
            json!(130),
            json!("interrupted"),
        ),
        (
            end(json!({"reason": "interrupt", "code": 120, "error": "cannot write"})),
            "canceled",
            json!(120),
            json!("cannot write"),
        ),
        (
            END.to_owned(),
            "canceled",
            Value::Null,
            json!("interrupted"),
        ),
        (String::new(), "canceled", Value::Null, json!(cut_off)),
        (failed, "canceled", Value::Null, json!(cut_off)),
    ] {
        let start = event(1, "playbook_on_start", json!({}));
        let said = told(&(hello(json!({})) + &start + &records));
        let said = said.last().unwrap();
        assert_eq!(
            (&said["status"], &said["code"], &said["reason"]),
            (&json!(status), &code, &reason),
            "{records}"
        );
    }
}

/// The run of a command line with several playbooks that ends in the one of `path`.
fn of_several(run: &str, path: &str, paths: &[&str]) -> String {
    let one = "\"path\":\"/srv/site.yml\"";
    let several = format!("\"path\":\"{path}\",\"playbooks\":{}", json!(paths));
    run.replace(one, &several)
}

#[test]
fn several_playbooks_recover_together_and_each_by_itself() {
    let server = Server::start([OK]);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:x]\ntype = webhook\nurl = {}\non = recovered\n[outputs:x]\nrun = run_id\n",
        server.url()
    ));
    let (a, b) = ("/srv/a.yml", "/srv/b.yml");
    let alone = |run: &str, path: &str| run.replace("/srv/site.yml", path);
    for (run, recovers) in [
        (of_several(&failing("1"), a, &[a, b]), false),
        // The list succeeds, in its last playbook.
        (of_several(&succeeding("2"), b, &[a, b]), true),
        (of_several(&succeeding("3"), b, &[a, b]), false),
        // The second one fails: the first had succeeded.
        (of_several(&failing("4"), b, &[a, b]), false),
        (alone(&succeeding("5"), a), false),
        (alone(&succeeding("6"), b), true),
        (of_several(&succeeding("7"), b, &[a, b]), true),
        // One that failed alone is made good by the list.
        (alone(&failing("8"), a), false),
        (of_several(&succeeding("9"), b, &[a, b]), true),
        (alone(&succeeding("10"), a), false),
        // Another list is something else.
        (of_several(&failing("11"), b, &[b, a]), false),
        (
            of_several(&succeeding("12"), "/srv/c.yml", &[a, "/srv/c.yml"]),
            false,
        ),
    ] {
        let before = server.bodies().len();
        assert_eq!(stream(&sandbox, &run).code, 0);
        assert_eq!(
            server.bodies().len() - before,
            usize::from(recovers),
            "{run}"
        );
    }
}

#[test]
fn a_task_is_called_as_the_host_ran_it() {
    let task = json!({"task": {"id": "t", "name": "install a on h1", "action": "{{ how }}"}});
    let result = |seq, host: &str, more: Value| {
        let mut content = json!({"task": "t", "host": {"name": host}});
        let members = content.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        event(seq, "runner_on_failed", content)
    };
    let input = [
        hello(json!({})),
        task.to_string() + "\n",
        result(1, "h1", json!({"task_action": "debug"})),
        result(
            2,
            "h2",
            json!({"task_name": "install b on h2", "task_action": "debug"}),
        ),
        result(3, "h3", json!({})),
    ];
    let mut said: Vec<String> = told(&input.concat())
        .iter()
        .filter(|body| body["status"].is_null())
        .map(|body| format!("{} {}", body["task"], body["action"]))
        .collect();
    // Hosts have no order among each other.
    said.sort();
    assert_eq!(
        said,
        [
            r#""install a on h1" "debug""#,
            r#""install a on h1" "{{ how }}""#,
            r#""install b on h2" "debug""#,
        ]
    );
}
