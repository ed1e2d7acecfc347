//! An event as the spool keeps it: written whole, and read again without a look at its result.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::event::{Event, Host, Play, Run, State, Task};
use crate::reader::Reader;

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
}

/// What most events have. One that has more, such as the end of a run, is read as what people write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    schema: u32,
    id: String,
    event: String,
    time: Timestamp,
    state: Option<State>,
    changed: bool,
    ignored: bool,
    item: Option<Value>,
    duration: Option<f64>,
    run: Arc<Run>,
    play: Option<Arc<Play>>,
    task: Option<Arc<Task>>,
    host: Option<Host>,
    result: Option<Box<RawValue>>,
    #[serde(default)]
    truncated: bool,
    #[serde(default)]
    test: bool,
    record: Option<Box<RawValue>>,
}

/// The event with its record, as text that `read` reads again.
pub fn write(event: &Event) -> String {
    let record = event.record.as_deref();
    let mut text = Vec::with_capacity(event.size() + 512);
    serde_json::to_writer(&mut text, &Written { event, record }).expect("an event can be written");
    String::from_utf8(text).expect("JSON is text")
}

/// The event of a text that the spool kept, whichever version wrote it.
pub fn read(text: &str) -> Result<Event, String> {
    let kept = match serde_json::from_str::<Kept>(text) {
        Ok(kept) => kept,
        Err(_) => {
            let mut event = Reader::new().read(text.as_bytes())?;
            event.repaired = false;
            return Ok(event);
        }
    };
    let mut event = Event {
        schema: kept.schema,
        id: kept.id,
        event: kept.event,
        time: kept.time,
        state: kept.state,
        changed: kept.changed,
        ignored: kept.ignored,
        item: kept.item,
        duration: kept.duration,
        run: kept.run,
        play: kept.play,
        task: kept.task,
        host: kept.host,
        result: kept.result,
        truncated: kept.truncated,
        repaired: false,
        test: kept.test,
        end: None,
        record: kept.record,
    };
    event.strip();
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_as_what_people_write_is() {
        for text in [
            r#"{"state":"failed","host":"web1","task":"t","item":{"a":[1]},"duration":0.5,"truncated":true,
                "result":{"n":18446744073709551617,"huge":1e400,"stdout":"é"},"record":{"uuid":"u"}}"#,
            r#"{"event":"run_end","test":true,"status":"error","elapsed":1.5,"stats":{"h":{"ok":1}}}"#,
            r#"{"event":"playbook_on_start","time":"2026-11-20T20:42:01.123456Z","run":{"id":"r","tags":["a"]}}"#,
        ] {
            let event = Reader::new().read(text.as_bytes()).unwrap();
            let kept = write(&event);
            assert_eq!(write(&read(&kept).unwrap()), kept);
            let slowly = Reader::new().read(kept.as_bytes()).unwrap();
            assert_eq!(write(&slowly), kept);
        }
    }

    #[test]
    fn only_what_is_rare_is_read_slowly() {
        let text =
            r#"{"state":"failed","host":"web1","task":"t","play":"p","result":{},"record":{}}"#;
        let event = Reader::new().read(text.as_bytes()).unwrap();
        assert!(serde_json::from_str::<Kept>(&write(&event)).is_ok());
    }
}
