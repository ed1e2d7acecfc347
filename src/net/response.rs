//! Meaning of a reply, or of its absence, for a delivery, in words for users.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value};
use url::Url;

use crate::failure::{self, Failure};
use crate::net::urls::origin;
use crate::secret;

/// Returns the failure that a status means for the delivery; None for success.
pub fn classify(
    status: StatusCode,
    pause: Option<Duration>,
    location: Option<&str>,
    body: &[u8],
) -> Option<Failure> {
    let error = describe(status, location, body);
    Some(match status.as_u16() {
        200..=299 => return None,
        401 | 403 | 407 => Failure::Denied(error),
        // nginx reports a missing or expired client certificate this way.
        400 if error.contains("SSL certificate") => Failure::Denied(error),
        410 => Failure::Gone(error),
        413 => Failure::TooLarge(error),
        501 | 505 => Failure::Permanent(error),
        408 | 425 | 429 | 500..=599 => Failure::Retry {
            error,
            after: pause,
        },
        _ => Failure::Permanent(error),
    })
}

/// Describes a reply: the status, and the start of the endpoint's message.
pub fn describe(status: StatusCode, location: Option<&str>, body: &[u8]) -> String {
    let mut text = status.to_string();
    if status.is_redirection() {
        let target = secret::redact(&redirect_target(location));
        let _ = write!(text, ": redirects to {target}; set the final URL");
    } else if let Some(said) = std::str::from_utf8(body).ok().and_then(essence) {
        // Redacted before it is cut: half of a secret would not be recognised.
        let said: String = secret::redact(&said).chars().take(120).collect();
        let _ = write!(text, ": {said}");
    }
    text
}

/// Returns the gist of a reply: the message of a JSON object, the title of a page, or the first line of a
/// text.
fn essence(body: &str) -> Option<Cow<'_, str>> {
    if let Ok(Value::Object(fields)) = serde_json::from_str(body)
        && let Some(said) = message(&fields)
    {
        return Some(Cow::Owned(said.to_owned()));
    }
    let title = || {
        let (_, rest) = body.split_once("<title>")?;
        rest.split_once("</title>").map(|(title, _)| title)
    };
    let is_page = body.trim_start().starts_with('<');
    let text = title().filter(|_| is_page).unwrap_or(body);
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| !line.is_empty()).map(Cow::Borrowed)
}

/// Finds the message under the names that most services use, including nested objects.
fn message(fields: &Map<String, Value>) -> Option<&str> {
    ["message", "error", "description", "detail"]
        .iter()
        .find_map(|name| match fields.get(*name)? {
            Value::String(said) if !said.is_empty() => Some(said.as_str()),
            Value::Object(inner) => message(inner),
            _ => None,
        })
}

/// Returns the delay that the service asks for: seconds, or a date (RFC 9110, section 10.2.3).
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            date.duration_since(now).as_secs_f64()
        }
    };
    failure::pause(seconds)
}

/// Messages of the TLS library, and their meaning in plain words.
const MEANINGS: [(&str, &str); 12] = [
    (
        "CaUsedAsEndEntity",
        "it is a CA certificate, not a server certificate; give the server its own, without CA:TRUE",
    ),
    ("UnknownIssuer", "for a private CA, set `ca_file`"),
    (
        "BadSignature",
        "signed with a different key, or with one that is too weak",
    ),
    (
        "UnsupportedSignatureAlgorithm",
        "its algorithm is too weak, such as SHA-1",
    ),
    ("InvalidContentType", "does this port use TLS?"),
    (
        "invalid HTTP version parsed",
        "if this port uses https, the URL must begin with https://",
    ),
    ("tls handshake eof", "the server closed the connection"),
    (
        "alert: ProtocolVersion",
        "the server supports neither TLS 1.2 nor 1.3",
    ),
    ("alert: HandshakeFailure", "no cipher in common"),
    ("alert: CertificateRequired", "set `client_cert`"),
    (
        "alert: Certificate",
        "the server rejected the client certificate",
    ),
    (
        "alert: UnknownCA",
        "the server rejected the client certificate",
    ),
];

/// Returns the innermost causes of an error on one line, without the URL.
pub fn reason(error: &dyn Error) -> String {
    match innermost(error) {
        text if text.is_empty() => explained(&error.to_string()),
        text => text,
    }
}

/// Returns the messages of the errors below `error`, on one line.
pub fn innermost(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Each layer repeats the one it wraps, or says `client error (Connect)`; the last message is enough.
        parts.retain(|part| !text.contains(part.as_str()) && !part.starts_with("client error ("));
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = error.source();
    }
    let text = parts.join(": ");
    // Some messages continue with a dump of the library's internal state.
    explained(text.split(" { ").next().unwrap_or_default())
}

/// Returns a library's message about a connection with its meaning added.
pub fn explained(text: &str) -> String {
    let text = in_plain_words(text);
    match MEANINGS.iter().find(|(words, _)| text.contains(words)) {
        Some((_, meaning)) => format!("{text}; {meaning}"),
        None => text,
    }
}

/// Says that the other side ended a connection.
pub const CLOSED: &str = "the receiver closed the connection";

/// Returns the reason why a connection, other than one of HTTP, failed.
pub fn interrupted(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => CLOSED.to_owned(),
        ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        _ => explained(&error.to_string()),
    }
}

/// Prefix that the standard library puts before the resolver's message.
const NO_LOOKUP: &str = "failed to lookup address information";

/// Replaces the TLS library's types around names and addresses by plain text.
fn in_plain_words(text: &str) -> String {
    let mut plain = match text.split_once(NO_LOOKUP) {
        // The resolver's own message comes last; the text before it says the same.
        Some((_, said)) => format!("the host name cannot be resolved{said}"),
        None => text.to_owned(),
    };
    plain = plain.replace("Other(OtherError(CaUsedAsEndEntity))", "CaUsedAsEndEntity");
    for opening in ["DnsName(", "IpAddress("] {
        while let Some(begin) = plain.find(opening) {
            let value = begin + opening.len();
            let Some(length) = plain[value..].find(')') else {
                return plain;
            };
            let name = plain[value..value + length].trim_matches('"').to_owned();
            plain.replace_range(begin..=value + length, &name);
        }
    }
    plain
}

/// Returns the target of a redirect without parts that may be secret: the path at another address, and the
/// query on the same host.
pub fn redirect_target(location: Option<&str>) -> String {
    let Some(location) = location else {
        return "another address".to_owned();
    };
    let target = match Url::parse(location) {
        Ok(url) if url.has_host() => origin(&url),
        Ok(_) => "another address".to_owned(),
        Err(_) => location.split(['?', '#']).next().unwrap_or("").to_owned(),
    };
    target.chars().take(MAX_TARGET).collect()
}

/// Longest redirect target in an error.
const MAX_TARGET: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_s_certificate_is_said_in_words() {
        let said = explained("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))");
        assert_eq!(
            said,
            "invalid peer certificate: CaUsedAsEndEntity; it is a CA certificate, not a server certificate; give the server its own, without CA:TRUE"
        );
    }

    #[test]
    fn every_status_has_one_meaning() {
        let kind = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            match classify(status, None, None, b"") {
                None => "ok",
                Some(Failure::Retry { .. }) => "retry",
                Some(Failure::Denied(_)) => "denied",
                Some(Failure::Gone(_)) => "gone",
                Some(Failure::TooLarge(_)) => "too large",
                Some(Failure::Permanent(_)) => "permanent",
            }
        };
        for (codes, expected) in [
            (&[200, 201, 204, 299][..], "ok"),
            (&[408, 425, 429, 500, 502, 503, 504, 507, 524, 599], "retry"),
            (&[401, 403, 407], "denied"),
            (&[410], "gone"),
            (&[413], "too large"),
            (
                &[
                    301, 302, 304, 307, 308, 400, 404, 405, 409, 422, 451, 501, 505, 999,
                ],
                "permanent",
            ),
        ] {
            for code in codes {
                assert_eq!(kind(*code), expected, "{code}");
            }
        }
    }

    #[test]
    fn what_a_reply_says_is_found() {
        for (body, expected) in [
            ("\n a line \nanother", Some("a line")),
            ("<html><title>Bad</title>", Some("Bad")),
            (r#"{"ok":false,"error":"no"}"#, Some("no")),
            (r#"{"error":{"code":400,"message":"inner"}}"#, Some("inner")),
            (r#"{"errors":["x"]}"#, Some(r#"{"errors":["x"]}"#)),
            (" \n", None),
        ] {
            assert_eq!(essence(body).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (text, seconds) in [
            ("0", Some(0.0)),
            ("1.5", Some(1.5)),
            ("-5", Some(0.0)),
            ("99999999999", Some(3600.0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30.0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0)),
            ("soon", None),
            ("NaN", None),
        ] {
            let headers =
                HeaderMap::from_iter([(hyper::header::RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(
                retry_after(&headers, now).map(|pause| pause.as_secs_f64()),
                seconds,
                "{text}"
            );
        }
    }
}
