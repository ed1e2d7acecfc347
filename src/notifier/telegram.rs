//! The kind `telegram`: messages of a bot (Telegram Bot API, `sendMessage`).

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::advice;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::http::{Http, Reply, Request};
use crate::notifier::Thread;
use crate::notifier::over_http::{Service, api_url, join_path, json_with, over_http};
use crate::notifier::recipients::{self, Each, Recipients};
use crate::secret::Secret;
use crate::text::{Escape, cut, cut_html, utf16, without_markup};

/// Telegram, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "telegram",
    about: "sends to Telegram chats as a bot",
    form: MessageFormat::Text(Escape::Html),
    build,
};

/// Telegram's limit for a message, in UTF-16 units.
const MOST: usize = 4096;

struct Telegram {
    api: Url,
    /// Part of the path of every request.
    token: Secret,
    chats: Recipients,
    /// Topic of a group.
    topic: Option<i64>,
    silent: bool,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let token = section.required_secret("token");
    let chats = Recipients::required(section, "chat_ids", &recipients::LIST, recipients::any);
    let topic = section.parsed("message_thread_id", None, |text| {
        let number = text.parse().map(Some);
        number.map_err(|_| {
            let given = advice::quoted(text);
            format!("`message_thread_id` must be a whole number, not {given}")
        })
    });
    let silent = section.flag("disable_notification", false);
    let api = api_url(section, "https://api.telegram.org");
    let known = token.zip(chats).zip(api.clone());
    let service = known.map(|((token, chats), api)| Telegram {
        api,
        token,
        chats,
        topic,
        silent,
    });
    over_http(section, http, api.as_ref(), service)
}

/// Markup of a text.
#[derive(Clone, Copy)]
enum Markup {
    Html,
    None,
}

impl Markup {
    fn mode(self) -> Value {
        match self {
            Markup::Html => "HTML".into(),
            Markup::None => Value::Null,
        }
    }
}

impl Telegram {
    /// Returns the text, with or without markup.
    fn text(message: &Message, markup: Markup) -> String {
        let subject = Escape::Html.apply(&message.subject);
        let title = match message.link() {
            Some(url) => format!("<a href=\"{}\">{subject}</a>", Escape::Html.apply(url)),
            None => subject,
        };
        let html = format!("<b>{title}</b>\n{}", message.text);
        match markup {
            Markup::Html => cut_html(html.trim(), MOST, utf16).into_owned(),
            Markup::None => cut(without_markup(&html).trim(), MOST, utf16).into_owned(),
        }
    }

    fn send(
        &self,
        message: &Message,
        recipient: &str,
        chat: &str,
        markup: Markup,
    ) -> Result<Request, Failure> {
        let first = message.threads.get(recipient);
        let first: Option<i64> = first.and_then(|id| id.parse().ok());
        let answer = |id| json!({"message_id": id, "allow_sending_without_reply": true});
        let body = [
            ("chat_id", json!(chat)),
            ("text", json!(Telegram::text(message, markup))),
            ("parse_mode", markup.mode()),
            ("message_thread_id", json!(self.topic)),
            ("reply_parameters", first.map_or(Value::Null, answer)),
            ("link_preview_options", json!({"is_disabled": true})),
            ("disable_notification", json!(self.silent)),
        ];
        let given = body.into_iter().filter(|(_, value)| !value.is_null());
        let body: Map<_, _> = given
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        Ok(self.request("sendMessage", json_with(body, message)?))
    }

    fn request(&self, method: &str, body: Bytes) -> Request {
        let json = HeaderValue::from_static("application/json");
        let bot = format!("bot{}", self.token.expose());
        Request {
            method: Method::POST,
            url: join_path(&self.api, &[&bot, method]),
            secret_url: true,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body,
        }
    }
}

impl Service for Telegram {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        self.chats
            .each(message, |chat| self.send(message, chat, chat, Markup::Html))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        let pause = said["parameters"]["retry_after"].as_f64();
        let taken = reply.from("Telegram", said["ok"] == true);
        taken.map_err(|failure| match failure {
            // The chat does not accept the bot; another token would not help. A proxy may return 403 as well.
            Failure::Denied(error) if reply.status.as_u16() == 403 && said["ok"] == false => {
                Failure::Permanent(error)
            }
            failure => failure.not_before(pause),
        })?;
        let result = &said["result"];
        let first = &result["reply_to_message"]["message_id"];
        let name = first.as_i64().or(result["message_id"].as_i64());
        Ok(name.map(|id| id.to_string()))
    }

    fn thread(&self) -> Thread {
        Thread::Replies
    }

    fn fallback(&self, message: &Message, recipient: &str, reply: &Reply) -> Option<Request> {
        let said = reply.json();
        // A group that became a supergroup has a new id.
        if let Some(chat) = said["parameters"]["migrate_to_chat_id"].as_i64() {
            let chat = chat.to_string();
            return self.send(message, recipient, &chat, Markup::Html).ok();
        }
        // Telegram does not know the user's own markup: the words matter more.
        let entities = said["description"]
            .as_str()?
            .contains("can't parse entities");
        let plain = || self.send(message, recipient, recipient, Markup::None).ok();
        entities.then(plain)?
    }

    fn probe(&self, method: Method) -> Request {
        Request {
            method,
            ..self.request("getMe", Bytes::new())
        }
    }

    fn health_check(&self) -> Option<Request> {
        Some(self.probe(Method::GET))
    }
}
