//! Elasticsearch with a data stream, which refuses what Elasticsearch refuses (Elastic, "Bulk API").

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::store::{BUSY, POISON, Shelf, Store, Stored};
use super::{Request, Server};

/// An API key as Elasticsearch shows it: `id:key` in base64.
pub const API_KEY: &str = "aWQ6Y2FuYXJ5LWtleQ==";
/// The same before it is encoded.
pub const ID_AND_KEY: &str = "id:canary-key";
/// The user `ansible` with the password `canary-password`.
pub const BASIC: &str = "YW5zaWJsZTpjYW5hcnktcGFzc3dvcmQ=";
/// Size limit of a request, as in a small domain of Amazon.
const MOST: usize = 10 << 20;
const STREAM: &str = "/logs-ansible-default/_bulk";

/// What the index remembers between requests.
#[derive(Default)]
struct Index {
    ids: BTreeSet<String>,
    /// Documents that were told to wait.
    told: BTreeSet<String>,
}

type Refusal = (u16, &'static str, &'static str);

pub fn start() -> Store {
    let shelf = Shelf::default();
    let (kept, index) = (shelf.clone(), Mutex::<Index>::default());
    let server = Server::answering(move |request| {
        match answer(request, &kept, &mut index.lock().unwrap()) {
            Ok(said) => super::json(200, &said),
            Err((status, kind, reason)) => {
                let error = json!({"type": kind, "reason": reason});
                super::json(status, &json!({"error": error, "status": status}))
            }
        }
    });
    Store { server, shelf }
}

fn answer(request: &Request, shelf: &Shelf, index: &mut Index) -> Result<Value, Refusal> {
    let known = [format!("ApiKey {API_KEY}"), format!("Basic {BASIC}")];
    match request.header("authorization") {
        Some(given) if known.iter().any(|known| known == given) => {}
        Some(_) => return Err((401, "security_exception", "unable to authenticate user")),
        None => {
            return Err((
                401,
                "security_exception",
                "missing authentication credentials",
            ));
        }
    }
    if request.method == "OPTIONS" {
        return Ok(json!({}));
    }
    let (path, query) = request
        .target
        .split_once('?')
        .unwrap_or((&request.target, ""));
    if request.method != "POST" || path != STREAM {
        return Err((404, "index_not_found_exception", "no such index [other]"));
    }
    if request.header("content-type") != Some("application/x-ndjson") {
        return Err((
            406,
            "media_type_header_exception",
            "Content-Type header is not supported",
        ));
    }
    if request.body.len() > MOST {
        return Err((413, "content_too_large", "entity content is too long"));
    }
    if !request.body.ends_with('\n') {
        let reason = "The bulk request must be terminated by a newline [\\n]";
        return Err((400, "illegal_argument_exception", reason));
    }
    let lines: Vec<&str> = request.body.lines().collect();
    let items: Result<Vec<Value>, Refusal> = lines
        .chunks(2)
        .map(|pair| one(pair, shelf, index))
        .collect();
    let items = items?;
    let is_good = |item: &Value| item["create"]["status"].as_u64() < Some(300);
    let mut said = json!({"errors": !items.iter().all(is_good), "items": items});
    if !query.contains("filter_path=") {
        said["took"] = json!(30);
    }
    Ok(said)
}

/// Stores a document; the result as the reply has it.
fn one(pair: &[&str], shelf: &Shelf, index: &mut Index) -> Result<Value, Refusal> {
    let malformed = (
        400,
        "illegal_argument_exception",
        "Malformed action/metadata line",
    );
    let action: Value = serde_json::from_str(pair[0]).map_err(|_| malformed)?;
    let (Some(create), Some(line)) = (action.get("create"), pair.get(1)) else {
        // A data stream takes nothing else.
        return Err(malformed);
    };
    let id = create["_id"].as_str().unwrap_or_default().to_owned();
    let refused = |status: u16, kind: &str, reason: &str| {
        let error = json!({"type": kind, "reason": reason});
        Ok(json!({"create": {"status": status, "error": error}}))
    };
    let Ok(document) = serde_json::from_str::<Value>(line) else {
        return refused(400, "document_parsing_exception", "failed to parse");
    };
    if document["@timestamp"].as_str().is_none() {
        let reason = "data stream timestamp field [@timestamp] is missing";
        return refused(400, "document_parsing_exception", reason);
    }
    if line.contains(POISON)
        || document
            .pointer("/ansible/result")
            .is_some_and(Value::is_object)
    {
        let reason = "Limit of total fields [1000] has been exceeded";
        return refused(400, "document_parsing_exception", reason);
    }
    if index.ids.contains(&id) {
        let reason = format!("[{id}]: version conflict, document already exists");
        return refused(409, "version_conflict_engine_exception", &reason);
    }
    if line.contains(BUSY) && index.told.insert(id.clone()) {
        return refused(
            429,
            "es_rejected_execution_exception",
            "rejected execution of primary operation",
        );
    }
    let host = document.pointer("/host/name").unwrap_or(&document["host"]);
    shelf.put(Stored {
        id: id.clone(),
        host: host.as_str().unwrap_or_default().to_owned(),
        document: document.clone(),
    });
    index.ids.insert(id);
    Ok(json!({"create": {"status": 201}}))
}
