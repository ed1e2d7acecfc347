//! AWX's webhooks: address, credentials and headers.

use hyper::header::{AUTHORIZATION, HeaderName};
use serde_json::{Map, Value};
use url::Url;

use super::clear_text;
use super::draft::{Draft, Names, Secret};
use super::fields::{ENCRYPTED, Fields, scalar};
use crate::net::http::is_credential;

/// Shortest part of a path that may be a token.
const TOKEN: usize = 16;

/// Writes the keys of address, credentials and headers.
pub fn connect(draft: &mut Draft, fields: &Fields, names: &mut Names) {
    match fields.text("url") {
        Some(url) if holds_secret(&url) => fields.secret(draft, names, "url", "url"),
        Some(url) => draft.set("url", url),
        None => {}
    }
    if let Some(method) = fields.text("http_method") {
        draft.set("method", method);
    }
    let has_user = fields.text("username").is_some();
    let has_login = has_user || fields.text("password").is_some();
    fields.copy(draft, &[("username", "username")]);
    if has_login {
        fields.secret(draft, names, "password", "password");
    }
    headers(draft, fields, names, has_login);
    fields.copy_unverified(draft, "disable_ssl_verification");
    draft.remark("AWX's `User-Agent` is not sent; ids and times of Standard Webhooks are.");
}

/// Returns true if a URL may contain a secret: a user, a query, or what looks like a token.
pub fn holds_secret(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return true;
    };
    let is_token = |part: &str| {
        let has = |kind: fn(&char) -> bool| part.chars().any(|one| kind(&one));
        part.len() >= TOKEN && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic)
    };
    let mut parts = url.path_segments().into_iter().flatten();
    let has_user = !url.username().is_empty() || url.password().is_some();
    has_user || url.query().is_some() || text.contains(['{', '}']) || parts.any(is_token)
}

/// Writes each header; one that may be a secret as a variable.
fn headers(draft: &mut Draft, fields: &Fields, names: &mut Names, has_login: bool) {
    let headers = fields.value("headers").and_then(Value::as_object);
    for (name, value) in headers.into_iter().flatten() {
        let value = scalar(value).unwrap_or_default();
        let parsed = HeaderName::from_bytes(name.as_bytes());
        let parsed = parsed.ok().filter(|_| is_key(name));
        match parsed {
            None => draft.remark(format!(
                "The header `{name}` is left out: no key can have its name."
            )),
            Some(parsed) if has_login && parsed == AUTHORIZATION => draft.remark(format!(
                "The header `{name}` is left out: AWX replaces it by the user and the password."
            )),
            Some(parsed) if is_secret(&parsed, &value) => {
                let is_known = !value.is_empty() && !value.starts_with(ENCRYPTED);
                let secret = Secret {
                    variable: names.variable(&draft.stem, name),
                    source: format!("AWX's header `{name}`"),
                    known: is_known.then_some(value),
                    is_guess: true,
                };
                draft.set_secret(&format!("header.{name}"), secret);
            }
            Some(_) => {
                if value.contains("{{") || value.contains("{%") {
                    draft.remark(format!(
                        "`header.{name}` is a template here; AWX sends it as it is."
                    ));
                }
                draft.set(format!("header.{name}"), value);
            }
        }
    }
}

/// Writes the body; its fields that are secrets by their names or values as variables.
pub fn write_body(draft: &mut Draft, body: &str, names: &mut Names) {
    let mut object: Map<String, Value> = serde_json::from_str(body).unwrap_or_default();
    let is_secret = |(name, value): &(&String, &Value)| {
        let text = value.as_str().unwrap_or_default();
        let is_secret = clear_text::is_name(name) || clear_text::is_credential(text);
        is_secret && is_key(name) && !text.is_empty() && !text.contains(['{', '}'])
    };
    let secrets: Vec<String> = object
        .iter()
        .filter(is_secret)
        .map(|(name, _)| name.clone())
        .collect();
    if secrets.is_empty() {
        return draft.set("body", body);
    }
    for name in secrets {
        let known = object.shift_remove(&name).and_then(|value| scalar(&value));
        let secret = Secret {
            variable: names.variable(&draft.name, &name),
            source: format!("`{name}` in AWX's body"),
            known: known.filter(|known| !known.starts_with(ENCRYPTED)),
            is_guess: true,
        };
        draft.set_secret(&format!("body.{name}"), secret);
    }
    draft.set("body", format!("{:#}", Value::Object(object)));
}

/// Returns true if the name of a header or field can be part of a key.
fn is_key(name: &str) -> bool {
    let is_part = |one: char| one.is_ascii_alphanumeric() || "-_".contains(one);
    let forms = ["_file", "_env", "_command"];
    name.chars().all(is_part) && !forms.iter().any(|form| name.ends_with(form))
}

/// Returns true if a header is secret by its name or its value; a template is not a secret.
fn is_secret(name: &HeaderName, value: &str) -> bool {
    let is_hidden = value.starts_with(ENCRYPTED) || clear_text::hide(value) != value;
    is_hidden || is_credential(name) && !clear_text::is_template(value)
}
