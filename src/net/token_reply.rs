//! Replies of a token endpoint of OAuth 2.0 (RFC 6749, sections 5.1 and 5.2). The body of a reply with a
//! success status is never quoted: it may contain a token in any form.

use std::time::Duration;

use hyper::header::CONTENT_TYPE;
use serde_json::Value;

use crate::failure::Failure;
use crate::net::http::{MAX_REPLY, Reply};
use crate::net::response::describe;

/// Lifetime of a token whose reply does not state it, and the longest one.
const UNKNOWN: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(86400);

/// Longest content type in an error.
const LONGEST_TYPE: usize = 60;

/// Temporary errors.
const PASSING: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];

/// Returns true if a server rejects the client, which it may recognize in another place of the request.
pub fn refuses_client(reply: &Reply) -> bool {
    error(reply)
        .is_some_and(|error| ["invalid_client", "invalid_request"].contains(&error.as_str()))
}

/// Returns true if a server reports that something is missing in the request, such as the client.
pub fn misses_client(reply: &Reply) -> bool {
    error(reply).is_some_and(|error| error == "invalid_request")
}

/// Returns the error of a reply about the request.
fn error(reply: &Reply) -> Option<String> {
    let may_be = matches!(reply.status.as_u16(), 200..=299 | 400 | 401);
    let said = may_be.then(|| reply.json())?;
    said["error"].as_str().map(str::to_owned)
}

/// Returns the token of a reply, and its lifetime.
pub fn read(reply: &Reply) -> Result<(String, Duration), Failure> {
    let said = reply.json();
    let token = said["access_token"].as_str().unwrap_or_default();
    let is_success = reply.status.is_success();
    if let (Some(error), false) = (said["error"].as_str(), is_success && !token.is_empty()) {
        let words = match said["error_description"].as_str() {
            Some(description) => format!("{error}: {description}"),
            None => error.to_owned(),
        };
        reply.check_status_with(words.as_bytes())?;
        let text = describe(reply.status, None, words.as_bytes());
        return Err(match PASSING.contains(&error) {
            true => Failure::retry(text),
            false => Failure::Denied(text),
        });
    }
    reply.from("a token endpoint", is_success)?;
    if token.is_empty() {
        return Err(without_token(reply, &said));
    }
    let kind = said["token_type"].as_str().unwrap_or("bearer");
    if !kind.eq_ignore_ascii_case("bearer") {
        let text = "the server issues tokens of a type other than Bearer";
        return Err(Failure::Denied(text.to_owned()));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = "the token contains characters that no header may have";
        return Err(Failure::Denied(text.to_owned()));
    }
    Ok((token.to_owned(), lifetime(&said["expires_in"])))
}

/// Returns the failure of a reply with a success status, but without a token.
fn without_token(reply: &Reply, said: &Value) -> Failure {
    let about = format!("{}, {}", reply.status, content_type(reply));
    if reply.body.len() >= MAX_REPLY {
        let limit = MAX_REPLY >> 10;
        return Failure::Denied(format!(
            "{about}: the reply exceeds the limit of {limit} KiB"
        ));
    }
    let missing = match said {
        Value::Null => {
            return Failure::retry(format!(
                "{about}: not JSON, so not a response from a token endpoint: is a proxy or login portal in between?"
            ));
        }
        Value::Object(fields) => match fields.get("access_token") {
            None => "the reply has no `access_token`",
            Some(Value::String(_)) => "`access_token` in the reply is empty",
            Some(_) => "`access_token` in the reply is not a string",
        },
        _ => "the reply is not a JSON object with an `access_token`",
    };
    Failure::Denied(format!("{about}: {missing}"))
}

/// Returns the media type of a reply, if it is one.
fn content_type(reply: &Reply) -> &str {
    let stated = reply.headers.get(CONTENT_TYPE);
    let Some(stated) = stated.and_then(|stated| stated.to_str().ok()) else {
        return "no content type";
    };
    let media = stated.split(';').next().unwrap_or_default().trim();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"/+-.".contains(&byte);
    match media.len() <= LONGEST_TYPE && media.contains('/') && media.bytes().all(is_part) {
        true => media,
        false => "unknown content type",
    }
}

/// Returns the lifetime that a reply states in seconds; some servers write the number as text.
fn lifetime(stated: &Value) -> Duration {
    let text = stated.as_str().and_then(|text| text.trim().parse().ok());
    let seconds = stated
        .as_f64()
        .or(text)
        .filter(|seconds: &f64| seconds.is_finite());
    match seconds {
        Some(seconds) => Duration::from_secs_f64(seconds.clamp(0.0, LONGEST.as_secs_f64())),
        None => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_lifetime_may_be_a_text_or_missing() {
        for (stated, seconds) in [
            (json!(3600), 3600),
            (json!("3599"), 3599),
            (json!(null), 300),
            (json!("soon"), 300),
            (json!(-5), 0),
            (json!(1e300), 86400),
        ] {
            assert_eq!(lifetime(&stated).as_secs(), seconds, "{stated}");
        }
    }
}
