//! Splunk's HTTP Event Collector, which refuses what Splunk refuses ("Troubleshoot HTTP Event Collector", table of
//! status codes).

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Deserializer, Value, json};

use super::store::{BUSY, POISON, Shelf, Store, Stored};
use super::{Reply, Request, Server};

pub const TOKEN: &str = "canary-splunk-token";
/// A token whose events are acknowledged.
pub const ACKNOWLEDGED: &str = "canary-acknowledged-token";
/// A token that is turned off.
pub const DISABLED: &str = "canary-disabled-token";
/// An index that a token may write to.
pub const INDEX: &str = "ansible";
/// Size limit of a request, as in Splunk Cloud.
const MOST: usize = 1_000_000;

type Refusal = (u16, u64, &'static str, Option<usize>);

#[derive(Default)]
struct Acks {
    /// Questions that are answered with "not yet", by the number of an acknowledgement.
    pending: BTreeMap<u64, u32>,
    next: u64,
}

pub fn start() -> Store {
    let shelf = Shelf::default();
    let (kept, acks, told) = (shelf.clone(), Mutex::new(Acks::default()), Mutex::default());
    let server = Server::answering(move |request| {
        match answer(request, &kept, &mut acks.lock().unwrap(), &told) {
            Ok(said) => super::json(200, &said),
            Err((status, code, text, first)) => refusal(status, code, text, first),
        }
    });
    Store { server, shelf }
}

fn refusal(status: u16, code: u64, text: &str, first: Option<usize>) -> Reply {
    let mut said = json!({"text": text, "code": code});
    if let Some(first) = first {
        said["invalid-event-number"] = json!(first);
    }
    super::json(status, &said)
}

fn answer(
    request: &Request,
    shelf: &Shelf,
    acks: &mut Acks,
    told: &Mutex<Vec<String>>,
) -> Result<Value, Refusal> {
    let path = request.target.split('?').next().unwrap();
    let given = request.header("authorization").unwrap_or_default();
    let token = match given.strip_prefix("Splunk ") {
        _ if given.is_empty() => return Err((401, 2, "Token is required", None)),
        None => return Err((401, 3, "Invalid authorization", None)),
        Some(DISABLED) => return Err((403, 1, "Token disabled", None)),
        Some(token) if [TOKEN, ACKNOWLEDGED].contains(&token) => token,
        Some(_) => return Err((403, 4, "Invalid token", None)),
    };
    let channel = request.header("x-splunk-request-channel");
    let is_channel = |channel: &str| channel.len() == 36 && channel.split('-').count() == 5;
    match (channel, token) {
        (None, ACKNOWLEDGED) => return Err((400, 10, "Data channel is missing", None)),
        (Some(channel), _) if !is_channel(channel) => {
            return Err((400, 11, "Invalid data channel", None));
        }
        _ => {}
    }
    match (request.method.as_str(), path) {
        ("POST", "/services/collector/ack") if token == TOKEN => {
            Err((400, 14, "ACK is disabled", None))
        }
        ("POST", "/services/collector/ack") => Ok(acknowledge(request, acks)),
        ("POST", "/services/collector/event") => {
            let count = take(request, shelf, told)?;
            let mut said = json!({"text": "Success", "code": 0});
            if token == ACKNOWLEDGED {
                said["ackId"] = json!(acks.next);
                // Some are slower than others.
                acks.pending.insert(acks.next, (count % 3) as u32);
                acks.next += 1;
            }
            Ok(said)
        }
        _ => Err((
            404,
            404,
            "The requested URL was not found on this server.",
            None,
        )),
    }
}

/// Tells once that an acknowledgement has arrived.
fn acknowledge(request: &Request, acks: &mut Acks) -> Value {
    let mut said = json!({});
    for id in request.json()["acks"].as_array().unwrap() {
        let id = id.as_u64().unwrap();
        let is_there = match acks.pending.get_mut(&id) {
            Some(0) => acks.pending.remove(&id).is_some(),
            Some(questions) => {
                *questions -= 1;
                false
            }
            None => false,
        };
        said[id.to_string()] = json!(is_there);
    }
    json!({ "acks": said })
}

fn take(request: &Request, shelf: &Shelf, told: &Mutex<Vec<String>>) -> Result<usize, Refusal> {
    if request.body.len() > MOST {
        return Err((413, 27, "Request entity too large", None));
    }
    if request.body.is_empty() {
        return Err((400, 5, "No data", None));
    }
    if request.body.contains(BUSY) {
        // It is too busy for a request at first.
        let mut told = told.lock().unwrap();
        if told.is_empty() {
            told.push(String::new());
            return Err((503, 9, "Server is busy", None));
        }
    }
    let events = Deserializer::from_str(&request.body).into_iter::<Value>();
    let mut count = 0;
    for (number, event) in events.enumerate() {
        let refused = |code, text| Err((400, code, text, Some(number)));
        let Ok(event) = event else {
            return refused(6, "Invalid data format");
        };
        if !event["time"].is_number() {
            return refused(6, "Invalid data format");
        }
        let index = &event["index"];
        if !index.is_null() && index != INDEX {
            return refused(7, "Incorrect index");
        }
        match event.get("event") {
            None | Some(Value::Null) => return refused(12, "Event field is required"),
            Some(text) if text == "" || text == &json!({}) => {
                return refused(13, "Event field cannot be blank");
            }
            Some(_) => {}
        }
        let fields = event["fields"].as_object().cloned().unwrap_or_default();
        if fields.values().any(Value::is_object) {
            return refused(15, "Error in handling indexed fields");
        }
        if event["event"].to_string().contains(POISON) {
            return refused(6, "Invalid data format");
        }
        shelf.put(Stored {
            id: fields["id"].as_str().unwrap_or_default().to_owned(),
            host: event["host"].as_str().unwrap_or_default().to_owned(),
            document: event,
        });
        count += 1;
    }
    Ok(count)
}
