//! The kind `webex`: messages of a bot to spaces and people (Webex, "Messages: Create a Message").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value};
use url::Url;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{bearer, refuse_user};
use crate::net::http::{Http, Reply, Request};
use crate::notifier::over_http::{
    Service, api_url, fields_within, join_path, json_with, over_http,
};
use crate::notifier::recipients::{Each, LIST, Recipients, any};
use crate::text::{Escape, bytes, cut};

/// Webex, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "webex",
    about: "sends to Webex spaces and people as a bot",
    form: MessageFormat::Text(Escape::Markdown),
    build,
};

/// Webex's limit for a message, in bytes.
const MOST: usize = 7439;
/// Maximum number of fields, and of their bytes in total.
const FIELDS: (usize, usize) = (20, 1500);

struct Webex {
    api: Url,
    authorization: HeaderValue,
    to: Recipients,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let api = api_url(section, "https://webexapis.com");
    let authorization = bearer(section, "token");
    refuse_user(section, api.as_ref(), "token");
    let to = Recipients::required(section, "to", &LIST, any);
    let known = authorization.zip(to).zip(api.clone());
    let service = known.map(|((authorization, to), api)| Webex {
        api,
        authorization,
        to,
    });
    over_http(section, http, api.as_ref(), service)
}

/// Returns the message as Markdown; a line break without blanks before it is none.
fn markdown(message: &Message) -> String {
    let subject = Escape::Markdown.apply(&message.subject);
    let title = match message.link().filter(|url| !url.contains([')', ' '])) {
        Some(url) => format!("**[{subject}]({url})**"),
        None => format!("**{subject}**"),
    };
    let fields = fields_within(message, Escape::Markdown, FIELDS, bytes);
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}"));
    let fields: Vec<String> = fields.collect();
    let fields = fields.join("\n").replace('\n', "  \n");
    let text = format!("{title}\n{}", message.text.trim());
    let text = text.trim().replace('\n', "  \n");
    let room = MOST.saturating_sub(fields.len() + 3);
    let text = cut(&text, room, bytes);
    match fields.is_empty() {
        true => text.into_owned(),
        false => format!("{text}  \n{fields}"),
    }
}

impl Webex {
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let json = HeaderValue::from_static("application/json");
        let authorization = self.authorization.clone();
        Request {
            method,
            url: join_path(&self.api, path),
            secret_url: false,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json), (AUTHORIZATION, authorization)]),
            body: Bytes::new(),
        }
    }
}

impl Service for Webex {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let markdown = markdown(message);
        self.to.each(message, |to| {
            let recipient = match to.contains('@') {
                true => "toPersonEmail",
                false => "roomId",
            };
            let fields = [(recipient, to.as_str()), ("markdown", &markdown)];
            let fields = fields.map(|(name, text)| (name.to_owned(), Value::from(text)));
            Ok(Request {
                body: json_with(Map::from_iter(fields), message)?,
                ..self.probe(Method::POST)
            })
        })
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let id = reply.json()["id"].as_str().map(str::to_owned);
        reply.from("Webex", id.is_some())?;
        Ok(id)
    }

    fn probe(&self, method: Method) -> Request {
        self.request(method, &["v1", "messages"])
    }

    fn health_check(&self) -> Option<Request> {
        Some(self.request(Method::GET, &["v1", "people", "me"]))
    }
}
