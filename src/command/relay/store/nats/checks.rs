//! Checks of the servers: a version that can be made durable, and the setting that makes it so.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use async_nats::Client;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::HeaderMap;
use serde_json::Value;

use super::settings::Settings;
use crate::console::stderr;
use crate::net::http::{Endpoint, Request};
use url::Url;

/// Oldest version of nats-server with everything that the program needs.
const OLDEST: (i64, i64, i64) = (2, 11, 0);

/// Refuses servers that are too old.
pub fn version(client: &Client) -> Result<()> {
    let (major, minor, patch) = OLDEST;
    let version = client.server_info().version;
    ensure!(
        client.is_server_compatible(major, minor, patch),
        "nats-server {version} is too old: {}; {major}.{minor} or newer is needed",
        match client.is_server_compatible(2, 10, 0) {
            true => "it cannot give a partition to one process at a time",
            false =>
                "it cannot be told to write events to disk before it answers (`sync_interval: always`)",
        }
    );
    Ok(())
}

/// Asks the servers if they write to disk before they answer. Those that cannot be reached now are named; at least as
/// many must answer as make a majority of the replicas.
pub async fn durability(settings: &Settings) -> Result<()> {
    if !settings.require_sync {
        stderr::say(
            "warning: `require_sync = false`: if all servers lose power, events that were accepted in the last minutes are \
             lost",
        );
        return Ok(());
    }
    let mut known = BTreeSet::new();
    for (url, endpoint) in &settings.monitors {
        let place = url.origin().ascii_serialization();
        match report(url, endpoint).await {
            Ok(report) => known.insert(server(&report, &place)?),
            Err(error) => {
                stderr::say(format!("warning: {place} does not answer: {error}"));
                continue;
            }
        };
    }
    let needed = settings.replicas / 2 + 1;
    ensure!(
        known.len() >= needed,
        "{} of the servers that `monitor` names answered, and {needed} must for {} replicas: nobody knows if the others \
         write to disk before they answer",
        known.len(),
        settings.replicas
    );
    Ok(())
}

async fn report(url: &Url, endpoint: &Endpoint) -> Result<Value> {
    let request = Request {
        method: Method::GET,
        url: url.clone(),
        secret_url: false,
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let reply = endpoint.exchange(request).await;
    let reply = reply.map_err(|failure| anyhow::anyhow!("{}", failure.error()))?;
    let report = reply.json();
    ensure!(
        report["config"].is_object(),
        "{}: not the monitoring port of a server with JetStream",
        reply.status
    );
    Ok(report)
}

/// Returns the id of a server that writes to disk before it answers.
fn server(report: &Value, place: &str) -> Result<String> {
    if report["config"]["sync_always"] != Value::Bool(true) {
        bail!(
            "the server at {place} keeps what it has accepted in memory only, for minutes: set `sync_interval: always` \
             in `jetstream`, and restart it; or accept a loss with `require_sync = false` in [nats]"
        );
    }
    Ok(report["server_id"].as_str().unwrap_or(place).to_owned())
}
