//! Shortening of an event that an endpoint finds too large.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::event::{Event, RunEnd};
use crate::text::{bytes, cut, last_part};

/// Size limit of a shortened result, in bytes: small enough for limits that people set.
const MOST: usize = 4096;
/// Texts are not cut below this length, in bytes.
const SHORTEST: usize = 128;
/// Number of tasks and hosts kept of the end of a run.
const FEW: usize = 10;

/// Returns the event with the long texts of its result cut until all of it is small. If many short values
/// make it large, only the plain values at the top level stay.
pub fn shortened(event: &Event) -> Event {
    let mut short = event.clone();
    short.truncated = true;
    short.item = event.item.as_ref().map(|item| cut_texts(item, SHORTEST));
    short.vars = event.vars.as_deref().map(shortened_vars);
    if let Some(host) = &mut short.host {
        host.vars = host.vars.as_deref().map(shortened_vars);
    }
    if event.result.is_some() {
        let result = smaller(&event.result_value());
        short.result = serde_json::value::to_raw_value(&result).ok();
    }
    short.end = event.end.as_deref().map(|end| Arc::new(shortened_end(end)));
    short
}

/// Returns variables with their long texts cut; if they are too many, only the plain ones.
fn shortened_vars(vars: &Map<String, Value>) -> Arc<Map<String, Value>> {
    match smaller(&Value::Object(vars.clone())) {
        Value::Object(vars) => Arc::new(vars),
        _ => Arc::default(),
    }
}

/// Returns the end of a run with the first failures and changes; of many hosts, only those in trouble.
fn shortened_end(end: &RunEnd) -> RunEnd {
    let mut short = end.clone();
    let reason = end.reason.as_ref();
    short.reason = reason.map(|text| cut(text, SHORTEST, bytes).into());
    short.failed_tasks.truncate(FEW);
    for failed in &mut short.failed_tasks {
        failed.message = cut(&failed.message, SHORTEST, bytes).into();
    }
    short.changed_hosts.truncate(FEW);
    short.custom_stats = Arc::unwrap_or_clone(shortened_vars(&end.custom_stats));
    short.custom_stats_per_host.clear();
    let output = end.output.as_ref();
    short.output = output.map(|output| last_part(output, MOST).to_owned());
    if short.stats.len() > FEW {
        let troubled = |counts: &Value| {
            ["failures", "unreachable"]
                .iter()
                .any(|key| counts[key].as_u64() > Some(0))
        };
        let hosts = end.stats.iter().filter(|(_, counts)| troubled(counts));
        short.stats = hosts
            .take(FEW)
            .map(|(host, counts)| (host.clone(), counts.clone()))
            .collect();
    }
    short
}

fn smaller(result: &Value) -> Value {
    let mut longest = MOST / 2;
    while longest >= SHORTEST {
        let short = cut_texts(result, longest);
        if short.to_string().len() <= MOST {
            return short;
        }
        longest /= 2;
    }
    match cut_texts(result, SHORTEST) {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_array() && !value.is_object());
            Value::Object(fields)
        }
        Value::Array(_) => Value::Null,
        plain => plain,
    }
}

fn cut_texts(value: &Value, most: usize) -> Value {
    match value {
        Value::String(text) => cut(text, most, bytes).into(),
        Value::Array(items) => items.iter().map(|item| cut_texts(item, most)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(key, value)| (key.clone(), cut_texts(value, most)))
            .collect(),
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{FailedTask, Status};

    #[test]
    fn long_texts_are_cut_until_the_whole_is_small() {
        let result = json!({"rc": 1, "stdout": "é".repeat(100_000), "msg": "no", "list": ["x".repeat(9000)]});
        let short = smaller(&result);
        assert!(short.to_string().len() <= MOST);
        assert_eq!((&short["rc"], &short["msg"]), (&json!(1), &json!("no")));
        assert!(short["stdout"].as_str().unwrap().ends_with("é […]"));
        assert!(short["list"][0].as_str().unwrap().ends_with("x […]"));
    }

    #[test]
    fn of_a_large_run_those_in_trouble_stay() {
        let mut end = RunEnd::of(Status::Error);
        for number in 0..1000 {
            let counts = json!({"ok": 3, "failures": u32::from(number % 100 == 99)});
            end.stats.insert(format!("web{number}"), counts);
        }
        let failed = FailedTask {
            message: "no ".repeat(1000),
            ..FailedTask::default()
        };
        end.failed_tasks = vec![failed; 100];
        end.failures = 500;
        let short = shortened_end(&end);
        assert_eq!((short.failed_tasks.len(), short.failures), (10, 500));
        assert_eq!(
            (short.stats.len(), &short.stats["web99"]["failures"]),
            (10, &json!(1))
        );
        assert!(serde_json::to_string(&short).unwrap().len() <= MOST);
    }

    #[test]
    fn of_many_values_those_at_the_top_stay() {
        let many: Vec<u32> = (0..10_000).collect();
        let result = json!({"msg": "no", "rc": 1, "files": many});
        assert_eq!(smaller(&result), json!({"msg": "no", "rc": 1}));
    }
}
