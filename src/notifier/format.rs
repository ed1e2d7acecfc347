//! Format of the data sent for an event, where it can be chosen: the key `format`.

use hyper::body::Bytes;
use serde_json::value::RawValue;

use crate::config::section::Section;
use crate::message::Message;
use crate::notifier::cloudevents::{self, CloudEvent};
use crate::notifier::over_http;

/// Value of the key `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The user's `body`, or the fields of `[outputs]`.
    #[default]
    Json,
    /// The content of `Json`, as the data of a CloudEvent.
    CloudEvents,
    /// The record of ansible-runner, verbatim; the fields for an event that did not come from there.
    Runner,
}

impl Format {
    pub fn of(section: &Section) -> Format {
        let formats = [
            ("json", Format::Json),
            ("cloudevents", Format::CloudEvents),
            ("runner", Format::Runner),
        ];
        let format = section.choice("format", Format::Json, &formats);
        if format != Format::Json {
            section.no_batch("with this `format` each event goes by itself");
        }
        format
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::CloudEvents => cloudevents::CONTENT_TYPE,
            Format::Json | Format::Runner => "application/json",
        }
    }

    /// Returns the text to send.
    pub fn body(self, message: &Message) -> Bytes {
        let record = &message.context.event().record;
        match (self, record, &message.body) {
            (Format::Runner, Some(record), _) => Bytes::copy_from_slice(record.get().as_bytes()),
            (Format::CloudEvents, _, Some(body)) => {
                over_http::json(&CloudEvent::new(message, body))
            }
            (Format::CloudEvents, _, None) => {
                let payload: &RawValue =
                    serde_json::from_slice(&message.payload).unwrap_or(RawValue::NULL);
                over_http::json(&CloudEvent::new(message, &payload))
            }
            (_, _, Some(body)) => over_http::json(body),
            (_, _, None) if message.batch.is_empty() => message.payload.clone(),
            (_, _, None) => [b"[", &message.batch.join(&b',')[..], b"]"].concat().into(),
        }
    }
}
