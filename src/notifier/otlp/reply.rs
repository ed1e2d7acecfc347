//! Replies of a collector.

use prost::Message as _;
use serde_json::Value;

use super::Signal;
use super::model::Response;
use crate::failure::Failure;
use crate::net::http::Reply;

/// Judges a reply. Returns a note if a part of the request was not accepted.
pub fn judge(signal: Signal, reply: &Reply) -> Result<Option<String>, Failure> {
    let said = parse(&reply.body);
    reply.from("an OTLP endpoint", said.is_some())?;
    let Some((rejected, message)) = said.filter(|(rejected, _)| *rejected > 0) else {
        return Ok(None);
    };
    let items = match signal {
        Signal::Traces => "spans",
        Signal::Logs => "log records",
        Signal::Metrics => "data points",
    };
    let reason = match message.is_empty() {
        true => String::new(),
        false => format!(": {message}"),
    };
    Ok(Some(format!(
        "the collector rejected {rejected} {items}{reason}"
    )))
}

/// Returns the number of rejected items and the reason; None for a text that no collector sends. Some send no body.
fn parse(body: &[u8]) -> Option<(i64, String)> {
    if body.first() != Some(&b'{') {
        let response = Response::decode(body).ok()?;
        let partial = response.partial_success.unwrap_or_default();
        return Some((partial.rejected, partial.error_message));
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice::<Value>(body) else {
        return None;
    };
    let names = ["partialSuccess", "partial_success"];
    let partial = names.iter().find_map(|name| fields.remove(*name));
    if partial.is_none() && !fields.is_empty() {
        return None;
    }
    let partial = partial.unwrap_or_default();
    let kinds = ["rejectedSpans", "rejectedLogRecords", "rejectedDataPoints"];
    let rejected = kinds.iter().find_map(|kind| match &partial[kind] {
        Value::String(text) => text.parse().ok(),
        value => value.as_i64(),
    });
    let message = partial["errorMessage"].as_str().unwrap_or_default();
    Some((rejected.unwrap_or(0), message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_known_by_its_form() {
        for (body, expected) in [
            (&b""[..], Some((0, ""))),
            (b"{}", Some((0, ""))),
            (br#"{"partialSuccess":null}"#, Some((0, ""))),
            (
                br#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"no"}}"#,
                Some((2, "no")),
            ),
            (
                br#"{"partialSuccess":{"rejectedLogRecords":3}}"#,
                Some((3, "")),
            ),
            (b"\x0a\x06\x08\x02\x12\x02no", Some((2, "no"))),
            (br#"{"login":"https://x"}"#, None),
            (b"<html>", None),
            (b"ok", None),
        ] {
            let parsed = parse(body);
            let parsed = parsed.as_ref().map(|(count, text)| (*count, text.as_str()));
            assert_eq!(parsed, expected, "{}", String::from_utf8_lossy(body));
        }
    }
}
