//! Callbacks of community.general that record every result, as keys of a notifier.

use url::Url;

use super::draft::{Draft, Names, Secret};
use super::fields::Fields;
use super::webhook::holds_secret;

/// Address of a collector without any setting (OpenTelemetry specification, "OTLP Exporter Configuration").
const COLLECTOR: &str = "http://localhost:4318";
/// Ports of OTLP over gRPC and over HTTP.
const GRPC: u16 = 4317;
const HTTP: u16 = 4318;

/// Message of the callback `syslog_json`.
const MESSAGE: &str = "task execution {{ {'success': 'OK', 'skipped': 'SKIPPED', 'failed': 'FAILED', 'unreachable': 'UNREACHABLE'}[state] }}; host: {{ host }}; message: {{ result | to_json }}";

/// Sets a key to the secret in an option.
fn put(draft: &mut Draft, names: &mut Names, key: &str, option: &str, known: Option<String>) {
    let secret = Secret {
        variable: names.variable(&draft.stem, key),
        source: format!("the callback's `{option}`"),
        known,
        is_guess: false,
    };
    draft.set_secret(key, secret);
}

/// Sets the address, which may be a secret.
fn address(draft: &mut Draft, names: &mut Names, option: &str, url: String) {
    match holds_secret(&url) {
        true => put(draft, names, "url", option, Some(url)),
        false => draft.set("url", url),
    }
}

/// Writes the keys for the callback `opentelemetry`.
pub fn opentelemetry(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    match fields.text("endpoint") {
        Some(url) => {
            let url = over_http(draft, url);
            address(draft, names, "endpoint", url);
        }
        None => draft.set("url", COLLECTOR),
    }
    let headers = fields.text("headers").unwrap_or_default();
    for (name, value) in headers.split(',').filter_map(|pair| pair.split_once('=')) {
        let key = format!("header.{}", name.trim());
        put(draft, names, &key, "headers", Some(value.trim().to_owned()));
    }
    fields.copy(draft, &[("otel_service_name", "service_name")]);
    let has_logs = !fields.flag("disable_logs");
    draft.set("signals", if has_logs { "traces, logs" } else { "traces" });
    // Both are so here, whatever they say.
    let _ = (
        fields.value("traceparent"),
        fields.value("hide_task_arguments"),
    );
    if fields.text("otel_exporter_otlp_traces_protocol").as_deref() != Some("http/protobuf") {
        draft.remark("OTLP goes over HTTP here, usually to port 4318; the callback uses gRPC and port 4317 by default.");
    }
    draft.remark("Spans also have the names of the semantic conventions for CI/CD, and plays have spans of their own.");
}

/// Returns an address for OTLP over HTTP.
fn over_http(draft: &mut Draft, text: String) -> String {
    let Ok(mut url) = Url::parse(&text) else {
        return text;
    };
    if url.port() != Some(GRPC) || url.set_port(Some(HTTP)).is_err() {
        return text;
    }
    draft.remark("`url`: port 4317 is for gRPC, so it is 4318 here.");
    url.to_string()
}

/// Writes the keys for the callback `elastic`: Elastic's APM server accepts OTLP.
pub fn elastic(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    match fields.text("apm_server_url") {
        Some(url) => address(draft, names, "apm_server_url", url),
        None => draft.unfinished = Some("`apm_server_url` is missing".to_owned()),
    }
    if let Some(token) = fields.text("apm_secret_token") {
        put(draft, names, "token", "apm_secret_token", Some(token));
    } else if let Some(key) = fields.text("apm_api_key") {
        let value = Some(format!("ApiKey {key}"));
        put(draft, names, "header.Authorization", "apm_api_key", value);
    }
    fields.copy(draft, &[("apm_service_name", "service_name")]);
    if fields.text("apm_verify_server_cert").is_some() && !fields.flag("apm_verify_server_cert") {
        draft.set("validate_certs", "false");
    }
    draft.set("signals", "traces");
    let _ = (
        fields.value("traceparent"),
        fields.value("hide_task_arguments"),
    );
    draft.remark("Elastic's APM server gets the traces by OTLP.");
}

/// Writes the keys for the callback `syslog_json`.
pub fn syslog_json(draft: &mut Draft, fields: &Fields, _: &mut Names) {
    let or = |name, default: &str| fields.text(name).unwrap_or_else(|| default.to_owned());
    let (server, port) = (or("server", "localhost"), or("port", "514"));
    draft.set("url", format!("udp://{server}:{port}"));
    draft.set("facility", or("facility", "user"));
    draft.set("app_name", "ansible-command");
    draft.set("structured_data", "false");
    draft.set("on", "ok, skipped, failed, unreachable, async_failed");
    if fields.text("setup").is_some() && !fields.flag("setup") {
        draft.set("when", "task_action is not search('setup$')");
    }
    draft.set("message", MESSAGE);
    draft.remark("Messages have the form of RFC 5424; the callback's had that of RFC 3164. Nobody knows whether a datagram arrives: with `url = relp://HOST:2514`, the server answers.");
}
