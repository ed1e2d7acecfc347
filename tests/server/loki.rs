//! Loki, which refuses what Loki refuses (Grafana, "Push log entries to Loki", and Loki's `pkg/validation`).

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::store::{BUSY, POISON, Shelf, Store, Stored};
use super::{Reply, Request, Server, status};

pub const TENANT: &str = "ops";
/// The user `1234` with the password `canary-password`, as Grafana Cloud has them.
pub const BASIC: &str = "MTIzNDpjYW5hcnktcGFzc3dvcmQ=";
const MAX_LINE: usize = 256 << 10;
const MAX_LABELS: usize = 15;
/// Size limit of a request.
const MOST: usize = 4 << 20;

/// Entries that are known, and whether it has been too busy for a request.
#[derive(Default)]
struct Memory {
    entries: BTreeSet<String>,
    told: bool,
}

pub fn start() -> Store {
    let shelf = Shelf::default();
    let (kept, memory) = (shelf.clone(), Mutex::<Memory>::default());
    let server = Server::answering(move |request| {
        let answer = answer(request, &kept, &mut memory.lock().unwrap());
        answer.unwrap_or_else(|(code, text)| Reply::Made(code, String::new(), text))
    });
    Store { server, shelf }
}

fn answer(request: &Request, shelf: &Shelf, memory: &mut Memory) -> Result<Reply, (u16, String)> {
    let said = |code: u16, text: &str| Err((code, text.to_owned()));
    if request.header("authorization") != Some(&format!("Basic {BASIC}")) {
        return said(401, "authentication error: invalid token");
    }
    if request.header("x-scope-orgid") != Some(TENANT) {
        return said(401, "no org id");
    }
    if request.target != "/loki/api/v1/push" {
        return said(404, "404 page not found");
    }
    if request.method != "POST" {
        return said(405, "method not allowed");
    }
    if request.body.len() > MOST {
        return said(413, "request body too large");
    }
    if request.body.contains(BUSY) && !std::mem::replace(&mut memory.told, true) {
        return said(429, "Ingestion rate limit exceeded for user ops");
    }
    if request.body.contains("blocked") {
        return said(260, "ingestion blocked for user ops until '2026-12-01'");
    }
    let Ok(body) = serde_json::from_str::<Value>(&request.body) else {
        return said(400, "couldn't parse push request");
    };
    let mut problems = Vec::new();
    for stream in body["streams"].as_array().unwrap() {
        take(stream, shelf, memory, &mut problems);
    }
    // What is right was stored all the same.
    match problems.is_empty() {
        true => Ok(status(204)),
        false => said(400, &problems[..problems.len().min(10)].join("\n")),
    }
}

fn take(stream: &Value, shelf: &Shelf, memory: &mut Memory, problems: &mut Vec<String>) {
    let labels = stream["stream"].as_object().unwrap();
    let name = stream["stream"].to_string();
    let is_name = |name: &str| {
        name.chars()
            .all(|one| one.is_ascii_alphanumeric() || one == '_')
    };
    let is_text = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| (1..=2048).contains(&text.len()))
    };
    if labels.is_empty()
        || labels.len() > MAX_LABELS
        || !labels
            .iter()
            .all(|(name, value)| is_name(name) && is_text(value))
    {
        return problems.push(format!("stream '{name}' has wrong labels"));
    }
    for entry in stream["values"].as_array().unwrap() {
        let metadata = entry[2].as_object().cloned().unwrap_or_default();
        let (time, line) = (entry[0].as_str(), entry[1].as_str());
        let (Some(time), Some(line)) = (time, line) else {
            problems.push("Value is string, but can't find closing '\"' symbol".to_owned());
            continue;
        };
        let time: i128 = time.parse().unwrap();
        let problem = match line {
            _ if line.contains(POISON) => "timestamp too old",
            _ if line.len() > MAX_LINE => "Max entry size '262144' bytes exceeded",
            // Nanoseconds of this century: any other unit is far in the past.
            _ if time < 946_684_800_000_000_000 => "timestamp too old",
            _ if metadata.len() > 128 || !metadata.values().all(is_text) => "structured metadata",
            _ => "",
        };
        if !problem.is_empty() {
            problems.push(format!("entry for stream '{name}' has {problem}: {time}"));
            continue;
        }
        // An exact duplicate is dropped.
        if !memory
            .entries
            .insert(json!([name, time.to_string(), line]).to_string())
        {
            continue;
        }
        let part = |name: &str| metadata.get(name).or_else(|| labels.get(name));
        let text = |name: &str| {
            part(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        shelf.put(Stored {
            id: text("id"),
            host: text("host"),
            document: json!({"stream": labels, "line": line, "metadata": metadata, "time": entry[0]}),
        });
    }
}
