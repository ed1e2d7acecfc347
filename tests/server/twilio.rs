//! Twilio's Messages resource, as its API reference documents it.

use std::collections::HashMap;

use base64::Engine as _;
use serde_json::json;

use super::{Reply, Request, Server};

pub const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
pub const TOKEN: &str = "canary-twilio-token";
/// An API key of the account.
pub const KEY: (&str, &str) = ("SK0123456789abcdef", "canary-twilio-secret");
/// Whose owner answered STOP.
pub const OPTED_OUT: &str = "+4915111111111";

pub fn start() -> Server {
    Server::answering(|request| match answer(request) {
        Ok(()) => accepted(),
        Err((status, code, text)) => refusal(status, code, &text),
    })
}

/// The reply where a text was queued.
pub fn accepted() -> Reply {
    super::json(
        201,
        &json!({"sid": "SM1", "status": "queued", "error_code": null}),
    )
}

/// The reply of an error, as Twilio makes it.
pub fn refusal(status: u16, code: u32, text: &str) -> Reply {
    let more = format!("https://www.twilio.com/docs/errors/{code}");
    super::json(
        status,
        &json!({"code": code, "message": text, "more_info": more, "status": status}),
    )
}

pub fn form(request: &Request) -> HashMap<String, String> {
    url::form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect()
}

fn answer(request: &Request) -> Result<(), (u16, u32, String)> {
    let known = [(ACCOUNT, TOKEN), KEY].map(|(user, password)| {
        let text = format!("{user}:{password}");
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(text)
        )
    });
    if !known
        .iter()
        .any(|value| request.header("authorization") == Some(value))
    {
        return Err((401, 20003, "Authenticate".into()));
    }
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Messages.json");
    let form_type = "application/x-www-form-urlencoded";
    if (request.method.as_str(), &request.target) != ("POST", &path)
        || request.header("content-type") != Some(form_type)
    {
        return Err((
            404,
            20404,
            format!("The requested resource {} was not found", request.target),
        ));
    }
    let form = form(request);
    let field = |name: &str| {
        form.get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    if field("From").is_none() && field("MessagingServiceSid").is_none() {
        return Err((400, 21603, "A 'From' phone number is required.".into()));
    }
    let bad = |code, text: &str| Err((400, code, text.to_owned()));
    match field("To") {
        None => return bad(21604, "A 'To' phone number is required."),
        Some(OPTED_OUT) => return bad(21610, "Attempt to send to unsubscribed recipient"),
        Some(to) if !to.starts_with('+') || !to[1..].bytes().all(|byte| byte.is_ascii_digit()) => {
            return bad(
                21211,
                &format!("The 'To' number {to} is not a valid phone number."),
            );
        }
        Some(_) => {}
    }
    match field("Body") {
        None => bad(21602, "Message body is required."),
        Some(body) if body.encode_utf16().count() > 1600 => bad(
            21617,
            "The concatenated message body exceeds the 1600 character limit",
        ),
        Some(_) => Ok(()),
    }
}
