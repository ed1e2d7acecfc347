//! The kind `discord`: an embed to a channel's webhook (Discord, "Execute Webhook").

use std::rc::Rc;

use hyper::Method;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_secret_url;
use crate::notifier::over_http::{
    Service, fields_within, json_with, over_http, to_one, webhook_request,
};
use crate::notifier::recipients::Each;
use crate::text::{Escape, characters, cut};

/// Discord, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "discord",
    about: "posts an embed to a Discord channel through its webhook",
    form: MessageFormat::Text(Escape::Markdown),
    build,
};

/// Discord's limits for an embed, in characters: title and description. All texts together may have 6000, of
/// which the fields get the rest.
const TITLE: usize = 256;
const DESCRIPTION: usize = 4096;
const FIELDS: (usize, usize) = (25, 6000 - TITLE - DESCRIPTION);
/// Error code for a webhook that was deleted.
const UNKNOWN_WEBHOOK: u64 = 10015;

struct Discord {
    url: Url,
    /// `username` and `avatar_url`.
    replacing: Map<String, Value>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_secret_url(section, "url");
    let keys = ["username", "avatar_url"];
    let given = |key: &str| Some((key.to_owned(), Value::from(section.text(key)?)));
    let replacing = keys.into_iter().filter_map(given).collect();
    let thread = section.text("thread_id");
    let service = url.clone().map(|mut url| {
        // The reply then contains the message, or says what went wrong.
        url.query_pairs_mut().append_pair("wait", "true");
        if let Some(thread) = thread {
            url.query_pairs_mut().append_pair("thread_id", thread);
        }
        Discord { url, replacing }
    });
    over_http(section, http, url.as_ref(), service)
}

/// Converts `#rrggbb` to Discord's number.
fn number(color: &str) -> Option<u32> {
    u32::from_str_radix(color.strip_prefix('#')?, 16).ok()
}

impl Service for Discord {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let field = |(name, value): (String, String)| {
            let (name, inline) = (cut(&name, 256, characters), value.len() < 40);
            json!({"name": name, "value": cut(&value, 1024, characters), "inline": inline})
        };
        let fields = fields_within(message, Escape::Markdown, FIELDS, characters);
        let fields: Vec<Value> = fields.into_iter().map(field).collect();
        let title = Escape::Markdown.apply(&message.subject);
        let event = message.context.event();
        let embed = json!({
            "title": cut(&title, TITLE, characters),
            "description": cut(&message.text, DESCRIPTION, characters),
            "url": message.link(),
            "color": number(message.level.color()),
            "fields": fields,
            "timestamp": crate::event::time_text(event.time),
        });
        let mut body = self.replacing.clone();
        body.insert("embeds".to_owned(), json!([embed]));
        // Nobody is mentioned, whatever the output of a host contains.
        body.insert("allowed_mentions".to_owned(), json!({"parse": []}));
        let request = Request {
            body: json_with(body, message)?,
            ..self.probe(Method::POST)
        };
        Ok(to_one(request))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        // Without `wait`, which an intermediary may remove, the reply is empty.
        let took = reply.status.as_u16() == 204 || said["id"].is_string();
        match reply.from("Discord", took) {
            Ok(()) => Ok(None),
            Err(Failure::Permanent(error)) if said["code"].as_u64() == Some(UNKNOWN_WEBHOOK) => {
                Err(Failure::Gone(error))
            }
            Err(failure) => Err(failure.not_before(said["retry_after"].as_f64())),
        }
    }

    fn probe(&self, method: Method) -> Request {
        webhook_request(&self.url, method)
    }

    fn health_check(&self) -> Option<Request> {
        Some(self.probe(Method::GET))
    }
}
