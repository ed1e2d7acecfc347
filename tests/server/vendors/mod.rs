//! Services without a kind of their own, which refuse what their references say that they refuse. Each has
//! one secret, `canary-` and its name.

mod chat;
mod code;
mod incidents;
pub mod rules;
mod runs;

use base64::Engine as _;
use serde_json::{Value, json};

use super::{Reply, Request, Server};

/// Status and reason.
pub type Refusal = (u16, String);

/// What a service says to a request.
pub type Answer = Result<(u16, Value), Refusal>;

pub fn refuse<T>(status: u16, reason: &str) -> Result<T, Refusal> {
    Err((status, reason.to_owned()))
}

/// Function that answers a request to a service.
type Service = fn(&Request) -> Answer;

/// Each service by the name of its recipe.
const VENDORS: [(&str, Service); 17] = [
    ("Google Chat", chat::google),
    ("GitHub commit status", code::github_status),
    ("GitHub deployment status", code::github_deployment),
    ("GitLab commit status", code::gitlab_status),
    ("GitLab pipeline", code::gitlab_pipeline),
    ("Gotify", chat::gotify),
    ("healthchecks.io", runs::healthchecks),
    ("Home Assistant", runs::home_assistant),
    ("Jira", incidents::jira),
    ("Matrix", chat::matrix),
    ("n8n", runs::n8n),
    ("ntfy", |_| refuse(500, "has a server of its own")),
    ("Opsgenie", incidents::opsgenie),
    ("Pushover", chat::pushover),
    ("ServiceNow", incidents::servicenow),
    ("Webex", chat::webex),
    ("Zulip", chat::zulip),
];

/// Starts the service of a recipe, if it is one of these.
pub fn start(name: &str) -> Option<Server> {
    let (_, answer) = VENDORS.iter().find(|(known, _)| *known == name)?;
    if name == "ntfy" {
        return Some(super::ntfy::start());
    }
    Some(Server::answering(move |request| reply(answer(request))))
}

fn reply(answer: Answer) -> Reply {
    match answer {
        Ok((status, body)) => super::json(status, &body),
        Err((status, reason)) => super::json(status, &json!({"error": reason})),
    }
}

/// Refuses a request without this header.
fn need_header(request: &Request, name: &str, value: &str) -> Result<(), Refusal> {
    match request.header(name) == Some(value) {
        true => Ok(()),
        false => refuse(401, "unauthorized"),
    }
}

fn need_bearer(request: &Request, token: &str) -> Result<(), Refusal> {
    need_header(request, "authorization", &format!("Bearer {token}"))
}

fn need_basic(request: &Request, user: &str, password: &str) -> Result<(), Refusal> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    need_header(request, "authorization", &format!("Basic {pair}"))
}

fn need_request(request: &Request, method: &str, path: &str) -> Result<(), Refusal> {
    let (asked, _) = rules::target(request);
    match (request.method == method, asked == path) {
        (true, true) => Ok(()),
        (false, true) => refuse(405, "method not allowed"),
        _ => refuse(404, &format!("no such resource: {asked}")),
    }
}
