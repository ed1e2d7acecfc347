//! The kind `gotify`: push notifications of a self-hosted server (Gotify, "Push messages", "Message extras" and
//! the API's `POST /message`).

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Level, Message, MessageFormat};
use crate::net::authorization::{header, refuse_user, warn_of_plain_http};
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_url;
use crate::notifier::chosen::Chosen;
use crate::notifier::over_http::{Service, join_path, json_with, over_http, to_one};
use crate::notifier::recipients::Each;
use crate::text::{Escape, bytes, characters, cut};

/// Gotify, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "gotify",
    about: "sends a push notification through a Gotify server",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Maximum length of a title, in characters: a phone shows no more.
const TITLE: usize = 250;
/// Maximum size of a text, in bytes. Gotify has no limit, but repeats the text in its reply, where a character may
/// take six bytes, and 64 KiB of a reply are read.
const TEXT: usize = 10_000;
const PRIORITIES: std::ops::RangeInclusive<u8> = 0..=10;

struct Gotify {
    messages: Url,
    key: HeaderValue,
    /// The priority of every message; without it, the level decides.
    priority: Chosen<u8>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let api = read_url(section, "api_url").map(|(_, url)| url);
    let token = section.required_secret("token");
    let key = token.and_then(|token| header(section, "token", token.expose()));
    let priority = Chosen::read(section, "priority", priority);
    refuse_user(section, api.as_ref(), "token");
    let service = api.clone().zip(key).map(|(api, key)| {
        warn_of_plain_http(section, "api_url", &api);
        Gotify {
            messages: join_path(&api, &["message"]),
            key,
            priority,
        }
    });
    over_http(section, http, api.as_ref(), service)
}

fn priority(text: &str) -> Result<u8, String> {
    let number = text.parse().ok().filter(|one| PRIORITIES.contains(one));
    let given = quoted(text);
    number.ok_or_else(|| format!("`priority` must be a whole number from 0 to 10, not {given}"))
}

/// Returns the priority of a level. Gotify's app makes a sound from 4 on, and insists from 8 on.
fn default_priority(level: Level) -> u8 {
    match level {
        Level::Info => 2,
        Level::Success => 4,
        Level::Warning => 5,
        Level::Error => 8,
    }
}

impl Service for Gotify {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        // Gotify refuses an empty text.
        let (title, text) = match message.text.trim() {
            "" => (Value::Null, message.subject.as_str()),
            text => (json!(cut(&message.subject, TITLE, characters)), text),
        };
        let chosen = self.priority.of(message).ok().flatten();
        let click = message
            .link()
            .map(|url| json!({"client::notification": {"click": {"url": url}}}));
        let body = [
            ("title", title),
            ("message", json!(cut(text, TEXT, bytes))),
            (
                "priority",
                json!(chosen.unwrap_or(default_priority(message.level))),
            ),
            ("extras", json!(click)),
        ];
        let given = body.into_iter().filter(|(_, value)| !value.is_null());
        let body: Map<String, Value> = given
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(to_one(Request {
            body: json_with(body, message)?,
            ..self.probe(Method::POST)
        }))
    }

    fn note(&self, message: &Message) -> Option<String> {
        let problem = self.priority.of(message).err()?;
        Some(format!("{problem}; the default is sent instead"))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        if let Some(reason) = said["errorDescription"].as_str() {
            reply.check_status_with(reason.as_bytes())?;
        }
        reply.from("Gotify", said["id"].is_u64())?;
        Ok(None)
    }

    fn probe(&self, method: Method) -> Request {
        let json = HeaderValue::from_static("application/json");
        let key = (HeaderName::from_static("x-gotify-key"), self.key.clone());
        Request {
            method,
            url: self.messages.clone(),
            secret_url: false,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json), key]),
            body: Bytes::new(),
        }
    }
}
