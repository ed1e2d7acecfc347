//! Answers, with the headers that every one of them has.

use std::io::Write as _;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, LOCATION, VARY, WWW_AUTHENTICATE,
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
    connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Policy of a mail in a frame of the page: its own styles, and neither scripts, forms, pictures nor links that leave
/// the frame.
const FRAME_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'self'";

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

/// Returns the HTML of a mail, for a frame of the page.
pub fn framed(html: String) -> Answer {
    let mut answer = self::html(StatusCode::OK, html);
    let policy = HeaderName::from_static("content-security-policy");
    let value = HeaderValue::from_static(FRAME_POLICY);
    answer.headers_mut().insert(policy, value);
    answer
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

/// Size from which an answer is compressed, in bytes.
const COMPRESSED: usize = 1 << 10;

/// Compresses an answer for a client that accepts it. Live updates and what is already small stay as they are.
pub async fn compress(answer: Answer, headers: &HeaderMap) -> Answer {
    let (mut head, body) = answer.into_parts();
    let Either::Left(body) = body else {
        return Response::from_parts(head, body);
    };
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    if body.len() < COMPRESSED {
        return Response::from_parts(head, Either::Left(Full::new(body)));
    }
    let zipped = accepts_gzip(headers).then(|| gzip(&body)).flatten();
    if zipped.is_some() {
        let encoding = HeaderValue::from_static("gzip");
        head.headers.insert(CONTENT_ENCODING, encoding);
    }
    let vary = HeaderValue::from_static("accept-encoding");
    head.headers.insert(VARY, vary);
    Response::from_parts(head, Either::Left(Full::new(zipped.unwrap_or(body))))
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(body).ok()?;
    zipped.finish().ok().map(Bytes::from)
}

/// Returns true if a client accepts gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter();
    let mut codings = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    codings.any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = quality.trim().strip_prefix("q=").unwrap_or("1");
        name.trim().eq_ignore_ascii_case("gzip") && quality.parse().is_ok_and(|q: f32| q > 0.0)
    })
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
