//! Slack: the Web API's methods for messages and an incoming webhook, with what they refuse.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{Reply, Request, Server};

pub const TOKEN: &str = "xoxb-canary-slack";
/// Token of a bot that may not upload files.
pub const FILELESS: &str = "xoxb-canary-fileless";

/// Files by their ids: the length that was announced, and the content once it has come.
type Files = Mutex<HashMap<String, (usize, Option<String>)>>;

/// Knows the channels `ops` and `dev`, is `busy` at first, and knows no others; so its webhooks
/// `/services/T0/B0/canary-ops` and others.
pub fn start() -> Server {
    let posts = AtomicU32::new(0);
    let told = Mutex::new(HashSet::new());
    let files = Files::default();
    Server::answering(move |request| {
        if let Some(id) = request.target.strip_prefix("/upload/v1/") {
            return upload(request, id, &files);
        }
        if let Some(method) = request.target.strip_prefix("/api/files.") {
            let said = place(request, method, &files);
            let refused = |error| json!({"ok": false, "error": error});
            return super::json(200, &said.unwrap_or_else(refused));
        }
        let number = posts.fetch_add(1, Ordering::Relaxed);
        let channel =
            serde_json::from_str::<Value>(&request.body).unwrap_or_default()["channel"].to_string();
        let first = told.lock().unwrap().insert(channel + &request.target);
        if request.target.starts_with("/services/") {
            return webhook(request, first);
        }
        if first && request.body.contains(r#""channel":"busy""#) {
            return Reply::Full(
                429,
                "Retry-After: 1\r\n",
                r#"{"ok":false,"error":"ratelimited"}"#,
            );
        }
        match api(request, number, first) {
            Ok(said) => super::json(200, &said),
            Err(error) => super::json(200, &json!({"ok": false, "error": error})),
        }
    })
}

/// The content of a file, at an address that needs no token, once.
fn upload(request: &Request, id: &str, files: &Files) -> Reply {
    let mut files = files.lock().unwrap();
    match files.get_mut(id) {
        Some((length, content @ None)) if *length == request.body.len() => {
            assert_eq!(request.header("authorization"), None, "a token for no one");
            *content = Some(request.body.clone());
            Reply::Full(200, "", "OK - 1")
        }
        _ => Reply::Full(400, "", "invalid upload"),
    }
}

/// The methods before and after that.
fn place(request: &Request, method: &str, files: &Files) -> Result<Value, &'static str> {
    let mut files = files.lock().unwrap();
    match request.header("authorization") {
        Some(bearer) if bearer == format!("Bearer {TOKEN}") => {}
        Some(bearer) if bearer == format!("Bearer {FILELESS}") => return Err("missing_scope"),
        _ => return Err("invalid_auth"),
    }
    match method {
        "getUploadURLExternal" => {
            if request.header("content-type") != Some("application/x-www-form-urlencoded") {
                return Err("invalid_arguments");
            }
            let form: HashMap<_, _> = url::form_urlencoded::parse(request.body.as_bytes())
                .into_owned()
                .collect();
            let length = form.get("length").and_then(|length| length.parse().ok());
            let length = length
                .filter(|length| *length > 0)
                .ok_or("invalid_arguments")?;
            form.get("filename")
                .filter(|name| !name.is_empty())
                .ok_or("invalid_arguments")?;
            let id = format!("F{:04}", files.len());
            let host = request.header("host").unwrap_or_default();
            let url = format!("http://{host}/upload/v1/{id}");
            files.insert(id.clone(), (length, None));
            Ok(json!({"ok": true, "upload_url": url, "file_id": id}))
        }
        "completeUploadExternal" => {
            let body: Value = serde_json::from_str(&request.body).map_err(|_| "invalid_json")?;
            let id = body["files"][0]["id"].as_str().ok_or("invalid_arguments")?;
            let (_, content) = files.get(id).ok_or("file_not_found")?;
            content.as_ref().ok_or("file_not_found")?;
            // A channel's name is refused, and so is what is no time of a message.
            let channel = body["channel_id"]
                .as_str()
                .filter(|id| id.starts_with("C0"));
            channel.ok_or("invalid_channel")?;
            let thread = body["thread_ts"]
                .as_str()
                .and_then(|time| time.split_once('.'));
            thread.ok_or("invalid_arguments")?;
            Ok(json!({"ok": true, "files": [{"id": id}]}))
        }
        _ => Err("unknown_method"),
    }
}

fn webhook(request: &Request, first: bool) -> Reply {
    let body = serde_json::from_str::<Value>(&request.body).unwrap_or_default();
    match (request.target.rsplit('-').next(), unfit(&body)) {
        (_, Some(_)) => Reply::Full(400, "", "invalid_blocks"),
        (Some("ops"), None) => Reply::Full(200, "", "ok"),
        (Some("busy"), None) if first => Reply::Full(429, "Retry-After: 1\r\n", ""),
        (Some("busy"), None) => Reply::Full(200, "", "ok"),
        (Some("forbidden"), None) => Reply::Full(403, "", "action_prohibited"),
        (_, None) => Reply::Full(404, "", "no_service"),
    }
}

fn api(request: &Request, number: u32, first: bool) -> Result<Value, &'static str> {
    let tokens = [TOKEN, FILELESS].map(|token| format!("Bearer {token}"));
    if !tokens
        .iter()
        .any(|token| request.header("authorization") == Some(token))
    {
        return Err("invalid_auth");
    }
    if request.target == "/api/auth.test" {
        return Ok(json!({"ok": true, "user": "ansible"}));
    }
    if request.header("content-type") != Some("application/json; charset=utf-8") {
        return Err("invalid_form_data");
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|_| "invalid_json")?;
    if let Some(error) = unfit(&body) {
        return Err(error);
    }
    let channel = match body["channel"].as_str().ok_or("channel_not_found")? {
        "ops" | "busy" | "C0OPS" => "C0OPS",
        "dev" => "C0DEV",
        "passing" if first => return Err("internal_error"),
        "passing" => "C0PASSING",
        "forgetful" | "C0FORGETFUL" => "C0FORGETFUL",
        _ => return Err("channel_not_found"),
    };
    let time = format!("1712.{number:06}");
    match request.target.as_str() {
        "/api/chat.postMessage" => {
            let thread = body.get("thread_ts");
            let message = json!({"ts": time, "thread_ts": thread});
            Ok(json!({"ok": true, "channel": channel, "ts": time, "message": message}))
        }
        "/api/chat.update" if !channel.starts_with("C0") => Err("channel_not_found"),
        "/api/chat.update" if channel == "C0FORGETFUL" => Err("message_not_found"),
        "/api/chat.update" => Ok(json!({"ok": true, "channel": channel, "ts": body["ts"]})),
        _ => Err("unknown_method"),
    }
}

/// What is wrong with a message.
fn unfit(body: &Value) -> Option<&'static str> {
    let none = Vec::new();
    let attachments = body["attachments"].as_array().unwrap_or(&none);
    let inner = attachments
        .iter()
        .filter_map(|one| one["blocks"].as_array());
    let outer = body["blocks"].as_array();
    let blocks: Vec<&Value> = outer.into_iter().chain(inner).flatten().collect();
    let text = body["text"].as_str().unwrap_or_default();
    let total: usize = blocks.iter().map(|block| length(block)).sum();
    let fits = |block: &&Value| {
        let text = block["text"]["text"]
            .as_str()
            .map(|text| text.chars().count());
        let fields = block["fields"].as_array().unwrap_or(&none);
        let long = |field: &Value| field["text"].as_str().unwrap().chars().count() > 2000;
        match block["type"].as_str() {
            Some("header") => {
                block["text"]["type"] == "plain_text" && text.is_some_and(|text| text <= 150)
            }
            Some("section") => {
                text.map_or(!fields.is_empty(), |text| (1..=3000).contains(&text))
                    && fields.len() <= 10
                    && !fields.iter().any(long)
            }
            _ => false,
        }
    };
    match () {
        () if text.is_empty() => Some("no_text"),
        () if text.chars().count() > 4000 => Some("msg_too_long"),
        () if blocks.len() > 50 || total > 13_000 => Some("msg_blocks_too_long"),
        () if !blocks.iter().all(fits) => Some("invalid_blocks"),
        () => None,
    }
}

/// The characters of all texts in a block.
fn length(block: &Value) -> usize {
    let fields = block["fields"].as_array().into_iter().flatten();
    let texts = fields
        .chain([&block["text"]])
        .filter_map(|text| text["text"].as_str());
    texts.map(|text| text.chars().count()).sum()
}
