//! Numbers for Prometheus, in its text format.

use std::fmt::Write as _;

use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;

use super::answer::{self, Answer};
use crate::command::status::config_of;
use crate::secret;
use crate::spool::record::runs::RunState;
use crate::spool::{Attempts, BreakerState, DestinationStatus};

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric of a notifier: name, type, meaning, and value.
type Metric = (
    &'static str,
    &'static str,
    &'static str,
    fn(&DestinationStatus, i64) -> f64,
);

/// Numbers of every notifier. The last argument is the time, in milliseconds since 1970.
const METRICS: [Metric; 8] = [
    (
        "accepted_total",
        "counter",
        "Deliveries accepted",
        |row, _| row.accepted as f64,
    ),
    ("delivered_total", "counter", "Deliveries made", |row, _| {
        row.delivered as f64
    }),
    (
        "dropped_total",
        "counter",
        "Deliveries dropped",
        |row, _| row.dropped as f64,
    ),
    ("dead", "gauge", "Deliveries given up", |row, _| {
        row.dead as f64
    }),
    (
        "waiting",
        "gauge",
        "Deliveries pending, held ones included",
        |row, _| row.waiting as f64,
    ),
    (
        "held",
        "gauge",
        "Deliveries held until a certain time",
        |row, _| row.held as f64,
    ),
    (
        "oldest_seconds",
        "gauge",
        "Age of the oldest pending event",
        |row, now| {
            row.oldest
                .map_or(0.0, |oldest| (now - oldest).max(0) as f64 / 1000.0)
        },
    ),
    (
        "up",
        "gauge",
        "1 unless the notifier is paused, failing or off",
        |row, _| f64::from(row.breaker == BreakerState::Closed),
    ),
];

/// Returns the numbers as they are at this time.
pub fn answer(
    rows: &[DestinationStatus],
    attempts: &[Attempts],
    runs: &[(RunState, i64)],
    now: Timestamp,
) -> Answer {
    let mut text = text(rows, attempts, now.as_millisecond());
    begin(&mut text, "runs", "gauge", "Runs in the record");
    for (state, count) in runs {
        let state = format!("state=\"{}\"", state.name());
        add(&mut text, "runs", &state, *count as f64);
    }
    let text = secret::redact(&text);
    let mut answer = answer::text(StatusCode::OK, text);
    let format = HeaderValue::from_static(FORMAT);
    answer.headers_mut().insert(CONTENT_TYPE, format);
    answer
}

fn text(rows: &[DestinationStatus], attempts: &[Attempts], now: i64) -> String {
    let mut text = String::new();
    for (name, kind, meaning, value) in METRICS {
        begin(&mut text, name, kind, meaning);
        for row in rows {
            add(&mut text, name, &labels(row), value(row, now));
        }
    }
    let meaning = "Attempts of the deliveries that are still in the spool";
    begin(&mut text, "attempts", "gauge", meaning);
    for (row, attempts) in of_rows(rows, attempts) {
        for (outcome, count) in [
            ("delivered", attempts.delivered),
            ("failed", attempts.failed),
        ] {
            let labels = format!("{},outcome=\"{outcome}\"", labels(row));
            add(&mut text, "attempts", &labels, count as f64);
        }
    }
    begin(
        &mut text,
        "attempts_seconds",
        "gauge",
        "Time that these attempts took together",
    );
    for (row, attempts) in of_rows(rows, attempts) {
        let seconds = attempts.duration as f64 / 1000.0;
        add(&mut text, "attempts_seconds", &labels(row), seconds);
    }
    text
}

fn of_rows<'a>(
    rows: &'a [DestinationStatus],
    attempts: &'a [Attempts],
) -> impl Iterator<Item = (&'a DestinationStatus, &'a Attempts)> {
    attempts.iter().filter_map(|attempts| {
        let row = rows.iter().find(|row| row.id == attempts.destination)?;
        Some((row, attempts))
    })
}

fn begin(text: &mut String, name: &str, kind: &str, meaning: &str) {
    let _ = write!(
        text,
        "# HELP ansible_notify_{name} {meaning}\n# TYPE ansible_notify_{name} {kind}\n"
    );
}

fn add(text: &mut String, name: &str, labels: &str, value: f64) {
    let _ = writeln!(text, "ansible_notify_{name}{{{labels}}} {value}");
}

/// Returns the labels of a notifier. The id distinguishes those of the same name.
fn labels(row: &DestinationStatus) -> String {
    let config = config_of(row).map(|path| path.display().to_string());
    format!(
        "notifier=\"{}\",id=\"{}\",config=\"{}\"",
        escaped(&row.name),
        row.id.0,
        escaped(&config.unwrap_or_default())
    )
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\\b\"c\nd"), "a\\\\b\\\"c\\nd");
    }
}
