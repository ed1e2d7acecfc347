//! Variables of OpenTelemetry's SDKs that stand for keys of a notifier of type `otlp` without an address
//! (OpenTelemetry specification, "OTLP Exporter Configuration").

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use super::Options;
use super::entry::{Entry, Origin};
use super::section::Section;
use crate::secret;

/// Type of the notifiers that they configure.
const KIND: &str = "otlp";

/// Keys, and the variables that set them.
const VARIABLES: [(&str, &str); 11] = [
    ("url", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ("traces_url", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    ("logs_url", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
    ("metrics_url", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
    ("headers", "OTEL_EXPORTER_OTLP_HEADERS"),
    ("protocol", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    ("compress", "OTEL_EXPORTER_OTLP_COMPRESSION"),
    ("timeout", "OTEL_EXPORTER_OTLP_TIMEOUT"),
    ("ca_file", "OTEL_EXPORTER_OTLP_CERTIFICATE"),
    ("client_cert", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
    ("client_key", "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
];

/// Number of the first variables that are addresses.
const ADDRESSES: usize = 4;

/// Returns the variable that sets a key, if there is one.
pub fn variable(key: &str) -> Option<&'static str> {
    let mut known = VARIABLES.iter();
    known
        .find(|(known, _)| *known == key)
        .map(|(_, name)| *name)
}

/// Sets the keys of a section from the environment, if it is a notifier of this type and has no address: a configuration
/// that has one does not get what belongs to another.
pub fn apply(section: &mut Section, options: &Options) {
    let is_meant = section
        .entries
        .iter()
        .any(|entry| entry.key == "type" && entry.value.trim() == KIND);
    let has_address = |section: &Section| {
        let mut addresses = VARIABLES[..ADDRESSES].iter();
        addresses.any(|(key, _)| section.is_given(key))
    };
    if !is_meant || has_address(section) {
        return;
    }
    let mut is_bound = false;
    for (key, variable) in VARIABLES {
        let value = std::env::var(variable).ok();
        let value = value.filter(|value| !value.is_empty() && options.allows(&[key]));
        let Some(value) = value.filter(|_| !section.is_given(key)) else {
            continue;
        };
        is_bound = true;
        section.set(Entry {
            key: key.to_owned(),
            value: translated(key, value),
            origin: Origin::Environment(variable),
        });
    }
    if is_bound {
        section.bind(|_| true);
    }
}

/// Returns a value in the form of the key.
fn translated(key: &str, value: String) -> String {
    match key {
        // Milliseconds.
        "timeout" if value.bytes().all(|byte| byte.is_ascii_digit()) => format!("{value}ms"),
        "headers" => headers(&value),
        _ => value,
    }
}

/// Returns headers, `NAME=VALUE` separated by commas with encoded values, as a JSON object.
fn headers(value: &str) -> String {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8_lossy();
        secret::mask(&value);
        Some((name.trim().to_owned(), Value::String(value.into_owned())))
    };
    let pairs: Map<String, Value> = value.split(',').filter_map(pair).collect();
    Value::Object(pairs).to_string()
}
