//! A Mattermost server's incoming webhook, as "Incoming webhooks" documents it.

use serde_json::{Value, json};

use super::{Reply, Request, Server};

pub const PATH: &str = "/hooks/canary-mattermost";

pub fn start() -> Server {
    Server::answering(|request| match answer(request) {
        Ok(()) => Reply::Full(200, "", "ok"),
        Err((status, id)) => {
            let said = json!({"id": id, "message": "Invalid webhook.", "status_code": status});
            super::json(status, &said)
        }
    })
}

fn answer(request: &Request) -> Result<(), (u16, &'static str)> {
    let refusal = |id| Err((400, id));
    if request.target != PATH || request.method != "POST" {
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
    if attachment["text"]
        .as_str()
        .unwrap_or_default()
        .chars()
        .count()
        > 16_383
    {
        return refusal("web.incoming_webhook.text.length.app_error");
    }
    match body["channel"].as_str() {
        None | Some("ops") => Ok(()),
        Some(_) => Err((404, "web.incoming_webhook.channel.app_error")),
    }
}
