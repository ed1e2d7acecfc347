//! The kind `elasticsearch`: events to a data stream of Elasticsearch or OpenSearch (Elastic, "Bulk API").

mod ecs;

use std::borrow::Cow;
use std::rc::Rc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use url::Url;

use super::{Bulk, Kind, Notifier};
use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::event::time_text;
use crate::failure::Failure;
use crate::message::MessageFormat;
use crate::message::item::Item;
use crate::net::authorization::{authorization, header};
use crate::net::headers::Headers;
use crate::net::http::{Http, Reply};
use crate::notifier::bulk::{Results, Store, in_bulk, one_line, servers};
use crate::notifier::elasticsearch::ecs::ResultForm;
use crate::notifier::over_http::{before_path, join_path};
use crate::route::grouping::Limits;
use crate::secret;

/// Elasticsearch, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "elasticsearch",
    about: "indexes events in Elasticsearch or OpenSearch",
    form: MessageFormat::Record,
    build,
};

/// Its requests: a few MB are what Elastic recommends, and Amazon's smallest domains take 10 MB.
pub const BULK: Bulk = Bulk {
    limits: Limits {
        events: 500,
        bytes: 5 << 20,
        event_bytes: 1 << 20,
    },
    // Its own fields are made when they are sent: `result` has a form that the section chooses.
    record: Some(|_| Bytes::new()),
};

/// Default of `index`: a name for which Elasticsearch has a template for data streams of logs.
const INDEX: &str = "logs-ansible-default";
/// Longest name of an index, in bytes.
const MAX_INDEX: usize = 255;

/// Parts of a reply that are needed: without this, that for 500 documents is 80 KB.
const FILTER: &str = "errors,items.*.status,items.*.error.type,items.*.error.reason";

struct Elasticsearch {
    authorization: Option<HeaderValue>,
    result: ResultForm,
}

/// The parts of a document that are looked at.
#[derive(Deserialize)]
struct Dated {
    #[serde(rename = "@timestamp")]
    timestamp: Option<IgnoredAny>,
}

// All keys are read before anything returns, so that every mistake is found at once.
fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let index = section.parsed("index", INDEX.to_owned(), index);
    let pipeline = section.text("pipeline");
    let servers = servers(section, http, |url| address(url, &index, pipeline));
    let api_key = api_key(section);
    let authorization = authorization(section, None, &Headers::default());
    if api_key.is_some() && authorization.is_some() {
        let text = "`api_key` and other credentials are set; keep one of them";
        section.problem("api_key", text);
    }
    let store = Elasticsearch {
        authorization: api_key.or(authorization),
        result: ResultForm::read(section),
    };
    in_bulk(section, servers, BULK.limits, Some(store))
}

/// Reads an API key: as Elasticsearch shows it encoded, or as `id:key`.
fn api_key(section: &Section) -> Option<HeaderValue> {
    let key = section.secret("api_key")?;
    let encoded = match key.expose().contains(':') {
        true => Cow::Owned(STANDARD.encode(key.expose())),
        false => Cow::Borrowed(key.expose()),
    };
    secret::mask(&encoded);
    header(section, "api_key", &format!("ApiKey {encoded}"))
}

/// Checks the name of an index or a data stream (Elastic, "Create index API").
fn index(text: &str) -> Result<String, String> {
    let is_allowed = |character: char| {
        !character.is_uppercase()
            && !character.is_control()
            && !" \"*\\<|,>/?#:".contains(character)
    };
    let is_name = text.chars().all(is_allowed)
        && !text.starts_with(['-', '_', '+', '.'])
        && (1..=MAX_INDEX).contains(&text.len());
    is_name.then(|| text.to_owned()).ok_or_else(|| {
        let given = quoted(text);
        format!("`index` must be the name of a data stream or an index in lower case, such as {INDEX}, not {given}")
    })
}

fn address(url: &Url, index: &str, pipeline: Option<&str>) -> Url {
    let mut url = join_path(&before_path(url, "/_bulk"), &[index, "_bulk"]);
    let mut query = url.query_pairs_mut();
    query.append_pair("filter_path", FILTER);
    if let Some(pipeline) = pipeline {
        query.append_pair("pipeline", pipeline);
    }
    drop(query);
    url
}

/// Returns a document with the time of its event, which a data stream requires.
fn dated(item: &Item) -> Vec<u8> {
    let document = one_line(&item.payload);
    let is_dated =
        serde_json::from_slice::<Dated>(&document).is_ok_and(|dated| dated.timestamp.is_some());
    let Some(rest) = document.strip_prefix(b"{").filter(|_| !is_dated) else {
        return document;
    };
    let comma = if rest.trim_ascii_start() == b"}" {
        ""
    } else {
        ","
    };
    let time = time_text(item.time());
    let begin = format!("{{\"@timestamp\":\"{time}\"{comma}");
    [begin.as_bytes(), rest].concat()
}

/// Returns the result for an event from that of its document.
fn result(item: &Value) -> Result<(), Failure> {
    // The name of the action is the only key.
    let said = item.as_object().and_then(|item| item.values().next());
    let said = said.unwrap_or(&Value::Null);
    let reason = || {
        let part = |name: &str| said["error"][name].as_str().unwrap_or_default();
        let text = format!("{}: {}: {}", said["status"], part("type"), part("reason"));
        secret::redact(&text)
    };
    match said["status"].as_u64() {
        // A document with this id exists: an earlier attempt stored it.
        Some(200..=299 | 409) => Ok(()),
        Some(401 | 403 | 408 | 429 | 500..=599) | None => Err(Failure::retry(reason())),
        Some(413) => Err(Failure::TooLarge(reason())),
        Some(_) => Err(Failure::permanent(reason())),
    }
}

#[async_trait(?Send)]
impl Store for Elasticsearch {
    fn headers(&self) -> HeaderMap {
        let lines = HeaderValue::from_static("application/x-ndjson");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, lines)]);
        let authorization = self.authorization.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        headers
    }

    fn body(&self, items: &[Item]) -> Result<Bytes, Failure> {
        let mut body = Vec::new();
        for item in items {
            let action = json!({"create": {"_id": item.id()}}).to_string();
            body.extend_from_slice(action.as_bytes());
            body.push(b'\n');
            body.extend(match item.payload.is_empty() {
                true => ecs::document(item, self.result),
                false => dated(item),
            });
            body.push(b'\n');
        }
        Ok(body.into())
    }

    fn judge(&self, events: usize, reply: &Reply) -> Result<Results, Failure> {
        let said = reply.json();
        let is_its_own = said["errors"].is_boolean();
        if !reply.status.is_success() {
            let reason = said["error"]["reason"].as_str();
            return match reason {
                Some(reason) => reply.check_status_with(reason.as_bytes()),
                None => reply.from("Elasticsearch", is_its_own),
            }
            .map(|()| vec![Ok(()); events]);
        }
        reply.from("Elasticsearch", is_its_own)?;
        match said["items"].as_array() {
            _ if said["errors"] == false => Ok(vec![Ok(()); events]),
            Some(items) => Ok(items.iter().map(result).collect()),
            None => Err(Failure::retry("the reply has no results of the documents")),
        }
    }
}
