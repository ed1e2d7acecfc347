//! Answers of the relay and of `deliver`.

use std::cell::Cell;
use std::fmt::Write as _;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::segment::Rejected;
use super::store::Backlog;

/// An answer with its body.
pub type Answer = Response<Full<Bytes>>;

/// Creates an answer in JSON.
pub fn answer(status: StatusCode, body: &Value) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    with(answer, CONTENT_TYPE, json)
}

/// Creates the answer to a request that is refused.
pub fn problem(rejected: &Rejected) -> Answer {
    let refused = answer(rejected.status, &json!({"error": rejected.reason}));
    match rejected.after {
        Some(seconds) => with(refused, RETRY_AFTER, HeaderValue::from(seconds)),
        None => refused,
    }
}

/// Adds a header to an answer.
pub fn with(mut answer: Answer, name: HeaderName, value: HeaderValue) -> Answer {
    answer.headers_mut().insert(name, value);
    answer
}

/// Creates the answer about the state of a process: its trouble, if any, and what waits in the store.
pub fn health(trouble: Option<String>, backlog: Option<&Backlog>) -> Answer {
    if let Some(trouble) = trouble {
        return problem(&Rejected::new(StatusCode::SERVICE_UNAVAILABLE, trouble));
    }
    let mut body = json!({"status": "ok"});
    if let Some(backlog) = backlog {
        body["store"] = counts(backlog);
    }
    answer(StatusCode::OK, &body)
}

/// Returns the counts of a queue in JSON.
pub fn counts(backlog: &Backlog) -> Value {
    json!({
        "pending": backlog.pending,
        "oldest_seconds": backlog.oldest.map_or(0, |age| age.as_secs()),
        "redelivered": backlog.redelivered,
        "set_aside": backlog.set_aside,
    })
}

/// A number for Prometheus: name, type, meaning, and value.
pub type Metric = (&'static str, &'static str, &'static str, f64);

/// Numbers of segments and events since the start of the process.
#[derive(Default)]
pub struct Counts {
    segments: Cell<u64>,
    events: Cell<u64>,
}

impl Counts {
    /// Counts a segment with this many events.
    pub fn add(&self, events: usize) {
        self.segments.set(self.segments.get() + 1);
        self.events.set(self.events.get() + events as u64);
    }

    /// Returns them as numbers for Prometheus; each name comes with its meaning.
    pub fn metrics(
        &self,
        segments: (&'static str, &'static str),
        events: (&'static str, &'static str),
    ) -> [Metric; 2] {
        let metric =
            |(name, meaning), count: &Cell<u64>| (name, "counter", meaning, count.get() as f64);
        [
            metric(segments, &self.segments),
            metric(events, &self.events),
        ]
    }
}

/// Creates the answer with numbers for Prometheus, in its text format.
pub fn metrics(own: &[Metric], backlog: Option<&Backlog>) -> Answer {
    let mut all = own.to_vec();
    if let Some(backlog) = backlog {
        let oldest = backlog.oldest.map_or(0.0, |age| age.as_secs_f64());
        all.extend([
            (
                "store_pending",
                "gauge",
                "Segments that wait in the store",
                backlog.pending as f64,
            ),
            (
                "store_oldest_seconds",
                "gauge",
                "Age of the oldest of them",
                oldest,
            ),
            (
                "store_redelivered",
                "gauge",
                "Segments given out again and not acknowledged yet",
                backlog.redelivered as f64,
            ),
            (
                "store_set_aside",
                "gauge",
                "Segments that were set aside",
                backlog.set_aside as f64,
            ),
        ]);
    }
    let mut text = String::new();
    for (name, kind, meaning, value) in all {
        let name = format!("ansible_notify_{name}");
        let _ = write!(
            text,
            "# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {value}\n"
        );
    }
    let answer = Response::new(Full::new(Bytes::from(text)));
    let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    with(answer, CONTENT_TYPE, form)
}
