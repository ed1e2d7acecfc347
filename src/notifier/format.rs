//! Format of the data sent for an event, where it can be chosen: the keys `format` and `content`.

use hyper::body::Bytes;
use serde_json::value::RawValue;

use crate::config::section::Section;
use crate::message::Message;
use crate::message::content::Content;
use crate::notifier::cloudevents::{self, CloudEvent};
use crate::notifier::over_http;

/// Values of the keys `format` and `content`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    envelope: Envelope,
    content: Content,
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
        Format { envelope, content }
    }

    /// Returns the media type of the data.
    pub fn content_type(self) -> &'static str {
        match self.envelope {
            Envelope::CloudEvents => cloudevents::CONTENT_TYPE,
            Envelope::None | Envelope::Runner => self.content.media_type(),
        }
    }

    /// Returns the data to send.
    pub fn body(self, message: &Message) -> Bytes {
        match (self.envelope, &message.context.event().record) {
            (Envelope::Runner, Some(record)) => Bytes::copy_from_slice(record.get().as_bytes()),
            (Envelope::CloudEvents, _) => {
                let data: &RawValue =
                    serde_json::from_slice(&message.payload).unwrap_or(RawValue::NULL);
                over_http::json(&CloudEvent::new(message, &data))
            }
            _ if message.batch.is_empty() => message.payload.clone(),
            _ => self.content.join(&message.batch),
        }
    }
}
