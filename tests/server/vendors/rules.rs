//! What a vendor's reference says of the fields of a request.

use serde_json::{Map, Value};

use super::{Refusal, refuse};
use crate::server::Request;

/// What a field may hold; numbers are the longest text, in characters.
#[derive(Clone, Copy)]
pub enum Is {
    Text(usize),
    /// A text on one line.
    Line(usize),
    Number,
    OneOf(&'static [&'static str]),
    Url,
    UrlOrNull,
    List,
    Object,
}

/// A field: its name, and whether it must be there.
pub type Field = (&'static str, bool, Is);

/// The body as a JSON object, if its media type says so.
pub fn json_object(request: &Request) -> Result<Map<String, Value>, Refusal> {
    match json(request)? {
        Value::Object(fields) => Ok(fields),
        _ => refuse(400, "not a JSON object"),
    }
}

pub fn json(request: &Request) -> Result<Value, Refusal> {
    let given = request.header("content-type").unwrap_or_default();
    if given.split(';').next() != Some("application/json") {
        return refuse(415, "unsupported media type");
    }
    serde_json::from_str(&request.body).map_err(|error| (400, error.to_string()))
}

/// The body as a form, if its media type says so; each name once.
pub fn form(request: &Request) -> Result<Map<String, Value>, Refusal> {
    if request.header("content-type") != Some("application/x-www-form-urlencoded") {
        return refuse(415, "unsupported media type");
    }
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(request.body.as_bytes()) {
        if fields.insert(name.to_string(), value.into()).is_some() {
            return refuse(400, "a parameter comes twice");
        }
    }
    Ok(fields)
}

/// Refuses missing fields, wrong ones, and those that are not known.
pub fn check(fields: &Map<String, Value>, known: &[Field]) -> Result<(), Refusal> {
    if let Some(name) = fields
        .keys()
        .find(|name| !known.iter().any(|(known, _, _)| known == name))
    {
        return refuse(400, &format!("unknown field {name}"));
    }
    check_some(fields, known)
}

/// The same for a vendor that ignores what it does not know.
pub fn check_some(fields: &Map<String, Value>, known: &[Field]) -> Result<(), Refusal> {
    for (name, required, is) in known {
        match fields.get(*name) {
            None if *required => return refuse(400, &format!("{name} is missing")),
            Some(value) if !fits(value, *is, *required) => {
                return refuse(400, &format!("{name} is invalid: {value}"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn fits(value: &Value, is: Is, required: bool) -> bool {
    let text = value.as_str();
    let is_text = |most: usize| {
        text.is_some_and(|text| text.chars().count() <= most && !(required && text.is_empty()))
    };
    match is {
        Is::Text(most) => is_text(most),
        Is::Line(most) => is_text(most) && !text.unwrap_or_default().contains('\n'),
        // In a form, a number is a text.
        Is::Number => value.is_i64() || text.is_some_and(|text| text.parse::<i64>().is_ok()),
        Is::OneOf(names) => text.is_some_and(|text| names.contains(&text)),
        Is::Url => text.is_some_and(is_url),
        Is::UrlOrNull => value.is_null() || text.is_some_and(is_url),
        Is::List => value.as_array().is_some_and(|list| !list.is_empty()),
        Is::Object => value.is_object(),
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http") && url::Url::parse(text).is_ok()
}

pub fn is_uuid(text: &str) -> bool {
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12]
        && text
            .chars()
            .all(|character| character == '-' || character.is_ascii_hexdigit())
}

/// The path and the parameters of a request's query.
pub fn target(request: &Request) -> (String, Vec<(String, String)>) {
    let url = url::Url::parse(&format!("http://host{}", request.target)).unwrap();
    let query = url.query_pairs().into_owned().collect();
    (url.path().to_owned(), query)
}
