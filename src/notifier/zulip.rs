//! The kind `zulip`: messages of a bot in a channel's topic and to people (Zulip, "Send a message").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use url::Url;
use url::form_urlencoded::Serializer;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{basic, header, refuse_user, warn_of_plain_http};
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_url;
use crate::notifier::chosen::{self, Chosen};
use crate::notifier::over_http::{Service, fields_within, join_path, over_http};
use crate::notifier::recipients::{CHANNELS, Each, LIST, Recipients, any};
use crate::text::{Escape, characters, cut};

/// Zulip, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "zulip",
    about: "sends to Zulip channels and people as a bot",
    form: MessageFormat::Text(Escape::Entities),
    build,
};

/// Zulip's limits for a message and a topic, in characters.
const MOST: usize = 10_000;
const TOPIC: usize = 60;
/// Maximum number of fields, and of their characters in total.
const FIELDS: (usize, usize) = (20, 2000);

struct Zulip {
    api: Url,
    authorization: HeaderValue,
    channels: Option<Recipients>,
    /// Topic in the channels; without it, the playbook is the topic.
    topic: Chosen<String>,
    users: Option<Recipients>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let api = read_url(section, "api_url").map(|(_, url)| url);
    let email = section.required("email");
    let key = section.required_secret("api_key");
    refuse_user(section, api.as_ref(), "api_key");
    let channels = Recipients::optional(section, "channel", &CHANNELS, any);
    let topic = Chosen::read(section, "topic", chosen::one_line);
    let users = Recipients::optional(section, "users", &LIST, any);
    if !section.is_given("channel") && !section.is_given("users") {
        section.missing::<()>("channel");
    }
    let service = || {
        let api = api.clone()?;
        warn_of_plain_http(section, "api_url", &api);
        let credentials = basic(email?, &key?);
        Some(Zulip {
            authorization: header(section, "api_key", &credentials)?,
            api,
            channels,
            topic,
            users,
        })
    };
    over_http(section, http, api.as_ref(), service())
}

/// Returns a recipient as Zulip reads it: an id, or a name in quotes, which no name can be mistaken for.
fn recipient(name: &str) -> Value {
    let id = name.parse::<u64>().ok();
    id.map_or_else(|| json!(name.trim_start_matches('#')), Value::from)
}

fn content(message: &Message) -> String {
    let escape = |text: &str| Escape::Entities.apply(text);
    let subject = escape(&message.subject);
    let title = match message.link().filter(|url| !url.contains([')', ' '])) {
        Some(url) => format!("**[{subject}]({url})**"),
        None => format!("**{subject}**"),
    };
    let fields = fields_within(message, Escape::Entities, FIELDS, characters);
    let fields = fields
        .iter()
        .map(|(name, value)| format!("\n{name}: {value}"));
    let fields: String = fields.collect();
    let text = format!("{title}\n{}", message.text.trim());
    let room = MOST.saturating_sub(fields.chars().count());
    format!("{}{fields}", cut(text.trim(), room, characters))
}

impl Zulip {
    /// Returns the topic, and the reason why it is not the configured one.
    fn topic(&self, message: &Message) -> (String, Option<String>) {
        let (topic, mistake) = match self.topic.of(message) {
            Ok(topic) => (topic, None),
            Err(problem) => (None, Some(problem)),
        };
        let topic = topic.unwrap_or_else(|| message.context.event().run.name());
        (cut(&topic, TOPIC, characters).into_owned(), mistake)
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        let authorization = self.authorization.clone();
        let path = [&["api", "v1"], path].concat();
        Request {
            method,
            url: join_path(&self.api, &path),
            secret_url: false,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, form), (AUTHORIZATION, authorization)]),
            body: Bytes::new(),
        }
    }

    fn post(&self, form: &[(&str, &str)]) -> Request {
        let mut body = Serializer::new(String::new());
        body.extend_pairs(form);
        Request {
            body: body.finish().into(),
            ..self.probe(Method::POST)
        }
    }
}

impl Service for Zulip {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let (topic, _) = self.topic(message);
        let content = content(message);
        let to_channel = |name: &String| {
            let to = recipient(name).to_string();
            let form = [
                ("type", "stream"),
                ("to", &to),
                ("topic", &topic),
                ("content", &content),
            ];
            Ok(self.post(&form))
        };
        let to_user = |name: &String| {
            let to = json!([recipient(name)]).to_string();
            Ok(self.post(&[("type", "direct"), ("to", &to), ("content", &content)]))
        };
        let mut requests = Each::new();
        if let Some(channels) = &self.channels {
            let named = |(name, request)| (format!("#{name}"), request);
            let all = channels.each(message, to_channel)?;
            requests.extend(all.into_iter().map(named));
        }
        if let Some(users) = &self.users {
            requests.extend(users.each(message, to_user)?);
        }
        Ok(requests)
    }

    fn note(&self, message: &Message) -> Option<String> {
        let (_, mistake) = self.topic(message);
        mistake.map(|problem| format!("{problem}; the playbook is the topic instead"))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        if let Some(reason) = said["msg"].as_str() {
            let judged = reply.check_status_with(reason.as_bytes());
            judged.map_err(|failure| failure.not_before(said["retry-after"].as_f64()))?;
        }
        reply.from("Zulip", said["result"] == "success")?;
        Ok(said["id"].as_u64().map(|id| id.to_string()))
    }

    fn probe(&self, method: Method) -> Request {
        self.request(method, &["messages"])
    }

    fn health_check(&self) -> Option<Request> {
        Some(self.request(Method::GET, &["users", "me"]))
    }
}
