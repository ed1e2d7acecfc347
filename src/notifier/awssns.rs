//! The kind `awssns`: a message to a topic of Amazon SNS (its API reference, "Publish").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use url::Url;

use super::{Kind, Notifier};
use crate::config::advice;
use crate::config::entry::Reads;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::refuse_user;
use crate::net::digest::sha256_hex;
use crate::net::http::{Http, Reply, Request};
use crate::net::sigv4::{Keys, Signer};
use crate::notifier::over_http::{self, Service, api_url, over_http};
use crate::notifier::recipients::{Each, LIST, Recipients};
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
    topics: Recipients,
    /// Address for every topic, if `api_url` sets one.
    url: Option<Url>,
    /// Region of every topic, if `region` sets one.
    region: Option<String>,
    keys: Keys,
    /// Topic with which the address and the keys are checked.
    example: Topic,
}

/// A topic: the address of its requests, and the region that they are signed for.
struct Topic {
    url: Url,
    region: String,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let topics = Recipients::required(section, "topic_arn", &LIST, topic_arn);
    let region = section.text("region").map(str::to_owned);
    let is_wrong = region.as_deref().is_some_and(|name| !is_name(name));
    if is_wrong {
        section.problem("region", "`region` must be a name such as eu-central-1");
    }
    let keys = keys(section);
    let url = section.text("api_url").is_some();
    let url = url.then(|| api_url(section, "https://localhost"));
    let first = topics.as_ref().map_or("", Recipients::first);
    let known = region.as_deref().or_else(|| region_of(first));
    let known = known.filter(|name| is_name(name)).unwrap_or(USUAL_REGION);
    let example = Topic {
        url: url.clone().flatten().unwrap_or_else(|| endpoint(known)),
        region: known.to_owned(),
    };
    let base = example.url.clone();
    refuse_user(section, Some(&base), "access_key_id");
    let service = || {
        Some(AwsSns {
            topics: topics.filter(|_| !is_wrong)?,
            url: match url {
                Some(read) => Some(read?),
                None => None,
            },
            region,
            keys: keys?,
            example,
        })
    };
    over_http(section, http, Some(&base), service())
}

/// Region in which to check the keys, if only the template of each message names one.
const USUAL_REGION: &str = "us-east-1";

fn topic_arn(text: &str) -> Result<String, String> {
    match region_of(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "`topic_arn` must have the form arn:aws:sns:eu-central-1:123456789012:NAME, not {}",
            advice::quoted(text)
        )),
    }
}

/// Returns the region in the name of a topic, arn:PARTITION:sns:REGION:ACCOUNT:NAME.
fn region_of(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.split(':').collect();
    let ["arn", _, "sns", region, _, _] = parts[..] else {
        return None;
    };
    Some(region).filter(|region| is_name(region))
}

fn is_name(region: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !region.is_empty() && region.bytes().all(good)
}

/// Returns true for the name of a region such as us-gov-west-1: it becomes part of a host's name.
fn is_region(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let Some((number, words)) = parts.split_last() else {
        return false;
    };
    let is_word = |word: &&str| {
        (2..=12).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    (2..=4).contains(&words.len())
        && words.iter().all(is_word)
        && (1..=2).contains(&number.len())
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn endpoint(region: &str) -> Url {
    let china = if region.starts_with("cn-") { ".cn" } else { "" };
    let url = format!("https://sns.{region}.amazonaws.com{china}");
    Url::parse(&url).expect("a region is part of a host's name")
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
        if section.reads == Reads::Muted {
            return None;
        }
        return section.missing("access_key_id");
    };
    Some(Keys {
        id,
        secret,
        session_token: variable("AWS_SESSION_TOKEN"),
    })
}

impl AwsSns {
    /// Returns the target of a topic. A region from a template must be valid: it decides the host.
    fn topic(&self, arn: &str) -> Result<Topic, Failure> {
        let own = region_of(arn).unwrap_or_default();
        if self.topics.has_template() && self.region.is_none() && !is_region(own) {
            let given = advice::quoted(own);
            let problem = format!("`topic_arn`: {given} is not a region such as eu-central-1");
            return Err(Failure::permanent(problem));
        }
        let region = self.region.as_deref().unwrap_or(own);
        Ok(Topic {
            url: self.url.clone().unwrap_or_else(|| endpoint(region)),
            region: region.to_owned(),
        })
    }

    fn request(&self, arn: &str, message: &Message) -> Result<Request, Failure> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters(arn, message)?);
        let body = form.finish().into();
        Ok(self.signed(Method::POST, &self.topic(arn)?, body))
    }
}

/// Returns the parameters of `Publish`.
fn parameters(arn: &str, message: &Message) -> Result<Vec<(String, String)>, Failure> {
    let mut parameters = vec![
        ("Action".to_owned(), "Publish".to_owned()),
        ("Version".to_owned(), "2010-03-31".to_owned()),
        ("TopicArn".to_owned(), arn.to_owned()),
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
    if arn.ends_with(".fifo") {
        // Ordered per playbook, across runs; the same id on every attempt.
        let group = message.context.event().run.incident_key();
        add("MessageGroupId", id(&group));
        add("MessageDeduplicationId", id(&message.id));
    }
    Ok(parameters)
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
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let mut requests = self
            .topics
            .each(message, |arn| self.request(arn, message))?;
        if let ([(arn, _)], false) = (requests.as_mut_slice(), self.topics.has_template()) {
            // A single topic needs no name in error messages.
            arn.clear();
        }
        Ok(requests)
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
        self.signed(method, &self.example, Bytes::new())
    }
}

impl AwsSns {
    fn signed(&self, method: Method, topic: &Topic, body: Bytes) -> Request {
        let signer = Signer {
            region: topic.region.clone(),
            service: "sns".to_owned(),
            keys: self.keys.clone(),
        };
        let headers = signer.headers(&method, &topic.url, CONTENT_TYPE, &body, Timestamp::now());
        let header = |(name, value): (&'static str, String)| {
            let value = HeaderValue::from_str(&value).ok()?;
            Some((HeaderName::from_static(name), value))
        };
        Request {
            method,
            url: topic.url.clone(),
            secret_url: false,
            headers: headers
                .into_iter()
                .filter_map(header)
                .collect::<HeaderMap>(),
            body,
        }
    }
}
