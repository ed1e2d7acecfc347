//! Format of the data sent for an event, for kinds with a choice: the keys `format`, `content` and `body.NAME`.

use hyper::body::Bytes;
use serde_json::value::RawValue;

use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::Message;
use crate::message::content::Content;
use crate::notifier::cloudevents::{self, CloudEvent};
use crate::notifier::over_http;
use crate::secret::Secret;

/// Beginning of a key that sets a single field of the body.
const BODY: &str = "body.";

/// Values of these keys.
pub struct Format {
    envelope: Envelope,
    content: Content,
    /// Secret fields of the body, such as an API key: they appear in no event and no template.
    fields: Vec<(String, Secret)>,
}

/// Value of the key `format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Envelope {
    /// The user's `body`, or the fields of `[outputs]`.
    None,
    /// The same, as the data of a CloudEvent.
    CloudEvents,
    /// The record of ansible-runner, verbatim; the fields for an event that did not come from there.
    Runner,
}

impl Format {
    /// Reads `format`.
    pub fn of(section: &Section) -> Format {
        let envelopes = [
            ("json", Envelope::None),
            ("cloudevents", Envelope::CloudEvents),
            ("runner", Envelope::Runner),
        ];
        let envelope = section.choice("format", Envelope::None, &envelopes);
        let content = Content::of(section);
        if envelope != Envelope::None {
            section.no_batch("`batch` cannot be used with this `format`");
            if content != Content::Json {
                section.problem(
                    "content",
                    "`content` and `format` are set; keep one of them",
                );
            }
        } else if !content.can_batch() {
            section.no_batch("`batch` cannot be used with this `content`");
        }
        let fields = fields(section);
        if !fields.is_empty() {
            section.no_batch("`batch` cannot be used with `body.NAME`");
        }
        let takes_fields = matches!(content, Content::Json | Content::Form);
        if let Some((name, _)) = fields.first()
            && (envelope != Envelope::None || !takes_fields)
        {
            let problem = "a field of the body requires `content` to be `json` or `form`, and no other `format`";
            section.problem(&format!("{BODY}{name}"), problem);
        }
        Format {
            envelope,
            content,
            fields,
        }
    }

    /// Returns the media type of the data.
    pub fn content_type(&self) -> &'static str {
        match self.envelope {
            Envelope::CloudEvents => cloudevents::CONTENT_TYPE,
            Envelope::None | Envelope::Runner => self.content.media_type(),
        }
    }

    /// Returns the data to send.
    pub fn body(&self, message: &Message) -> Result<Bytes, Failure> {
        let body = match (self.envelope, &message.context.event().record) {
            (Envelope::Runner, Some(record)) => Bytes::copy_from_slice(record.get().as_bytes()),
            (Envelope::CloudEvents, _) => {
                let data: &RawValue =
                    serde_json::from_slice(&message.payload).unwrap_or(RawValue::NULL);
                over_http::json(&CloudEvent::new(message, &data))
            }
            _ if message.batch.is_empty() => message.payload.clone(),
            _ => self.content.join(&message.payloads()),
        };
        let fields = self.fields.iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.expose()));
        match self.fields.is_empty() {
            true => Ok(body),
            false => self
                .content
                .with_fields(&body, fields)
                .map_err(Failure::permanent),
        }
    }
}

/// Reads the fields of the body with separate keys, `body.NAME` or one of its forms for a secret.
fn fields(section: &Section) -> Vec<(String, Secret)> {
    let field = |key: String| {
        let name = key.strip_prefix(BODY)?.to_owned();
        Some((name, section.secret(&key)?))
    };
    section
        .families(BODY)
        .into_iter()
        .filter_map(field)
        .collect()
}
