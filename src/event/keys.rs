//! Keys of an event: those of the schema, and `record` and `output`, which this program adds if needed.

/// Keys of an event, most used ones first; a misspelt one is compared with them in this order.
pub const KEYS: [&str; 42] = [
    "state",
    "event",
    "host",
    "task",
    "play",
    "result",
    "item",
    "changed",
    "ignored",
    "duration",
    "time",
    "id",
    "run",
    "status",
    "exit_code",
    "signal",
    "reason",
    "elapsed",
    "stats",
    "previous",
    "still_failing",
    "failed_tasks",
    "failures",
    "changed_hosts",
    "plays",
    "overdue",
    "stalls",
    "slow_tasks",
    "threshold",
    "waiting_for",
    "last_run",
    "vars",
    "labels",
    "url",
    "custom_stats",
    "custom_stats_per_host",
    "schema",
    "truncated",
    "repaired",
    "test",
    "record",
    "output",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::event::alert::{Alert, Delay, Delays};
    use crate::event::callback::Callback;
    use crate::event::plays::PlaySummary;
    use crate::event::stored::EventCodec;
    use crate::event::wrapped::Wrapped;
    use crate::event::{Event, FailedTask, Host, Play, Run, RunEnd, Status, Task, sample};

    /// Returns the schema of the event at `path`: of a member, or of the members of a list.
    fn schema(path: &[&str]) -> Value {
        let schema = include_str!("../../docs/event.schema.json");
        let schema: Value = serde_json::from_str(schema).unwrap();
        path.iter().fold(schema, |schema, name| {
            let member = schema["properties"][name].clone();
            if member["items"]["properties"].is_object() {
                member["items"].clone()
            } else {
                member
            }
        })
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn own(name: &str) -> serde_json::Map<String, Value> {
        serde_json::Map::from_iter([(name.to_owned(), json!({"a": [1, "b"]}))])
    }

    fn run() -> Run {
        let list = || vec!["a".to_owned(), "b".to_owned()];
        Run {
            id: "r".into(),
            playbook: some("site.yml"),
            path: some("/site.yml"),
            check: true,
            user: some("u"),
            controller: some("c"),
            ansible_version: some("2.19"),
            limit: some("web"),
            tags: list(),
            skip_tags: list(),
            start_at_task: some("t"),
            module: some("ping"),
            pattern: some("all"),
            inventory: list(),
            playbooks: list(),
            url: some("https://ci"),
            traceparent: some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ident: some("i"),
            title: some("n"),
            wrapped: Some(Wrapped {
                key: "deploy.sh in /srv".into(),
                is_script: true,
                is_started: false,
            }),
        }
    }

    fn delay() -> Delay {
        Delay {
            task: "t".into(),
            hosts: vec!["h".into()],
            seconds: 1.5,
        }
    }

    fn alert() -> Alert {
        Alert {
            threshold: Some(1.5),
            waiting_for: vec!["h".into()],
            last_run: "2026-11-20T20:42:01Z".parse().ok(),
        }
    }

    fn end() -> RunEnd {
        RunEnd {
            status: Status::Error,
            exit_code: Some(2),
            signal: some("SIGKILL"),
            reason: some("no"),
            elapsed: 1.5,
            stats: serde_json::Map::new(),
            previous: Some(Status::Success),
            still_failing: vec!["h".into()],
            failed_tasks: vec![FailedTask {
                host: "h".into(),
                task: "t".into(),
                action: some("ping"),
                path: some("/site.yml:1"),
                role: some("r"),
                play: some("p"),
                unreachable: true,
                message: "no".into(),
            }],
            failures: 1,
            changed_hosts: vec!["h".into()],
            plays: vec![PlaySummary {
                id: "1".into(),
                name: "p".into(),
                start: "2026-11-20T20:42:01Z".parse().unwrap(),
                end: "2026-11-20T20:42:02Z".parse().unwrap(),
                failures: 1,
                playbook: some("/site.yml"),
            }],
            custom_stats: own("version"),
            custom_stats_per_host: own("h"),
            delays: Delays {
                overdue: true,
                stalls: vec![delay()],
                slow_tasks: vec![delay()],
            },
            output: some("ERROR!"),
        }
    }

    /// Returns an event in which nothing is missing; a real one has either a result or an end.
    fn full() -> Event {
        let raw = |value: &Value| serde_json::value::to_raw_value(value).ok();
        Event {
            item: Some(json!("i")),
            run: Arc::new(run()),
            play: Some(Arc::new(Play {
                id: "1".into(),
                name: "p".into(),
            })),
            task: Some(Arc::new(Task {
                id: "1".into(),
                name: "t".into(),
                action: some("ping"),
                path: some("/site.yml:1"),
                role: some("r"),
                tags: vec!["a".into()],
                handler: true,
            })),
            host: Some(Host {
                name: "h".into(),
                address: some("::1"),
                delegated_to: some("d"),
                vars: Some(Arc::new(own("team"))),
                groups: Some(Arc::new(vec!["web".into()])),
            }),
            vars: Some(Arc::new(own("deploy_id"))),
            labels: Some(own("env")),
            url: some("https://page/runs/r"),
            result: raw(&json!({"rc": 1})),
            truncated: true,
            repaired: true,
            test: true,
            end: Some(Arc::new(end())),
            alert: Some(Arc::new(alert())),
            record: raw(&json!({"uuid": "u"})),
            ..sample::run_end(Status::Error)
        }
    }

    #[test]
    fn keys_are_those_of_the_schema() {
        let mut documented = keys(&schema(&[])["properties"]);
        documented.extend(["record", "output"].map(str::to_owned));
        assert_eq!(documented, KEYS.map(str::to_owned).into());
    }

    #[test]
    fn every_part_of_an_event_is_in_the_schema() {
        let event = serde_json::to_value(full()).unwrap();
        for (path, value) in [
            (&[] as &[&str], &event),
            (&["run"], &event["run"]),
            (&["play"], &event["play"]),
            (&["task"], &event["task"]),
            (&["host"], &event["host"]),
            (&["failed_tasks"], &event["failed_tasks"][0]),
            (&["plays"], &event["plays"][0]),
            (&["stalls"], &event["stalls"][0]),
            (&["slow_tasks"], &event["slow_tasks"][0]),
        ] {
            assert_eq!(keys(value), keys(&schema(path)["properties"]), "{path:?}");
        }
    }

    #[test]
    fn the_spool_keeps_every_key() {
        let task = Event {
            end: None,
            alert: None,
            loop_reason: some("no"),
            ..full()
        };
        let end = Event {
            alert: None,
            ..full()
        };
        let alert = Event {
            event: Callback::RunStalled,
            end: None,
            ..full()
        };
        for event in [task, end, alert] {
            let mut expected = serde_json::to_value(&event).unwrap();
            expected["record"] = json!({"uuid": "u"});
            let output = event.end.as_ref().and_then(|end| end.output.clone());
            if let Some(output) = &output {
                expected["output"] = json!(output);
            }
            let stored = EventCodec::default().write(&event);
            assert_eq!(serde_json::from_str::<Value>(&stored).unwrap(), expected);
            let read = EventCodec::default().read(&stored).unwrap();
            assert_eq!(
                serde_json::to_value(&read).unwrap(),
                serde_json::to_value(&event).unwrap()
            );
            assert!(read.record.is_some());
            assert_eq!(read.end.and_then(|end| end.output.clone()), output);
        }
    }
}
