//! Services that follow runs: healthchecks.io, Home Assistant, n8n.

use serde_json::json;

use super::rules::{is_uuid, json, target};
use super::{Answer, Request, need_header, need_request, refuse};

/// healthchecks.io, "Pinging API".
pub fn healthchecks(request: &Request) -> Answer {
    let (path, query) = target(request);
    let check = "/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278";
    match path.strip_prefix(check) {
        Some("" | "/start" | "/fail" | "/log") => {}
        _ => return refuse(404, "not found"),
    }
    let run = query.iter().find(|(name, _)| name == "rid");
    if run.is_some_and(|(_, id)| !is_uuid(id)) {
        return refuse(400, "invalid uuid format");
    }
    Ok((200, json!("OK")))
}

/// Home Assistant, "Webhook trigger": an unknown id is answered with 200, too.
pub fn home_assistant(request: &Request) -> Answer {
    if target(request).0 == "/api/webhook/canary-home" {
        json(request)?;
    }
    Ok((200, json!("")))
}

/// n8n, "Webhook node", with header authentication.
pub fn n8n(request: &Request) -> Answer {
    need_request(request, "POST", "/webhook/ansible")?;
    need_header(request, "x-api-key", "canary-n8n-key")
        .map_err(|_| (403, "Authorization data is wrong!".to_owned()))?;
    json(request)?;
    Ok((200, json!({"message": "Workflow was started"})))
}
