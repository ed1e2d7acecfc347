//! Telegram's Bot API: `getMe` and `sendMessage` to the chats 1 (`ops`), 2 (`dev`), 429 (`busy` at first)
//! and -5, which has become another one.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde_json::{Value, json};

use super::{Request, Server};

pub const TOKEN: &str = "123456:canary-telegram";

/// Status, description, parameters.
type Refusal = (u16, &'static str, Value);

pub fn start() -> Server {
    let (told, last) = (AtomicBool::new(false), AtomicI64::new(0));
    Server::answering(move |request| {
        let id = last.fetch_add(1, Ordering::Relaxed) + 10;
        match answer(request, id, &told) {
            Ok(result) => super::json(200, &json!({"ok": true, "result": result})),
            Err((code, description, parameters)) => {
                let said = json!({"ok": false, "error_code": code, "description": description, "parameters": parameters});
                super::json(code, &said)
            }
        }
    })
}

fn answer(request: &Request, id: i64, told: &AtomicBool) -> Result<Value, Refusal> {
    let refusal = |description| Err((400, description, Value::Null));
    let method = request.target.strip_prefix(&format!("/bot{TOKEN}/"));
    match method {
        Some("getMe") => return Ok(json!({"id": 123_456, "is_bot": true})),
        Some("sendMessage") => {}
        Some(_) => return Err((404, "Not Found", Value::Null)),
        None => return Err((401, "Unauthorized", Value::Null)),
    }
    if request.header("content-type") != Some("application/json") {
        return refusal("Bad Request: message text is empty");
    }
    let body: Value = serde_json::from_str(&request.body).unwrap();
    let text = body["text"].as_str().unwrap_or_default();
    let html = body["parse_mode"] == "HTML";
    if html && !is_html(text) {
        return refusal(
            "Bad Request: can't parse entities: Unsupported start tag at byte offset 0",
        );
    }
    if text.trim().is_empty() {
        return refusal("Bad Request: message text is empty");
    }
    if text.encode_utf16().count() > 4096 {
        return refusal("Bad Request: message is too long");
    }
    if !body["message_thread_id"].is_null() && body["message_thread_id"] != 42 {
        return refusal("Bad Request: message thread not found");
    }
    match body["chat_id"].as_str() {
        Some("1" | "2" | "-1005") => {}
        Some("429") if told.swap(true, Ordering::Relaxed) => {}
        Some("429") => {
            let description = "Too Many Requests: retry after 1";
            return Err((429, description, json!({"retry_after": 1})));
        }
        Some("-5") => {
            let description = "Bad Request: group chat was upgraded to a supergroup chat";
            return Err((400, description, json!({"migrate_to_chat_id": -1005})));
        }
        Some("3") => {
            let description = "Forbidden: bot was blocked by the user";
            return Err((403, description, Value::Null));
        }
        _ => return refusal("Bad Request: chat not found"),
    }
    let answered = &body["reply_parameters"]["message_id"];
    let answered = (!answered.is_null()).then(|| json!({"message_id": answered}));
    Ok(json!({"message_id": id, "reply_to_message": answered}))
}

/// Tags that Telegram knows, each closed, and no bare `&`.
fn is_html(text: &str) -> bool {
    let mut open = Vec::new();
    for piece in text.split('<').skip(1) {
        let Some((tag, _)) = piece.split_once('>') else {
            return false;
        };
        let name = tag.split(' ').next().unwrap_or_default();
        match name.strip_prefix('/') {
            Some(name) if open.pop() != Some(name) => return false,
            Some(_) => {}
            None if !["b", "i", "u", "s", "a", "code", "pre"].contains(&name) => return false,
            None => open.push(name),
        }
    }
    let entities = ["lt;", "gt;", "amp;", "quot;"];
    let bare = |piece: &str| !entities.iter().any(|entity| piece.starts_with(entity));
    open.is_empty() && !text.split('&').skip(1).any(bare)
}
