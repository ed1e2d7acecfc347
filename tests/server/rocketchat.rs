//! A Rocket.Chat server's incoming webhooks: `/hooks/canary-ops` and others.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Reply, Request, Server};

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| {
        let busy = request.target.ends_with("-busy") && !told.swap(true, Ordering::Relaxed);
        match answer(request) {
            Ok(()) if busy => Reply::Full(429, "Retry-After: 1\r\n", r#"{"success":false}"#),
            Ok(()) => super::json(200, &json!({"success": true})),
            Err((status, error)) => super::json(status, &json!({"success": false, "error": error})),
        }
    })
}

fn answer(request: &Request) -> Result<(), (u16, &'static str)> {
    match request.target.as_str() {
        "/hooks/canary-ops" | "/hooks/canary-busy" => {}
        "/hooks/canary-silent" => return Err((200, "error-not-allowed")),
        _ => return Err((400, "Invalid integration id or token provided.")),
    }
    // A form arrives blank.
    if request.header("content-type") != Some("application/json") {
        return Err((400, "body is not JSON"));
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|_| (400, "invalid JSON"))?;
    let attachment = &body["attachments"][0];
    let length = |text: &Value| text.as_str().unwrap_or_default().chars().count();
    if length(&body["text"]) == 0 {
        return Err((400, "error-no-text"));
    }
    if length(&body["text"]) > 5000 || length(&attachment["text"]) > 5000 {
        return Err((400, "error-message-size-exceeded"));
    }
    match body["channel"].as_str() {
        None | Some("#ops") => Ok(()),
        Some(_) => Err((400, "invalid-channel")),
    }
}
