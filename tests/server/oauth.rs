//! The token endpoint of an OAuth 2.0 server, which refuses what a real one refuses (RFC 6749, sections 2.3.1,
//! 4.4 and 5.2).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Request, Server, json};

pub const ID: &str = "app:1";
pub const SECRET: &str = "canary secret/+%";

/// Where the server takes the client's credentials from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Header,
    Body,
}

/// Starts a server that gives a token such as `canary-token-1`, with `more` in the reply.
pub fn start(client: Client, more: Value) -> Server {
    let count = AtomicUsize::new(0);
    Server::answering(move |request| match refusal(client, request) {
        Some((status, error)) => json(status, &json!({"error": error, "error_description": "no"})),
        None => {
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            let mut body =
                json!({"access_token": format!("canary-token-{number}"), "token_type": "Bearer"});
            body.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            json(200, &body)
        }
    })
}

pub fn form(request: &Request) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect()
}

fn refusal(client: Client, request: &Request) -> Option<(u16, &'static str)> {
    let form = form(request);
    let content_type = request.header("content-type").unwrap_or_default();
    let authorization = request.header("authorization").unwrap_or_default();
    let basic = authorization.strip_prefix("Basic ");
    let decoded = basic
        .and_then(|basic| STANDARD.decode(basic).ok())
        .unwrap_or_default();
    let decoded = String::from_utf8(decoded).unwrap();
    let pair = decoded.split_once(':').unwrap_or_default();
    let plain = |text: &str| {
        let mut pairs = url::form_urlencoded::parse(text.as_bytes()).into_owned();
        pairs.next().map_or_else(String::new, |(name, _)| name)
    };
    let in_header = (plain(pair.0), plain(pair.1));
    let field = |name: &str| form.get(name).cloned().unwrap_or_default();
    let in_body = (field("client_id"), field("client_secret"));
    let given = match client {
        Client::Header => in_header,
        Client::Body => in_body,
    };
    // Two ways at once are an error of their own.
    let twice = basic.is_some() && form.contains_key("client_secret");
    match () {
        () if request.method != "POST" || request.target != "/token" => {
            Some((405, "invalid_request"))
        }
        () if content_type != "application/x-www-form-urlencoded" || twice => {
            Some((400, "invalid_request"))
        }
        () if given != (ID.to_owned(), SECRET.to_owned()) => Some((401, "invalid_client")),
        () if field("grant_type") != "client_credentials" => Some((400, "unsupported_grant_type")),
        () if field("scope") == "wrong" => Some((400, "invalid_scope")),
        () => None,
    }
}
