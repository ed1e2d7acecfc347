//! The kind `loki`: events as log lines to Grafana Loki (Grafana, "Loki HTTP API", "Push").

use std::collections::BTreeMap;
use std::rc::Rc;

use async_trait::async_trait;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Bulk, Kind, Notifier};
use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::event::Event;
use crate::failure::Failure;
use crate::message::item::Item;
use crate::message::{Level, MessageFormat};
use crate::net::authorization::{authorization, header};
use crate::net::headers::Headers;
use crate::net::http::{Http, Reply};
use crate::notifier::bulk::{Results, Store, in_bulk, one_line, servers};
use crate::notifier::over_http::{before_path, join_path, json};
use crate::route::grouping::Limits;
use crate::text::{bytes, cut};

/// Loki, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "loki",
    about: "sends events as log lines to Grafana Loki",
    form: MessageFormat::Record,
    build,
};

/// Its requests: Loki takes lines of 256 KB, and 3 MB a second in a stream.
pub const BULK: Bulk = Bulk {
    limits: Limits {
        events: 500,
        bytes: 1 << 20,
        event_bytes: 240 << 10,
    },
    record: None,
};

/// Path of the API below the address of a server.
const PUSH: [&str; 4] = ["loki", "api", "v1", "push"];

/// Longest value of a label or of metadata, in bytes.
const MAX_VALUE: usize = 2048;

/// Status of a push that the server's limits block (Loki, `blockIngestionStatusCode`).
const BLOCKED: u16 = 260;

static TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// A part of an event that can be a label or metadata; None if it has none.
type Part = fn(&Event) -> Option<&str>;

/// The parts, by name, and whether they have few values: each combination of labels is a stream, of which Loki
/// can have a few thousand.
const PARTS: [(&str, Part, bool); 13] = [
    ("playbook", |event| event.run.playbook.as_deref(), true),
    ("state", |event| Some(event.state?.name()), true),
    ("status", |event| Some(event.status()?.name()), true),
    ("callback", |event| Some(event.event.name()), true),
    ("controller", |event| event.run.controller.as_deref(), true),
    ("user", |event| event.run.user.as_deref(), true),
    (
        "host",
        |event| Some(event.host.as_ref()?.name.as_str()),
        false,
    ),
    (
        "play",
        |event| Some(event.play.as_ref()?.name.as_str()),
        false,
    ),
    (
        "task",
        |event| Some(event.task.as_ref()?.name.as_str()),
        false,
    ),
    ("role", |event| event.task.as_ref()?.role.as_deref(), true),
    (
        "module",
        |event| event.task.as_ref()?.action.as_deref(),
        true,
    ),
    ("run_id", |event| Some(&event.run.id), false),
    ("id", |event| Some(&event.id), false),
];

/// Parts that are labels without `labels`.
const LABELS: [&str; 2] = ["playbook", "state"];

struct Loki {
    authorization: Option<HeaderValue>,
    tenant: Option<HeaderValue>,
    service_name: String,
    labels: Vec<&'static str>,
}

// All keys are read before anything returns, so that every mistake is found at once.
fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let servers = servers(section, http, push);
    let authorization = authorization(section, None, &Headers::default());
    let tenant = section.text("tenant");
    let tenant = tenant.and_then(|tenant| header(section, "tenant", tenant));
    let service_name = section.text("service_name").unwrap_or("ansible").to_owned();
    let store = Loki {
        authorization,
        tenant,
        service_name,
        labels: labels(section),
    };
    in_bulk(section, servers, BULK.limits, Some(store))
}

fn labels(section: &Section) -> Vec<&'static str> {
    if !section.is_given("labels") {
        return LABELS.to_vec();
    }
    let mut labels = Vec::new();
    for given in section.list("labels") {
        let known: Vec<&str> = PARTS
            .iter()
            .filter(|part| part.2)
            .map(|part| part.0)
            .collect();
        match PARTS.iter().find(|(name, ..)| *name == given) {
            Some((name, _, true)) => labels.push(*name),
            Some(_) => {
                let text =
                    "has too many values for a label; it is in the metadata, where queries find it";
                section.problem("labels", format!("`{given}` {text}"));
            }
            None => {
                let text = format!(
                    "`labels` must be of: {}; not {}",
                    known.join(", "),
                    quoted(given)
                );
                section.problem("labels", text);
            }
        }
    }
    labels
}

/// Returns the address for events: `url` may name the server, or the API as Grafana's pages do.
fn push(url: &Url) -> Url {
    join_path(&before_path(url, "/loki/api/v1/push"), &PUSH)
}

/// Returns the word by which Grafana colours a line.
fn level(level: Level) -> &'static str {
    match level {
        Level::Info | Level::Success => "info",
        Level::Warning => "warn",
        Level::Error => "error",
    }
}

impl Loki {
    /// Returns the labels of an event, which name its stream.
    fn stream(&self, event: &Event) -> BTreeMap<&'static str, String> {
        let named = |label: &&'static str| {
            let (name, part, _) = PARTS.iter().find(|(name, ..)| name == label)?;
            Some((*name, cut(part(event)?, MAX_VALUE, bytes).into_owned()))
        };
        let mut stream: BTreeMap<_, _> = self.labels.iter().filter_map(named).collect();
        stream.retain(|_, value| !value.is_empty());
        stream.insert("service_name", self.service_name.clone());
        stream
    }

    /// Returns all other parts of an event.
    fn metadata(&self, item: &Item) -> Map<String, Value> {
        let others = PARTS
            .iter()
            .filter(|(name, ..)| !self.labels.contains(name));
        let parts = others.filter_map(|(name, part, _)| Some((*name, part(&item.event)?)));
        let mut metadata: Map<String, Value> = parts
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), json!(cut(value, MAX_VALUE, bytes))))
            .collect();
        metadata.insert("level".to_owned(), json!(level(item.level())));
        for (name, value) in item.event.labels.iter().flatten() {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let name = format!(
                "label_{}",
                name.replace(|character: char| !character.is_ascii_alphanumeric(), "_")
            );
            metadata.insert(name, json!(cut(&text, MAX_VALUE, bytes)));
        }
        metadata
    }
}

#[async_trait(?Send)]
impl Store for Loki {
    fn headers(&self) -> HeaderMap {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let authorization = self.authorization.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        let tenant = self.tenant.clone();
        headers.extend(tenant.map(|value| (TENANT.clone(), value)));
        headers
    }

    fn body(&self, items: &[Item]) -> Result<Bytes, Failure> {
        let mut streams: BTreeMap<_, Vec<Value>> = BTreeMap::new();
        for item in items {
            let line = String::from_utf8_lossy(&one_line(&item.payload)).into_owned();
            let time = item.time().as_nanosecond().to_string();
            let entry = json!([time, line, self.metadata(item)]);
            streams
                .entry(self.stream(&item.event))
                .or_default()
                .push(entry);
        }
        let stream = |(labels, values)| json!({"stream": labels, "values": values});
        let streams: Vec<Value> = streams.into_iter().map(stream).collect();
        Ok(json(&json!({ "streams": streams })))
    }

    fn judge(&self, events: usize, reply: &Reply) -> Result<Results, Failure> {
        match reply.status.as_u16() {
            BLOCKED => {
                let text = format!("{BLOCKED}: this server blocks the events: {}", reply.text());
                return Err(Failure::retry(text));
            }
            // Those that are right were stored, and the text does not name the others. Loki drops a repeat.
            400 if events > 1 => {
                let failure = reply.check_status().err();
                let error = failure.map_or(String::new(), |failure| failure.error().to_owned());
                return Err(Failure::TooLarge(error));
            }
            _ => {}
        }
        reply.from("Loki", reply.status == StatusCode::NO_CONTENT)?;
        Ok(vec![Ok(()); events])
    }
}
