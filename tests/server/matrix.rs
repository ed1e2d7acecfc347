//! A Matrix homeserver with the rooms `!ops:example.com` and, at first too busy, `!busy:example.com`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::vendors::rules::{Is, check_some, json_object};
use super::{Request, Server};

pub const TOKEN: &str = "syt_canary";

/// Status, code, reason, and how long to wait.
type Refusal = (u16, &'static str, String, Option<u64>);

fn refuse<T>(status: u16, code: &'static str, reason: &str) -> Result<T, Refusal> {
    Err((status, code, reason.to_owned(), None))
}

/// Starts a server; `lost` answers to messages are lost on the way, although the server has taken them.
pub fn start_losing(lost: usize) -> (Server, std::sync::Arc<Mutex<BTreeMap<String, Value>>>) {
    let told = AtomicBool::new(false);
    let events = std::sync::Arc::new(Mutex::new(BTreeMap::new()));
    let (known, left) = (events.clone(), Mutex::new(lost));
    let server = Server::answering(move |request| match answer(request, &told, &known) {
        Ok(said) => {
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                return super::Reply::Close;
            }
            super::json(200, &said)
        }
        Err((status, code, reason, pause)) => {
            let mut said = json!({"errcode": code, "error": reason});
            if let Some(pause) = pause {
                said["retry_after_ms"] = pause.into();
            }
            super::json(status, &said)
        }
    });
    (server, events)
}

pub fn start() -> Server {
    start_losing(0).0
}

fn answer(
    request: &Request,
    told: &AtomicBool,
    events: &Mutex<BTreeMap<String, Value>>,
) -> Result<Value, Refusal> {
    if request.header("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return refuse(401, "M_UNKNOWN_TOKEN", "Invalid access token passed.");
    }
    let path = request.target.strip_prefix("/_matrix/client/v3/");
    let path = path.unwrap_or_default();
    if (request.method.as_str(), path) == ("GET", "account/whoami") {
        return Ok(json!({"user_id": "@ansible:example.com"}));
    }
    let parts: Vec<&str> = path.split('/').collect();
    let ["rooms", room, "send", "m.room.message", transaction] = parts.as_slice() else {
        return refuse(404, "M_UNRECOGNIZED", "Unrecognized request");
    };
    if request.method != "PUT" || transaction.is_empty() {
        return refuse(405, "M_UNRECOGNIZED", "Unrecognized request");
    }
    // An encoded one is the same room.
    let room = room.replace("%3A", ":").replace("%21", "!");
    match room.as_str() {
        "!ops:example.com" => {}
        "!busy:example.com" if told.swap(true, Ordering::Relaxed) => {}
        "!busy:example.com" => {
            let reason = "Too Many Requests".to_owned();
            return Err((429, "M_LIMIT_EXCEEDED", reason, Some(1500)));
        }
        _ => return refuse(404, "M_NOT_FOUND", "Unknown room"),
    }
    let key = format!("{room} {transaction}");
    let id = json!({"event_id": format!("${transaction}")});
    if events.lock().unwrap().contains_key(&key) {
        return Ok(id);
    }
    let body = json_object(request);
    let body = body.map_err(|(_, reason)| (400, "M_NOT_JSON", reason, None))?;
    // The server adds about a kilobyte.
    if request.body.len() > 64_000 {
        return refuse(413, "M_TOO_LARGE", "event too large");
    }
    let known = [
        ("msgtype", true, Is::OneOf(&["m.text", "m.notice"])),
        ("body", true, Is::Text(65_536)),
        ("format", false, Is::OneOf(&["org.matrix.custom.html"])),
        ("formatted_body", false, Is::Text(65_536)),
        ("m.mentions", false, Is::Object),
    ];
    let bad = |(_, reason)| (400, "M_BAD_JSON", reason, None);
    check_some(&body, &known).map_err(bad)?;
    events.lock().unwrap().insert(key, Value::Object(body));
    Ok(id)
}
