//! Answers, with the headers that every one of them has.

use std::sync::LazyLock;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::events::Stream;
use crate::secret;

/// An answer of the page.
pub type Answer = Response<Content>;

/// Body of an answer: whole, or a stream of live updates.
pub type Content = Either<Full<Bytes>, Stream>;

/// Sources that a page may use: its own, and no inline script or style.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers that protect an answer. Only a file that never changes is kept by a browser.
const PROTECTIVE: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-robots-tag", "none"),
    ("cache-control", "no-store"),
];

/// The same headers as lines.
pub static PROTECTION: LazyLock<String> = LazyLock::new(|| {
    let lines = PROTECTIVE.map(|(name, value)| format!("{name}: {value}\r\n"));
    lines.concat()
});

/// Adds the headers that protect an answer.
pub fn protect(answer: &mut Answer) {
    let headers = answer.headers_mut();
    for (name, value) in PROTECTIVE {
        let value = HeaderValue::from_static(value);
        headers
            .entry(HeaderName::from_static(name))
            .or_insert(value);
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// Returns a page.
pub fn html(status: StatusCode, text: String) -> Answer {
    answer(status, "text/html; charset=utf-8", text)
}

/// Returns a text for a program or a person at a terminal.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

/// Returns JSON, its secrets masked.
pub fn json(status: StatusCode, mut value: Value) -> Answer {
    secret::redact_values(&mut value);
    answer(status, "application/json", format!("{value}\n"))
}

/// Returns the JSON of an error.
pub fn problem(status: StatusCode, reason: &str) -> Answer {
    json(status, json!({"error": reason}))
}

/// Returns a file that never changes under its name.
pub fn asset(kind: &'static str, body: &'static str, tag: &str) -> Answer {
    let mut answer = answer(StatusCode::OK, kind, body);
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    answer.headers_mut().insert(CACHE_CONTROL, forever);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        answer.headers_mut().insert(ETAG, tag);
    }
    answer
}

/// Returns live updates. A proxy must not keep them back.
pub fn stream(stream: Stream) -> Answer {
    let mut answer = Response::new(Either::Right(stream));
    for (name, value) in [
        (CONTENT_TYPE, "text/event-stream"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Sends the client to another page of this server.
pub fn see(path: &str) -> Answer {
    let mut answer = text(StatusCode::SEE_OTHER, "");
    if let Ok(path) = HeaderValue::from_str(path) {
        answer.headers_mut().insert(LOCATION, path);
    }
    answer
}

/// Adds the methods that a path has.
pub fn allowing(mut answer: Answer, methods: &'static str) -> Answer {
    let methods = HeaderValue::from_static(methods);
    answer.headers_mut().insert(ALLOW, methods);
    answer
}

/// Adds the method to sign in.
pub fn asking_for(mut answer: Answer, scheme: &'static str) -> Answer {
    let scheme = HeaderValue::from_static(scheme);
    answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    answer
}
