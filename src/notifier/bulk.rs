//! Common code for kinds that send many events in a request over HTTP, to one of several servers, and get a result
//! for each of them.

use std::cell::Cell;
use std::rc::Rc;

use async_trait::async_trait;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use url::Url;

use super::{Notifier, Sent};
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::failure::{Check, Failure, outcome};
use crate::message::Message;
use crate::message::item::Item;
use crate::net::authorization::warn_of_plain_http;
use crate::net::compression::Compress;
use crate::net::http::{Endpoint, Http, Reply, Request};
use crate::net::urls::{origin, parse_url};
use crate::route::grouping::Limits;

/// Results of the events of a request, in order.
pub type Results = Vec<Result<(), Failure>>;

/// Size limit of a reply in bytes, which may have a reason for each event: an endpoint may send 256 KiB in all.
const MAX_REPLY: usize = 192 << 10;

/// Size in bytes of the events after which no more of a request are shown.
const MAX_SHOWN: usize = 16 << 10;

/// A service that stores events.
#[async_trait(?Send)]
pub trait Store {
    /// Returns the headers of a request.
    fn headers(&self) -> HeaderMap;

    /// Returns the body of a request with these events.
    fn body(&self, items: &[Item]) -> Result<Bytes, Failure>;

    /// Judges the reply to a request with this many events: the result for each, or the failure of all.
    fn judge(&self, events: usize, reply: &Reply) -> Result<Results, Failure>;

    /// Waits until the server has stored events that it took, if it says so later.
    async fn confirm(&self, _server: &Server, _reply: &Reply) -> Result<(), Failure> {
        Ok(())
    }

    /// Contacts a server without sending an event.
    async fn check(&self, server: &Server) -> Check {
        let probe = |method| self.request(server, method, Bytes::new());
        server.endpoint.check(probe).await
    }

    /// Returns a request to a server.
    fn request(&self, server: &Server, method: Method, body: Bytes) -> Request {
        Request {
            method,
            url: server.url.clone(),
            secret_url: false,
            headers: self.headers(),
            body,
        }
    }
}

/// A server that takes events.
pub struct Server {
    /// Address to which events are sent.
    pub url: Url,
    pub endpoint: Endpoint,
}

struct BulkNotifier<S> {
    servers: Vec<Server>,
    /// Server that answered last.
    last: Cell<usize>,
    limits: Limits,
    compress: Compress,
    store: S,
}

/// Reads the servers of a section from `url`: one or more, separated by commas. `address` gives the address for events
/// from that of the server.
pub fn servers(
    section: &Section,
    http: &Http,
    address: impl Fn(&Url) -> Url,
) -> Option<Vec<Server>> {
    let read = |text: &str| {
        let url = parse_url(section, "url", text, Secrecy::Open)?;
        warn_of_plain_http(section, "url", &url);
        Some(url)
    };
    let urls: Option<Vec<Url>> = section.list("url").into_iter().map(read).collect();
    let urls = urls.unwrap_or_default();
    if urls.is_empty() {
        // The keys of the connection are known all the same.
        let placeholder = Url::parse("http://localhost").expect("a URL");
        http.endpoint(section, &placeholder)?;
        return section.missing("url");
    }
    let server = |url: &Url| {
        let endpoint = http.endpoint(section, url)?.reading(MAX_REPLY);
        Some(Server {
            url: address(url),
            endpoint,
        })
    };
    urls.iter().map(server).collect()
}

/// Creates the notifier that sends to these servers.
pub fn in_bulk(
    section: &Section,
    servers: Option<Vec<Server>>,
    limits: Limits,
    store: Option<impl Store + 'static>,
) -> Option<Rc<dyn Notifier>> {
    let compress = Compress::read(section, Compress::Gzip);
    Some(Rc::new(BulkNotifier {
        servers: servers?,
        last: Cell::new(0),
        limits,
        compress,
        store: store?,
    }))
}

/// Returns the value of JSON on one line: between its values, a line break is a blank.
pub fn one_line(payload: &[u8]) -> Vec<u8> {
    let byte = |byte: &u8| match byte {
        b'\n' | b'\r' => b' ',
        byte => *byte,
    };
    payload.iter().map(byte).collect()
}

/// Returns true if another server may answer otherwise.
fn is_absent(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 404 | 502..=504)
}

impl<S: Store> BulkNotifier<S> {
    fn body(&self, items: &[Item]) -> Result<Bytes, Failure> {
        let body = self.store.body(items)?;
        if items.len() > 1 && body.len() > self.limits.bytes {
            let text = format!("{} bytes are too many for a request", body.len());
            return Err(Failure::TooLarge(text));
        }
        Ok(body)
    }

    /// Judges a reply, and waits until the server has stored what it took.
    async fn judge(
        &self,
        server: &Server,
        events: usize,
        reply: &Reply,
    ) -> Result<Results, Failure> {
        if reply.status.is_success() && reply.body.len() >= MAX_REPLY && events > 1 {
            let text = "the reply with the results of so many events is too long";
            return Err(Failure::TooLarge(text.to_owned()));
        }
        let results = self.store.judge(events, reply)?;
        if results.iter().any(Result::is_ok) {
            self.store.confirm(server, reply).await?;
        }
        Ok(results)
    }
}

#[async_trait(?Send)]
impl<S: Store> Notifier for BulkNotifier<S> {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let items = message.items();
        let body = self.body(&items)?;
        let (count, first) = (self.servers.len(), self.last.get());
        let mut failures = Vec::new();
        for at in (0..count).map(|step| (first + step) % count) {
            let server = &self.servers[at];
            let request = self.store.request(server, Method::POST, body.clone());
            let reply = server.endpoint.exchange(self.compress.apply(request)).await;
            let is_final = reply.as_ref().is_ok_and(|reply| !is_absent(reply));
            let judged = match reply {
                Ok(reply) => self.judge(server, items.len(), &reply).await,
                Err(failure) => Err(failure),
            };
            match judged {
                Err(failure) if !is_final => failures.push((origin(&server.url), failure)),
                judged => {
                    self.last.set(at);
                    return judged.map(Sent::each);
                }
            }
        }
        outcome(count, failures).map(|()| Sent::default())
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let items = message.items();
        let mut bytes = 0;
        let is_shown = |item: &&Item| {
            let is_shown = bytes < MAX_SHOWN;
            bytes += item.event.size();
            is_shown
        };
        let count = items.iter().take_while(is_shown).count();
        let body = self.store.body(&items[..count])?;
        let request = self.store.request(&self.servers[0], Method::POST, body);
        let mut text = request.preview();
        if count < items.len() {
            text.push_str(&format!("\n… and {} more events", items.len() - count));
        }
        Ok(text)
    }

    async fn check(&self) -> Check {
        let mut all = Check::default();
        for server in &self.servers {
            let check = self.store.check(server).await;
            all.steps.extend(check.steps);
            all.error = all.error.or(check.error);
        }
        all
    }
}
