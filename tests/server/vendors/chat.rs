//! Messages to people: Google Chat, Gotify, Matrix, Pushover, Webex, Zulip.

use serde_json::{Value, json};

use super::rules::{Is, check, check_some, form, json_object, target};
use super::{Answer, Request, need_basic, need_bearer, need_header, need_request, refuse};

/// Google, "REST Resource: spaces.messages": Google's APIs refuse names that they do not know.
pub fn google(request: &Request) -> Answer {
    need_request(request, "POST", "/v1/spaces/AAAA/messages")?;
    let (_, query) = target(request);
    if !query.contains(&("token".into(), "canary-google".into())) {
        return refuse(401, "invalid token");
    }
    let body = json_object(request)?;
    if request.body.len() > 32_000 {
        return refuse(400, "the message is too long");
    }
    let known = [
        ("text", false, Is::Text(4096)),
        ("fallbackText", false, Is::Text(4096)),
        ("cardsV2", true, Is::List),
        ("thread", false, Is::Object),
    ];
    check(&body, &known)?;
    let card = &body["cardsV2"][0]["card"];
    let parts = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let header = [
        ("title", true, Is::Text(200)),
        ("subtitle", false, Is::Text(200)),
    ];
    check(&parts(&card["header"]), &header)?;
    let widget = &card["sections"][0]["widgets"][0]["textParagraph"];
    check(&parts(widget), &[("text", true, Is::Text(32_000))])?;
    // HTML: what is not escaped is a tag.
    if widget["text"].as_str().unwrap_or_default().contains('<') {
        return refuse(400, "unknown tag");
    }
    Ok((200, json!({"name": "spaces/AAAA/messages/1"})))
}

/// Gotify's API, "POST /message".
pub fn gotify(request: &Request) -> Answer {
    need_header(request, "x-gotify-key", "canary-gotify-key")?;
    need_request(request, "POST", "/message")?;
    let body = json_object(request)?;
    let known = [
        ("title", false, Is::Text(usize::MAX)),
        ("message", true, Is::Text(usize::MAX)),
    ];
    check_some(&body, &known)?;
    if !(body["priority"].is_null() || body["priority"].is_i64()) {
        return refuse(
            400,
            "cannot unmarshal string into Go struct field of type int",
        );
    }
    Ok((200, json!({"id": 1})))
}

/// Matrix, "Client-Server API", 11.6.3: the transaction is the last segment of the path.
pub fn matrix(request: &Request) -> Answer {
    need_bearer(request, "canary-matrix-token")?;
    let (path, _) = target(request);
    let prefix = "/_matrix/client/v3/rooms/!kCSmxTZLSqvVsoQEPG:example.com/send/m.room.message/";
    let transaction = path.strip_prefix(prefix).unwrap_or_default();
    if request.method != "PUT" || transaction.is_empty() || transaction.contains('/') {
        return refuse(404, "M_UNRECOGNIZED");
    }
    let body = json_object(request)?;
    if request.body.len() > 60_000 {
        return refuse(413, "M_TOO_LARGE");
    }
    let known = [
        ("msgtype", true, Is::OneOf(&["m.text"])),
        ("body", true, Is::Text(65_536)),
    ];
    check_some(&body, &known)?;
    Ok((200, json!({"event_id": format!("${transaction}")})))
}

/// Pushover, "Message API".
pub fn pushover(request: &Request) -> Answer {
    need_request(request, "POST", "/1/messages.json")?;
    let body = form(request)?;
    if body.get("token") != Some(&json!("canary-pushover-token"))
        || body.get("user") != Some(&json!("canary-pushover-user"))
    {
        return refuse(400, "application token is invalid");
    }
    let known = [
        ("token", true, Is::Line(30)),
        ("user", true, Is::Line(30)),
        ("message", true, Is::Text(1024)),
        ("title", false, Is::Text(250)),
        ("url", false, Is::Url),
        ("priority", false, Is::OneOf(&["-2", "-1", "0", "1"])),
        ("timestamp", false, Is::Number),
    ];
    check(&body, &known)?;
    Ok((200, json!({"status": 1, "request": "1"})))
}

/// Webex, "Create a Message".
pub fn webex(request: &Request) -> Answer {
    need_bearer(request, "canary-webex-token")?;
    need_request(request, "POST", "/v1/messages")?;
    let body = json_object(request)?;
    check(
        &body,
        &[
            ("roomId", true, Is::Line(200)),
            ("text", true, Is::Text(7439)),
        ],
    )?;
    if body["text"].as_str().unwrap_or_default().len() > 7439 {
        return refuse(400, "message is too long");
    }
    Ok((200, json!({"id": "1"})))
}

/// Zulip, "Send a message".
pub fn zulip(request: &Request) -> Answer {
    need_basic(
        request,
        "ansible-bot@example.zulipchat.com",
        "canary-zulip-key",
    )?;
    need_request(request, "POST", "/api/v1/messages")?;
    let body = form(request)?;
    let known = [
        ("type", true, Is::OneOf(&["stream", "channel"])),
        ("to", true, Is::Line(60)),
        ("topic", true, Is::Line(60)),
        ("content", true, Is::Text(10_000)),
    ];
    check(&body, &known)?;
    if body["content"].as_str().unwrap_or_default().contains("@**") {
        return refuse(400, "the test wants nobody mentioned");
    }
    Ok((200, json!({"result": "success", "id": 1})))
}
