//! Webex's API of messages: the spaces `ops` and, at first too busy, `busy`, and the person
//! `alice@example.com`.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::vendors::rules::{Is, check, json_object};
use super::{Reply, Request, Server};

pub const TOKEN: &str = "canary-webex";

type Refusal = (u16, String);

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| match answer(request, &told) {
        Ok(said) => super::json(200, &said),
        Err((status, reason)) => {
            let said = json!({"message": reason, "errors": [{"description": reason}], "trackingId": "ROUTER_1"});
            let pause = if status == 429 {
                "Retry-After: 1\r\n"
            } else {
                ""
            };
            Reply::Made(status, pause.to_owned(), said.to_string())
        }
    })
}

fn answer(request: &Request, told: &AtomicBool) -> Result<Value, Refusal> {
    let refuse = |status, reason: &str| Err((status, reason.to_owned()));
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return refuse(
            401,
            "The request requires a valid access token set in the Authorization request header.",
        );
    }
    match (request.method.as_str(), request.target.as_str()) {
        ("GET", "/v1/people/me") => return Ok(json!({"id": "Y2lz", "type": "bot"})),
        ("POST", "/v1/messages") => {}
        _ => return refuse(404, "The requested resource could not be found."),
    }
    let body = json_object(request)?;
    let known = [
        ("roomId", false, Is::Line(500)),
        ("toPersonEmail", false, Is::Line(500)),
        ("text", false, Is::Text(7439)),
        ("markdown", false, Is::Text(7439)),
    ];
    check(&body, &known)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("text").len() > 7439 || text("markdown").len() > 7439 {
        return refuse(400, "Message length limited to 7439 bytes");
    }
    match (text("roomId"), text("toPersonEmail")) {
        ("ops", "") | ("", "alice@example.com") => {}
        ("busy", "") if told.swap(true, Ordering::Relaxed) => {}
        ("busy", "") => return refuse(429, "Too Many Requests"),
        _ => return refuse(404, "Could not find a room with provided ID."),
    }
    let mut said = Value::Object(body);
    said["id"] = json!("Y2lzY29zcGFyazovL3VzL01FU1NBR0Uv");
    Ok(said)
}
