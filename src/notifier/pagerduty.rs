//! The kind `pagerduty`: incidents that open, collect repeated failures and resolve, and change events
//! (PagerDuty, "Events API v2").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::advice;
use crate::config::checked::noted;
use crate::config::section::Section;
use crate::event::{Event, State, Status};
use crate::failure::Failure;
use crate::message::{Level, Message, MessageFormat};
use crate::net::digest::sha256_hex;
use crate::net::http::{Http, Reply, Request};
use crate::notifier::chosen::{self, Chosen};
use crate::notifier::over_http::{self, Service, api_url, join_path, over_http};
use crate::notifier::recipients::Each;
use crate::secret::Secret;
use crate::template::Template;
use crate::template::context::Context;
use crate::text::{Escape, characters, cut, one_line};

/// PagerDuty, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "pagerduty",
    about: "opens and resolves PagerDuty incidents, and sends change events",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Maximum length of the summary and of `dedup_key`, in characters.
const SUMMARY: usize = 1024;
const DEDUP_KEY: usize = 255;
/// Maximum length of other texts, such as `component`, in characters.
const DETAIL: usize = 255;
/// Maximum size of an event, in bytes.
const EVENT: usize = 512_000;
const SEVERITIES: [(&str, &str); 4] = [
    ("critical", "critical"),
    ("error", "error"),
    ("warning", "warning"),
    ("info", "info"),
];

struct PagerDuty {
    api: Url,
    routing_key: Secret,
    /// Replaces the key made of playbook and inventory.
    dedup_key: Option<Template>,
    severity: Chosen<&'static str>,
    /// `client` and `client_url`: the origin shown in an incident.
    client: [(&'static str, Chosen<String>); 2],
}

/// Action of an event sent to a service of incidents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Something is wrong: opens an incident, or adds to an open one.
    Trigger,
    /// The failure is over.
    Resolve,
    /// Something happened that pages nobody.
    Change,
}

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let region = section.choice("region", "", &[("us", ""), ("eu", "eu.")]);
    let api = api_url(section, &format!("https://events.{region}pagerduty.com"));
    let routing_key = section.required_secret("routing_key");
    let dedup_key = section
        .template("dedup_key")
        .and_then(|source| noted(section, "dedup_key", Template::text(source, Escape::Plain)));
    let severity = Chosen::read(section, "severity", |name| {
        advice::one_of("severity", &SEVERITIES, name)
    });
    let client =
        ["client", "client_url"].map(|key| (key, Chosen::read(section, key, chosen::one_line)));
    let service = || {
        Some(PagerDuty {
            api: api.clone()?,
            routing_key: routing_key?,
            dedup_key,
            severity,
            client,
        })
    };
    over_http(section, http, api.as_ref(), service())
}

impl Action {
    /// Returns the actions for an event. A success resolves if it leaves nothing broken, whether or not an
    /// incident is known to be open: another machine may have reported the failure, and without an incident
    /// it does nothing.
    pub(super) fn on(event: &Event) -> &'static [Action] {
        match (event.status(), event.state) {
            (Some(Status::Error | Status::Canceled), _) => &[Action::Trigger],
            (Some(Status::Success), _) if event.resolves() => &[Action::Resolve, Action::Change],
            (None, Some(State::Failed | State::Unreachable)) => &[Action::Trigger],
            // The playbook's next success resolves it.
            _ if event.alert.is_some() => &[Action::Trigger],
            (None, Some(State::Success)) if !event.run.check => &[Action::Resolve],
            _ => &[Action::Change],
        }
    }

    /// Returns the service's own word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Action::Trigger => "trigger",
            Action::Resolve => "resolve",
            Action::Change => "change",
        }
    }

    fn path(self) -> &'static [&'static str] {
        match self {
            Action::Change => &["v2", "change", "enqueue"],
            Action::Trigger | Action::Resolve => &["v2", "enqueue"],
        }
    }
}

impl PagerDuty {
    fn body(&self, message: &Message, action: Action) -> Value {
        let mut body = json!({"routing_key": self.routing_key.expose()});
        if action != Action::Change {
            body["event_action"] = action.name().into();
            body["dedup_key"] = self.dedup_key(&message.context).into();
        }
        if action == Action::Resolve {
            return body;
        }
        body["payload"] = self.payload(message, action);
        if let Some(url) = message.link() {
            body["links"] = json!([{"href": url, "text": "The run"}]);
        }
        if let (Action::Trigger, Some(fields)) = (action, body.as_object_mut()) {
            let given = |(key, value): &(&str, Chosen<String>)| {
                Some(((*key).to_owned(), value.of(message).ok()??.into()))
            };
            fields.extend(self.client.iter().filter_map(given));
        }
        body
    }

    fn payload(&self, message: &Message, action: Action) -> Value {
        let event = message.context.event();
        let names = [
            event.host_name(),
            event.run.controller.as_deref().unwrap_or_default(),
        ];
        let source = names.into_iter().find(|name| !name.is_empty());
        // PagerDuty rejects an empty one.
        let summary = Some(message.subject.as_str()).filter(|subject| !subject.is_empty());
        let name = event.run.name();
        let summary = summary.unwrap_or(&name);
        let mut payload = json!({
            "summary": cut(summary, SUMMARY, characters),
            "source": detail(source.unwrap_or("ansible")),
            "timestamp": crate::event::time_text(event.time),
            "custom_details": details(message),
        });
        if action == Action::Trigger {
            let task = event.task.as_ref().map(|task| task.name.as_str());
            payload["severity"] = self.severity(message).into();
            let group = event.run.playbook.clone();
            let group = group.or_else(|| event.run.command());
            payload["component"] = task.map(detail).into();
            payload["group"] = group.as_deref().map(detail).into();
            payload["class"] = event.event.name().into();
        }
        payload
    }

    /// Returns the severity. A page must go out, so an invalid one is replaced.
    fn severity(&self, message: &Message) -> &'static str {
        let chosen = self.severity.of(message).ok().flatten();
        chosen.unwrap_or(default_severity(message.level))
    }

    /// Returns the identity of an incident; the default replaces a failed template.
    fn dedup_key(&self, context: &Context) -> String {
        let own = self.dedup_key.as_ref();
        let own = own.and_then(|template| template.render(context).ok());
        let key = own.unwrap_or_else(|| default_dedup_key(context));
        match key.trim() {
            "" => context.event().run.id.clone(),
            key if key.chars().count() > DEDUP_KEY => sha256_hex(key.as_bytes()),
            key => key.to_owned(),
        }
    }

    /// Returns the results of templates that PagerDuty would reject, with their replacements.
    fn mistakes(&self, message: &Message, action: Action) -> Vec<String> {
        if action == Action::Change {
            return Vec::new();
        }
        let key = self.dedup_key.as_ref();
        let key = key.and_then(|template| template.render(&message.context).err());
        let key = key
            .map(|problem| format!("`dedup_key` failed: {problem}; the default is sent instead"));
        if action == Action::Resolve {
            return key.into_iter().collect();
        }
        let default = default_severity(message.level);
        let severity = self.severity.of(message).err();
        let severity = severity.map(|problem| format!("{problem}; `{default}` is sent instead"));
        let client = self.client.iter();
        let client = client.filter_map(|(_, value)| value.of(message).err());
        key.into_iter().chain(severity).chain(client).collect()
    }
}

fn default_severity(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Info | Level::Success => "info",
    }
}

/// Returns the identity of an incident: playbook and inventory, or the script, and for a result its task and host.
fn default_dedup_key(context: &Context) -> String {
    let event = context.event();
    let mut parts = vec![event.run.incident_key()];
    let task = event.task.as_ref().filter(|_| event.alert.is_none());
    parts.extend(task.map(|task| task.name.clone()));
    parts.extend(match context.hosts().as_slice() {
        [host] => Some((*host).to_owned()),
        _ => None,
    });
    parts.join(": ")
}

/// Shortens a text next to the summary to one line.
fn detail(text: &str) -> String {
    cut(&one_line(text), DETAIL, characters).into_owned()
}

/// Returns the details below the summary: the user's `body`, or the message and the fields.
fn details(message: &Message) -> Value {
    match &message.body {
        Some(body @ Value::Object(_)) => body.clone(),
        Some(body) => json!({"details": body}),
        None => {
            let mut details = Map::new();
            if !message.text.is_empty() {
                details.insert("Message".to_owned(), message.text.as_str().into());
            }
            let fields = message.fields.iter();
            details.extend(fields.map(|(name, value)| (name.clone(), value.as_str().into())));
            Value::Object(details)
        }
    }
}

/// Serialises an event, without its details if they are too large.
fn bounded(mut event: Value) -> Bytes {
    let text = over_http::json(&event);
    if text.len() <= EVENT {
        return text;
    }
    let note = "left out: with them the event would exceed PagerDuty's size limit";
    event["payload"]["custom_details"] = json!({"Details": note});
    over_http::json(&event)
}

impl Service for PagerDuty {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let actions = Action::on(message.context.event()).iter();
        let request = |action: &Action| {
            let request = Request {
                url: join_path(&self.api, action.path()),
                body: bounded(self.body(message, *action)),
                ..self.probe(Method::POST)
            };
            (action.name().to_owned(), Ok(request))
        };
        Ok(actions.map(request).collect())
    }

    fn note(&self, message: &Message) -> Option<String> {
        let actions = Action::on(message.context.event()).iter();
        let mistakes = actions.flat_map(|action| self.mistakes(message, *action));
        let mistakes: Vec<String> = mistakes.collect();
        (!mistakes.is_empty()).then(|| mistakes.join("; "))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        let errors = said["errors"].as_array().into_iter().flatten();
        let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
        let judged = if errors.is_empty() || reply.status.is_success() {
            reply.from("PagerDuty", said["status"] == "success")
        } else {
            reply.check_status_with(errors.join("; ").as_bytes())
        };
        judged.map(|()| said["dedup_key"].as_str().map(str::to_owned))
    }

    fn probe(&self, method: Method) -> Request {
        let json = HeaderValue::from_static("application/json");
        Request {
            method,
            url: join_path(&self.api, &["v2", "enqueue"]),
            secret_url: false,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json)]),
            body: Bytes::new(),
        }
    }
}
