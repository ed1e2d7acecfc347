//! The kind `webhook`: the payload as JSON to a URL of the user's own.

use std::rc::Rc;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::service::{Service, over_http};
use super::{Failure, Format, Kind, Notifier};
use crate::config::section::Section;
use crate::credentials::{authorization, warn_of_plain_http, without_credentials};
use crate::http::{Http, Request, is_credential, read_url};
use crate::message::{Form, Message};
use crate::secret;

pub const KIND: Kind = Kind {
    name: "webhook",
    about: "POSTs the [outputs] as JSON to a URL, over TCP or a unix socket",
    form: Form::Data,
    build,
};

/// Set by the program itself, or able to split a request in two.
const RESERVED: [&str; 6] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
];

struct Webhook {
    method: Method,
    url: Url,
    secret_url: bool,
    headers: HeaderMap,
    format: Format,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let key = if section.name == "inputs" {
        "callback_url"
    } else {
        "url"
    };
    let method = section.parsed("method", Method::POST, |text| {
        match text.to_ascii_uppercase().as_str() {
            "POST" => Ok(Method::POST),
            "PUT" => Ok(Method::PUT),
            "PATCH" => Ok(Method::PATCH),
            _ => Err("`method` is POST, PUT or PATCH".to_owned()),
        }
    });
    let format = Format::of(section);
    let mut headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    read_headers(section, &mut headers);
    let url = if is_notifier(section) {
        read_url(section, key)
    } else {
        section.url(key);
        None
    };
    let authorization = authorization(section, url.as_ref().map(|(_, url)| url));
    let service = url.clone().map(|(secret_url, url)| {
        if let Some(authorization) = authorization {
            warn_of_plain_http(section, key, &url);
            headers.insert(AUTHORIZATION, authorization);
        }
        Webhook {
            method,
            url: without_credentials(url),
            secret_url,
            headers,
            format,
        }
    });
    over_http(section, http, url.as_ref().map(|(_, url)| url), service)
}

/// An [inputs] that only cuts off or mutes the levels above is none.
fn is_notifier(section: &Section) -> bool {
    let rules = ["inherit", "enabled"];
    let only_rules = section
        .entries
        .iter()
        .all(|entry| rules.contains(&entry.key.as_str()));
    !(section.name == "inputs" && only_rules)
}

/// `headers`: `Name: value` lines, or a JSON object.
fn read_headers(section: &Section, headers: &mut HeaderMap) {
    let Some(text) = section.text("headers") else {
        return;
    };
    let pairs: Vec<(String, String)> = if text.starts_with('{') {
        let object: Result<std::collections::BTreeMap<String, String>, _> =
            serde_json::from_str(text);
        match object {
            Ok(object) => object.into_iter().collect(),
            Err(_) => return section.problem("headers", "`headers` is not a JSON object of texts"),
        }
    } else {
        section
            .lines("headers")
            .into_iter()
            .filter_map(|line| match line.split_once(':') {
                Some((name, value)) => Some((name.trim().to_owned(), value.trim().to_owned())),
                None => {
                    section.problem("headers", "a header is written `Name: value`, one a line");
                    None
                }
            })
            .collect()
    };
    for (name, value) in pairs {
        let parsed = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(&value),
        );
        let (Ok(parsed_name), Ok(value)) = parsed else {
            section.problem(
                "headers",
                format!("`{}` is not a header", crate::report::visible(&name)),
            );
            continue;
        };
        if RESERVED.contains(&parsed_name.as_str()) {
            section.problem(
                "headers",
                format!("the header `{name}` is set by the program itself"),
            );
            continue;
        }
        if is_credential(&parsed_name) {
            // As it stands in the configuration, and without `Bearer` before it.
            let text = String::from_utf8_lossy(value.as_bytes());
            text.rsplit(' ')
                .take(1)
                .chain([&*text])
                .for_each(secret::mask);
        }
        headers.insert(parsed_name, value);
    }
}

/// An id as a header, encoded where it could not be one.
fn header_of(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).unwrap_or_else(|_| {
        let encoded: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        HeaderValue::from_str(&encoded).expect("percent-encoded text is a header's value")
    })
}

impl Service for Webhook {
    fn requests(&self, message: &Message) -> Result<Vec<(String, Request)>, Failure> {
        let mut headers = self.headers.clone();
        // Standard Webhooks 1.0.0: the id stays the same on every attempt, the time is the attempt's.
        let timestamp = jiff::Timestamp::now().as_second();
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        let id = header_of(&message.id);
        headers.insert("webhook-id", id.clone());
        headers.insert("idempotency-key", id);
        let request = Request {
            method: self.method.clone(),
            url: self.url.clone(),
            secret_url: self.secret_url,
            headers,
            body: self.format.body(message),
        };
        Ok(vec![(String::new(), request)])
    }

    fn probe(&self, method: Method) -> Request {
        Request {
            method,
            url: self.url.clone(),
            secret_url: self.secret_url,
            headers: self.headers.clone(),
            body: Vec::new(),
        }
    }
}
