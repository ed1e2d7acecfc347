//! Records of logs: one for each event, with the span that it belongs to.

use super::attributes::{self, nanoseconds};
use super::ids::Trace;
use super::model::{AnyValue, LogRecord};
use super::spans;
use crate::json::bulk;
use crate::message::Level;
use crate::message::item::Item;

/// Returns the record about an event; its body are the `[outputs]`.
pub fn of(item: &Item) -> LogRecord {
    let event = &*item.event;
    let trace = Trace::of(&event.run);
    let time = nanoseconds(item.time());
    // The numbers are those of OpenTelemetry's data model of logs, "SeverityNumber".
    let (severity_number, severity_text) = match item.level() {
        Level::Info | Level::Success => (9, "INFO"),
        Level::Warning => (13, "WARN"),
        Level::Error => (17, "ERROR"),
    };
    let attributes = match &event.end {
        Some(end) => attributes::of_run(&event.run, attributes::result_of(end)),
        None => attributes::of_result(event),
    };
    let text = std::str::from_utf8(&item.payload).unwrap_or_default();
    let name = match event.state {
        Some(_) => "ansible.result".to_owned(),
        None => format!("ansible.{}", event.event.name()),
    };
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: bulk::value(text).ok().map(AnyValue::from),
        attributes: attributes.0,
        flags: trace.flags(),
        trace_id: trace.id.to_vec(),
        span_id: spans::enclosing(event).to_vec(),
        event_name: name,
    }
}
