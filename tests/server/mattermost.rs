//! A Mattermost server's incoming webhooks: `/hooks/canary-ops` and others.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Reply, Request, Server};

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| {
        let busy = request.target.ends_with("-busy") && !told.swap(true, Ordering::Relaxed);
        match answer(request) {
            Ok(()) if busy => Reply::Full(429, "Retry-After: 1\r\n", "limit exceeded"),
            Ok(()) => Reply::Full(200, "", "ok"),
            Err((status, id)) => {
                let said = json!({"id": id, "message": format!("{id}."), "status_code": status});
                super::json(status, &said)
            }
        }
    })
}

fn answer(request: &Request) -> Result<(), (u16, &'static str)> {
    let refusal = |id| Err((400, id));
    if !["/hooks/canary-ops", "/hooks/canary-busy"].contains(&request.target.as_str()) {
        return refusal("web.incoming_webhook.invalid.app_error");
    }
    if request.header("content-type") != Some("application/json") {
        return refusal("api.webhook.incoming.error");
    }
    let Ok(body) = serde_json::from_str::<Value>(&request.body) else {
        return refusal("api.incoming_webhook.invalid.app_error");
    };
    let attachment = &body["attachments"][0];
    if body["text"].is_null() && attachment["text"].is_null() {
        return refusal("web.incoming_webhook.text.app_error");
    }
    let length = |key: &str| attachment[key].as_str().unwrap_or_default().chars().count();
    if length("text") > 16_383 || length("title") > 256 || length("fallback") > 256 {
        return refusal("web.incoming_webhook.text.length.app_error");
    }
    match body["channel"].as_str() {
        None | Some("ops") => Ok(()),
        Some(_) => Err((404, "web.incoming_webhook.channel.app_error")),
    }
}
