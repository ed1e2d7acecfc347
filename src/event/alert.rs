//! Events about time, created by the program itself: a run, a task or the next run takes too long.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::event::callback::Callback;
use crate::event::{Event, time_text};
use crate::system::clock;

/// Maximum number of hosts in a reason.
const HOSTS: usize = 10;

/// Data of an event about time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Alert {
    /// Time after which the event was created, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Hosts that have started the task and have no result yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting_for: Vec<String>,
    /// Last run of a missing playbook.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "optional_time"
    )]
    pub last_run: Option<Timestamp>,
}

fn optional_time<S: serde::Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(time_text).serialize(serializer)
}

/// Delays of a run, as its end lists them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Delays {
    #[serde(skip_serializing_if = "super::is_false")]
    pub overdue: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stalls: Vec<Delay>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slow_tasks: Vec<Delay>,
}

/// Period in which a task took too long, or in which nothing happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Delay {
    /// Name of the task; empty if none had started.
    pub task: String,
    /// Hosts without a result when the delay was noticed.
    pub hosts: Vec<String>,
    pub seconds: f64,
}

/// Returns the reason of an event about time, for people.
pub fn reason(event: &Event, alert: &Alert) -> String {
    let took = event.duration.or(alert.threshold).map(period);
    let took = took.unwrap_or_else(|| "too long".to_owned());
    let task = event.task.as_ref().map(|task| task.name.as_str());
    match event.event {
        Callback::RunStalled => {
            format!("no event for {took}{}", waiting(task, &alert.waiting_for))
        }
        Callback::TaskSlow => {
            let hosts = match alert.waiting_for.as_slice() {
                [] => String::new(),
                hosts => format!(", no result yet from {}", names(hosts)),
            };
            format!("the task has taken {took}{hosts}")
        }
        Callback::RunMissing => {
            let last = alert.last_run.map_or("no run is known".to_owned(), |last| {
                format!("the last run was at {}", clock::local_time(last))
            });
            format!("no run for {took}; {last}")
        }
        _ => format!(
            "still running after {took}{}",
            waiting(task, &alert.waiting_for)
        ),
    }
}

fn waiting(task: Option<&str>, hosts: &[String]) -> String {
    match (task, hosts) {
        (None, _) => String::new(),
        (Some(task), []) => format!("; in the task {task}"),
        (Some(task), hosts) => format!("; the task {task} waits for {}", names(hosts)),
    }
}

fn names(hosts: &[String]) -> String {
    let shown = hosts[..hosts.len().min(HOSTS)].join(", ");
    match hosts.len().saturating_sub(HOSTS) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Returns a time in its two largest units: `1.5 s`, `5 min`, `1 h 30 min`, `2 d`.
pub fn period(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{} s", (seconds * 10.0).round() / 10.0);
    }
    let units = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let whole = seconds.round() as u64;
    let first = units.iter().position(|(size, _)| whole >= *size);
    let first = first.unwrap_or(units.len() - 1);
    let mut left = whole;
    let parts = units.iter().skip(first).take(2).filter_map(|(size, unit)| {
        let count = left / size;
        left %= size;
        (count > 0).then(|| format!("{count} {unit}"))
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_have_two_units() {
        for (seconds, text) in [
            (0.3, "0.3 s"),
            (9.96, "10 s"),
            (59.6, "1 min"),
            (90.0, "1 min 30 s"),
            (1800.0, "30 min"),
            (5400.0, "1 h 30 min"),
            (86400.0 * 2.0 + 61.0, "2 d"),
            (86400.0 * 40.0 + 3600.0, "40 d 1 h"),
        ] {
            assert_eq!(period(seconds), text);
        }
    }

    #[test]
    fn many_hosts_are_counted() {
        let hosts: Vec<String> = (0..12).map(|number| format!("h{number}")).collect();
        assert!(names(&hosts).ends_with("h8, h9 and 2 more"));
    }
}
