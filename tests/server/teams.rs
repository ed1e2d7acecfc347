//! A Workflows webhook of Microsoft Teams: `/workflows/ops/…?sig=…` and others.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Reply, Request, Server};

/// Of a workflow; the signature is the secret.
pub fn path(workflow: &str) -> String {
    format!("/workflows/{workflow}/triggers/manual/paths/invoke?api-version=1&sig=canary-teams")
}

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| {
        let busy = request.target.contains("/busy/") && !told.swap(true, Ordering::Relaxed);
        match answer(request) {
            Ok(()) if busy => Reply::Full(429, "Retry-After: 1\r\n", ""),
            Ok(()) => Reply::Full(202, "", ""),
            Err((status, code, message)) => super::json(
                status,
                &json!({"error": {"code": code, "message": message}}),
            ),
        }
    })
}

fn answer(request: &Request) -> Result<(), (u16, &'static str, &'static str)> {
    if !request.target.ends_with("sig=canary-teams") {
        return Err((401, "Unauthorized", "The signature is not valid."));
    }
    if !["ops", "busy"]
        .iter()
        .any(|name| request.target == path(name))
    {
        return Err((404, "WorkflowNotFound", "The workflow could not be found."));
    }
    if request.method == "OPTIONS" {
        return Ok(());
    }
    let refusal = |message| Err((400, "InvalidTemplate", message));
    if request.header("content-type") != Some("application/json") {
        return refusal("The content type is not JSON.");
    }
    if request.body.len() > 20 << 10 {
        return Err((413, "RequestEntityTooLarge", "The card is too large."));
    }
    let Ok(body) = serde_json::from_str::<Value>(&request.body) else {
        return refusal("The body is not JSON.");
    };
    let attachment = &body["attachments"][0];
    let card = &attachment["content"];
    let elements = card["body"]
        .as_array()
        .is_some_and(|elements| elements.iter().all(known));
    match () {
        () if body["type"] != "message" => refusal("Not a message."),
        () if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" => {
            refusal("Not an adaptive card.")
        }
        () if card["type"] != "AdaptiveCard" || card["version"] != "1.4" => {
            refusal("Not an adaptive card of a version that is known.")
        }
        () if !elements => refusal("An element of the card is not known."),
        () => Ok(()),
    }
}

/// Whether an element of a card has what it needs.
fn known(element: &Value) -> bool {
    let styles = [
        "default",
        "emphasis",
        "good",
        "attention",
        "warning",
        "accent",
    ];
    match element["type"].as_str() {
        Some("TextBlock") => element["text"].is_string(),
        Some("FactSet") => element["facts"].as_array().is_some_and(|facts| {
            let whole = |fact: &Value| fact["title"].is_string() && fact["value"].is_string();
            facts.iter().all(whole)
        }),
        Some("Container") => {
            let style = element["style"].as_str().unwrap_or("default");
            let items = element["items"].as_array();
            styles.contains(&style) && items.is_some_and(|items| items.iter().all(known))
        }
        _ => false,
    }
}
