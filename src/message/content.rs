//! The key `content`: how the data of an event is written for a receiver that takes no JSON.

use hyper::body::Bytes;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::config::section::Section;
use crate::message::Message;

/// Encoding of the data that a webhook sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Content {
    /// JSON; a batch is an array.
    #[default]
    Json,
    /// Fields as a form (WHATWG URL, section 5, `application/x-www-form-urlencoded`).
    Form,
    /// The subject and the message, or a `body` of text.
    Text,
    /// A line of JSON per value (ndjson.org); a batch is several lines.
    Ndjson,
    /// A `body` of XML.
    Xml,
}

impl Content {
    /// Reads `content`; notes problems in the section. Both templates and notifiers read it, because a notifier
    /// is built again from its section alone when its credentials are rejected.
    pub fn of(section: &Section) -> Content {
        let contents = [
            ("json", Content::Json),
            ("form", Content::Form),
            ("text", Content::Text),
            ("ndjson", Content::Ndjson),
            ("xml", Content::Xml),
        ];
        section.choice("content", Content::Json, &contents)
    }

    /// Returns the media type of the request.
    pub fn media_type(self) -> &'static str {
        match self {
            Content::Json => "application/json",
            Content::Form => "application/x-www-form-urlencoded",
            Content::Text => "text/plain; charset=utf-8",
            Content::Ndjson => "application/x-ndjson",
            Content::Xml => "application/xml; charset=utf-8",
        }
    }

    /// Returns true if a request may carry several events.
    pub fn can_batch(self) -> bool {
        matches!(self, Content::Json | Content::Ndjson)
    }

    /// Returns the data of a message: the result of its `body`, or else its text or fields.
    pub fn data(self, body: Option<Value>, message: &Message) -> Bytes {
        match (body, self) {
            (Some(body), _) => self.encode(body),
            (None, Content::Text) => {
                let text = format!("{}\n{}", message.subject, message.text);
                text.trim_end().to_owned().into()
            }
            (None, _) => self.encode_fields(message.payload.clone()),
        }
    }

    /// Encodes the result of a `body`.
    fn encode(self, body: Value) -> Bytes {
        match (self, body) {
            (Content::Json, body) => body.to_string().into(),
            (Content::Form, Value::Object(fields)) => form(fields),
            (Content::Ndjson, Value::String(lines)) => ended(lines),
            (Content::Ndjson, body) => ended(body.to_string()),
            (_, Value::String(text)) => text.into(),
            (_, body) => body.to_string().into(),
        }
    }

    /// Encodes the fields of `[outputs]`, given as the text of a JSON object.
    fn encode_fields(self, payload: Bytes) -> Bytes {
        match self {
            Content::Form => form(serde_json::from_slice(&payload).unwrap_or_default()),
            Content::Ndjson => [&payload[..], b"\n"].concat().into(),
            Content::Json | Content::Text | Content::Xml => payload,
        }
    }

    /// Adds fields to JSON or form data; in JSON, they replace fields of the same name.
    pub fn with_fields<'a>(
        self,
        data: &[u8],
        fields: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Bytes, String> {
        if self == Content::Form {
            let text = String::from_utf8_lossy(data).into_owned();
            let mut form = form_urlencoded::Serializer::for_suffix(text, 0);
            return Ok(form.extend_pairs(fields).finish().into());
        }
        let mut object: Map<String, Value> = serde_json::from_slice(data)
            .map_err(|_| "`body` must give a JSON object, to which `body.NAME` adds a field")?;
        object.extend(fields.map(|(name, value)| (name.to_owned(), value.into())));
        Ok(Value::Object(object).to_string().into())
    }

    /// Joins the data of the events of a batch.
    pub fn join(self, batch: &[Bytes]) -> Bytes {
        match self {
            Content::Ndjson => batch.concat().into(),
            _ => [b"[", &batch.join(&b',')[..], b"]"].concat().into(),
        }
    }
}

/// Writes fields as a form: a list repeats its name, null is left out, an object is JSON.
fn form(fields: Map<String, Value>) -> Bytes {
    let mut form = form_urlencoded::Serializer::new(String::new());
    for (name, value) in &fields {
        match value {
            Value::Array(items) => items.iter().for_each(|item| append(&mut form, name, item)),
            value => append(&mut form, name, value),
        }
    }
    form.finish().into()
}

fn append(form: &mut form_urlencoded::Serializer<String>, name: &str, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(text) => drop(form.append_pair(name, text)),
        value => drop(form.append_pair(name, &value.to_string())),
    }
}

fn ended(mut lines: String) -> Bytes {
    if !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_content_is_encoded_as_its_receivers_read_it() {
        let fields = json!({"a": "x&y=ü", "b": [1, null, "2"], "c": null, "d": {"e": true}});
        let cases = [
            (
                Content::Json,
                fields.clone(),
                r#"{"a":"x&y=ü","b":[1,null,"2"],"c":null,"d":{"e":true}}"#,
            ),
            (
                Content::Form,
                fields,
                "a=x%26y%3D%C3%BC&b=1&b=2&d=%7B%22e%22%3Atrue%7D",
            ),
            (Content::Form, json!("a=1&b=2"), "a=1&b=2"),
            (Content::Text, json!("two\nlines"), "two\nlines"),
            (Content::Xml, json!("<a/>"), "<a/>"),
            (Content::Ndjson, json!({"a": 1}), "{\"a\":1}\n"),
            (Content::Ndjson, json!("{}\n{}"), "{}\n{}\n"),
        ];
        for (content, body, expected) in cases {
            assert_eq!(content.encode(body), expected, "{content:?}");
        }
    }
}
