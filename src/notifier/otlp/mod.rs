//! The kind `otlp`: traces, logs and metrics to an OpenTelemetry collector (OTLP 1.9 over HTTP).

mod attributes;
mod ids;
mod logs;
mod metrics;
mod model;
mod reply;
mod settings;
mod spans;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use async_trait::async_trait;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use url::Url;

use super::{Bulk, Kind, Notifier, Sent};
use crate::config::advice::one_of;
use crate::config::section::Section;
use crate::console::stderr;
use crate::event::Event;
use crate::failure::{Check, Failure};
use crate::message::item::Item;
use crate::message::{Message, MessageFormat};
use crate::net::http::{Endpoint, Http, Request};
use crate::notifier::otlp::model::{
    KeyValue, LogsRequest, MetricsRequest, Resource, Scope, TracesRequest,
};
use crate::notifier::otlp::settings::{Protocol, Settings};
use crate::route::grouping::Limits;

/// OTLP, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "otlp",
    about: "sends traces, logs and metrics to an OpenTelemetry collector",
    form: MessageFormat::Record,
    build,
};

/// Limits of its requests: collectors accept at least 4 MiB.
pub const BULK: Bulk = Bulk {
    limits: Limits {
        events: 500,
        bytes: 2 << 20,
        event_bytes: 256 << 10,
    },
    record: None,
};

/// Number of events of which it is known that some signals arrived, and others did not.
const MAX_PARTIAL: usize = 10_000;

/// A kind of data, with a request of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
    Metrics,
}

impl Signal {
    /// Every signal, with its name in `signals`.
    pub const NAMES: [(&str, Signal); 3] = [
        ("traces", Signal::Traces),
        ("logs", Signal::Logs),
        ("metrics", Signal::Metrics),
    ];

    fn name(self) -> &'static str {
        Signal::NAMES[self as usize].0
    }

    /// Returns true if an event has something for it.
    fn concerns(self, event: &Event) -> bool {
        match self {
            Signal::Traces => !spans::of(event).is_empty(),
            Signal::Logs => true,
            Signal::Metrics => metrics::has(event),
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Destination of a signal.
pub struct Target {
    pub signal: Signal,
    pub url: Url,
    pub endpoint: Endpoint,
}

struct Otlp {
    settings: Settings,
    targets: Vec<Target>,
    /// Signals that have arrived of events that are sent again because of others, by id: a log record has no id by
    /// which a collector would know it again.
    arrived: RefCell<HashMap<String, u8>>,
    /// True once a partial success was reported.
    has_said: Cell<bool>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let signals = signals(section);
    let (settings, targets) = settings::read(section, http, signals)?;
    Some(Rc::new(Otlp {
        settings,
        targets,
        arrived: RefCell::default(),
        has_said: Cell::new(false),
    }))
}

/// Reads `signals`, in the order in which they are sent.
fn signals(section: &Section) -> Vec<Signal> {
    let given = section.list("signals");
    if given.is_empty() {
        return Signal::NAMES.map(|(_, signal)| signal).into();
    }
    let read = |name: &&str| one_of("signals", &Signal::NAMES, name);
    let mut signals = Vec::new();
    for signal in given.iter().map(read) {
        match signal {
            Ok(signal) if !signals.contains(&signal) => signals.push(signal),
            Ok(_) => {}
            Err(problem) => section.problem("signals", problem),
        }
    }
    signals.sort_by_key(|signal| *signal as u8);
    signals
}

impl Otlp {
    /// Returns the body of the request for a signal.
    fn body(&self, signal: Signal, items: &[&Item], protocol: Protocol) -> Bytes {
        let scope = Scope {
            name: "ansible-notify".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let groups = self.by_resource(items).into_iter();
        match signal {
            Signal::Traces => {
                let spans = |items: Vec<&Item>| {
                    let spans = items.iter().flat_map(|item| spans::of(&item.event));
                    spans.collect()
                };
                let sent = groups.map(|(resource, items)| (resource, spans(items)));
                encode(&TracesRequest::of(sent.collect(), &scope), protocol)
            }
            Signal::Logs => {
                let records = |items: Vec<&Item>| items.into_iter().map(logs::of).collect();
                let sent = groups.map(|(resource, items)| (resource, records(items)));
                encode(&LogsRequest::of(sent.collect(), &scope), protocol)
            }
            Signal::Metrics => {
                let metrics =
                    |items: Vec<&Item>| metrics::of(items.iter().map(|item| &*item.event));
                let sent = groups.map(|(resource, items)| (resource, metrics(items)));
                encode(&MetricsRequest::of(sent.collect(), &scope), protocol)
            }
        }
    }

    /// Divides events by the controller where they happened.
    fn by_resource<'a>(&self, items: &[&'a Item]) -> Vec<(Resource, Vec<&'a Item>)> {
        let mut groups: Vec<(&str, Vec<&Item>)> = Vec::new();
        for item in items {
            let controller = item.event.run.controller.as_deref().unwrap_or_default();
            match groups.iter_mut().find(|(known, _)| *known == controller) {
                Some((_, items)) => items.push(item),
                None => groups.push((controller, vec![item])),
            }
        }
        let resource = |controller: &str| {
            let mut attributes = self.settings.resource.clone();
            let is_known = attributes.iter().any(|known| known.key == "host.name");
            if !controller.is_empty() && !is_known {
                attributes.push(KeyValue::new("host.name", controller));
            }
            Resource { attributes }
        };
        let groups = groups.into_iter();
        groups
            .map(|(controller, items)| (resource(controller), items))
            .collect()
    }

    fn request(&self, target: &Target, body: Bytes) -> Request {
        let mut headers = self.settings.headers.clone();
        let media_type = HeaderValue::from_static(self.settings.protocol.media_type());
        headers.insert(CONTENT_TYPE, media_type);
        let authorization = self.settings.authorization.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        Request {
            method: Method::POST,
            url: target.url.clone(),
            secret_url: self.settings.secret_url,
            headers,
            body,
        }
    }

    /// Sends a signal of these events. Returns a note if the collector did not accept all of it: such a request must
    /// not be sent again (OTLP, "Partial Success").
    async fn pass(&self, target: &Target, items: &[&Item]) -> Result<Option<String>, Failure> {
        let body = self.body(target.signal, items, self.settings.protocol);
        let request = self.settings.compress.apply(self.request(target, body));
        let reply = target.endpoint.exchange(request).await?;
        reply::judge(target.signal, &reply)
    }

    fn has_arrived(&self, item: &Item, signal: Signal) -> bool {
        let arrived = self.arrived.borrow();
        arrived
            .get(item.id())
            .is_some_and(|bits| bits & signal.bit() != 0)
    }

    /// Remembers which signals of events have arrived, while others have not.
    fn remember(&self, items: &[Item], results: &[Result<(), Failure>], bits: &[u8]) {
        let mut arrived = self.arrived.borrow_mut();
        for ((item, result), bits) in items.iter().zip(results).zip(bits) {
            if result.is_ok() {
                arrived.remove(item.id());
            } else if *bits != 0 && arrived.len() < MAX_PARTIAL {
                *arrived.entry(item.id().to_owned()).or_default() |= bits;
            }
        }
    }
}

fn encode<M: prost::Message + serde::Serialize>(request: &M, protocol: Protocol) -> Bytes {
    match protocol {
        Protocol::Protobuf => request.encode_to_vec().into(),
        Protocol::Json => super::over_http::json(request),
    }
}

#[async_trait(?Send)]
impl Notifier for Otlp {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let items = message.items();
        let mut results: Vec<Result<(), Failure>> = vec![Ok(()); items.len()];
        let mut bits = vec![0; items.len()];
        let mut note = None;
        for target in &self.targets {
            let signal = target.signal;
            let is_due = |at: &usize| {
                signal.concerns(&items[*at].event) && !self.has_arrived(&items[*at], signal)
            };
            let due: Vec<usize> = (0..items.len()).filter(is_due).collect();
            if due.is_empty() {
                continue;
            }
            let of_signal: Vec<&Item> = due.iter().map(|at| &items[*at]).collect();
            match self.pass(target, &of_signal).await {
                Ok(said) => {
                    note = note.or(said);
                    due.iter().for_each(|at| bits[*at] |= signal.bit());
                }
                Err(failure) => {
                    let failure = failure.of(signal.name());
                    due.iter()
                        .for_each(|at| results[*at] = Err(failure.clone()));
                }
            }
        }
        self.remember(&items, &results, &bits);
        if let Some(note) = &note
            && !self.has_said.replace(true)
        {
            stderr::say(note.clone());
        }
        Ok(Sent {
            replaced: note,
            ..Sent::each(results)
        })
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let items = message.items();
        let mut previews = Vec::new();
        for target in &self.targets {
            let due = items
                .iter()
                .filter(|item| target.signal.concerns(&item.event));
            let due: Vec<&Item> = due.collect();
            if !due.is_empty() {
                let body = self.body(target.signal, &due, Protocol::Json);
                previews.push(self.request(target, body).preview());
            }
        }
        match previews.is_empty() {
            true => Ok("nothing is sent for this event".to_owned()),
            false => Ok(previews.join("\n\n")),
        }
    }

    async fn check(&self) -> Check {
        let mut all = Check::default();
        for target in &self.targets {
            // A request without any data changes nothing, and shows more than a probe.
            let body = self.body(target.signal, &[], self.settings.protocol);
            let name = target.signal.name();
            match target.endpoint.exchange(self.request(target, body)).await {
                Ok(reply) => {
                    all.steps.push(format!("POST {name}: {}", reply.status));
                    let judged = reply::judge(target.signal, &reply);
                    let failure = judged.err().map(|failure| failure.of(name));
                    let error = failure.map(|failure| failure.error().to_owned());
                    all.error = all.error.or(error);
                }
                Err(failure) => {
                    all.error = all.error.or(Some(failure.of(name).error().to_owned()));
                }
            }
        }
        all
    }
}
