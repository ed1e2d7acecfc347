//! The kind `googlechat`: a card in a space, through its webhook (Google Chat, "Build a Google Chat app as a
//! webhook", "Method: spaces.messages.create" and "Cards v2").

use std::rc::Rc;

use hyper::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::digest::sha256_hex;
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_secret_url;
use crate::notifier::chosen::{self, Chosen};
use crate::notifier::over_http::{
    Service, fields_within, json_with, over_http, to_one, webhook_request,
};
use crate::notifier::recipients::Each;
use crate::text::{Escape, characters, cut, cut_html, json_bytes};

/// Google Chat, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "googlechat",
    about: "posts a card to a Google Chat space through its webhook",
    form: MessageFormat::Text(Escape::Html),
    build,
};

/// Maximum length of a title, in characters. It is sent twice.
const TITLE: usize = 200;
/// Maximum size of the text, and the number of fields and their size, in bytes of JSON. Google takes 32,000
/// bytes, text and card together, and repeats them in its reply, of which 64 KiB are read.
const TEXT: usize = 10_000;
const FIELDS: (usize, usize) = (20, 6000);
/// Maximum length of the key of a thread, in bytes; Google takes 4,000 characters.
const THREAD: usize = 1000;

struct GoogleChat {
    url: Url,
    /// Key of the thread; without it, each playbook has its own.
    thread: Chosen<String>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_secret_url(section, "url");
    let thread = Chosen::read(section, "thread_key", chosen::one_line);
    let service = url.clone().map(|mut url| {
        if !url.query_pairs().any(|(name, _)| name == REPLY.0) {
            url.query_pairs_mut().append_pair(REPLY.0, REPLY.1);
        }
        GoogleChat { url, thread }
    });
    over_http(section, http, url.as_ref(), service)
}

/// Parameter without which Google ignores the key of a thread.
const REPLY: (&str, &str) = ("messageReplyOption", "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");

impl GoogleChat {
    /// Returns the key of the thread, and the reason why it is not the configured one.
    fn thread_key(&self, message: &Message) -> (String, Option<String>) {
        let run = &message.context.event().run;
        let (key, mistake) = match self.thread.of(message) {
            Ok(key) => (key, None),
            Err(problem) => (None, Some(problem)),
        };
        let key = key.unwrap_or_else(|| match run.incident_key() {
            key if key.is_empty() => run.id.clone(),
            key => sha256_hex(key.as_bytes()),
        });
        match key.len() > THREAD {
            true => (sha256_hex(key.as_bytes()), mistake),
            false => (key, mistake),
        }
    }
}

fn card(message: &Message, title: &str) -> Value {
    let field = |(name, value): (String, String)| json!({"decoratedText": {"topLabel": name, "text": value, "wrapText": true}});
    let text = cut_html(message.text.trim(), TEXT, json_bytes);
    let text = (!text.is_empty()).then(|| json!({"textParagraph": {"text": text}}));
    let mut widgets: Vec<Value> = text.into_iter().collect();
    let fields = fields_within(message, Escape::Html, FIELDS, json_bytes);
    widgets.extend(fields.into_iter().map(field));
    if let Some(url) = message.link() {
        let button = json!({"text": "Open", "onClick": {"openLink": {"url": url}}});
        widgets.push(json!({"buttonList": {"buttons": [button]}}));
    }
    let mut card = json!({"header": {"title": title}});
    // Google refuses a section without widgets.
    if !widgets.is_empty() {
        card["sections"] = json!([{"widgets": widgets}]);
    }
    json!({"cardId": "event", "card": card})
}

impl Service for GoogleChat {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let name = message.context.event().run.name();
        let subject = Some(&message.subject).filter(|subject| !subject.is_empty());
        let title = cut(subject.unwrap_or(&name), TITLE, characters);
        let (thread, _) = self.thread_key(message);
        let body = [
            ("cardsV2", json!([card(message, &title)])),
            ("fallbackText", json!(title)),
            ("thread", json!({ "threadKey": thread })),
        ];
        let body: Map<String, Value> = body
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let request = Request {
            body: json_with(body, message)?,
            ..self.probe(Method::POST)
        };
        Ok(to_one(request))
    }

    fn note(&self, message: &Message) -> Option<String> {
        let (_, mistake) = self.thread_key(message);
        mistake.map(|problem| format!("{problem}; the playbook's thread is used instead"))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let name = reply.json()["name"].as_str().map(str::to_owned);
        reply.from("Google Chat", name.is_some())?;
        Ok(name)
    }

    fn probe(&self, method: Method) -> Request {
        webhook_request(&self.url, method)
    }
}
