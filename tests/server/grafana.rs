//! Grafana's annotations, as its HTTP API documents them, below a path of its own.

use serde_json::{Value, json};

use super::{Request, Server};

pub const TOKEN: &str = "glsa_canary_grafana";
pub const PATH: &str = "/grafana/";
pub const DASHBOARD: &str = "jcIIG-07z";

pub fn start() -> Server {
    Server::answering(|request| match answer(request) {
        Ok(()) => super::json(200, &json!({"message": "Annotation added", "id": 17})),
        Err((status, text)) => super::json(status, &json!({"message": text})),
    })
}

fn answer(request: &Request) -> Result<(), (u16, &'static str)> {
    // admin:canary-admin
    let known = [
        format!("Bearer {TOKEN}"),
        "Basic YWRtaW46Y2FuYXJ5LWFkbWlu".to_owned(),
    ];
    if !known
        .iter()
        .any(|value| request.header("authorization") == Some(value))
    {
        return Err((401, "Invalid API key"));
    }
    if (request.method.as_str(), request.target.as_str()) != ("POST", "/grafana/api/annotations") {
        return Err((404, "Not found"));
    }
    if request.header("content-type") != Some("application/json") {
        return Err((415, "Unsupported media type"));
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|_| (400, "bad request data"))?;
    if body["text"].as_str().is_none_or(str::is_empty) {
        return Err((
            400,
            "Failed to save annotation: text field should not be empty",
        ));
    }
    let (begin, end) = (body["time"].as_i64(), body["timeEnd"].as_i64());
    // Milliseconds of this century, and none but these.
    let good = |time: Option<i64>| time.is_some_and(|time| time > 946_684_800_000);
    if !good(begin) || !good(end) || begin > end {
        return Err((400, "bad request data"));
    }
    let known = body["dashboardUID"].is_null() || body["dashboardUID"] == DASHBOARD;
    if !known || !(body["dashboardId"].is_null() || body["dashboardId"].is_u64()) {
        return Err((404, "Dashboard not found"));
    }
    if !body["tags"].is_array() || !(body["panelId"].is_null() || body["panelId"].is_u64()) {
        return Err((400, "bad request data"));
    }
    Ok(())
}
