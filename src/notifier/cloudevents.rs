//! An event as a CloudEvent (CloudEvents 1.0.2, its JSON event format), for brokers and functions.

use serde::Serialize;

use crate::event::time_text;
use crate::message::Message;
use crate::text::Escape;

/// Content type of its JSON over HTTP.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// A CloudEvent in structured mode.
#[derive(Serialize)]
pub struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: String,
    time: String,
    datacontenttype: &'static str,
    data: &'a D,
    /// Left out if empty, which is not allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
}

impl<'a, D> CloudEvent<'a, D> {
    /// Wraps the data of an event. `source` and `id` together are unique, and the same on every attempt.
    pub fn new(message: &'a Message, data: &'a D) -> CloudEvent<'a, D> {
        let event = message.context.event();
        let names = [Some(event.host_name()), event.run.playbook.as_deref()];
        CloudEvent {
            specversion: "1.0",
            id: &message.id,
            source: format!("/ansible/runs/{}", Escape::Url.apply(&event.run.id)),
            r#type: format!("org.ansible.{}", event.event),
            time: time_text(event.time),
            datacontenttype: "application/json",
            data,
            subject: names.into_iter().flatten().find(|name| !name.is_empty()),
        }
    }
}
