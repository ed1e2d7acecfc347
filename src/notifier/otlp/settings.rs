//! Keys of the kind `otlp`.

use hyper::header::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::model::KeyValue;
use super::{Signal, Target};
use crate::config::advice::quoted;
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::net::authorization::{authorization, warn_of_plain_http, without_credentials};
use crate::net::compression::Compress;
use crate::net::headers::Headers;
use crate::net::http::Http;
use crate::net::urls::read_url;
use crate::notifier::over_http::join_path;
use crate::system::home;

/// Encoding of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Protobuf,
    Json,
}

impl Protocol {
    /// Returns the media type of requests.
    pub fn media_type(self) -> &'static str {
        match self {
            Protocol::Protobuf => "application/x-protobuf",
            Protocol::Json => "application/json",
        }
    }
}

/// Settings of requests.
pub struct Settings {
    pub protocol: Protocol,
    pub compress: Compress,
    pub headers: HeaderMap,
    pub authorization: Option<HeaderValue>,
    pub secret_url: bool,
    /// Attributes of the resource, besides the name of the controller.
    pub resource: Vec<KeyValue>,
}

/// Reads the settings, and where each signal goes. All keys are read before anything returns.
pub fn read(
    section: &Section,
    http: &Http,
    signals: Vec<Signal>,
) -> Option<(Settings, Vec<Target>)> {
    let protocols = [
        ("http/protobuf", Protocol::Protobuf),
        ("http/json", Protocol::Json),
    ];
    let protocol = section.choice("protocol", Protocol::Protobuf, &protocols);
    let compress = Compress::read(section, Compress::Gzip);
    let headers = Headers::read(section, protocol.media_type());
    if headers.has_templates() {
        section.problem(
            "headers",
            "a header of `otlp` cannot be a template: a request has many events",
        );
    }
    let resource = resource(section);
    let urls: Vec<_> = Signal::NAMES
        .into_iter()
        .map(|(name, signal)| {
            let key = format!("{name}_url");
            (
                signal,
                section.is_given(&key).then(|| read_url(section, &key)),
            )
        })
        .collect();
    let needs_base = signals.iter().any(|signal| {
        urls.iter()
            .any(|(known, url)| known == signal && url.is_none())
    });
    let base = match needs_base || section.is_given("url") {
        true => Some(read_url(section, "url")),
        false => None,
    };
    let first = base
        .iter()
        .flatten()
        .chain(urls.iter().filter_map(|(_, url)| url.as_ref()?.as_ref()));
    let first = first.map(|(_, url)| url.clone()).next();
    let authorization = authorization(section, first.as_ref(), &headers);
    if let (true, Some(url)) = (authorization.is_some(), &first) {
        warn_of_plain_http(section, "url", url);
    }
    // The keys of the connection are known even if there is no address.
    let placeholder = Url::parse("http://localhost").expect("a URL");
    http.endpoint(section, first.as_ref().unwrap_or(&placeholder))?;
    let mut targets = Vec::new();
    let mut secret_url = false;
    for signal in signals {
        let own = urls.iter().find(|(known, _)| *known == signal);
        let (secrecy, url) = match own.and_then(|(_, url)| url.as_ref()) {
            Some(own) => own.clone()?,
            None => {
                let (secrecy, base) = base.clone().flatten()?;
                let (name, _) = Signal::NAMES[signal as usize];
                (secrecy, join_path(&base, &["v1", name]))
            }
        };
        secret_url |= secrecy == Secrecy::Secret;
        targets.push(Target {
            signal,
            endpoint: http.endpoint(section, &url)?,
            url: without_credentials(url),
        });
    }
    let settings = Settings {
        protocol,
        compress,
        headers: headers.fixed,
        authorization,
        secret_url,
        resource,
    };
    Some((settings, targets))
}

/// Reads `service_name` and `resource_attributes`, or the variables of OpenTelemetry that stand for them.
fn resource(section: &Section) -> Vec<KeyValue> {
    let variable = |key: &str, name: &str| {
        let given = section.text(key).map(str::to_owned);
        given.or_else(|| home::variable(name).map(|text| text.to_string_lossy().into_owned()))
    };
    let given = variable("resource_attributes", "OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let mut attributes = Vec::new();
    for pair in given
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        match pair.split_once('=') {
            Some((key, value)) => {
                let value = percent_decode_str(value.trim()).decode_utf8_lossy();
                attributes.push(KeyValue::new(key.trim(), &*value));
            }
            None => {
                let pair = quoted(pair);
                let problem = format!(
                    "`resource_attributes` must be NAME=VALUE pairs, separated by commas, not {pair}"
                );
                section.problem("resource_attributes", problem);
            }
        }
    }
    let name = variable("service_name", "OTEL_SERVICE_NAME");
    let is_named = attributes
        .iter()
        .any(|known: &KeyValue| known.key == "service.name");
    if name.is_some() || !is_named {
        attributes.retain(|known| known.key != "service.name");
        attributes.insert(
            0,
            KeyValue::new("service.name", name.as_deref().unwrap_or("ansible")),
        );
    }
    attributes
}
