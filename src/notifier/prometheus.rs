//! The kind `prometheus`: metrics of the last run of each playbook, pushed to a Pushgateway (Prometheus, "Pushgateway:
//! API" and "Exposition formats").

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use super::{Kind, Notifier};
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::event::counts::StateCount;
use crate::event::{Event, RunEnd, Status};
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{authorization, warn_of_plain_http, without_credentials};
use crate::net::headers::Headers;
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_url;
use crate::notifier::labels::Labels;
use crate::notifier::over_http::{Service, before_path, join_path, over_http, to_one};
use crate::notifier::recipients::Each;
use crate::text::Escape;

/// A Pushgateway, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "prometheus",
    about: "pushes metrics of runs to a Prometheus Pushgateway",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

struct Pushgateway {
    base: Url,
    secret_url: bool,
    authorization: Option<HeaderValue>,
    job: String,
    labels: Labels,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_url(section, "url");
    let credentials = url.as_ref().map(|(_, url)| url);
    let authorization = authorization(section, credentials, &Headers::default());
    let job = section.text("job").unwrap_or("ansible").to_owned();
    let labels = Labels::of(section);
    labels.refuse(section, taken);
    for key in ["subject", "message", "body"] {
        if section.is_given(key) {
            section.warning(key, format!("`{key}` has no effect: metrics have no text"));
        }
    }
    let service = url.clone().map(|(secrecy, url)| {
        warn_of_plain_http(section, "url", &url);
        Pushgateway {
            base: before_path(&without_credentials(url), "/metrics/job"),
            secret_url: secrecy == Secrecy::Secret,
            authorization,
            job,
            labels,
        }
    });
    over_http(section, http, url.as_ref().map(|(_, url)| url), service)
}

/// Returns the reason why a label cannot be part of the grouping key.
fn taken(name: &str) -> Option<&'static str> {
    match name {
        "job" => Some("the label `job` is set by the key `job`"),
        "state" => Some("the metrics have a label `state` of their own; choose another name"),
        _ if name.starts_with("__") => Some("a label cannot begin with `__`"),
        _ => None,
    }
}

/// Returns a label of the grouping key as segments of a path. Base64 allows values with a slash.
fn segments(name: &str, value: &str) -> [String; 2] {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    // Segments of dots alone would be resolved as parts of a path.
    let is_plain = value.bytes().all(plain) && value.bytes().any(|byte| byte != b'.');
    match is_plain {
        true => [name.to_owned(), value.to_owned()],
        false => [format!("{name}@base64"), URL_SAFE.encode(value)],
    }
}

/// A gauge.
struct Metric {
    name: &'static str,
    help: &'static str,
    /// Values by the label `state`; a single value has none.
    values: Vec<(Option<&'static str>, f64)>,
}

/// Returns the metrics of the end of a run as gauges: counters would need the sum of all runs, which no process knows. A
/// run that failed has no time of success, so a Pushgateway that merges by name keeps that of an earlier run.
fn metrics(event: &Event, end: &RunEnd) -> Vec<Metric> {
    let single = |name, help, value| Metric {
        name,
        help,
        values: vec![(None, value)],
    };
    let ended = event.time.as_millisecond() as f64 / 1e3;
    let is_success = end.status == Status::Success;
    let by_state = |count: fn(&StateCount) -> u64| {
        let counts = end.by_state();
        counts
            .map(|one| (Some(one.state), count(&one) as f64))
            .collect()
    };
    let mut metrics = vec![
        single(
            "ansible_run_duration_seconds",
            "Duration of the last run.",
            end.elapsed,
        ),
        single(
            "ansible_run_end_timestamp_seconds",
            "Time at which the last run ended.",
            ended,
        ),
        single(
            "ansible_run_success",
            "1 if the last run succeeded, otherwise 0.",
            f64::from(u8::from(is_success)),
        ),
        Metric {
            name: "ansible_run_results",
            help: "Results of tasks on hosts in the last run, by state.",
            values: by_state(|one| one.results),
        },
        Metric {
            name: "ansible_run_hosts",
            help: "Hosts with such a result in the last run, by state.",
            values: by_state(|one| one.hosts),
        },
    ];
    if is_success {
        metrics.push(single(
            "ansible_run_success_timestamp_seconds",
            "Time at which the last successful run ended.",
            ended,
        ));
    }
    metrics
}

/// Returns metrics in Prometheus' text format ("Exposition formats", version 0.0.4). It has no times: a Pushgateway
/// refuses them.
fn text(metrics: &[Metric]) -> String {
    let mut text = String::new();
    for Metric { name, help, values } in metrics {
        // Writing to a text cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (state, value) in values {
            let _ = match state {
                Some(state) => writeln!(text, "{name}{{state=\"{state}\"}} {value}"),
                None => writeln!(text, "{name} {value}"),
            };
        }
    }
    text
}

impl Pushgateway {
    /// Returns the grouping key of a run without `job`, and the reasons why some of its labels are missing. The metrics
    /// of a later run with the same key replace those of an earlier one.
    fn group(&self, message: &Message) -> (BTreeMap<String, String>, Vec<String>) {
        let run = &message.context.event().run;
        let defaults = [
            ("instance", run.controller.as_deref().unwrap_or_default()),
            ("playbook", &run.name()),
        ];
        self.labels.over(&defaults, message)
    }

    /// Returns a request to a path of segments.
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, text)]);
        let authorization = self.authorization.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        Request {
            method,
            url: join_path(&self.base, path),
            secret_url: self.secret_url,
            headers,
            body: Bytes::new(),
        }
    }
}

impl Service for Pushgateway {
    /// Returns the metrics of a run that ended; nothing for other events.
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let mut events = message.context.events();
        let ended = events.find_map(|event| Some((event, event.end.as_ref()?)));
        let Some((event, end)) = ended else {
            return Ok(Vec::new());
        };
        let (group, _) = self.group(message);
        let labels = group.iter().map(|(name, value)| segments(name, value));
        let path: Vec<String> = [segments("job", &self.job)]
            .into_iter()
            .chain(labels)
            .flatten()
            .collect();
        let path: Vec<&str> = ["metrics"]
            .into_iter()
            .chain(path.iter().map(String::as_str))
            .collect();
        // POST replaces metrics by name, PUT would remove the time of an earlier success.
        Ok(to_one(Request {
            body: text(&metrics(event, end)).into(),
            ..self.request(Method::POST, &path)
        }))
    }

    fn note(&self, message: &Message) -> Option<String> {
        let (_, mistakes) = self.group(message);
        (!mistakes.is_empty()).then(|| mistakes.join("; "))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        // It answers to metrics with nothing, and to a question for its status with its flags and version.
        let is_its_own =
            reply.text().is_empty() || reply.json()["data"]["build_information"].is_object();
        reply.from("a Pushgateway", is_its_own)?;
        Ok(None)
    }

    fn probe(&self, method: Method) -> Request {
        self.request(method, &["metrics"])
    }

    fn health_check(&self) -> Option<Request> {
        Some(self.request(Method::GET, &["api", "v1", "status"]))
    }
}
