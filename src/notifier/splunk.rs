//! The kind `splunk`: events to Splunk's HTTP Event Collector (Splunk, "HTTP Event Collector REST API endpoints").

use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{Bulk, Kind, Notifier};
use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::message::MessageFormat;
use crate::message::item::Item;
use crate::net::authorization::header;
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::origin;
use crate::notifier::bulk::{Results, Server, Store, in_bulk, servers};
use crate::notifier::over_http::{before_path, join_path, json};
use crate::route::grouping::Limits;

/// Splunk, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "splunk",
    about: "sends events to Splunk's HTTP Event Collector",
    form: MessageFormat::Record,
    build,
};

/// Its requests: Splunk Cloud takes 1 MB, and the default of `TRUNCATE` cuts no event of JSON below 10,000 bytes only
/// in some source types.
pub const BULK: Bulk = Bulk {
    limits: Limits {
        events: 500,
        bytes: 1_000_000,
        event_bytes: 256 << 10,
    },
    record: None,
};

/// Time for which an indexer's acknowledgement is awaited.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);
/// Pauses between questions about it: the first one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Path of the collector below the address of a server.
const COLLECTOR: [&str; 2] = ["services", "collector"];

/// Codes of a reply that names the first event that is wrong; those before it were taken.
const OF_ONE_EVENT: [u64; 5] = [5, 6, 12, 13, 15];

static CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

struct Splunk {
    authorization: HeaderValue,
    index: Option<String>,
    source: String,
    sourcetype: String,
    acks: Option<Acks>,
}

/// Acknowledgements by the indexers, as a token may require them.
struct Acks {
    channel: HeaderValue,
    timeout: Duration,
}

/// An event as the collector takes it.
#[derive(Serialize)]
struct Record<'a> {
    /// Seconds since 1970.
    time: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    source: &'a str,
    sourcetype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<&'a str>,
    event: &'a RawValue,
    fields: Fields<'a>,
}

/// Fields that are indexed beside the event.
#[derive(Serialize)]
struct Fields<'a> {
    id: &'a str,
}

// All keys are read before anything returns, so that every mistake is found at once.
fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let servers = servers(section, http, collector);
    let token = section.required_secret("token");
    let token = token.and_then(|token| {
        let text = format!("Splunk {}", token.expose());
        header(section, "token", &text)
    });
    let text = |key: &str, default: &str| section.text(key).unwrap_or(default).to_owned();
    let store = Splunk {
        index: section.text("index").map(str::to_owned),
        source: text("source", "ansible"),
        sourcetype: text("sourcetype", "_json"),
        acks: acks(section),
        authorization: HeaderValue::from_static(""),
    };
    let store = token.map(|authorization| Splunk {
        authorization,
        ..store
    });
    in_bulk(section, servers, BULK.limits, store)
}

fn acks(section: &Section) -> Option<Acks> {
    let is_on = section.flag("acks", false);
    let timeout = section.duration("ack_timeout", ACK_TIMEOUT);
    if section.is_given("ack_timeout") {
        section.needs("ack_timeout", "acks");
    }
    let channel = uuid::Uuid::now_v7().to_string();
    let channel = HeaderValue::try_from(channel).ok();
    channel
        .filter(|_| is_on)
        .map(|channel| Acks { channel, timeout })
}

/// Returns the address for events: `url` may name the server, or the collector as Splunk's pages do.
fn collector(url: &Url) -> Url {
    let base = before_path(url, "/services/collector");
    join_path(&join_path(&base, &COLLECTOR), &["event"])
}

/// Returns the address of another endpoint of the collector.
fn beside(server: &Server, name: &str) -> Url {
    let mut url = server.url.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop().push(name);
    }
    url
}

impl Splunk {
    fn record(&self, item: &Item) -> Result<Vec<u8>, Failure> {
        let event = &item.event;
        let microseconds = item.time().as_microsecond();
        let time = format!(
            "{}.{:06}",
            microseconds / 1_000_000,
            microseconds % 1_000_000
        );
        let raw = |text: &[u8]| serde_json::from_slice::<Box<RawValue>>(text);
        let (time, payload) = (raw(time.as_bytes()), raw(&item.payload));
        let (Ok(time), Ok(payload)) = (time, payload) else {
            return Err(Failure::permanent("the event is not JSON"));
        };
        let host = Some(item.host()).filter(|host| !host.is_empty());
        let record = Record {
            time: &time,
            host: host.or(event.run.controller.as_deref()),
            source: &self.source,
            sourcetype: &self.sourcetype,
            index: self.index.as_deref(),
            event: &payload,
            fields: Fields { id: item.id() },
        };
        serde_json::to_vec(&record).map_err(|error| Failure::permanent(error.to_string()))
    }

    /// Asks once about an acknowledgement.
    async fn is_acknowledged(
        &self,
        server: &Server,
        acks: &Acks,
        id: u64,
    ) -> Result<bool, Failure> {
        let mut url = beside(server, "ack");
        let channel = acks.channel.to_str().unwrap_or_default();
        url.query_pairs_mut().append_pair("channel", channel);
        let question = Request {
            url,
            ..self.request(server, Method::POST, json(&json!({"acks": [id]})))
        };
        let reply = server.endpoint.exchange(question).await?;
        let said = reply.json();
        reply.from("Splunk", said["acks"].is_object())?;
        Ok(said["acks"][id.to_string()] == true)
    }
}

#[async_trait(?Send)]
impl Store for Splunk {
    fn headers(&self) -> HeaderMap {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([
            (CONTENT_TYPE, json),
            (AUTHORIZATION, self.authorization.clone()),
        ]);
        let channel = self.acks.as_ref().map(|acks| acks.channel.clone());
        headers.extend(channel.map(|channel| (CHANNEL.clone(), channel)));
        headers
    }

    fn body(&self, items: &[Item]) -> Result<Bytes, Failure> {
        let mut body = Vec::new();
        for item in items {
            body.extend(self.record(item)?);
            body.push(b'\n');
        }
        Ok(body.into())
    }

    fn judge(&self, events: usize, reply: &Reply) -> Result<Results, Failure> {
        let said = reply.json();
        let code = said["code"].as_u64();
        let text = said["text"].as_str().unwrap_or_default();
        if reply.status.as_u16() == 400
            && code.is_some_and(|code| OF_ONE_EVENT.contains(&code))
            && let Some(first) = said["invalid-event-number"].as_u64()
            && let Some(behind) = usize::try_from(first)
                .ok()
                .and_then(|first| events.checked_sub(first + 1))
        {
            let error = format!("{}: {text}", reply.status);
            let mut results: Results = vec![Ok(()); events - behind - 1];
            results.push(Err(Failure::permanent(error)));
            results.resize(events, Err(Failure::untried()));
            return Ok(results);
        }
        match code {
            // Its text is not where other services have it.
            Some(_) if !reply.status.is_success() => {
                reply.check_status_with(text.as_bytes())?;
            }
            code => reply.from("Splunk", code == Some(0))?,
        }
        Ok(vec![Ok(()); events])
    }

    async fn confirm(&self, server: &Server, reply: &Reply) -> Result<(), Failure> {
        let id = reply.json()["ackId"].as_u64();
        // A part of a request that was refused has no acknowledgement.
        let (Some(acks), Some(id)) = (&self.acks, id) else {
            return Ok(());
        };
        let (deadline, mut pause) = (Instant::now() + acks.timeout, FIRST_PAUSE);
        while !self.is_acknowledged(server, acks, id).await? {
            if Instant::now() + pause > deadline {
                let text = "the indexers did not acknowledge the events within";
                return Err(Failure::retry(format!("{text} {:?}", acks.timeout)));
            }
            sleep(pause).await;
            pause = (2 * pause).min(MAX_PAUSE);
        }
        Ok(())
    }

    async fn check(&self, server: &Server) -> Check {
        // A request without an event shows that the token is valid: code 5, "No data".
        let url = beside(server, "event");
        let question = Request {
            url: url.clone(),
            ..self.request(server, Method::POST, Bytes::new())
        };
        let mut check = Check::default();
        let step = format!("POST {}", origin(&url));
        let judged = match server.endpoint.exchange(question).await {
            Ok(reply) => {
                let said = reply.json();
                let text = said["text"].as_str().unwrap_or_default();
                let answered = format!("{step} without an event answered {}", reply.status);
                check.steps.push(answered);
                match said["code"].as_u64() {
                    Some(5) => Ok(()),
                    Some(_) => reply.check_status_with(text.as_bytes()),
                    None => reply.from("Splunk", false),
                }
            }
            Err(failure) => Err(failure),
        };
        check.error = judged.err().map(|failure| failure.error().to_owned());
        check
    }
}
