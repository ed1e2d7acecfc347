//! A Zulip server with the channels `ops`, 7 and, at first too busy, `busy`, and the users
//! `alice@example.com` and 9.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::vendors::rules::{Is, check, form};
use super::{Request, Server};

pub const EMAIL: &str = "ansible-bot@example.com";
pub const KEY: &str = "canary-zulip";

/// Status, code, reason.
type Refusal = (u16, &'static str, String);

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| match answer(request, &told) {
        Ok(said) => super::json(200, &said),
        Err((status, code, reason)) => {
            let mut said = json!({"result": "error", "msg": reason, "code": code});
            if status == 429 {
                said["retry-after"] = json!(1.25);
            }
            super::json(status, &said)
        }
    })
}

fn bad<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err((400, "BAD_REQUEST", reason.into()))
}

fn answer(request: &Request, told: &AtomicBool) -> Result<Value, Refusal> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{EMAIL}:{KEY}"));
    if request.header("authorization") != Some(&format!("Basic {pair}")) {
        return Err((401, "UNAUTHORIZED", "Invalid API key".into()));
    }
    match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/api/v1/users/me") => {
            return Ok(json!({"result": "success", "msg": "", "user_id": 5}));
        }
        ("POST", "/api/v1/messages") => {}
        _ => return Err((404, "BAD_REQUEST", "API endpoint not found".into())),
    }
    let body = form(request).map_err(|(_, reason)| (400, "BAD_REQUEST", reason))?;
    let known = [
        ("type", true, Is::OneOf(&["stream", "direct"])),
        ("to", true, Is::Line(1000)),
        ("topic", false, Is::Line(60)),
        ("content", true, Is::Text(10_000)),
    ];
    check(&body, &known).map_err(|(_, reason)| (400, "BAD_REQUEST", reason))?;
    check_recipient(&body, told)?;
    Ok(json!({"result": "success", "msg": "", "id": 42}))
}

/// The server reads `to` as JSON, and takes it as it stands if it is none.
fn check_recipient(body: &Map<String, Value>, told: &AtomicBool) -> Result<(), Refusal> {
    let to: Value = serde_json::from_str(body["to"].as_str().unwrap()).unwrap_or_default();
    if body["type"] == "direct" {
        let known = [json!(["alice@example.com"]), json!([9])];
        return match known.contains(&to) {
            true => Ok(()),
            false => bad("Invalid email"),
        };
    }
    if !body.contains_key("topic") {
        return bad("Missing 'topic' argument");
    }
    match to {
        Value::String(name) if name == "ops" => Ok(()),
        Value::Number(id) if id.as_u64() == Some(7) => Ok(()),
        Value::String(name) if name == "busy" && told.swap(true, Ordering::Relaxed) => Ok(()),
        Value::String(name) if name == "busy" => Err((
            429,
            "RATE_LIMIT_HIT",
            "API usage exceeded rate limit".into(),
        )),
        other => bad(format!("Channel {other} does not exist")),
    }
}
