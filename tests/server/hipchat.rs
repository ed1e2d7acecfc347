//! A HipChat server, API version 2: the rooms `ops`, `dev` and, at first too busy, `busy`.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Reply, Request, Server};

pub const TOKEN: &str = "canary-hipchat";

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| {
        let busy = request.target.contains("/busy/") && !told.swap(true, Ordering::Relaxed);
        match answer(request) {
            Ok(()) if busy => {
                // The second in which it takes more; it began some time ago.
                let reset = jiff::Timestamp::now().as_second() + 2;
                let headers = format!("X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: {reset}\r\n");
                Reply::Made(429, headers, String::new())
            }
            Ok(()) => Reply::Full(204, "", ""),
            Err((code, message)) => {
                let error = json!({"error": {"code": code, "message": message, "type": "Error"}});
                super::json(code, &error)
            }
        }
    })
}

fn answer(request: &Request) -> Result<(), (u16, &'static str)> {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return Err((401, "Invalid OAuth session"));
    }
    match request.target.as_str() {
        "/v2/room/ops/notification" | "/v2/room/dev/notification" => {}
        "/v2/room/busy/notification" | "/v2/room/war%20room/notification" => {}
        _ => return Err((404, "Room not found")),
    }
    if request.method == "OPTIONS" {
        return Ok(());
    }
    if request.header("content-type") != Some("application/json") {
        return Err((400, "Unsupported content type"));
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|_| (400, "Invalid JSON"))?;
    let message = body["message"].as_str().unwrap_or_default();
    let colors = ["yellow", "green", "red", "purple", "gray", "random"];
    match () {
        () if !(1..=10_000).contains(&message.chars().count()) => {
            Err((400, "Field 'message' is not between 1 and 10000 characters"))
        }
        () if !body["color"]
            .as_str()
            .is_some_and(|color| colors.contains(&color)) =>
        {
            Err((400, "Field 'color' is not a color"))
        }
        () if body["message_format"] != "html" && body["message_format"] != "text" => {
            Err((400, "Field 'message_format' is neither html nor text"))
        }
        () if body["from"].as_str().unwrap_or_default().chars().count() > 64 => {
            Err((400, "Field 'from' is not between 0 and 64 characters"))
        }
        () if !body["notify"].is_boolean() => Err((400, "Field 'notify' is not a boolean")),
        () => Ok(()),
    }
}
