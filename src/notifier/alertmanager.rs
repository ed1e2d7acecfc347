//! The kind `alertmanager`: alerts that fire with a failure and are resolved by the recovery (Prometheus,
//! "Alerts API" and the OpenAPI specification of Alertmanager's API, version 2).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::event::time_text;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{authorization, warn_of_plain_http, without_credentials};
use crate::net::headers::Headers;
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_url;
use crate::notifier::labels::{Labels, is_label};
use crate::notifier::over_http::{Service, before_path, join_path, json_with, over_http};
use crate::notifier::pagerduty::Action;
use crate::notifier::recipients::Each;
use crate::text::{Escape, characters, cut};

/// Alertmanager, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "alertmanager",
    about: "fires alerts in Prometheus Alertmanager and resolves them",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Maximum length of an annotation, in characters. Alertmanager has no limit of its own, but the services behind it
/// do.
const ANNOTATION: usize = 10_000;
/// Time for which a failure stays an alert, unless a recovery ends it earlier.
const LIFETIME: Duration = Duration::from_secs(7 * 86_400);

struct Alertmanager {
    base: Url,
    secret_url: bool,
    authorization: Option<HeaderValue>,
    /// Labels that replace the default ones, or are added to them.
    labels: Labels,
    severity: String,
    lifetime: Duration,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_url(section, "url");
    let credentials = url.as_ref().map(|(_, url)| url);
    let authorization = authorization(section, credentials, &Headers::default());
    let labels = Labels::of(section);
    let severity = section.text("severity").unwrap_or("error").to_owned();
    let lifetime = section.duration("lifetime", LIFETIME);
    let service = url.clone().map(|(secrecy, url)| {
        warn_of_plain_http(section, "url", &url);
        Alertmanager {
            base: before_path(&without_credentials(url), "/api/v2"),
            secret_url: secrecy == Secrecy::Secret,
            authorization,
            labels,
            severity,
            lifetime,
        }
    });
    over_http(section, http, url.as_ref().map(|(_, url)| url), service)
}

/// Returns a text as a name of an annotation.
fn annotation(name: &str) -> String {
    let allowed = |character: char| match character.is_ascii_alphanumeric() {
        true => character.to_ascii_lowercase(),
        false => '_',
    };
    name.chars().map(allowed).collect()
}

impl Alertmanager {
    /// Returns the labels of an alert. They identify it, so they hold nothing that differs between a failure and
    /// its recovery, and the reasons why some of the configured ones are missing.
    fn labels(&self, message: &Message) -> (BTreeMap<String, String>, Vec<String>) {
        let event = message.context.event();
        let task = event.task.as_ref().filter(|_| event.alert.is_none());
        let hosts = message.context.hosts();
        let host = match hosts.as_slice() {
            [host] if event.end.is_none() => *host,
            _ => "",
        };
        let name = match task {
            Some(_) => "AnsibleTaskFailed",
            None => "AnsibleRunFailed",
        };
        let run = match event.run.incident_key() {
            key if key.is_empty() => event.run.id.clone(),
            key => key,
        };
        let task = task.map(|task| task.name.clone()).unwrap_or_default();
        let defaults = [
            ("alertname", name),
            ("severity", &self.severity),
            ("run", &run),
            ("task", &task),
            ("host", host),
        ];
        self.labels.over(&defaults, message)
    }

    fn alert(&self, message: &Message, action: Action) -> Map<String, Value> {
        let time = message.context.event().time;
        let ends = match action {
            Action::Resolve => time,
            Action::Trigger | Action::Change => after(time, self.lifetime),
        };
        let (labels, _) = self.labels(message);
        let texts = [
            ("summary", message.subject.as_str()),
            ("description", message.text.trim()),
        ];
        let fields = message.fields.iter();
        let fields = fields.map(|(name, value)| (annotation(name), value.as_str()));
        let texts = texts.map(|(name, text)| (name.to_owned(), text));
        let annotations: BTreeMap<String, _> = fields
            .chain(texts)
            .filter(|(name, text)| is_label(name) && !text.is_empty())
            .map(|(name, text)| (name, cut(text, ANNOTATION, characters)))
            .collect();
        let alert = json!({
            "labels": labels,
            "annotations": annotations,
            "startsAt": time_text(time),
            "endsAt": time_text(ends),
        });
        let mut alert = alert.as_object().cloned().unwrap_or_default();
        alert.extend(
            message
                .link()
                .map(|url| ("generatorURL".to_owned(), url.into())),
        );
        alert
    }

    fn request(&self, method: Method, resource: &str) -> Request {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json)]);
        let authorization = self.authorization.clone();
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        Request {
            method,
            url: join_path(&self.base, &["api", "v2", resource]),
            secret_url: self.secret_url,
            headers,
            body: Bytes::new(),
        }
    }
}

fn after(time: Timestamp, lifetime: Duration) -> Timestamp {
    time.saturating_add(lifetime).unwrap_or(time)
}

impl Service for Alertmanager {
    /// Returns an alert that fires or ends; nothing for other events, about which there is no alert.
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let actions = Action::on(message.context.event()).iter();
        let alerts = actions.filter(|action| **action != Action::Change);
        let request = |action: &Action| {
            let alert = json_with(self.alert(message, *action), message)?;
            let request = Request {
                body: [&b"["[..], &alert[..], &b"]"[..]].concat().into(),
                ..self.request(Method::POST, "alerts")
            };
            Ok((action.name().to_owned(), Ok(request)))
        };
        alerts.map(request).collect()
    }

    fn note(&self, message: &Message) -> Option<String> {
        let (_, mistakes) = self.labels(message);
        (!mistakes.is_empty()).then(|| mistakes.join("; "))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        // It answers to an alert with nothing, and to a question for its status with its version.
        let is_its_own = reply.text().is_empty() || reply.json()["versionInfo"].is_object();
        reply.from("Alertmanager", is_its_own)?;
        Ok(None)
    }

    fn probe(&self, method: Method) -> Request {
        self.request(method, "alerts")
    }

    fn health_check(&self) -> Option<Request> {
        Some(self.request(Method::GET, "status"))
    }
}
