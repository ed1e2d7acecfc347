//! Variable names of AWX's notification templates, so that such templates can be pasted. From AWX's
//! documentation, "Create custom notifications".

use serde_json::{Map, Value, json};

use crate::event::{Event, Status, time_text};

/// Value of `job_friendly_name`.
pub const FRIENDLY_NAME: &str = "Job";

/// Returns `job`: the run as AWX describes a job, as far as a plain Ansible run has the data.
pub fn job(event: &Event) -> Value {
    let run = &event.run;
    let status = status(event);
    let elapsed = event.end.as_ref().map_or(0.0, |end| end.elapsed);
    let started = started(event);
    json!({
        "id": run.id,
        "type": "job",
        "url": event.link().unwrap_or_default(),
        "created": started,
        "modified": time_text(event.time),
        "name": name(event),
        "description": "",
        "job_type": if run.check { "check" } else { "run" },
        "playbook": run.playbook,
        "limit": run.limit.as_deref().unwrap_or_default(),
        "job_tags": run.tags.join(","),
        "skip_tags": run.skip_tags.join(","),
        "launch_type": "manual",
        "status": status,
        "failed": matches!(status, "failed" | "canceled"),
        "started": started,
        "finished": event.end.as_ref().map(|_| time_text(event.time)),
        "elapsed": elapsed,
        "job_explanation": "",
        "execution_node": run.controller,
        "controller_node": run.controller,
        "artifacts": {},
        "host_status_counts": host_status_counts(event),
        "summary_fields": {
            "inventory": {"name": run.inventory.join(", ")},
            "created_by": {"username": run.user},
            "job_template": {"name": name(event)},
            "unified_job_template": {"name": name(event)},
        },
    })
}

/// Returns `job_metadata`, which AWX renders as text.
pub fn metadata(event: &Event) -> Value {
    let run = &event.run;
    let stats = event.end.as_ref().map(|end| end.stats.clone());
    json!({
        "id": run.id,
        "name": name(event),
        "url": event.link().unwrap_or_default(),
        "created_by": run.user,
        "started": started(event),
        "finished": event.end.as_ref().map(|_| time_text(event.time)),
        "status": status(event),
        "traceback": "",
        "inventory": run.inventory.join(", "),
        "project": null,
        "playbook": run.playbook,
        "credential": null,
        "limit": run.limit.as_deref().unwrap_or_default(),
        "hosts": hosts(stats.unwrap_or_default()),
    })
}

/// Returns `job_metadata` as AWX writes it.
pub fn text(metadata: &Value) -> String {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, format);
    serde::Serialize::serialize(metadata, &mut serializer).expect("a JSON value can be written");
    String::from_utf8(text).expect("JSON is text")
}

fn name(event: &Event) -> String {
    event.run.name()
}

/// Returns AWX's word for the state of a run.
fn status(event: &Event) -> &'static str {
    match event.status() {
        Some(Status::Success) => "successful",
        Some(Status::Error) => "failed",
        Some(Status::Canceled) => "canceled",
        Some(Status::Running) | None => "running",
    }
}

fn started(event: &Event) -> String {
    let elapsed = event.end.as_ref().map_or(0.0, |end| end.elapsed);
    let elapsed = jiff::SignedDuration::try_from_secs_f64(elapsed).unwrap_or_default();
    time_text(event.time.checked_sub(elapsed).unwrap_or(event.time))
}

/// AWX's names of Ansible's counts; a host is counted under its worst result.
const COUNTS: [(&str, &str); 5] = [
    ("skipped", "skipped"),
    ("ok", "ok"),
    ("changed", "changed"),
    ("failures", "failures"),
    ("unreachable", "dark"),
];

fn count(counts: &Value, name: &str) -> u64 {
    counts[name].as_u64().unwrap_or(0)
}

fn host_status_counts(event: &Event) -> Value {
    let Some(end) = &event.end else {
        return Value::Null;
    };
    let mut sums = Map::from_iter(COUNTS.map(|(_, name)| (name.to_owned(), json!(0))));
    for counts in end.stats.values() {
        let worst = COUNTS.iter().rfind(|(ours, _)| count(counts, ours) > 0);
        if let Some((_, name)) = worst {
            sums[*name] = json!(sums[*name].as_u64().unwrap_or(0) + 1);
        }
    }
    Value::Object(sums)
}

fn hosts(stats: Map<String, Value>) -> Map<String, Value> {
    let summary = |(host, counts): (String, Value)| {
        let failed = count(&counts, "failures") + count(&counts, "unreachable") > 0;
        let summary = json!({
            "failed": failed,
            "changed": count(&counts, "changed"),
            "dark": count(&counts, "unreachable"),
            "failures": count(&counts, "failures"),
            "ok": count(&counts, "ok"),
            "processed": 1,
            "skipped": count(&counts, "skipped"),
            "rescued": count(&counts, "rescued"),
            "ignored": count(&counts, "ignored"),
        });
        (host, summary)
    };
    stats.into_iter().map(summary).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::sample;

    #[test]
    fn a_run_is_described_as_a_job() {
        let event = sample::run_end(Status::Error);
        let job = job(&event);
        assert_eq!(job["status"], "failed");
        assert_eq!(job["host_status_counts"]["failures"], 1);
        assert_eq!(job["host_status_counts"]["ok"], 0);
        let metadata: Value = serde_json::from_str(&text(&metadata(&event))).unwrap();
        assert_eq!(metadata["hosts"]["test-host"]["failed"], true);
        assert_eq!(metadata["playbook"], "test.yml");
    }
}
