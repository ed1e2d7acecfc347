//! A run of Ansible as its plugin reported it, in the protocol of `stream`.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::protocol::{PROTOCOL, VERSION};

/// The records, one a line. Times are in seconds since the start of the run; what changes with each run is left out.
const RECORDS: &str = include_str!("run.ndjson");

/// Returns the records of a run that ends at `end`.
pub fn ending_at(end: Timestamp) -> serde_json::Result<String> {
    let records: Vec<Value> = RECORDS
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let seconds = |record: &Value| record["event"]["time"].as_f64();
    let length = records.iter().filter_map(seconds).fold(0.0, f64::max);
    let start = end.as_millisecond() as f64 / 1000.0 - length;
    let mut text = String::new();
    for mut record in records {
        if let Some(hello) = record.get_mut("hello") {
            hello["protocol"] = json!(PROTOCOL);
            hello["version"] = json!(VERSION);
            hello["run"]["id"] = json!(Uuid::now_v7().to_string());
        }
        if let Some(time) = seconds(&record) {
            record["event"]["time"] = json!(start + time);
        }
        text += &format!("{record}\n");
    }
    Ok(text)
}
