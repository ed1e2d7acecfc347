//! The kind `teams`: an adaptive card to a Workflows webhook ("Post to a channel when a webhook request
//! is received").

use std::rc::Rc;

use hyper::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Level, Message, MessageFormat};
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_secret_url;
use crate::notifier::over_http::{
    Service, fields_within, json_with, over_http, to_one, webhook_request,
};
use crate::notifier::recipients::Each;
use crate::text::{Escape, characters, cut};

/// Microsoft Teams, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "teams",
    about: "posts an adaptive card to Microsoft Teams through a Workflows webhook",
    form: MessageFormat::Text(Escape::Markdown),
    build,
};

/// Maximum length of a title, in characters. A card may have 28 KB with all that Teams adds: 20 KB are safe,
/// and the title takes at most 1 KB of these, whatever its characters.
const TITLE: usize = 250;
/// Maximum size of the text, in bytes of JSON.
const TEXT: usize = 11_000;
/// Maximum number of facts, and of their bytes of JSON in total.
const FACTS: (usize, usize) = (30, 4000);

struct Teams {
    url: Url,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_secret_url(section, "url");
    if url.as_ref().is_some_and(is_connector) {
        let problem = "`url` is an Office 365 connector, which Microsoft has retired; create a Workflows webhook instead";
        section.problem("url", problem);
    }
    let service = url.clone().map(|url| Teams { url });
    over_http(section, http, url.as_ref(), service)
}

fn is_connector(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.ends_with(".webhook.office.com") || host == "outlook.office.com"
}

/// Returns the size of a character in the JSON of a card, in bytes; every line break counts as two.
fn json_bytes(character: char) -> usize {
    match character {
        '\n' => 4,
        '"' | '\\' | '\t' => 2,
        _ => character.len_utf8(),
    }
}

fn card(message: &Message) -> Value {
    let style = match message.level {
        Level::Info => "accent",
        Level::Success => "good",
        Level::Warning => "warning",
        Level::Error => "attention",
    };
    let title = Escape::Markdown.apply(&cut(&message.subject, TITLE, characters));
    let title = json!({"type": "TextBlock", "text": title, "weight": "bolder", "size": "medium", "wrap": true});
    let mut body =
        vec![json!({"type": "Container", "style": style, "bleed": true, "items": [title]})];
    // Lines become paragraphs: a card's Markdown ignores a single line break.
    let text = cut(message.text.trim(), TEXT, json_bytes).replace('\n', "\n\n");
    if !text.is_empty() {
        body.push(json!({"type": "TextBlock", "text": text, "wrap": true}));
    }
    let fact = |(title, value)| json!({"title": title, "value": value});
    let facts = fields_within(message, Escape::Markdown, FACTS, json_bytes);
    let facts: Vec<Value> = facts.into_iter().map(fact).collect();
    if !facts.is_empty() {
        body.push(json!({"type": "FactSet", "facts": facts}));
    }
    let url = message.link();
    let open = |url| json!({"type": "Action.OpenUrl", "title": "Open the run", "url": url});
    let actions: Vec<Value> = url.into_iter().map(open).collect();
    json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": body,
        "actions": actions,
    })
}

impl Service for Teams {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let attachment = json!({
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card(message),
        });
        let body = Map::from_iter([
            ("type".to_owned(), json!("message")),
            ("attachments".to_owned(), json!([attachment])),
        ]);
        let request = Request {
            body: json_with(body, message)?,
            ..self.probe(Method::POST)
        };
        Ok(to_one(request))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        reply.from("Teams", reply.status.as_u16() == 202)?;
        Ok(None)
    }

    fn probe(&self, method: Method) -> Request {
        webhook_request(&self.url, method)
    }
}
