//! An ntfy server, which refuses what ntfy refuses: the topics `ops` and, at first too busy, `busy`.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Request, Server};

pub const TOKEN: &str = "tk_canary";

/// Status, ntfy's own code, reason.
type Refusal = (u16, u32, &'static str);

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| match answer(request, &told) {
        Ok(said) => super::json(200, &said),
        Err((status, code, error)) => super::json(
            status,
            &json!({"code": code, "http": status, "error": error}),
        ),
    })
}

fn answer(request: &Request, told: &AtomicBool) -> Result<Value, Refusal> {
    let known = format!("Bearer {TOKEN}");
    if request
        .header("authorization")
        .is_some_and(|given| given != known)
    {
        return Err((401, 40101, "unauthorized"));
    }
    match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/v1/account") => return Ok(json!({"username": "phil", "role": "user"})),
        ("POST", "/") => {}
        _ => return Err((404, 40401, "page not found")),
    }
    if request.body.len() > 8192 {
        return Err((413, 41303, "JSON body too large"));
    }
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let topic = body["topic"].as_str().unwrap_or_default();
    check(&body, topic)?;
    if request.header("authorization").is_none() {
        return Err((403, 40301, "forbidden"));
    }
    match topic {
        "ops" => {}
        "busy" if told.swap(true, Ordering::Relaxed) => {}
        "busy" => return Err((429, 42901, "limit reached: too many requests")),
        _ => return Err((403, 40301, "forbidden")),
    }
    Ok(json!({"id": "hwQ2YpKdmg", "time": 1, "event": "message", "topic": topic}))
}

/// The fields of a message, as "Publish as JSON" describes them.
fn check(body: &Value, topic: &str) -> Result<(), Refusal> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
    let is_text = |value: &Value| value.is_null() || value.is_string();
    let tags = body["tags"].as_array();
    if !body.is_object()
        || !["title", "message", "click"]
            .iter()
            .all(|key| is_text(&body[key]))
        || !tags.is_none_or(|tags| tags.iter().all(Value::is_string))
    {
        return Err((
            400,
            40024,
            "invalid request: request body must be valid JSON",
        ));
    }
    if !(1..=64).contains(&topic.len()) || !topic.chars().all(allowed) {
        return Err((400, 40009, "invalid request: topic invalid"));
    }
    if !body["priority"].is_null() && !(1..=5).contains(&body["priority"].as_u64().unwrap_or(0)) {
        return Err((400, 40007, "invalid priority parameter"));
    }
    // A longer text becomes an attachment, which servers do not allow by default.
    if body["message"].as_str().unwrap_or_default().len() > 4096 {
        return Err((400, 40014, "invalid request: attachments not allowed"));
    }
    Ok(())
}
