//! An event as a CloudEvent (CloudEvents 1.0.2, its JSON event format), for brokers and functions.

use serde_json::{Value, json};

use crate::escape::Escape;
use crate::event::time_text;
use crate::message::Message;

/// What its JSON is called, on HTTP.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// A CloudEvent in structured mode. `source` and `id` together are unique, the same on every attempt.
pub fn event(message: &Message, data: &Value) -> Value {
    let event = message.context.event();
    let names = [Some(event.host_name()), event.run.playbook.as_deref()];
    let subject = names.into_iter().flatten().find(|name| !name.is_empty());
    let mut envelope = json!({
        "specversion": "1.0",
        "id": message.id,
        "source": format!("/ansible/runs/{}", Escape::Url.apply(&event.run.id)),
        "type": format!("org.ansible.{}", event.event),
        "time": time_text(event.time),
        "datacontenttype": "application/json",
        "data": data,
    });
    // An empty one is not allowed.
    if let Some(subject) = subject {
        envelope["subject"] = subject.into();
    }
    envelope
}
