//! Parser of events from outside: complete, written by hand, or ansible-runner's job events; tolerates
//! imperfect JSON.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::event::alert::{Alert, Delays};
use crate::event::callback::Callback;
use crate::event::fields::{raw, read_time, text};
use crate::event::keys::KEYS;
use crate::event::loops::Loops;
use crate::event::masked::Masks;
use crate::event::runner;
use crate::event::{self, Event, Run, RunEnd, State, Status};
use crate::json::bulk;
use crate::json::repair::parse;
use crate::text::{characters, cut};
use crate::text::{nearest, suggest};

/// Reads events, and numbers those without an id.
#[derive(Debug)]
pub struct EventParser {
    run: Arc<Run>,
    count: u64,
    /// Variables to keep of the environment that ansible-runner reports.
    environment: Vec<String>,
    /// Unknown keys of the last event, if it was written by hand.
    unknown: Vec<String>,
    /// Loops in progress.
    loops: Loops,
    masks: Option<Rc<Masks>>,
}

/// Length limit of a key that is shown, in characters.
const MAX_KEY: usize = 60;

impl EventParser {
    /// Creates a reader whose events belong to a new run, unless they name their own.
    pub fn new() -> EventParser {
        let run = Run {
            id: event::new_id(),
            ..Run::default()
        };
        EventParser {
            run: Arc::new(run),
            count: 0,
            environment: Vec::new(),
            unknown: Vec::new(),
            loops: Loops::default(),
            masks: None,
        }
    }

    /// Creates a reader of ansible-runner's records for a known run.
    pub fn of_runner(run: Arc<Run>, environment: Vec<String>) -> EventParser {
        EventParser {
            run,
            count: 0,
            environment,
            unknown: Vec::new(),
            loops: Loops::default(),
            masks: None,
        }
    }

    /// Masks every event from now on.
    pub fn mask(&mut self, masks: Option<Rc<Masks>>) {
        self.masks = masks;
    }

    /// Returns the id of the run to which events belong that name none.
    pub fn run_id(&self) -> &str {
        &self.run.id
    }

    /// Returns each unknown key of the last event, with a message about it.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, String)> {
        let said = |key: &str| {
            let shown = cut(key, MAX_KEY, characters);
            format!("unknown key `{shown}`{}", suggest(&shown, KEYS))
        };
        self.unknown
            .iter()
            .map(move |key| (key.as_str(), said(key)))
    }

    /// Reads one event from the bytes of one JSON object. Errors never quote its content.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Event, String> {
        let text = String::from_utf8_lossy(bytes);
        let light = bulk::lighten(&text);
        let is_text = matches!(text, Cow::Borrowed(_));
        let (value, repaired) = parse(&light.text)?;
        let Value::Object(object) = value else {
            return Err("is not a JSON object".to_owned());
        };
        self.count += 1;
        self.unknown.clear();
        let mut event = match runner::event(object, &self.run, &self.environment) {
            Ok(event) => event,
            Err(object) => {
                self.unknown = unknown_keys(&object);
                self.event(&object)?
            }
        };
        event.repaired |= repaired || !is_text;
        event.truncated |= light.truncated;
        if let (Some(whole), Some(_)) = (light.result, &event.result) {
            if event.record.is_none() && !repaired {
                event.result = Some(whole);
            } else {
                event.truncated = true;
            }
        }
        if let Some(masks) = &self.masks {
            masks.apply(&mut event);
        }
        event.note_items();
        event.strip();
        self.loops.note(&mut event);
        Ok(event)
    }

    /// Reads an event in our own schema; missing parts get defaults.
    fn event(&self, object: &Map<String, Value>) -> Result<Event, String> {
        let run = match part::<Run>(object, "run", "id")? {
            Some(run) if run.id.is_empty() => Arc::new(Run {
                id: self.run.id.clone(),
                ..run
            }),
            Some(run) => Arc::new(run),
            None => self.run.clone(),
        };
        let state = state(object)?;
        let callback = match (text(object, "event"), state) {
            (Some(name), _) => Callback::from(name.strip_prefix("v2_").unwrap_or(&name)),
            (None, Some(state)) => Callback::of_state(state),
            (None, None) => return Err(
                "is not an event: it has neither `event` nor `state` (see `ansible-notify schema`)"
                    .to_owned(),
            ),
        };
        let mut event = Event::new(callback, run, self.count);
        event.state = state.or(event.state);
        // The run it names may have events from other readers, with the same numbers.
        event.id = text(object, "id").unwrap_or_else(|| format!("{}-{}", self.run.id, self.count));
        if let Some(time) = object.get("time") {
            event.time =
                read_time(time).ok_or("`time` must be a time such as 2026-11-20T20:42:01Z")?;
        }
        event.end = run_end(object, &event.event)?;
        event.alert = alert(object, &event.event)?;
        event.changed = match (typed(object, "changed")?, &event.end) {
            (Some(changed), _) => changed,
            (None, Some(end)) => !end.changed_hosts.is_empty(),
            (None, None) => object
                .get("result")
                .is_some_and(|result| result["changed"] == Value::Bool(true)),
        };
        event.ignored = typed(object, "ignored")?.unwrap_or(false);
        event.truncated = typed(object, "truncated")?.unwrap_or(false);
        event.repaired = typed(object, "repaired")?.unwrap_or(false);
        event.duration = typed(object, "duration")?;
        event.item = object.get("item").filter(|item| !item.is_null()).cloned();
        event.play = part(object, "play", "name")?.map(Arc::new);
        event.task = part(object, "task", "name")?.map(Arc::new);
        event.host = part(object, "host", "name")?;
        event.vars = typed(object, "vars")?;
        event.labels = typed(object, "labels")?;
        event.url = typed(object, "url")?;
        event.test = typed(object, "test")?.unwrap_or(false);
        event.result = object
            .get("result")
            .filter(|result| !result.is_null())
            .map(raw);
        event.loop_reason = text(object, "reason").filter(|_| event.end.is_none());
        event.record = object
            .get("record")
            .filter(|record| record.is_object())
            .map(raw);
        Ok(event)
    }
}

/// Returns the unknown keys of an event written by hand. A program that sends events with time and id, such
/// as this one, may add keys.
fn unknown_keys(object: &Map<String, Value>) -> Vec<String> {
    if object.contains_key("id") && object.contains_key("time") {
        return Vec::new();
    }
    let unknown = object.keys().filter(|key| !KEYS.contains(&key.as_str()));
    unknown.cloned().collect()
}

/// Reads the state of the task; for triggers, `success` is `ok` or `changed`.
fn state(object: &Map<String, Value>) -> Result<Option<State>, String> {
    let states = ["success", "failed", "skipped", "unreachable"];
    let others = [
        ("ok", "success"),
        ("changed", "success"),
        ("error", "failed"),
    ];
    word(object, "state", &states, &others)
}

/// Reads the status of the run; AWX and ansible-runner use other words for it.
fn status(object: &Map<String, Value>) -> Result<Option<Status>, String> {
    let statuses = ["running", "success", "error", "canceled"];
    let others = [
        ("ok", "success"),
        ("successful", "success"),
        ("failed", "error"),
        ("failure", "error"),
        ("timeout", "error"),
        ("cancelled", "canceled"),
    ];
    word(object, "status", &statuses, &others)
}

/// Reads a field that is one of a few words; `others` maps words that may be meant to these.
fn word<T: serde::de::DeserializeOwned>(
    object: &Map<String, Value>,
    key: &str,
    words: &[&'static str],
    others: &[(&str, &'static str)],
) -> Result<Option<T>, String> {
    typed(object, key).map_err(|_| {
        let (last, rest) = words.split_last().expect("there are words");
        let mut problem = format!("`{key}` must be {} or {last}", rest.join(", "));
        // An unknown word may be anything, even a secret.
        let given = object[key].as_str().unwrap_or_default();
        let lower = given.to_lowercase();
        let other = others.iter().find(|(other, _)| *other == lower);
        let near = other
            .map(|(_, word)| *word)
            .or_else(|| nearest(&lower, words.iter().copied()));
        if let Some(near) = near {
            let shown = cut(given, MAX_KEY, characters);
            problem.push_str(&format!(", not `{shown}`; did you mean `{near}`?"));
        }
        problem
    })
}

/// Reads the end of a run, if the event is one. Without a status, the hosts' counts decide.
fn run_end(
    object: &Map<String, Value>,
    callback: &Callback,
) -> Result<Option<Arc<RunEnd>>, String> {
    let status = status(object)?;
    if status.is_none() && *callback != Callback::RunEnd {
        return Ok(None);
    }
    let stats: Map<String, Value> = typed(object, "stats")?.unwrap_or_default();
    // If only the hosts' counts are given, the rest follows from them.
    let failures = stats.values().map(RunEnd::failures_of).sum();
    let counted = match failures {
        _ if stats.is_empty() => None,
        0 => Some(Status::Success),
        _ => Some(Status::Error),
    };
    let status = status
        .or(counted)
        .ok_or("`run_end` has neither `status` (success, error or canceled) nor `stats`")?;
    let changed = stats
        .iter()
        .filter(|(_, counts)| RunEnd::is_changed(counts));
    let changed_hosts = changed.map(|(host, _)| host.clone()).collect();
    Ok(Some(Arc::new(RunEnd {
        status,
        exit_code: typed(object, "exit_code")?,
        signal: typed(object, "signal")?,
        output: typed(object, "output")?,
        reason: typed(object, "reason")?,
        elapsed: typed(object, "elapsed")?.unwrap_or(0.0),
        previous: typed(object, "previous")?,
        still_failing: typed(object, "still_failing")?.unwrap_or_default(),
        failed_tasks: typed(object, "failed_tasks")?.unwrap_or_default(),
        failures: typed(object, "failures")?.unwrap_or(failures),
        changed_hosts: typed(object, "changed_hosts")?.unwrap_or(changed_hosts),
        plays: typed(object, "plays")?.unwrap_or_default(),
        custom_stats: typed(object, "custom_stats")?.unwrap_or_default(),
        custom_stats_per_host: typed(object, "custom_stats_per_host")?.unwrap_or_default(),
        delays: Delays {
            overdue: typed(object, "overdue")?.unwrap_or(false),
            stalls: typed(object, "stalls")?.unwrap_or_default(),
            slow_tasks: typed(object, "slow_tasks")?.unwrap_or_default(),
        },
        stats,
    })))
}

/// Reads the data of an event about time, if it is one.
fn alert(object: &Map<String, Value>, callback: &Callback) -> Result<Option<Arc<Alert>>, String> {
    if !callback.is_alert() {
        return Ok(None);
    }
    let last_run = object.get("last_run").filter(|time| !time.is_null());
    Ok(Some(Arc::new(Alert {
        threshold: typed(object, "threshold")?,
        waiting_for: typed(object, "waiting_for")?.unwrap_or_default(),
        last_run: last_run
            .map(|time| {
                read_time(time).ok_or("`last_run` must be a time such as 2026-11-20T20:42:01Z")
            })
            .transpose()?,
    })))
}

/// Reads a field of a known type; None if it is absent or null.
fn typed<T: serde::de::DeserializeOwned>(
    object: &Map<String, Value>,
    key: &str,
) -> Result<Option<T>, String> {
    match object.get(key) {
        None => Ok(None),
        Some(value) => Option::<T>::deserialize(value)
            .map_err(|_| format!("`{key}` has a value of the wrong type")),
    }
}

/// Reads a part such as `host`: an object, or plain text that stands for its `main` field.
fn part<T: serde::de::DeserializeOwned>(
    object: &Map<String, Value>,
    key: &str,
    main: &str,
) -> Result<Option<T>, String> {
    let parsed = match object.get(key) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => T::deserialize(serde_json::json!({ main: text })).ok(),
        Some(value @ Value::Object(_)) => T::deserialize(value).ok(),
        Some(_) => None,
    };
    parsed
        .map(Some)
        .ok_or_else(|| format!("`{key}` must be a string or an object with string fields"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Event {
        EventParser::new()
            .read(value.to_string().as_bytes())
            .unwrap()
    }

    #[test]
    fn an_event_by_hand_is_completed() {
        let event = read(
            &json!({"state": "failed", "host": "web1", "task": "install", "result": {"msg": "no"}}),
        );
        assert_eq!(event.event, Callback::RunnerOnFailed);
        assert_eq!(event.host_name(), "web1");
        assert_eq!(event.task.as_ref().unwrap().name, "install");
        assert!(event.id.ends_with("-1"), "{}", event.id);
    }

    #[test]
    fn events_by_hand_of_one_run_are_not_taken_for_each_other() {
        let event = json!({"state": "failed", "run": {"id": "nightly"}});
        let (first, second) = (read(&event), read(&event));
        assert_eq!(first.run.id, "nightly");
        assert_ne!(first.id, second.id);
    }

    #[test]
    fn a_complete_event_survives_unchanged() {
        let mut reader = EventParser::new();
        let first = reader
            .read(br#"{"event":"runner_on_ok","id":"r-9","time":"2026-11-20T20:42:01.123456Z","changed":true,
                "run":{"id":"r","playbook":"site.yml","tags":["a"]},"host":{"name":"h","address":"::1"},"test":true,"status":"error","elapsed":1.5,"stats":{"h":{"ok":1}},
                "result":{"n":18446744073709551617,"huge":1e400,"zero":-0}}"#)
            .unwrap();
        let text = serde_json::to_string(&first).unwrap();
        let again = serde_json::to_string(&reader.read(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(text, again);
        assert!(
            text.contains("18446744073709551617") && text.contains("1e+400") && text.contains("-0"),
            "{text}"
        );
    }

    #[test]
    fn a_job_event_is_recognised() {
        let event = read(&json!({
            "uuid": "u1", "event": "runner_on_ok", "created": "2026-11-20T20:42:01.5+00:00",
            "event_data": {"playbook": "site.yml", "play": "p", "task": "t", "host": "h", "task_args": "secret",
                "res": {"changed": true, "invocation": {"module_args": {"p": "secret"}}}},
        }));
        assert!(event.changed);
        assert_eq!(event.id, "u1");
        assert!(!serde_json::to_string(&event).unwrap().contains("secret"));
    }

    #[test]
    fn nothing_under_no_log_stays() {
        let event = read(
            &json!({"event": "runner_on_ok", "item": "canary", "result": {
            "_ansible_no_log": true, "changed": true, "stdout": "canary", "exception": "canary", "diff": ["canary"]}}),
        );
        assert_eq!(event.result.unwrap().get(), r#"{"changed":true}"#);
        assert_eq!(event.item, None);
        let event = read(&json!({"event": "runner_on_ok", "result": {"results": [
            {"censored": "hidden", "msg": "canary"}, {"msg": "seen", "_ansible_item_label": 1}]}}));
        assert_eq!(
            event.result.unwrap().get(),
            r#"{"results":[{"censored":"hidden"},{"msg":"seen"}]}"#
        );
    }

    #[test]
    fn no_environment_stays() {
        let facts = json!({"ansible_env": {"TOKEN": "canary"}, "ansible_system": "Linux"});
        let event = read(&json!({"event": "runner_on_ok", "result": {"ansible_facts": facts}}));
        assert_eq!(
            event.result.unwrap().get(),
            r#"{"ansible_facts":{"ansible_system":"Linux"}}"#
        );
    }

    #[test]
    fn what_somebody_calls_censored_is_their_own() {
        let result = json!({"film": {"title": "Alien", "censored": false}});
        let event = read(&json!({"event": "runner_on_ok", "result": result}));
        assert_eq!(event.result.unwrap().get(), result.to_string());
    }

    #[test]
    fn an_item_with_a_label_is_told_by_it() {
        let item = json!({"name": "a", "password": "canary"});
        let result = |label: &Value| json!({"rc": 0, "item": item, "_ansible_item_label": label});
        let event = read(&json!({"event": "runner_item_on_ok", "result": result(&json!("a"))}));
        assert_eq!(event.result.unwrap().get(), r#"{"rc":0}"#);
        let event = read(&json!({"event": "runner_item_on_ok", "result": result(&item)}));
        assert!(event.result.unwrap().get().contains("canary"));
    }

    #[test]
    fn broken_text_is_repaired_and_marked() {
        let event = EventParser::new()
            .read(b"{\"state\":\"success\",\"result\":{\"a\":\"\\ud800x\",\"b\":\"\xff\",\"c\":NaN,\"d\":\"\\ud83d\\ude00 NaN\",\"e\":\"\\\\ud800\"}}")
            .unwrap();
        assert!(event.repaired);
        assert_eq!(
            event.result_value(),
            json!({"a": "\u{fffd}x", "b": "\u{fffd}", "c": "NaN", "d": "😀 NaN", "e": "\\ud800"})
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_the_content() {
        for input in [
            "{\"secret\": tru}",
            "{\"a\":1,}",
            "[\"secret\"]",
            "{}",
            "{\"state\":\"secret\"}",
            "{\"state\":\"failed\",\"host\":[\"secret\"]}",
        ] {
            let reason = EventParser::new().read(input.as_bytes()).unwrap_err();
            assert!(!reason.contains("secret"), "{reason}");
        }
        let deep = format!(
            "{{\"state\":\"failed\",\"result\":{}{}}}",
            "[".repeat(10_000),
            "]".repeat(10_000)
        );
        assert!(
            EventParser::new()
                .read(deep.as_bytes())
                .unwrap_err()
                .contains("recursion limit")
        );
    }
}
