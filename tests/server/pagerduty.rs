//! PagerDuty's Events API v2, as its reference documents it, with the incidents that the events make.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{Request, Server};

pub const ROUTING_KEY: &str = "canarypagerduty0123456789abcdef0";

/// How many alerts came for each key since it was last resolved; a resolved one has none.
pub type Incidents = Arc<Mutex<BTreeMap<String, u32>>>;

pub fn start() -> (Server, Incidents) {
    let incidents = Incidents::default();
    let known = incidents.clone();
    let server = Server::answering(move |request| match answer(request, &known) {
        Ok(dedup_key) => {
            let said =
                json!({"status": "success", "message": "Event processed", "dedup_key": dedup_key});
            super::json(202, &said)
        }
        Err(errors) => {
            let said = json!({"status": "invalid event", "message": "Event object is invalid", "errors": [errors]});
            super::json(400, &said)
        }
    });
    (server, incidents)
}

fn answer(request: &Request, incidents: &Incidents) -> Result<Value, String> {
    if request.body.len() > 512_000 {
        return Err("Event object is larger than 512 KB".into());
    }
    let body: Value = serde_json::from_str(&request.body).map_err(|error| error.to_string())?;
    if body["routing_key"] != ROUTING_KEY {
        return Err("'routing_key' is invalid: it must be a 32 character Integration Key".into());
    }
    match (request.method.as_str(), request.target.as_str()) {
        ("POST", "/v2/enqueue") => alert(&body, incidents),
        ("POST", "/v2/change/enqueue") => summary(&body).map(|()| Value::Null),
        (method, target) => Err(format!("no {method} {target}")),
    }
}

fn alert(body: &Value, incidents: &Incidents) -> Result<Value, String> {
    let key = body["dedup_key"].as_str().unwrap_or_default();
    if key.chars().count() > 255 {
        return Err("Length of 'dedup_key' is greater than 255".into());
    }
    let mut incidents = incidents.lock().unwrap();
    match body["event_action"].as_str() {
        Some("trigger") => {
            summary(body)?;
            let payload = &body["payload"];
            let severities = ["critical", "error", "warning", "info"].map(Value::from);
            if !severities.contains(&payload["severity"]) {
                return Err("'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')".into());
            }
            let length = |key: &str| payload[key].as_str().unwrap_or_default().chars().count();
            let details = ["source", "component", "group", "class"];
            if let Some(key) = details.iter().find(|key| length(key) > 255) {
                return Err(format!("Length of 'payload.{key}' is greater than 255"));
            }
            if payload["source"].as_str().is_none_or(str::is_empty) {
                return Err("'payload.source' is missing or blank".into());
            }
            *incidents.entry(key.to_owned()).or_default() += 1;
        }
        Some("acknowledge" | "resolve") if key.is_empty() => {
            return Err("'dedup_key' is missing or blank".into());
        }
        Some("resolve") => {
            incidents.remove(key);
        }
        _ => return Err("'event_action' is missing or blank".into()),
    }
    Ok(key.into())
}

fn summary(body: &Value) -> Result<(), String> {
    let payload = &body["payload"];
    match payload["summary"].as_str() {
        None | Some("") => return Err("'payload.summary' is missing or blank".into()),
        Some(summary) if summary.chars().count() > 1024 => {
            return Err("Length of 'payload.summary' is greater than 1024".into());
        }
        Some(_) => {}
    }
    if !payload["custom_details"].is_object() {
        return Err("'payload.custom_details' is not an object".into());
    }
    let links = body["links"].as_array().into_iter().flatten();
    if links.into_iter().any(|link| !link["href"].is_string()) {
        return Err("'links' without 'href'".into());
    }
    Ok(())
}
