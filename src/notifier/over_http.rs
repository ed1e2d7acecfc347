//! Common code for services that use HTTP: a request per recipient, and a reply to judge.

use std::cell::Cell;
use std::rc::Rc;

use async_trait::async_trait;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::recipients::{Each, NOBODY, Recipients, unreachable};
use super::{Notifier, Sent};
use crate::config::section::Section;
use crate::console::stderr;
use crate::failpoint;
use crate::failure::{Check, Failure};
use crate::message::{Message, Receipts};
use crate::net::authorization::warn_of_plain_http;
use crate::net::compression::Compress;
use crate::net::http::{Endpoint, Http, Reply, Request};
use crate::net::oauth::{OAuth, bearing};
use crate::net::urls::{origin, read_url};
use crate::notifier::Thread;
use crate::panics;
use crate::secret::{self, Secret};
use crate::text::{Escape, characters};

/// A service that takes messages over HTTP.
pub trait Service {
    /// Returns the request for each recipient, with its name for error messages; a single recipient needs
    /// none. The caller leaves out those that already have the message.
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure>;

    /// Returns a note for the record if the request has a default in place of a template's result that the
    /// service does not accept.
    fn note(&self, _message: &Message) -> Option<String> {
        None
    }

    /// Judges a reply. Returns the service's name for the message, if it can be answered later.
    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        reply.check_status().map(|()| None)
    }

    /// Relation between the messages of a run.
    fn thread(&self) -> Thread {
        Thread::None
    }

    /// Returns a request to send at once instead of a recipient's, if the reply names a remedy.
    fn fallback(&self, _message: &Message, _recipient: &str, _reply: &Reply) -> Option<Request> {
        None
    }

    /// Returns the next request after a delivered message, which only adds something to it, such as a file.
    /// `name` is the service's name for the message; `replies` are the replies to earlier such requests.
    fn follow_up(
        &self,
        _message: &Message,
        _name: Option<&str>,
        _replies: &[Reply],
    ) -> Result<Option<Request>, Failure> {
        Ok(None)
    }

    /// Compression of its requests.
    fn compress(&self) -> Compress {
        Compress::None
    }

    /// Returns a request that changes nothing, to check the address and the credentials.
    fn probe(&self, method: Method) -> Request;

    /// Returns a request that the service answers only with valid credentials; better than any probe.
    fn health_check(&self) -> Option<Request> {
        None
    }
}

/// Beginning of a note about a message that was delivered without a further part.
const MISSING: &str = "sent without its attachment";

/// Maximum length of a stored name of a message, in bytes.
const MAX_NAME: usize = 256;

/// Returns true if a service's name for a message may be stored: neither endless nor an echoed secret.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && secret::redact(name) == name
}

struct HttpNotifier<S> {
    endpoint: Endpoint,
    service: S,
    /// True once a default has replaced a template's result: reported once, not once per event.
    has_said: Cell<bool>,
    /// Source of the token of each request, if any.
    oauth: Option<OAuth>,
}

/// Creates the notifier that uses `service` at `url`, with the section's connection settings.
pub fn over_http(
    section: &Section,
    http: &Http,
    url: Option<&Url>,
    service: Option<impl Service + 'static>,
) -> Option<Rc<dyn Notifier>> {
    over_http_with(section, http, url, service, None)
}

/// Creates the same, with an OAuth token in each request.
pub fn over_http_with(
    section: &Section,
    http: &Http,
    url: Option<&Url>,
    service: Option<impl Service + 'static>,
    oauth: Option<OAuth>,
) -> Option<Rc<dyn Notifier>> {
    // All keys are read, even if one is wrong, so that none is reported as unknown.
    let placeholder = Url::parse("http://localhost").expect("a URL");
    let endpoint = http.endpoint(section, url.unwrap_or(&placeholder))?;
    url?;
    Some(Rc::new(HttpNotifier {
        endpoint,
        service: service?,
        has_said: Cell::new(false),
        oauth,
    }))
}

/// Returns the URL from `api_url`, for a relay or a self-hosted server, or else `default`.
pub fn api_url(section: &Section, default: &str) -> Option<Url> {
    if section.text("api_url").is_none() {
        return Some(Url::parse(default).expect("a service's address is a URL"));
    }
    let (_, url) = read_url(section, "api_url")?;
    warn_of_plain_http(section, "api_url", &url);
    Some(url)
}

/// Returns an address without a path of the service and what follows it, which people copy along from its pages.
pub fn before_path(url: &Url, path: &str) -> Url {
    let mut base = url.clone();
    if let Some(at) = base.path().find(path) {
        let before = base.path()[..at].to_owned();
        base.set_path(&before);
    }
    base
}

/// Appends path segments to `base`, each encoded.
pub fn join_path(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// Returns the fields that are not empty, in the markup of a service: at most `most`, as far as `measure`
/// makes them fit into `room`.
pub fn fields_within(
    message: &Message,
    escape: Escape,
    (most, room): (usize, usize),
    measure: fn(char) -> usize,
) -> Vec<(String, String)> {
    let escaped = |(name, value): &(String, String)| (escape.apply(name), escape.apply(value));
    let mut left = room;
    let fits = |(name, value): &(String, String)| {
        let size: usize = name.chars().chain(value.chars()).map(measure).sum();
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    let said = |(name, value): &&(String, String)| !name.is_empty() && !value.trim().is_empty();
    let fields = message.fields.iter().filter(said).map(escaped);
    fields.take_while(fits).take(most).collect()
}

/// Returns a JSON object as a body; fields of the user's own `body` replace fields of the same name, and null
/// removes them.
pub fn json_with(mut object: Map<String, Value>, message: &Message) -> Result<Bytes, Failure> {
    match &message.body {
        None => {}
        Some(Value::Object(own)) => {
            object.extend(own.clone());
            object.retain(|name, value| !value.is_null() || !own.contains_key(name));
        }
        Some(_) => return Err(Failure::permanent("`body` must give a JSON object")),
    }
    Ok(json(&Value::Object(object)))
}

/// Returns the fields of an attachment for Mattermost and Rocket.Chat; `most` limits their number and their
/// characters in total.
pub fn attachment_fields(message: &Message, most: (usize, usize)) -> Vec<Value> {
    let field = |(title, value): (String, String)| {
        let short = value.len() < 40;
        serde_json::json!({"title": title, "value": value, "short": short})
    };
    let fields = fields_within(message, Escape::Markdown, most, characters);
    fields.into_iter().map(field).collect()
}

/// Returns the request of an incoming webhook to each of these channels, or to the one of its own.
pub fn to_channels(
    url: &Url,
    channels: Option<&Recipients>,
    body: &Map<String, Value>,
    message: &Message,
) -> Result<Each<Request>, Failure> {
    let request = |body: Map<String, Value>| {
        Ok(Request {
            body: json_with(body, message)?,
            ..webhook_request(url, Method::POST)
        })
    };
    let Some(channels) = channels else {
        return Ok(to_one(request(body.clone())?));
    };
    channels.each(message, |channel| {
        let mut body = body.clone();
        body.insert("channel".to_owned(), channel.as_str().into());
        request(body)
    })
}

/// Returns the request to a service's only recipient, which needs no name.
pub fn to_one(request: Request) -> Each<Request> {
    vec![(String::new(), Ok(request))]
}

/// Builds a JSON request to an incoming webhook, whose URL is a secret.
pub fn webhook_request(url: &Url, method: Method) -> Request {
    let json = HeaderValue::from_static("application/json");
    Request {
        method,
        url: url.clone(),
        secret_url: true,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
        body: Bytes::new(),
    }
}

/// Serialises a JSON body.
pub fn json(value: &impl serde::Serialize) -> Bytes {
    let text = serde_json::to_vec(value).expect("a JSON value can be written");
    text.into()
}

impl<S: Service> HttpNotifier<S> {
    async fn deliver(
        &self,
        message: &Message,
        recipient: &str,
        request: Request,
    ) -> Result<Option<String>, Failure> {
        failpoint::pass_for("deliver_to", recipient);
        let mut reply = self.exchange(request).await?;
        if let Some(other) = self.service.fallback(message, recipient, &reply) {
            reply = self.exchange(other).await?;
        }
        self.service.check_response(&reply)
    }

    /// Sends the further parts of a delivered message. Returns a note if that fails: the message is not sent
    /// again.
    async fn follow_up(&self, message: &Message, name: Option<&str>) -> Option<String> {
        let mut replies = Vec::new();
        loop {
            let next = self.service.follow_up(message, name, &replies);
            let reply = match next {
                Ok(None) => return None,
                Ok(Some(request)) => self.exchange(request).await,
                Err(failure) => Err(failure),
            };
            match reply {
                Ok(reply) => replies.push(reply),
                Err(failure) => return Some(format!("{MISSING}: {}", failure.error())),
            }
        }
    }

    async fn exchange(&self, request: Request) -> Result<Reply, Failure> {
        let request = self.service.compress().apply(request);
        match &self.oauth {
            Some(oauth) => oauth.exchange(&self.endpoint, request).await,
            None => self.endpoint.exchange(request).await,
        }
    }

    /// Gets a token, then checks the address with it.
    async fn check_with(&self, oauth: &OAuth) -> Check {
        let token = match oauth.token(None).await {
            Ok(token) => token,
            Err(failure) => {
                return Check {
                    error: Some(failure.error().to_owned()),
                    ..Check::default()
                };
            }
        };
        let probe = |method| bearing(self.service.probe(method), &token);
        let mut check = self.endpoint.check(probe).await;
        check.steps.insert(0, oauth.step());
        check
    }

    async fn ask(&self, question: Request) -> Check {
        let mut check = Check::default();
        let step = format!("{} {}", question.method, origin(&question.url));
        let reply = self.endpoint.exchange(question).await;
        let judged = reply.and_then(|reply| {
            check
                .steps
                .push(format!("{step} answered {}", reply.status));
            self.service.check_response(&reply)
        });
        check.error = judged.err().map(|failure| failure.error().to_owned());
        check
    }
}

#[async_trait(?Send)]
impl<S: Service> Notifier for HttpNotifier<S> {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        let requests = self.service.requests(message)?;
        let recipients = requests.len();
        let (mut reached, mut failures) = (Receipts::new(), Vec::new());
        let mut replaced = self.service.note(message);
        for (recipient, request) in requests {
            if message.reached.contains_key(&recipient) {
                continue;
            }
            let delivered = match request {
                Ok(request) => {
                    let delivered = self.deliver(message, &recipient, request);
                    let delivered = panics::caught_async(delivered).await;
                    delivered.unwrap_or_else(|fault| Err(Failure::Permanent(fault)))
                }
                Err(failure) => Err(failure),
            };
            match delivered {
                Ok(name) => {
                    let name = name.filter(|name| is_name(name));
                    let missing = self.follow_up(message, name.as_deref()).await;
                    replaced = missing.or(replaced);
                    reached.insert(recipient, name);
                }
                Err(failure) => failures.push((recipient, failure)),
            }
        }
        if let Some(note) = &replaced
            && !self.has_said.replace(true)
        {
            stderr::say(note.clone());
        }
        let sent = Sent::to(recipients, reached, failures);
        Ok(Sent { replaced, ..sent })
    }

    fn thread(&self) -> Thread {
        self.service.thread()
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let requests = self.service.requests(message)?;
        let preview = |(_, request)| match (request, &self.oauth) {
            (Ok(request), Some(_)) => bearing(request, &Secret::new("")).preview(),
            (Ok(request), None) => Request::preview(&request),
            (Err(failure), _) => unreachable(&failure),
        };
        let previews: Vec<String> = requests.into_iter().map(preview).collect();
        match previews.is_empty() {
            true => Ok(NOBODY.to_owned()),
            false => Ok(previews.join("\n\n")),
        }
    }

    async fn check(&self) -> Check {
        if let Some(question) = self.service.health_check() {
            return self.ask(question).await;
        }
        if let Some(oauth) = &self.oauth {
            return self.check_with(oauth).await;
        }
        self.endpoint
            .check(|method| self.service.probe(method))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_service_is_no_part_of_its_address() {
        for (given, path, base) in [
            ("http://a:9093/api/v2/alerts", "/api/v2", "http://a:9093/"),
            ("http://a/proxy/api/v2", "/api/v2", "http://a/proxy"),
            ("http://a/proxy/", "/api/v2", "http://a/proxy/"),
            ("http://a", "/_bulk", "http://a/"),
        ] {
            let url = Url::parse(given).unwrap();
            assert_eq!(before_path(&url, path).as_str(), base, "{given}");
        }
    }
}
