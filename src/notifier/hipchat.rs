//! The kind `hipchat`: notifications to the rooms of a HipChat server (API version 2, "Send room
//! notification"). The hosted service has ended.

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Level, Message, MessageFormat};
use crate::net::authorization::{bearer, refuse_user};
use crate::net::http::{Http, Reply, Request};
use crate::notifier::over_http::{Service, api_url, join_path, json_with, over_http};
use crate::notifier::recipients::{self, Each, Recipients};
use crate::text::{Escape, characters, cut_html};

/// HipChat, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "hipchat",
    about: "posts to rooms of a self-hosted HipChat server",
    form: MessageFormat::Text(Escape::Html),
    build,
};

/// HipChat's limit for a message, in characters.
const MOST: usize = 10_000;
/// Maximum length of `message_from`, in characters.
const FROM: usize = 64;
const COLORS: [&str; 6] = ["yellow", "green", "red", "purple", "gray", "random"];

struct HipChat {
    url: Url,
    authorization: HeaderValue,
    rooms: Recipients,
    color: Option<&'static str>,
    notify: bool,
    from: Option<String>,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = section
        .required("api_url")
        .and_then(|_| api_url(section, "http://localhost"));
    let hosted = |url: &Url| {
        let host = url.host_str().unwrap_or_default();
        host == "hipchat.com" || host.ends_with(".hipchat.com")
    };
    if url.as_ref().is_some_and(hosted) {
        let warning = "hosted HipChat ended in 2019; only self-hosted servers remain";
        section.warning("api_url", warning);
    }
    let authorization = bearer(section, "token");
    refuse_user(section, url.as_ref(), "token");
    let rooms = Recipients::required(section, "rooms", &recipients::LIST, recipients::any);
    let color = section.choice("color", None, &COLORS.map(|name| (name, Some(name))));
    let notify = section.flag("notify", false);
    let from = section.parsed("message_from", None, |text| match text.chars().count() {
        0..=FROM => Ok(Some(text.to_owned())),
        length => Err(format!(
            "`message_from` must have at most {FROM} characters, not {length}"
        )),
    });
    let known = authorization.zip(rooms).zip(url.clone());
    let service = known.map(|((authorization, rooms), url)| HipChat {
        url,
        authorization,
        rooms,
        color,
        notify,
        from,
    });
    over_http(section, http, url.as_ref(), service)
}

impl HipChat {
    fn body(&self, message: &Message) -> Map<String, Value> {
        let subject = Escape::Html.apply(&message.subject);
        let title = match message.link() {
            Some(url) => format!("<a href=\"{}\">{subject}</a>", Escape::Html.apply(url)),
            None => subject,
        };
        let html = format!("<b>{title}</b>\n{}", message.text).replace('\n', "<br>");
        // Unlike `text`, `html` mentions nobody, whatever the output of a host contains.
        let text = cut_html(&html, MOST, characters);
        let color = match message.level {
            Level::Info => "gray",
            Level::Success => "green",
            Level::Warning => "yellow",
            Level::Error => "red",
        };
        let body = [
            ("message", json!(text)),
            ("message_format", json!("html")),
            ("color", json!(self.color.unwrap_or(color))),
            ("notify", json!(self.notify)),
            ("from", json!(self.from)),
        ];
        let given = body.into_iter().filter(|(_, value)| !value.is_null());
        given
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn request(&self, room: &str, body: Bytes) -> Request {
        let json = HeaderValue::from_static("application/json");
        let authorization = self.authorization.clone();
        Request {
            method: Method::POST,
            url: join_path(&self.url, &["v2", "room", room, "notification"]),
            secret_url: false,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json), (AUTHORIZATION, authorization)]),
            body,
        }
    }
}

impl Service for HipChat {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let body = json_with(self.body(message), message)?;
        let post = |room: &String| Ok(self.request(room, body.clone()));
        self.rooms.each(message, post)
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        // Time at which the next request is accepted, in Unix seconds.
        let reset = reply.headers.get("x-ratelimit-reset");
        let reset: Option<f64> = reset.and_then(|value| value.to_str().ok()?.parse().ok());
        let now = jiff::Timestamp::now().as_second() as f64;
        let taken = reply.from("HipChat", reply.status.as_u16() == 204);
        taken.map_err(|failure| failure.not_before(reset.map(|reset| reset - now)))?;
        Ok(None)
    }

    fn probe(&self, method: Method) -> Request {
        Request {
            method,
            ..self.request(self.rooms.first(), Bytes::new())
        }
    }
}
