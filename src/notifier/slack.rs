//! The kind `slack`: blocks with a colour bar, posted by a bot (`chat.postMessage`, `chat.update`) or
//! through an incoming webhook.

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
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{bearer, refuse_user};
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_secret_url;
use crate::notifier::Thread;
use crate::notifier::over_http::{
    Service, api_url, fields_within, join_path, json_with, over_http, to_one,
};
use crate::notifier::recipients::{self, Each, Recipients};
use crate::notifier::snippet::Uploads;
use crate::text::{Escape, characters, cut};

/// Slack, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "slack",
    about: "posts to Slack channels as a bot, or through an incoming webhook",
    form: MessageFormat::Text(Escape::Mrkdwn),
    build,
};

/// Slack's limits for a header and a section, and the recommended one for a fallback, in characters.
const HEADER: usize = 150;
const SECTION: usize = 3000;
const FALLBACK: usize = 4000;
/// Maximum number of fields in a section; of all fields, and of their characters in total.
const FIELDS: usize = 10;
const ALL_FIELDS: (usize, usize) = (30, 9000);

/// Temporary errors, and those that mean that the token is invalid.
const PASSING: [&str; 8] = [
    "ratelimited",
    "rate_limited",
    "message_limit_exceeded",
    "internal_error",
    "fatal_error",
    "service_unavailable",
    "request_timeout",
    "team_added_to_org",
];
const DENIED: [&str; 5] = [
    "invalid_auth",
    "not_authed",
    "account_inactive",
    "token_revoked",
    "token_expired",
];
/// Errors because the message cannot be updated: a new one is posted.
const NOT_UPDATED: [&str; 4] = [
    "message_not_found",
    "cant_update_message",
    "edit_window_closed",
    "is_inactive",
];

struct Slack {
    /// Address of an incoming webhook, or of the API.
    url: Url,
    bot: Option<Bot>,
    color: Option<String>,
}

struct Bot {
    authorization: HeaderValue,
    /// `CHANNEL`, or `CHANNEL/THREAD`.
    channels: Recipients,
    /// True if a run's later messages replace its first.
    update: bool,
    /// True if the output of a command of `ansible-notify run` is attached.
    attaches_output: bool,
}

/// Values of `attach`.
const ATTACHMENTS: [(&str, bool); 2] = [("none", false), ("output", true)];

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let color = section.parsed("color", None, |text| match color(text) {
        true => Ok(Some(text.to_owned())),
        false => Err(format!(
            "`color` must be `#rgb` or `#rrggbb`, not {}",
            advice::quoted(text)
        )),
    });
    let (url, bot) = if section.is_given("url") {
        let (token, channels) = (section.secret("token"), section.channels("channels"));
        if token.is_some() || !channels.is_empty() {
            let problem =
                "`url` is a webhook with a channel of its own; keep it, or `token` and `channels`";
            section.problem("url", problem);
        }
        if section.choice("attach", false, &ATTACHMENTS) {
            let problem = "`attach` requires a bot: an incoming webhook takes no files; set `token` and `channels` instead of `url`";
            section.problem("attach", problem);
        }
        (read_secret_url(section, "url"), Some(None))
    } else {
        let api = api_url(section, "https://slack.com/api");
        refuse_user(section, api.as_ref(), "token");
        (api, bot(section).map(Some))
    };
    let service = url.clone().zip(bot);
    let service = service.map(|(url, bot)| Slack { url, bot, color });
    over_http(section, http, url.as_ref(), service)
}

fn bot(section: &Section) -> Option<Bot> {
    let authorization = bearer(section, "token");
    let update = section.flag("update", false);
    let attaches_output = section.choice("attach", false, &ATTACHMENTS);
    let channels = Recipients::required(section, "channels", &recipients::CHANNELS, channel);
    Some(Bot {
        authorization: authorization?,
        channels: channels?,
        update,
        attaches_output,
    })
}

fn channel(name: &str) -> Result<String, String> {
    let channel = name.trim_start_matches('#');
    match channel.parse::<f64>() {
        Ok(_) => Err(format!(
            "`{channel}` is a thread; write it as CHANNEL/{channel}"
        )),
        Err(_) => recipients::any(channel),
    }
}

/// Returns true if a text is `#rgb` or `#rrggbb`.
fn color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    matches!(digits.len(), 3 | 6) && digits.chars().all(|digit| digit.is_ascii_hexdigit())
}

/// Place of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The thread of the run's first message, if there is one.
    Thread,
    /// The channel itself, even if there is a first message.
    Channel,
}

impl Slack {
    /// Returns the content of the message, the same for every recipient.
    fn body(&self, message: &Message) -> Map<String, Value> {
        let section =
            |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
        let mut blocks = Vec::new();
        if !message.text.trim().is_empty() {
            blocks.push(section(&cut(&message.text, SECTION, characters)));
        }
        let field = |(name, value)| json!({"type": "mrkdwn", "text": format!("*{name}*\n{value}")});
        let fields = fields_within(message, Escape::Mrkdwn, ALL_FIELDS, characters);
        let fields: Vec<Value> = fields.into_iter().map(field).collect();
        blocks.extend(
            fields
                .chunks(FIELDS)
                .map(|fields| json!({"type": "section", "fields": fields})),
        );
        if let Some(url) = message.link() {
            blocks.push(section(&format!(
                "<{}|Open the run>",
                Escape::Mrkdwn.apply(url)
            )));
        }
        let subject = Escape::Mrkdwn.apply(&message.subject);
        let fallback = format!("{subject}\n{}", message.text);
        let header = cut(&message.subject, HEADER, characters);
        let header = json!({"type": "plain_text", "text": header, "emoji": false});
        let color = self.color.as_deref().unwrap_or(message.level.color());
        let body = [
            ("text", json!(cut(fallback.trim(), FALLBACK, characters))),
            ("blocks", json!([{"type": "header", "text": header}])),
            ("attachments", json!([{"color": color, "blocks": blocks}])),
            ("unfurl_links", json!(false)),
            ("unfurl_media", json!(false)),
        ];
        body.map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect()
    }

    fn request(&self, method: &str, body: Bytes) -> Request {
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let mut url = self.url.clone();
        if let Some(bot) = &self.bot {
            headers.insert(AUTHORIZATION, bot.authorization.clone());
            url = join_path(&url, &[method]);
        }
        Request {
            method: Method::POST,
            url,
            secret_url: self.bot.is_none(),
            headers,
            body,
        }
    }

    /// Builds the request to a channel: in its thread, in the thread of the run's first message, or as an
    /// update of that message unless it shows the end of the run.
    fn post(&self, message: &Message, recipient: &str, place: Place) -> Result<Request, Failure> {
        let mut body = self.body(message);
        let mut set = |name: &str, value: &str| body.insert(name.to_owned(), value.into());
        let update = self.bot.as_ref().is_some_and(|bot| bot.update);
        let (channel, own) = match recipient.split_once('/') {
            Some((channel, thread)) => (channel, Some(thread)),
            None => (recipient, None),
        };
        let first = message.threads.get(recipient);
        let first = first
            .and_then(|name| name.split_once('/'))
            .filter(|_| place == Place::Thread);
        let method = match first {
            // A channel is updated by its id, whatever name was used to post to it.
            Some((channel, first)) if update && !message.comes_late() => {
                set("channel", channel);
                set("ts", first);
                "chat.update"
            }
            first => {
                set("channel", channel);
                if let Some(thread) = own.or(first.map(|(_, first)| first)) {
                    set("thread_ts", thread);
                    // Good news is for all who saw the bad news, not only for those who follow the thread.
                    let recovered = message.context.event().recovered();
                    body.insert("reply_broadcast".to_owned(), recovered.into());
                }
                "chat.postMessage"
            }
        };
        Ok(self.request(method, json_with(body, message)?))
    }
}

impl Service for Slack {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let Some(bot) = &self.bot else {
            let body = json_with(self.body(message), message)?;
            return Ok(to_one(self.request("", body)));
        };
        bot.channels.each(message, |channel| {
            self.post(message, channel, Place::Thread)
        })
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let Some(bot) = &self.bot else {
            let took = reply.text() == "ok" || reply.json()["ok"] == true;
            return reply
                .from("Slack", took)
                .map(|()| None)
                .map_err(|failure| match failure {
                    // Not about credentials: an administrator forbids it.
                    Failure::Denied(error) if error.contains("action_prohibited") => {
                        Failure::Permanent(error)
                    }
                    failure => failure,
                });
        };
        let said = reply.json();
        reply.from("Slack", said["ok"].is_boolean())?;
        if said["ok"] == true {
            // For a message in a thread, that of the thread's first message.
            let first = said["message"]["thread_ts"]
                .as_str()
                .filter(|_| !bot.update);
            let name = first.or(said["ts"].as_str());
            let channel = said["channel"].as_str();
            return Ok(name
                .zip(channel)
                .map(|(name, channel)| format!("{channel}/{name}")));
        }
        let error = said["error"].as_str().unwrap_or("without a reason");
        let detail = said["response_metadata"]["messages"][0].as_str();
        let text = detail.map_or(error.to_owned(), |detail| format!("{error}: {detail}"));
        Err(match error {
            error if PASSING.contains(&error) => Failure::Retry {
                error: text,
                after: reply.pause(),
            },
            error if DENIED.contains(&error) => Failure::Denied(text),
            _ => Failure::Permanent(text),
        })
    }

    fn thread(&self) -> Thread {
        match &self.bot {
            None => Thread::None,
            Some(bot) if bot.update => Thread::Updates,
            Some(_) => Thread::Replies,
        }
    }

    fn fallback(&self, message: &Message, recipient: &str, reply: &Reply) -> Option<Request> {
        let said = reply.json();
        let gone = said["error"]
            .as_str()
            .is_some_and(|error| NOT_UPDATED.contains(&error));
        let updated = self.bot.as_ref()?.update && message.threads.contains_key(recipient);
        (gone && updated).then(|| self.post(message, recipient, Place::Channel).ok())?
    }

    fn follow_up(
        &self,
        message: &Message,
        name: Option<&str>,
        replies: &[Reply],
    ) -> Result<Option<Request>, Failure> {
        let Some(bot) = self.bot.as_ref().filter(|bot| bot.attaches_output) else {
            return Ok(None);
        };
        let uploads = Uploads {
            api: &self.url,
            authorization: &bot.authorization,
        };
        uploads.next(message, name, replies)
    }

    fn probe(&self, method: Method) -> Request {
        Request {
            method,
            ..self.request("", Bytes::new())
        }
    }

    fn health_check(&self) -> Option<Request> {
        self.bot
            .as_ref()
            .map(|_| self.request("auth.test", Bytes::new()))
    }
}
