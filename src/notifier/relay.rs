//! The kind `relay`: passes events on to `ansible-notify relay`, which delivers them by its own configuration.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::rc::Rc;

use async_trait::async_trait;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use url::Url;

use super::{Kind, Notifier, Sent};
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::failpoint;
use crate::failure::{Check, Failure, outcome};
use crate::message::{Message, MessageFormat, Receipts};
use crate::net::authorization::{bearer, is_local, names_user};
use crate::net::digest::hmac_sha256;
use crate::net::headers::header_of;
use crate::net::http::{Endpoint, Http, Reply, Request};
use crate::net::urls::parse_url;
use crate::notifier::over_http::join_path;

/// Relay, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "relay",
    about: "passes events on to `ansible-notify relay`, which delivers them",
    form: MessageFormat::Event,
    build,
};

/// Default of `batch`.
pub const BATCH: usize = 500;
/// Largest number of events in a segment.
pub const MAX_EVENTS: usize = 1000;
/// Size limit of a compressed segment of several events, in bytes.
const MAX_SEGMENT: usize = 256 << 10;

/// Version of the form of a segment: one event of schema 1 per line, compressed with gzip.
pub const FORMAT: &str = "1";
/// Path of segments below a relay's address.
pub const PATH: [&str; 2] = ["v1", "segments"];

/// Header with the version of the form.
pub static FORMAT_HEADER: HeaderName = HeaderName::from_static("ansible-notify-format");
/// Headers that name the sending machine and the run, for the log of a proxy.
static NODE: HeaderName = HeaderName::from_static("ansible-notify-node");
static RUN: HeaderName = HeaderName::from_static("ansible-notify-run");
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Number of runs whose relay is remembered.
const RUNS: usize = 64;

struct Relay {
    relays: Vec<(Url, Endpoint)>,
    authorization: HeaderValue,
    /// Relay that took the last segment of a run, by its id; the latest run last.
    last: RefCell<Vec<(String, usize)>>,
}

// All keys are read before anything returns, so that every mistake is found at once.
fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let authorization = bearer(section, "token");
    let urls: Option<Vec<Url>> = section
        .list("url")
        .into_iter()
        .map(|text| address(section, text))
        .collect();
    let urls = urls.unwrap_or_default();
    if urls.is_empty() {
        // The keys of the connection are known all the same.
        let placeholder = Url::parse("http://localhost").expect("a URL");
        http.endpoint(section, &placeholder)?;
        return section.missing("url");
    }
    let reached = |url: Url| {
        let endpoint = http.endpoint(section, &url)?;
        Some((join_path(&url, &PATH), endpoint))
    };
    let relays: Option<Vec<_>> = urls.into_iter().map(reached).collect();
    Some(Rc::new(Relay {
        relays: relays?,
        authorization: authorization?,
        last: RefCell::default(),
    }))
}

/// Reads the address of a relay. The token must not be sent unencrypted over a network.
fn address(section: &Section, text: &str) -> Option<Url> {
    let url = parse_url(section, "url", text, Secrecy::Open)?;
    let problem = if names_user(&url) {
        "`url` cannot contain a user or a password; set `token`"
    } else if url.scheme() == "http" && !is_local(&url) {
        "`url` must begin with https://; only a relay on this machine can be reached by http://"
    } else {
        return Some(url);
    };
    section.problem("url", problem);
    None
}

impl Relay {
    /// Returns the request with the events of a message, to the first relay.
    fn segment(&self, message: &Message) -> Result<Request, Failure> {
        let events = message.payloads();
        let body = packed(&events)
            .map_err(|error| Failure::permanent(format!("cannot compress the events: {error}")))?;
        if events.len() > 1 && body.len() > MAX_SEGMENT {
            let text = "the events are larger than a segment of 256 KiB";
            return Err(Failure::TooLarge(text.to_owned()));
        }
        let node = rustix::system::uname();
        let key = format!("{}/{}", message.id, events.len());
        let headers = [
            (AUTHORIZATION, self.authorization.clone()),
            (
                CONTENT_TYPE,
                HeaderValue::from_static("application/x-ndjson"),
            ),
            (CONTENT_ENCODING, HeaderValue::from_static("gzip")),
            (FORMAT_HEADER.clone(), HeaderValue::from_static(FORMAT)),
            (NODE.clone(), header_of(&node.nodename().to_string_lossy())),
            (RUN.clone(), header_of(&message.context.event().run.id)),
            (IDEMPOTENCY_KEY.clone(), header_of(&key)),
        ];
        Ok(Request {
            method: Method::POST,
            url: self.relays[0].0.clone(),
            secret_url: false,
            headers: headers.into_iter().collect(),
            body: body.into(),
        })
    }

    /// Returns the relays in the order in which they are tried: the one that took the last segment of the run
    /// first, else one that its id determines.
    fn order(&self, run: &str) -> impl Iterator<Item = usize> {
        let count = self.relays.len();
        let last = self.last.borrow();
        let known = last.iter().find(|(known, _)| known == run);
        let first = known.map_or_else(
            || usize::from(hmac_sha256(b"relay", run.as_bytes())[0]) % count,
            |(_, at)| *at,
        );
        (0..count).map(move |step| (first + step) % count)
    }

    /// Remembers which relay answers for a run.
    fn stay(&self, run: &str, at: usize) {
        let mut last = self.last.borrow_mut();
        last.retain(|(known, _)| known != run);
        if last.len() == RUNS {
            last.remove(0);
        }
        last.push((run.to_owned(), at));
    }
}

/// Returns events as lines, compressed. Fails if there is no memory.
pub fn packed(events: &[Bytes]) -> std::io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for event in events {
        packed.write_all(event)?;
        packed.write_all(b"\n")?;
    }
    packed.finish()
}

/// Checks the reply of a relay: a login portal in between answers without a count, and a proxy that has lost its relay
/// finds nothing.
fn check(reply: &Reply) -> Result<(), Failure> {
    if reply.status == StatusCode::NOT_FOUND {
        let text = format!("{}: no relay answers at this address", reply.status);
        return Err(Failure::retry(text));
    }
    let is_its_own = reply.json()["accepted"].is_u64();
    reply.from("ansible-notify relay", is_its_own)
}

/// Returns true if a proxy says that there is no relay behind it now.
fn is_absent(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 404 | 502..=504)
}

#[async_trait(?Send)]
impl Notifier for Relay {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let segment = self.segment(message)?;
        let run = &message.context.event().run.id;
        failpoint::pass("before_relay");
        let mut failures = Vec::new();
        for at in self.order(run) {
            let (url, endpoint) = &self.relays[at];
            let request = Request {
                url: url.clone(),
                ..segment.clone()
            };
            let reply = endpoint.exchange(request).await;
            let is_final = reply.as_ref().is_ok_and(|reply| !is_absent(reply));
            match reply.and_then(|reply| check(&reply)) {
                Ok(()) => {
                    self.stay(run, at);
                    return Ok(Sent::to(
                        1,
                        Receipts::from([(String::new(), None)]),
                        Vec::new(),
                    ));
                }
                Err(failure) if is_final => return Err(failure),
                Err(failure) => failures.push((format!("relay {}", at + 1), failure)),
            }
        }
        let tried = failures.len();
        outcome(tried, failures).map(|()| Sent::default())
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let mut segment = self.segment(message)?;
        let mut lines = Vec::new();
        if GzDecoder::new(&*segment.body)
            .read_to_end(&mut lines)
            .is_ok()
        {
            segment.body = lines.into();
        }
        Ok(segment.preview())
    }

    async fn check(&self) -> Check {
        let mut all = Check::default();
        for (url, endpoint) in &self.relays {
            let probe = |method| Request {
                method,
                url: url.clone(),
                secret_url: false,
                headers: HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())]),
                body: Bytes::new(),
            };
            let check = endpoint.check(probe).await;
            all.steps.extend(check.steps);
            all.error = all.error.or(check.error);
        }
        all
    }
}
