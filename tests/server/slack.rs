//! Slack: the Web API's methods for messages and an incoming webhook, with what they refuse.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{Reply, Request, Server};

pub const TOKEN: &str = "xoxb-canary-slack";

/// Knows the channels `ops` and `dev`, is `busy` at first, and knows no others; so its webhooks
/// `/services/T0/B0/canary-ops` and others.
pub fn start() -> Server {
    let posts = AtomicU32::new(0);
    let told = Mutex::new(HashSet::new());
    Server::answering(move |request| {
        let number = posts.fetch_add(1, Ordering::Relaxed);
        let channel =
            serde_json::from_str::<Value>(&request.body).unwrap_or_default()["channel"].to_string();
        let first = told.lock().unwrap().insert(channel + &request.target);
        if request.target.starts_with("/services/") {
            return webhook(request, first);
        }
        if first && request.body.contains(r#""channel":"busy""#) {
            return Reply::Full(
                429,
                "Retry-After: 1\r\n",
                r#"{"ok":false,"error":"ratelimited"}"#,
            );
        }
        match api(request, number, first) {
            Ok(said) => super::json(200, &said),
            Err(error) => super::json(200, &json!({"ok": false, "error": error})),
        }
    })
}

fn webhook(request: &Request, first: bool) -> Reply {
    let body = serde_json::from_str::<Value>(&request.body).unwrap_or_default();
    match (request.target.rsplit('-').next(), unfit(&body)) {
        (_, Some(_)) => Reply::Full(400, "", "invalid_blocks"),
        (Some("ops"), None) => Reply::Full(200, "", "ok"),
        (Some("busy"), None) if first => Reply::Full(429, "Retry-After: 1\r\n", ""),
        (Some("busy"), None) => Reply::Full(200, "", "ok"),
        (Some("forbidden"), None) => Reply::Full(403, "", "action_prohibited"),
        (_, None) => Reply::Full(404, "", "no_service"),
    }
}

fn api(request: &Request, number: u32, first: bool) -> Result<Value, &'static str> {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Err("invalid_auth");
    }
    if request.target == "/api/auth.test" {
        return Ok(json!({"ok": true, "user": "ansible"}));
    }
    if request.header("content-type") != Some("application/json; charset=utf-8") {
        return Err("invalid_form_data");
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|_| "invalid_json")?;
    if let Some(error) = unfit(&body) {
        return Err(error);
    }
    let channel = match body["channel"].as_str().ok_or("channel_not_found")? {
        "ops" | "busy" | "C0OPS" => "C0OPS",
        "dev" => "C0DEV",
        "passing" if first => return Err("internal_error"),
        "passing" => "C0PASSING",
        "forgetful" | "C0FORGETFUL" => "C0FORGETFUL",
        _ => return Err("channel_not_found"),
    };
    let time = format!("1712.{number:06}");
    match request.target.as_str() {
        "/api/chat.postMessage" => {
            let thread = body.get("thread_ts");
            let message = json!({"ts": time, "thread_ts": thread});
            Ok(json!({"ok": true, "channel": channel, "ts": time, "message": message}))
        }
        "/api/chat.update" if !channel.starts_with("C0") => Err("channel_not_found"),
        "/api/chat.update" if channel == "C0FORGETFUL" => Err("message_not_found"),
        "/api/chat.update" => Ok(json!({"ok": true, "channel": channel, "ts": body["ts"]})),
        _ => Err("unknown_method"),
    }
}

/// What is wrong with a message.
fn unfit(body: &Value) -> Option<&'static str> {
    let none = Vec::new();
    let attachments = body["attachments"].as_array().unwrap_or(&none);
    let inner = attachments
        .iter()
        .filter_map(|one| one["blocks"].as_array());
    let outer = body["blocks"].as_array();
    let blocks: Vec<&Value> = outer.into_iter().chain(inner).flatten().collect();
    let text = body["text"].as_str().unwrap_or_default();
    let total: usize = blocks.iter().map(|block| length(block)).sum();
    let fits = |block: &&Value| {
        let text = block["text"]["text"]
            .as_str()
            .map(|text| text.chars().count());
        let fields = block["fields"].as_array().unwrap_or(&none);
        let long = |field: &Value| field["text"].as_str().unwrap().chars().count() > 2000;
        match block["type"].as_str() {
            Some("header") => {
                block["text"]["type"] == "plain_text" && text.is_some_and(|text| text <= 150)
            }
            Some("section") => {
                text.map_or(!fields.is_empty(), |text| (1..=3000).contains(&text))
                    && fields.len() <= 10
                    && !fields.iter().any(long)
            }
            _ => false,
        }
    };
    match () {
        () if text.is_empty() => Some("no_text"),
        () if text.chars().count() > 4000 => Some("msg_too_long"),
        () if blocks.len() > 50 || total > 13_000 => Some("msg_blocks_too_long"),
        () if !blocks.iter().all(fits) => Some("invalid_blocks"),
        () => None,
    }
}

/// The characters of all texts in a block.
fn length(block: &Value) -> usize {
    let fields = block["fields"].as_array().into_iter().flatten();
    let texts = fields
        .chain([&block["text"]])
        .filter_map(|text| text["text"].as_str());
    texts.map(|text| text.chars().count()).sum()
}
