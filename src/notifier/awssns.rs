//! The kind `awssns`: a message to a topic of Amazon SNS (its API reference, "Publish").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use url::Url;

use super::{Kind, Notifier};
use crate::config::entry::Reads;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::refuse_user;
use crate::net::digest::sha256_hex;
use crate::net::http::{Http, Reply, Request};
use crate::net::sigv4::{Keys, Signer};
use crate::notifier::over_http::{self, Service, api_url, over_http};
use crate::secret::Secret;
use crate::text::{Escape, bytes, characters, cut, one_line};

/// Amazon SNS, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "awssns",
    about: "publishes to an Amazon SNS topic",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Maximum length of the subject, in characters, and size of the message with its attributes, in bytes.
const SUBJECT: usize = 99;
const MOST: usize = 262_144;
/// Maximum length of an attribute's value and of an id, in characters.
const ATTRIBUTE: usize = 256;
const ID: usize = 128;
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// Temporary errors, and those about the keys, where the status says neither.
const PASSING: [&str; 4] = [
    "Throttling",
    "ThrottledException",
    "KMSThrottling",
    "RequestExpired",
];
const REFUSED: [&str; 4] = [
    "InvalidClientTokenId",
    "AuthorizationError",
    "IncompleteSignature",
    "ExpiredToken",
];

struct AwsSns {
    url: Url,
    topic_arn: String,
    signer: Signer,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let topic_arn = section.required("topic_arn");
    let region = region(section, topic_arn);
    let keys = keys(section);
    let host = region
        .as_deref()
        .map_or_else(|| "localhost".to_owned(), host);
    let url = api_url(section, &format!("https://{host}"));
    refuse_user(section, url.as_ref(), "access_key_id");
    let service = || {
        let signer = Signer {
            region: region?,
            service: "sns".to_owned(),
            keys: keys?,
        };
        Some(AwsSns {
            url: url.clone()?,
            topic_arn: topic_arn?.to_owned(),
            signer,
        })
    };
    over_http(section, http, url.as_ref(), service())
}

/// Returns the region, which is part of the topic's name.
fn region(section: &Section, topic_arn: Option<&str>) -> Option<String> {
    let given = section.text("region");
    let parts: Vec<&str> = topic_arn?.split(':').collect();
    let ["arn", _, "sns", region, _, _] = parts[..] else {
        let form = "arn:aws:sns:eu-central-1:123456789012:NAME";
        section.problem(
            "topic_arn",
            format!("`topic_arn` must have the form {form}"),
        );
        return None;
    };
    let region = given.unwrap_or(region);
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if region.is_empty() || !region.bytes().all(good) {
        section.problem("region", "`region` must be a name such as eu-central-1");
        return None;
    }
    Some(region.to_owned())
}

fn host(region: &str) -> String {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("sns.{region}.amazonaws.com{china}")
}

/// Reads the keys of the section, or else those of the environment, never some of each.
fn keys(section: &Section) -> Option<Keys> {
    let id = section.secret("access_key_id");
    let secret = section.secret("secret_access_key");
    let session_token = section.secret("session_token");
    if id.is_some() || secret.is_some() {
        return Some(Keys {
            id: id.or_else(|| section.missing("access_key_id"))?,
            secret: secret.or_else(|| section.missing("secret_access_key"))?,
            session_token,
        });
    }
    let variable = |name: &str| {
        let value = std::env::var(name).ok().filter(|value| !value.is_empty());
        let value = value.filter(|_| section.reads != Reads::None);
        value.map(Secret::new)
    };
    let keys = (
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
    );
    let (Some(id), Some(secret)) = keys else {
        return section.missing("access_key_id");
    };
    Some(Keys {
        id,
        secret,
        session_token: variable("AWS_SESSION_TOKEN"),
    })
}

impl AwsSns {
    /// Returns the parameters of `Publish`.
    fn parameters(&self, message: &Message) -> Result<Vec<(String, String)>, Failure> {
        let mut parameters = vec![
            ("Action".to_owned(), "Publish".to_owned()),
            ("Version".to_owned(), "2010-03-31".to_owned()),
            ("TopicArn".to_owned(), self.topic_arn.clone()),
        ];
        let mut add = |name: &str, value: String| parameters.push((name.to_owned(), value));
        let subject = ascii(&message.subject);
        if !subject.is_empty() {
            add("Subject", subject);
        }
        let mut room = MOST;
        for (index, (name, value)) in attributes(message).into_iter().enumerate() {
            room -= name.len() + "String".len() + value.len();
            let entry = format!("MessageAttributes.entry.{}", index + 1);
            add(&format!("{entry}.Name"), name.to_owned());
            add(&format!("{entry}.Value.DataType"), "String".to_owned());
            add(&format!("{entry}.Value.StringValue"), value);
        }
        add("Message", text(message, room)?);
        if self.topic_arn.ends_with(".fifo") {
            // Ordered per playbook, across runs; the same id on every attempt.
            let group = message.context.event().run.playbook_key();
            add("MessageGroupId", id(&group));
            add("MessageDeduplicationId", id(&message.id));
        }
        Ok(parameters)
    }
}

/// Converts a subject to what SNS accepts: ASCII, on one line.
fn ascii(subject: &str) -> String {
    let readable = |character: char| if character.is_ascii() { character } else { '?' };
    let subject: String = subject.chars().map(readable).collect();
    if subject.len() <= SUBJECT {
        return subject;
    }
    format!("{} ...", subject[..SUBJECT - 4].trim_end())
}

/// Returns the user's `body` as JSON text, or the message.
fn text(message: &Message, room: usize) -> Result<String, Failure> {
    let Some(body) = &message.body else {
        let text = cut(&message.text, room, bytes);
        // SNS rejects an empty one.
        let text = if text.is_empty() {
            message.subject.as_str().into()
        } else {
            text
        };
        return Ok(text.into_owned());
    };
    let text = match body.as_str() {
        Some(text) => text.to_owned(),
        None => String::from_utf8_lossy(&over_http::json(body)).into_owned(),
    };
    if text.len() > room {
        let size = text.len();
        let error = format!("`body` gives {size} bytes; Amazon SNS accepts at most {room}");
        return Err(Failure::permanent(error));
    }
    Ok(text)
}

/// Returns the attributes that a subscription's filter policy can match.
fn attributes(message: &Message) -> Vec<(&'static str, String)> {
    let event = message.context.event();
    let state = event.state.map(|state| state.name());
    let status = event.status().map(|status| status.name());
    let all = [
        ("event", Some(event.event.name())),
        ("state", state),
        ("status", status),
        ("playbook", event.run.playbook.as_deref()),
        ("host", event.host.as_ref().map(|host| host.name.as_str())),
    ];
    all.into_iter()
        .filter_map(|(name, value)| {
            let value = one_line(value?);
            Some((name, cut(&value, ATTRIBUTE, characters).into_owned()))
        })
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// Returns an id that SNS accepts: one with other characters, or too many, becomes its SHA-256.
fn id(text: &str) -> String {
    let good =
        !text.is_empty() && text.len() <= ID && text.bytes().all(|byte| byte.is_ascii_graphic());
    if good {
        text.to_owned()
    } else {
        sha256_hex(text.as_bytes())
    }
}

/// Returns the content of an element of an XML text.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>"))
        .map(|(inner, _)| inner)
}

impl Service for AwsSns {
    fn requests(&self, message: &Message) -> Result<Vec<(String, Request)>, Failure> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(self.parameters(message)?);
        let request = self.signed(Method::POST, form.finish().into());
        Ok(vec![(String::new(), request)])
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = String::from_utf8_lossy(&reply.body);
        let refused = !reply.status.is_success();
        let Some(code) = element(&said, "Code").filter(|_| refused) else {
            let id = element(&said, "MessageId").map(str::to_owned);
            reply.from("Amazon SNS", id.is_some())?;
            return Ok(id);
        };
        let text = element(&said, "Message").unwrap_or_default();
        let judged = reply.check_status_with(format!("{code}: {text}").as_bytes());
        judged.map(|()| None).map_err(|failure| match failure {
            Failure::Permanent(error) if PASSING.contains(&code) => Failure::retry(error),
            Failure::Permanent(error) if REFUSED.contains(&code) => Failure::Denied(error),
            failure => failure,
        })
    }

    fn probe(&self, method: Method) -> Request {
        self.signed(method, Bytes::new())
    }
}

impl AwsSns {
    fn signed(&self, method: Method, body: Bytes) -> Request {
        let headers =
            self.signer
                .headers(&method, &self.url, CONTENT_TYPE, &body, Timestamp::now());
        let header = |(name, value): (&'static str, String)| {
            let value = HeaderValue::from_str(&value).ok()?;
            Some((HeaderName::from_static(name), value))
        };
        Request {
            method,
            url: self.url.clone(),
            secret_url: false,
            headers: headers
                .into_iter()
                .filter_map(header)
                .collect::<HeaderMap>(),
            body,
        }
    }
}
