//! The kind `grafana`: an annotation over the time that a run took (Grafana, "Annotations HTTP API").

use std::rc::Rc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Kind, Notifier};
use crate::config::advice;
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::event::Event;
use crate::failure::Failure;
use crate::message::{Message, MessageFormat};
use crate::net::authorization::{authorization, warn_of_plain_http, without_credentials};
use crate::net::headers::Headers;
use crate::net::http::{Http, Reply, Request};
use crate::net::urls::read_url;
use crate::notifier::chosen::{self, Chosen};
use crate::notifier::over_http::{self, Service, join_path, over_http, to_one};
use crate::notifier::recipients::{Each, LIST, Recipients, any};
use crate::text::{Escape, bytes, cut};

/// Grafana, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "grafana",
    about: "annotates Grafana dashboards with the time of a run",
    form: MessageFormat::Text(Escape::Html),
    build,
};

/// Size limit of the column in Grafana's database, in bytes.
const MOST: usize = 65_535;

struct Grafana {
    annotations: Url,
    secret_url: bool,
    authorization: HeaderValue,
    place: Place,
}

/// Place of an annotation; without a dashboard, it appears on all that query its tags.
struct Place {
    dashboard: Chosen<String>,
    /// The dashboard's number and the panel's.
    numbers: Map<String, Value>,
    tags: Option<Recipients>,
}

/// Tag of an annotation without other tags.
const TAG: &str = "ansible";

fn build(section: &Section, http: &Http) -> Option<Rc<dyn Notifier>> {
    let url = read_url(section, "url");
    let authorization = authorization(
        section,
        url.as_ref().map(|(_, url)| url),
        &Headers::default(),
    );
    let place = place(section);
    let service = url.clone().and_then(|(secrecy, url)| {
        warn_of_plain_http(section, "url", &url);
        let authorization = authorization.or_else(|| {
            // If there is a password that cannot be read, that is the problem.
            let is_other = section.is_given("username") || section.is_given("password");
            (!is_other).then(|| section.missing("token"))?
        })?;
        Some(Grafana {
            annotations: join_path(&without_credentials(url), &["api", "annotations"]),
            secret_url: secrecy == Secrecy::Secret,
            authorization,
            place,
        })
    });
    over_http(section, http, url.as_ref().map(|(_, url)| url), service)
}

fn place(section: &Section) -> Place {
    let number = |key: &str| {
        section.parsed(key, None, |text| {
            let number: Option<u64> = text.parse().ok();
            let given = advice::quoted(text);
            number
                .map(Some)
                .ok_or_else(|| format!("`{key}` must be a whole number, not {given}"))
        })
    };
    let dashboard = Chosen::read(section, "dashboard_uid", chosen::one_line);
    let id = number("dashboard_id").map(Value::from);
    let panel = number("panel_id").map(Value::from);
    if section.is_given("dashboard_uid") && id.is_some() {
        section.problem(
            "dashboard_id",
            "`dashboard_uid` and `dashboard_id` are set; keep one of them",
        );
    }
    if panel.is_some() && !section.is_given("dashboard_id") {
        section.needs("panel_id", "dashboard_uid");
    }
    let all = [("dashboardId", id), ("panelId", panel)].into_iter();
    Place {
        dashboard,
        numbers: all
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect(),
        tags: Recipients::optional(section, "tags", &LIST, any),
    }
}

impl Place {
    /// Returns the fields that place an annotation. A tag that fails is left out. A dashboard that fails is an
    /// error: without it, the annotation would appear on other dashboards.
    fn of(&self, message: &Message) -> Result<Map<String, Value>, Failure> {
        let uid = self.dashboard.of(message).map_err(Failure::permanent)?;
        let tags = self.tags.as_ref().map(|tags| tags.of(message));
        let tags = tags.and_then(Result::ok).unwrap_or_default();
        let mut fields = self.numbers.clone();
        fields.extend(uid.map(|uid| ("dashboardUID".to_owned(), uid.into())));
        let tags = match tags.is_empty() {
            true => json!([TAG]),
            false => json!(tags),
        };
        fields.insert("tags".to_owned(), tags);
        Ok(fields)
    }
}

/// Returns when the event began and when it ended.
fn times(event: &Event) -> (Timestamp, Timestamp) {
    let elapsed = event.end.as_ref().map(|end| end.elapsed);
    let took = SignedDuration::try_from_secs_f64(elapsed.or(event.duration).unwrap_or(0.0));
    let began = event.time.checked_sub(took.unwrap_or_default());
    (began.unwrap_or(event.time), event.time)
}

impl Service for Grafana {
    fn requests(&self, message: &Message) -> Result<Each<Request>, Failure> {
        let (began, ended) = times(message.context.event());
        let subject = Escape::Html.apply(&message.subject);
        // The text is shown as HTML, which ignores line breaks.
        let text = format!("{subject}\n{}", message.text)
            .trim()
            .replace('\n', "<br>");
        let mut body = self.place.of(message)?;
        body.insert("time".to_owned(), began.as_millisecond().into());
        body.insert("timeEnd".to_owned(), ended.as_millisecond().into());
        body.insert("text".to_owned(), cut(&text, MOST, bytes).into());
        let request = Request {
            body: over_http::json(&Value::Object(body)),
            ..self.probe(Method::POST)
        };
        Ok(to_one(request))
    }

    fn note(&self, message: &Message) -> Option<String> {
        let problem = self.place.tags.as_ref()?.of(message).err()?;
        Some(format!("{}; `{TAG}` is sent instead", problem.error()))
    }

    fn check_response(&self, reply: &Reply) -> Result<Option<String>, Failure> {
        let said = reply.json();
        if let Some(text) = said["message"].as_str() {
            reply.check_status_with(text.as_bytes())?;
        }
        // Old servers return no id.
        let took = said["id"].is_u64() || said["message"] == "Annotation added";
        reply.from("Grafana", took)?;
        Ok(said["id"].as_u64().map(|id| id.to_string()))
    }

    fn probe(&self, method: Method) -> Request {
        let json = HeaderValue::from_static("application/json");
        let authorization = self.authorization.clone();
        Request {
            method,
            url: self.annotations.clone(),
            secret_url: self.secret_url,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, json), (AUTHORIZATION, authorization)]),
            body: Bytes::new(),
        }
    }
}
