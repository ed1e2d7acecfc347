//! What the services spoken to over HTTP have in common: a request a recipient, and a reply to judge.

use std::rc::Rc;

use async_trait::async_trait;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::Notifier;
use crate::config::section::Section;
use crate::failure::{Check, Failure, outcome};
use crate::message::Message;
use crate::net::authorization::warn_of_plain_http;
use crate::net::http::{Endpoint, Http, Reply, Request};
use crate::net::urls::{origin, read_url};
use crate::notifier::Thread;
use crate::secret;
use crate::text::{Escape, characters};

/// A service that takes messages over HTTP.
pub trait Service {
    /// The request for each recipient, with the name by which an error calls it; one that stands alone
    /// needs none. Those who have the message already are left out by the caller.
    fn requests(&self, message: &Message) -> Result<Vec<(String, Request)>, Failure>;

    /// What the service says: what it calls the message, where it can be answered later.
    fn judge(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        reply.usual().map(|()| None)
    }

    /// Relation between the messages of a run.
    fn thread(&self) -> Thread {
        Thread::None
    }

    /// A request to make at once in place of a recipient's, where the reply says what would do.
    fn instead(&self, _message: &Message, _recipient: &str, _reply: &Reply) -> Option<Request> {
        None
    }

    /// A request that changes nothing, to try address and credentials with.
    fn probe(&self, method: Method) -> Request;

    /// A question that the service answers to those whom it knows, better than any probe.
    fn question(&self) -> Option<Request> {
        None
    }
}

/// The longest name of a message that is kept, in bytes.
const MAX_NAME: usize = 256;

/// Whether what a service calls a message may be stored: neither endless nor a secret said back.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME && secret::redact(name) == name
}

struct Spoken<S> {
    endpoint: Endpoint,
    service: S,
}

/// The notifier that speaks to `service` at `url`, with the section's settings of the connection.
pub fn over_http(
    section: &Section,
    http: &Http,
    url: Option<&Url>,
    service: Option<impl Service + 'static>,
) -> Option<Rc<dyn Notifier>> {
    // All keys are asked for, even where one is wrong, so that none is called unknown.
    let placeholder = Url::parse("http://localhost").expect("a URL");
    let endpoint = http.endpoint(section, url.unwrap_or(&placeholder))?;
    url?;
    Some(Rc::new(Spoken {
        endpoint,
        service: service?,
    }))
}

/// The address of a service with a fixed one, which `api_url` replaces: a relay, or a server of one's own.
pub fn api_url(section: &Section, default: &str) -> Option<Url> {
    if section.text("api_url").is_none() {
        return Some(Url::parse(default).expect("a service's address is a URL"));
    }
    let (_, url) = read_url(section, "api_url")?;
    warn_of_plain_http(section, "api_url", &url);
    Some(url)
}

/// `base` with more path behind it, each part encoded.
pub fn under(base: &Url, parts: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(parts);
    }
    url
}

/// The fields beside the text that say something, in the markup of a service: at most `most`, as far as
/// `measure` makes them fit into `room`.
pub fn fitting(
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

/// A JSON object as a body, with the fields of the user's own `body` in place of the same ones.
pub fn json_with(mut object: Map<String, Value>, message: &Message) -> Result<Bytes, Failure> {
    match &message.body {
        None => {}
        Some(Value::Object(own)) => object.extend(own.clone()),
        Some(_) => return Err(Failure::permanent("`body` gives no JSON object")),
    }
    Ok(json(&Value::Object(object)))
}

/// The fields of an attachment as Mattermost and Rocket.Chat take it, so many at the most, and so many
/// characters in all.
pub fn attachment_fields(message: &Message, most: (usize, usize)) -> Vec<Value> {
    let field = |(title, value): (String, String)| {
        let short = value.len() < 40;
        serde_json::json!({"title": title, "value": value, "short": short})
    };
    let fields = fitting(message, Escape::Markdown, most, characters);
    fields.into_iter().map(field).collect()
}

/// A request of JSON to an incoming webhook, whose URL is a secret.
pub fn to_hook(url: &Url, method: Method) -> Request {
    let json = HeaderValue::from_static("application/json");
    Request {
        method,
        url: url.clone(),
        secret_url: true,
        headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
        body: Bytes::new(),
    }
}

/// A JSON body.
pub fn json(value: &impl serde::Serialize) -> Bytes {
    let text = serde_json::to_vec(value).expect("a JSON value can be written");
    text.into()
}

impl<S: Service> Spoken<S> {
    async fn deliver(
        &self,
        message: &Message,
        recipient: &str,
        request: Request,
    ) -> Result<Option<String>, Failure> {
        let mut reply = self.endpoint.exchange(request).await?;
        if let Some(other) = self.service.instead(message, recipient, &reply) {
            reply = self.endpoint.exchange(other).await?;
        }
        self.service.judge(&reply)
    }

    async fn ask(&self, question: Request) -> Check {
        let mut check = Check::default();
        let step = format!("{} {}", question.method, origin(&question.url));
        let reply = self.endpoint.exchange(question).await;
        let judged = reply.and_then(|reply| {
            check
                .steps
                .push(format!("{step} answered {}", reply.status));
            self.service.judge(&reply)
        });
        check.error = judged.err().map(|failure| failure.error().to_owned());
        check
    }
}

#[async_trait(?Send)]
impl<S: Service> Notifier for Spoken<S> {
    async fn send(&self, message: &Message) -> Result<(), Failure> {
        let requests = self.service.requests(message)?;
        let recipients = requests.len();
        let mut failures = Vec::new();
        for (recipient, request) in requests {
            if message.reached.borrow().contains_key(&recipient) {
                continue;
            }
            match self.deliver(message, &recipient, request).await {
                Ok(name) => {
                    let name = name.filter(|name| is_name(name));
                    message.reached.borrow_mut().insert(recipient, name);
                }
                Err(failure) => failures.push((recipient, failure)),
            }
        }
        outcome(recipients, failures)
    }

    fn thread(&self) -> Thread {
        self.service.thread()
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let requests = self.service.requests(message)?;
        let previews: Vec<String> = requests
            .iter()
            .map(|(_, request)| request.preview())
            .collect();
        Ok(previews.join("\n\n"))
    }

    async fn check(&self) -> Check {
        if let Some(question) = self.service.question() {
            return self.ask(question).await;
        }
        self.endpoint
            .check(|method| self.service.probe(method))
            .await
    }
}
