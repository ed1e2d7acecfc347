//! The kind `matrix`: messages in rooms (Matrix, "Client-Server API", `PUT
//! /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`).

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{bearer, refuse_user, warn_of_plain_http};
use crate::net::digest::sha256_hex;
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_url;
use crate::notifier::over_http::{Service, fields_within, join_path, json_with, over_http};
use crate::notifier::recipients::{Each, LIST, Recipients};
use crate::text::{Escape, cut, cut_html, json_bytes, without_markup};

/// Matrix, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "matrix",
    about: "sends to Matrix rooms",
    form: MessageFormat::Text(Escape::Html),
    build,
};

/// Maximum size of the HTML and of the plain text, in bytes of JSON. An event may have 65,536 bytes with all that
/// the server adds.
const TEXT: usize = 24_000;
/// Maximum number of fields, and of their bytes in total.
const FIELDS: (usize, usize) = (30, 6000);
/// Maximum length of the id of a room, in bytes.
const ROOM: usize = 255;

struct Matrix {
    api: Url,
    authorization: HeaderValue,
    rooms: Recipients,
    /// `m.text`, or `m.notice`, which other programs do not answer.
    sort: &'static str,
    /// Name of the notifier: two of them may send the same event to a room.
    name: String,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let api = read_url(section, "api_url").map(|(_, url)| url);
    let authorization = bearer(section, "token");
    refuse_user(section, api.as_ref(), "token");
    let rooms = Recipients::required(section, "rooms", &LIST, room);
    let notice = section.flag("notice", false);
    let service = || {
        let api = api.clone()?;
        warn_of_plain_http(section, "api_url", &api);
        Some(Matrix {
            api,
            authorization: authorization?,
            rooms: rooms?,
            sort: if notice { "m.notice" } else { "m.text" },
            name: section.name.clone(),
        })
    };
    over_http(section, http, api.as_ref(), service())
}

fn room(text: &str) -> Result<String, String> {
    let is_id = text.starts_with('!') && (2..=ROOM).contains(&text.len());
    if is_id && !text.contains(|one: char| one.is_whitespace() || one.is_control()) {
        return Ok(text.to_owned());
    }
    let given = quoted(text);
    Err(format!(
        "`rooms` must have ids of rooms such as `!kCSmxTZLSqvVsoQEPG:example.com` (Room settings → Advanced), not {given}"
    ))
}

impl Matrix {
    /// Returns the id of a message in the room: the same on each attempt, so that the server knows a repeat.
    fn transaction(&self, message: &Message) -> String {
        sha256_hex(format!("{}\n{}", self.name, message.id).as_bytes())
    }

    fn content(&self, message: &Message) -> Map<String, Value> {
        let html = html(message);
        let plain = without_markup(&html);
        let content = json!({
            "msgtype": self.sort,
            "body": cut(plain.trim(), TEXT, json_bytes),
            "format": "org.matrix.custom.html",
            "formatted_body": cut_html(&html, TEXT, json_bytes),
            // Nobody is mentioned, whatever the output of a host contains.
            "m.mentions": {},
        });
        content.as_object().cloned().unwrap_or_default()
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let json = HeaderValue::from_static("application/json");
        let authorization = self.authorization.clone();
        let path = [&["_matrix", "client", "v3"], path].concat();
        Request {
            method,
            url: join_path(&self.api, &path),
            secret_url: false,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json), (AUTHORIZATION, authorization)]),
            body: Bytes::new(),
        }
    }
}

/// Returns a message as HTML; a client shows no line break without `<br>`.
fn html(message: &Message) -> String {
    let subject = Escape::Html.apply(&message.subject);
    let title = match message.link() {
        Some(url) => format!("<a href=\"{}\">{subject}</a>", Escape::Html.apply(url)),
        None => subject,
    };
    let fields = fields_within(message, Escape::Html, FIELDS, json_bytes);
    let fields = fields
        .into_iter()
        .map(|(name, value)| format!("<b>{name}:</b> {value}"));
    let lines = [format!("<b>{title}</b>"), message.text.trim().to_owned()];
    let lines = lines.into_iter().chain(fields);
    let lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
    lines.join("\n").replace('\n', "<br>")
}

impl Service for Matrix {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let transaction = self.transaction(message);
        let body = json_with(self.content(message), message)?;
        self.rooms.each(message, |room| {
            let path = ["rooms", room, "send", "m.room.message", &transaction];
            Ok(Request {
                body: body.clone(),
                ..self.request(Method::PUT, &path)
            })
        })
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        let id = said["event_id"].as_str().map(str::to_owned);
        // A message has an `event_id`, an account a `user_id`.
        let is_its_own = id.is_some() || said["user_id"].is_string();
        let judged = reply.from("Matrix", is_its_own);
        let pause = said["retry_after_ms"].as_f64().map(|pause| pause / 1000.0);
        judged.map_err(|failure| failure.not_before(pause))?;
        Ok(id)
    }

    fn probe(&self, method: Method) -> Request {
        self.request(method, &["account", "whoami"])
    }

    fn health_check(&self) -> Option<Request> {
        Some(self.probe(Method::GET))
    }
}
