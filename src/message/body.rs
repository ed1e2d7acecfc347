//! The `body` of a message: JSON with templates as its strings, or a template that produces JSON or text.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::config::checked::Uses;
use crate::message::content::Content;
use crate::template::Template;
use crate::template::context::Context;
use crate::template::jinja;
use crate::text::{Escape, printable};

/// The user's `body`.
pub enum Body {
    /// JSON whose strings are templates: no value can break it.
    Json(Json),
    /// A template that produces JSON, checked when it is sent.
    Source(Template),
    /// A template that produces lines of JSON, checked when they are sent.
    Lines(Template),
    /// A template that produces text, HTML or XML.
    Text(Template),
}

/// JSON with templates as its leaves.
pub enum Json {
    Value(Value),
    Template(Template),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Body {
    /// Parses a body for this content. Values are escaped as the content requires.
    pub fn new(source: &str, content: Content) -> Result<Body, String> {
        let is_json = || serde_json::from_str::<Value>(source).is_ok();
        match content {
            Content::Json => Body::json(source),
            Content::Form | Content::Ndjson if is_json() => match Body::json(source)? {
                Body::Json(Json::Object(fields)) => Ok(Body::Json(Json::Object(fields))),
                _ => Err("must be a JSON object, or a template of text".into()),
            },
            Content::Form => Template::text(source, Escape::Url).map(Body::Text),
            Content::Ndjson => Template::text(source, Escape::Plain).map(Body::Lines),
            Content::Text => Template::text(source, Escape::Plain).map(Body::Text),
            Content::Xml => Template::text(source, Escape::Html).map(Body::Text),
        }
    }

    /// Parses JSON with templates in it, or a template that produces JSON.
    pub fn json(source: &str) -> Result<Body, String> {
        match serde_json::from_str::<Value>(source) {
            Ok(value) => Json::new(value, source).map(Body::Json),
            Err(_) => Template::text(source, Escape::Plain).map(Body::Source),
        }
    }

    /// Renders the value for an event.
    pub fn render(&self, context: &Context) -> Result<Value, String> {
        match self {
            Body::Json(json) => json.render(context),
            Body::Text(template) => template.render(context).map(Value::from),
            Body::Lines(template) => {
                let lines = template.render(context)?;
                match lines
                    .lines()
                    .find_map(|line| serde_json::from_str::<IgnoredAny>(line).err())
                {
                    Some(error) => Err(not_json(&error)),
                    None => Ok(lines.into()),
                }
            }
            Body::Source(template) => {
                let text = template.render(context)?;
                serde_json::from_str(&text).map_err(|error| not_json(&error))
            }
        }
    }
}

fn not_json(error: &serde_json::Error) -> String {
    format!("does not give JSON ({error}); write values as `{{{{ value | tojson }}}}`")
}

impl Json {
    /// Compiles the strings of a value that was read from `source`.
    fn new(value: Value, source: &str) -> Result<Json, String> {
        Ok(match value {
            Value::String(text) if text.contains("{{") || text.contains("{%") => {
                let template = Template::typed(&text);
                Json::Template(template.map_err(|problem| placed(&problem, &text, source))?)
            }
            Value::Array(values) => Json::Array(
                values
                    .into_iter()
                    .map(|value| Json::new(value, source))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) => {
                let field = |(name, value)| Ok((name, Json::new(value, source)?));
                Json::Object(
                    fields
                        .into_iter()
                        .map(field)
                        .collect::<Result<_, String>>()?,
                )
            }
            value => Json::Value(value),
        })
    }

    fn render(&self, context: &Context) -> Result<Value, String> {
        Ok(match self {
            Json::Value(value) => value.clone(),
            Json::Template(template) => {
                let value = template.evaluate(context)?;
                serde_json::to_value(value).map_err(|error| error.to_string())?
            }
            Json::Array(values) => {
                let values = values.iter().map(|value| value.render(context));
                Value::Array(values.collect::<Result<_, _>>()?)
            }
            Json::Object(fields) => {
                let field =
                    |(name, value): &(String, Json)| Ok((name.clone(), value.render(context)?));
                Value::Object(fields.iter().map(field).collect::<Result<_, String>>()?)
            }
        })
    }

    fn unknown_variables(&self) -> Vec<String> {
        match self {
            Json::Value(_) => Vec::new(),
            Json::Template(template) => template.unknown_variables(),
            Json::Array(values) => values.iter().flat_map(Json::unknown_variables).collect(),
            Json::Object(fields) => fields
                .iter()
                .flat_map(|(_, value)| value.unknown_variables())
                .collect(),
        }
    }
}

/// Returns the problem of a string with its line in the JSON text, instead of one in the string.
fn placed(problem: &str, text: &str, source: &str) -> String {
    let problem = problem
        .rsplit_once(" (line ")
        .map_or(problem, |(problem, _)| problem);
    let written = serde_json::to_string(text).ok();
    let at = written.and_then(|written| source.find(&written));
    let line = at.map(|at| source[..at].matches('\n').count() + 1);
    jinja::at_line(problem.to_owned(), line)
}

/// Makes the strings of a JSON value readable for people.
pub fn readable(value: Value) -> Value {
    match value {
        Value::String(text) => printable(&text).into(),
        Value::Array(values) => values.into_iter().map(readable).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, readable(value)))
            .collect(),
        plain => plain,
    }
}

impl Uses for Body {
    fn unknown_variables(&self) -> Vec<String> {
        match self {
            Body::Json(json) => json.unknown_variables(),
            Body::Source(template) | Body::Lines(template) | Body::Text(template) => {
                template.unknown_variables()
            }
        }
    }
}
