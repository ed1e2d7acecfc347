//! Google Chat's webhooks of the spaces `ops` and, at first too busy, `busy`.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value, json};

use super::vendors::rules::{Is, check, json_object, target};
use super::{Reply, Request, Server};

pub const TOKEN: &str = "canary-google";

/// Status, Google's own word for it, reason.
type Refusal = (u16, &'static str, String);

pub fn start() -> Server {
    let told = AtomicBool::new(false);
    Server::answering(move |request| match answer(request) {
        Ok(space) if space == "busy" && !told.swap(true, Ordering::Relaxed) => {
            let busy = error(429, "RESOURCE_EXHAUSTED", "Quota exceeded");
            Reply::Made(429, "Retry-After: 1\r\n".to_owned(), busy.to_string())
        }
        Ok(space) => {
            let mut message = request.json();
            message["name"] = json!(format!("spaces/{space}/messages/1.1"));
            super::json(200, &message)
        }
        Err((code, status, reason)) => super::json(code, &error(code, status, &reason)),
    })
}

fn error(code: u16, status: &str, message: &str) -> Value {
    json!({"error": {"code": code, "message": message, "status": status}})
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, Refusal> {
    Err((400, "INVALID_ARGUMENT", reason.into()))
}

/// The space of a message that Google takes.
fn answer(request: &Request) -> Result<String, Refusal> {
    let (path, query) = target(request);
    let value = |name: &str| {
        let found = query.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    if value("key") != "k" || value("token") != TOKEN {
        return Err((401, "UNAUTHENTICATED", "Invalid token".into()));
    }
    let space = path.strip_prefix("/v1/spaces/");
    let space = space.and_then(|rest| rest.strip_suffix("/messages"));
    let Some(space @ ("ops" | "busy")) = space.filter(|_| request.method == "POST") else {
        return Err((404, "NOT_FOUND", "Space is not found".into()));
    };
    if request.body.len() > 32_000 {
        return invalid("Message size exceeds the limit");
    }
    if value("messageReplyOption") != "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD" {
        return invalid("the test wants threads");
    }
    let body = json_object(request).map_err(|(_, reason)| (400, "INVALID_ARGUMENT", reason))?;
    message(&body).map_err(|(_, reason)| (400, "INVALID_ARGUMENT", reason))?;
    Ok(space.to_owned())
}

/// The fields of a message, as "REST Resource: spaces.messages" and "Cards v2" describe them: names that are
/// not known are refused.
fn message(body: &Map<String, Value>) -> Result<(), (u16, String)> {
    let known = [
        ("text", false, Is::Text(32_000)),
        ("fallbackText", false, Is::Text(32_000)),
        ("cardsV2", false, Is::List),
        ("thread", false, Is::Object),
    ];
    check(body, &known)?;
    let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let body = Value::Object(body.clone());
    check(
        &object(&body["thread"]),
        &[("threadKey", true, Is::Line(4000))],
    )?;
    for card in body["cardsV2"].as_array().into_iter().flatten() {
        let known = [("cardId", true, Is::Line(100)), ("card", true, Is::Object)];
        check(&object(card), &known)?;
        let card = object(&card["card"]);
        let known = [("header", false, Is::Object), ("sections", false, Is::List)];
        check(&card, &known)?;
        check(&object(&card["header"]), &[("title", true, Is::Line(200))])?;
        let sections = card.get("sections").and_then(Value::as_array);
        for section in sections.into_iter().flatten() {
            check(&object(section), &[("widgets", true, Is::List)])?;
            for part in section["widgets"].as_array().into_iter().flatten() {
                widget(&object(part))?;
            }
        }
    }
    Ok(())
}

fn widget(widget: &Map<String, Value>) -> Result<(), (u16, String)> {
    let known = [
        ("textParagraph", false, Is::Object),
        ("decoratedText", false, Is::Object),
        ("buttonList", false, Is::Object),
    ];
    check(widget, &known)?;
    let object = |name: &str| widget.get(name).and_then(Value::as_object);
    if let Some(text) = object("textParagraph") {
        check(text, &[("text", true, Is::Text(32_000))])?;
    }
    if let Some(text) = object("decoratedText") {
        let mut text = text.clone();
        text.remove("wrapText");
        let known = [
            ("topLabel", false, Is::Line(32_000)),
            ("text", true, Is::Text(32_000)),
        ];
        check(&text, &known)?;
    }
    if let Some(list) = object("buttonList") {
        let button = &list["buttons"][0];
        let url = &button["onClick"]["openLink"]["url"];
        let parts = Map::from_iter([
            ("text".to_owned(), button["text"].clone()),
            ("url".to_owned(), url.clone()),
        ]);
        check(
            &parts,
            &[("text", true, Is::Line(100)), ("url", true, Is::Url)],
        )?;
    }
    Ok(())
}
