//! The kind `ntfy`: push notifications to the subscribers of a topic (ntfy, "Publish as JSON").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::advice;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Level, Message, MessageFormat};
use crate::net::authorization::{authorization, refuse_user};
use crate::net::headers::Headers;
use crate::net::http::{Http, Reply, Request};
use crate::notifier::chosen::Chosen;
use crate::notifier::over_http::{Service, api_url, join_path, json_with, over_http};
use crate::notifier::recipients::{Each, LIST, Recipients, any};
use crate::text::{Escape, cut};

/// ntfy, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "ntfy",
    about: "sends a push notification to the subscribers of an ntfy topic",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Limits of title and text, in bytes of JSON. ntfy takes 4,096 bytes of text and 8,192 of JSON.
const TITLE: usize = 1000;
const TEXT: usize = 4096;
/// The longest name of a topic, in bytes.
const TOPIC: usize = 64;
const PRIORITIES: [(&str, u8); 5] = [
    ("min", 1),
    ("low", 2),
    ("default", 3),
    ("high", 4),
    ("max", 5),
];

struct Ntfy {
    api: Url,
    authorization: Option<HeaderValue>,
    topics: Recipients,
    /// The priority of every message; without it, the level decides.
    priority: Chosen<u8>,
    /// Tags after the one for the level.
    tags: Option<Recipients>,
}

// All keys are read before anything returns, so that every mistake is found at once.
fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let api = api_url(section, "https://ntfy.sh");
    let authorization = authorization(section, None, &Headers::default());
    if let Some(key) = ["token", "username"]
        .into_iter()
        .find(|key| section.is_given(key))
    {
        refuse_user(section, api.as_ref(), key);
    }
    let topics = Recipients::required(section, "topic", &LIST, topic);
    let priority = Chosen::read(section, "priority", |name| {
        advice::one_of("priority", &PRIORITIES, name)
    });
    let tags = Recipients::optional(section, "tags", &LIST, any);
    let service = api.clone().zip(topics).map(|(api, topics)| Ntfy {
        api,
        authorization,
        topics,
        priority,
        tags,
    });
    over_http(section, http, api.as_ref(), service)
}

fn topic(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=TOPIC).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    let given = advice::quoted(text);
    let allowed = format!("1 to {TOPIC} of the characters A-Z, a-z, 0-9, `-` and `_`");
    Err(format!("`topic` must have {allowed}, not {given}"))
}

/// The priority of a message, and the tag that ntfy shows as an emoji.
fn appearance(level: Level) -> (u8, &'static str) {
    match level {
        Level::Info => (3, "information_source"),
        Level::Success => (3, "white_check_mark"),
        Level::Warning => (3, "warning"),
        Level::Error => (4, "rotating_light"),
    }
}

/// The bytes of a character in JSON.
fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\t' => 2,
        _ => character.len_utf8(),
    }
}

impl Ntfy {
    fn body(&self, topic: &str, message: &Message) -> Map<String, Value> {
        let subject = Escape::Plain.apply(&message.subject);
        // ntfy would write "triggered" in place of an empty text.
        let (title, text) = match message.text.trim() {
            "" => (Value::Null, subject.as_str()),
            text => (json!(cut(&subject, TITLE, json_bytes)), text),
        };
        let (priority, tag) = appearance(message.level);
        let chosen = self.priority.of(message).ok().flatten();
        let more = self.tags.as_ref().map(|tags| tags.of(message));
        let more = more.and_then(Result::ok).unwrap_or_default();
        let tags: Vec<&str> = std::iter::once(tag)
            .chain(more.iter().map(String::as_str))
            .collect();
        let body = [
            ("topic", json!(topic)),
            ("title", title),
            ("message", json!(cut(text, TEXT, json_bytes))),
            ("priority", json!(chosen.unwrap_or(priority))),
            ("tags", json!(tags)),
            ("click", json!(message.link())),
        ];
        let given = body.into_iter().filter(|(_, value)| !value.is_null());
        given
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn request(&self, method: Method, url: Url, body: Bytes) -> Request {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let authorization = self.authorization.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        Request {
            method,
            url,
            secret_url: false,
            headers,
            body,
        }
    }
}

impl Service for Ntfy {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        self.topics.each(message, |topic| {
            let body = json_with(self.body(topic, message), message)?;
            Ok(self.request(Method::POST, self.api.clone(), body))
        })
    }

    fn note(&self, message: &Message) -> Option<String> {
        let priority = self.priority.of(message).err();
        let tags = self.tags.as_ref().map(|tags| tags.of(message));
        let tags = tags.and_then(Result::err);
        let tags = tags.map(|failure| failure.error().to_owned());
        let mistakes: Vec<String> = priority.into_iter().chain(tags).collect();
        (!mistakes.is_empty())
            .then(|| format!("{}; the default is sent instead", mistakes.join("; ")))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        // A message has an `id`, an account a `username`.
        let is_its_own = said["id"].is_string() || said["username"].is_string();
        reply.from("ntfy", is_its_own)?;
        Ok(None)
    }

    fn probe(&self, method: Method) -> Request {
        self.request(method, self.api.clone(), Bytes::new())
    }

    fn health_check(&self) -> Option<Request> {
        let account = join_path(&self.api, &["v1", "account"]);
        Some(self.request(Method::GET, account, Bytes::new()))
    }
}
