//! Discord's webhooks: `/api/webhooks/1/canary-ops` and others.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Reply, Request, Server};

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| {
        let busy = request.target.contains("-busy") && !told.swap(true, Ordering::Relaxed);
        match answer(request) {
            Ok(_) if busy => {
                let said = json!({"message": "You are being rate limited.", "retry_after": 1.5, "global": false});
                let headers = "Content-Type: application/json\r\nRetry-After: 1\r\nX-RateLimit-Reset-After: 1.5\r\n";
                Reply::Made(429, headers.to_owned(), said.to_string())
            }
            Ok(said) => super::json(200, &said),
            Err((status, code, message)) => {
                super::json(status, &json!({"code": code, "message": message}))
            }
        }
    })
}

fn answer(request: &Request) -> Result<Value, (u16, u32, &'static str)> {
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    if !["-ops", "-busy"].iter().any(|end| path.ends_with(end)) {
        return Err((404, 10015, "Unknown Webhook"));
    }
    if request.method == "GET" {
        return Ok(json!({"type": 1, "id": "1"}));
    }
    if query.contains("thread_id=") && !query.contains("thread_id=42") {
        return Err((404, 10003, "Unknown Channel"));
    }
    let refusal = |message| Err((400, 50035, message));
    if request.header("content-type") != Some("application/json") {
        return Err((400, 50109, "The request body contains invalid JSON."));
    }
    let body: Value = serde_json::from_str(&request.body)
        .map_err(|_| (400, 50109, "The request body contains invalid JSON."))?;
    let none = Vec::new();
    let embeds = body["embeds"].as_array().unwrap_or(&none);
    if embeds.is_empty() && body["content"].as_str().unwrap_or_default().is_empty() {
        return Err((400, 50006, "Cannot send an empty message"));
    }
    let texts: usize = embeds.iter().map(length).sum();
    if texts > 6000 || embeds.len() > 10 || !embeds.iter().all(fits) {
        return refusal("Invalid Form Body");
    }
    if body["username"]
        .as_str()
        .unwrap_or_default()
        .to_lowercase()
        .contains("discord")
    {
        return refusal("Username cannot contain \"discord\"");
    }
    if !query.contains("wait=true") {
        return Ok(Value::Null);
    }
    Ok(json!({"id": "100", "embeds": embeds}))
}

fn characters(text: &Value) -> usize {
    text.as_str().unwrap_or_default().chars().count()
}

/// Within the limits of each part.
fn fits(embed: &Value) -> bool {
    let field = |field: &Value| {
        (1..=256).contains(&characters(&field["name"]))
            && (1..=1024).contains(&characters(&field["value"]))
    };
    let none = Vec::new();
    let fields = embed["fields"].as_array().unwrap_or(&none);
    let color = embed["color"]
        .as_u64()
        .is_some_and(|color| color <= 0xff_ffff);
    characters(&embed["title"]) <= 256
        && characters(&embed["description"]) <= 4096
        && fields.len() <= 25
        && fields.iter().all(field)
        && color
}

/// The characters of all texts that count together.
fn length(embed: &Value) -> usize {
    let fields = embed["fields"].as_array().into_iter().flatten();
    let fields: usize = fields
        .map(|field| characters(&field["name"]) + characters(&field["value"]))
        .sum();
    characters(&embed["title"]) + characters(&embed["description"]) + fields
}
