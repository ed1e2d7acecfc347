//! Event as the spool stores it: written whole, and read back without parsing its result.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::event::callback::Callback;
use crate::event::masked::Masks;
use crate::event::parse::EventParser;
use crate::event::{Event, Host, Play, Run, State, Task, is_false, microseconds};

/// Prefix cache size; larger than the number of tasks that run at once.
const REMEMBERED: usize = 16;

/// Serialising an event cannot fail: keys are strings, numbers are valid.
const WRITABLE: &str = "an event can be written";

/// Writes and reads events as the spool stores them. The parts that the events of a task share come first
/// in each one's text, and are written and parsed only once.
#[derive(Default)]
pub struct EventCodec {
    remembered: Vec<Rc<Common>>,
    /// Applied to events that are read: they may have been stored before it was configured.
    masks: Option<Rc<Masks>>,
}

/// Parts shared by the events of a task.
struct Common {
    run: Arc<Run>,
    play: Option<Arc<Play>>,
    task: Option<Arc<Task>>,
    vars: Option<Arc<Map<String, Value>>>,
    /// `{"run":…,"play":…,"task":…`
    text: String,
}

/// Everything else that most events have. Any other event, such as the end of a run, goes through the parser.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEvent<'a> {
    // Present only if the text does not begin with a remembered prefix.
    #[serde(skip_serializing)]
    run: Option<Arc<Run>>,
    #[serde(skip_serializing)]
    play: Option<Arc<Play>>,
    #[serde(skip_serializing)]
    task: Option<Arc<Task>>,
    #[serde(skip_serializing)]
    vars: Option<Arc<Map<String, Value>>>,
    schema: u32,
    id: Cow<'a, str>,
    event: Callback,
    #[serde(serialize_with = "microseconds")]
    time: Timestamp,
    state: Option<State>,
    changed: bool,
    ignored: bool,
    item: Option<Cow<'a, Value>>,
    duration: Option<f64>,
    host: Option<Cow<'a, Host>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Cow<'a, Map<String, Value>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Cow<'a, str>>,
    result: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_false")]
    truncated: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    repaired: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    test: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Cow<'a, RawValue>>,
}

/// An event with more fields.
#[derive(Serialize)]
struct Rare<'a> {
    #[serde(flatten)]
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
}

impl EventCodec {
    /// Creates a codec that masks the events that it reads.
    pub fn masking(masks: Option<Rc<Masks>>) -> EventCodec {
        EventCodec {
            remembered: Vec::new(),
            masks,
        }
    }

    /// Serialises the event with its record, as text that `read` accepts.
    pub fn write(&mut self, event: &Event) -> String {
        if event.end.is_some() || event.alert.is_some() {
            let end = event.end.as_ref();
            let rare = Rare {
                event,
                record: event.record.as_deref(),
                output: end.and_then(|end| end.output.as_deref()),
            };
            return serde_json::to_string(&rare).expect(WRITABLE);
        }
        let common = match self.remembered.iter().find(|known| known.is_of(event)) {
            Some(known) => known.clone(),
            None => self.remember(Common::new(
                event.run.clone(),
                event.play.clone(),
                event.task.clone(),
                event.vars.clone(),
            )),
        };
        let start = common.text.len();
        let mut text = Vec::with_capacity(start + event.size() + 512);
        text.extend_from_slice(common.text.as_bytes());
        serde_json::to_writer(&mut text, &StoredEvent::of(event)).expect(WRITABLE);
        text[start] = b',';
        String::from_utf8(text).expect("JSON is text")
    }

    /// Reads an event that the spool stored, no matter which version wrote it.
    pub fn read(&mut self, text: &str) -> Result<Event, String> {
        let known = self.remembered.iter().find_map(|known| {
            let rest = text.strip_prefix(&known.text)?.strip_prefix(',')?;
            Some((known.clone(), format!("{{{rest}")))
        });
        let read = match &known {
            Some((_, rest)) => serde_json::from_str::<StoredEvent>(rest),
            None => serde_json::from_str(text),
        };
        let Ok(mut kept) = read else {
            let mut parser = EventParser::new();
            parser.mask(self.masks.clone());
            return parser.read(text.as_bytes());
        };
        let common = match known {
            Some((known, _)) => known,
            None => {
                let run = kept.run.take().unwrap_or_default();
                let (play, task) = (kept.play.take(), kept.task.take());
                self.remember(Common::new(run, play, task, kept.vars.take()))
            }
        };
        let mut event = kept.event(&common);
        if let Some(masks) = &self.masks {
            masks.apply(&mut event);
        }
        event.strip();
        Ok(event)
    }

    fn remember(&mut self, common: Common) -> Rc<Common> {
        if self.remembered.len() == REMEMBERED {
            self.remembered.remove(0);
        }
        let common = Rc::new(common);
        self.remembered.push(common.clone());
        common
    }
}

impl Common {
    fn new(
        run: Arc<Run>,
        play: Option<Arc<Play>>,
        task: Option<Arc<Task>>,
        vars: Option<Arc<Map<String, Value>>>,
    ) -> Common {
        #[derive(Serialize)]
        struct Beginning<'a> {
            run: &'a Run,
            play: Option<&'a Play>,
            task: Option<&'a Task>,
            #[serde(skip_serializing_if = "Option::is_none")]
            vars: Option<&'a Map<String, Value>>,
        }
        let beginning = Beginning {
            run: &run,
            play: play.as_deref(),
            task: task.as_deref(),
            vars: vars.as_deref(),
        };
        let mut text = serde_json::to_string(&beginning).expect(WRITABLE);
        text.pop();
        Common {
            run,
            play,
            task,
            vars,
            text,
        }
    }

    /// Returns true if the event shares these very parts, not just equal ones.
    fn is_of(&self, event: &Event) -> bool {
        let same_play = self.play.as_ref().map(Arc::as_ptr) == event.play.as_ref().map(Arc::as_ptr);
        let same_task = self.task.as_ref().map(Arc::as_ptr) == event.task.as_ref().map(Arc::as_ptr);
        let same_vars = self.vars.as_ref().map(Arc::as_ptr) == event.vars.as_ref().map(Arc::as_ptr);
        Arc::ptr_eq(&self.run, &event.run) && same_play && same_task && same_vars
    }
}

impl<'a> StoredEvent<'a> {
    fn of(event: &'a Event) -> StoredEvent<'a> {
        StoredEvent {
            run: None,
            play: None,
            task: None,
            vars: None,
            schema: event.schema,
            id: Cow::Borrowed(&event.id),
            event: event.event.clone(),
            time: event.time,
            state: event.state,
            changed: event.changed,
            ignored: event.ignored,
            item: event.item.as_ref().map(Cow::Borrowed),
            duration: event.duration,
            host: event.host.as_ref().map(Cow::Borrowed),
            labels: event.labels.as_ref().map(Cow::Borrowed),
            url: event.url.as_deref().map(Cow::Borrowed),
            result: event.result.as_deref().map(Cow::Borrowed),
            reason: event.loop_reason.as_deref().map(Cow::Borrowed),
            truncated: event.truncated,
            repaired: event.repaired,
            test: event.test,
            record: event.record.as_deref().map(Cow::Borrowed),
        }
    }

    fn event(self, common: &Common) -> Event {
        Event {
            schema: self.schema,
            id: self.id.into_owned(),
            event: self.event,
            time: self.time,
            state: self.state,
            changed: self.changed,
            ignored: self.ignored,
            item: self.item.map(Cow::into_owned),
            duration: self.duration,
            run: common.run.clone(),
            play: common.play.clone(),
            task: common.task.clone(),
            vars: common.vars.clone(),
            host: self.host.map(Cow::into_owned),
            labels: self.labels.map(Cow::into_owned),
            url: self.url.map(Cow::into_owned),
            result: self.result.map(Cow::into_owned),
            loop_reason: self.reason.map(Cow::into_owned),
            truncated: self.truncated,
            repaired: self.repaired,
            test: self.test,
            end: None,
            alert: None,
            held: false,
            held_back: 0,
            record: self.record.map(Cow::into_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes with a fresh keeper.
    fn write(event: &Event) -> String {
        EventCodec::default().write(event)
    }

    fn read(text: &str) -> Event {
        EventCodec::default().read(text).unwrap()
    }

    fn event(text: &str) -> Event {
        EventParser::new().read(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_kept_is_read_as_what_people_write_is() {
        for text in [
            r#"{"state":"failed","host":"web1","task":"t","item":{"a":[1]},"duration":0.5,"truncated":true,
                "result":{"n":18446744073709551617,"huge":1e400,"stdout":"é"},"record":{"uuid":"u"}}"#,
            r#"{"event":"run_end","test":true,"status":"error","elapsed":1.5,"stats":{"h":{"ok":1}}}"#,
            r#"{"event":"playbook_on_start","time":"2026-11-20T20:42:01.123456Z","run":{"id":"r","tags":["a"]}}"#,
            r#"{"state":"failed","host":"web1","result":{"stdout":"\ud800"}}"#,
        ] {
            let kept = write(&event(text));
            assert_eq!(write(&read(&kept)), kept);
            let slowly = event(&kept);
            assert_eq!(write(&slowly), kept);
        }
    }

    #[test]
    fn only_what_is_rare_is_read_slowly() {
        let text =
            r#"{"state":"failed","host":"web1","task":"t","play":"p","result":{},"record":{}}"#;
        assert!(serde_json::from_str::<StoredEvent>(&write(&event(text))).is_ok());
    }

    #[test]
    fn what_events_have_in_common_is_the_same_for_all_of_them() {
        let mut keeper = EventCodec::default();
        let first = event(r#"{"state":"failed","host":"web1","task":"t","play":"p"}"#);
        let second = Event {
            host: None,
            ..first.clone()
        };
        let kept = [&first, &second].map(|event| keeper.write(event));
        assert_eq!(keeper.remembered.len(), 1);
        let mut keeper = EventCodec::default();
        let [first_read, second_read] = kept.each_ref().map(|text| keeper.read(text).unwrap());
        assert!(Arc::ptr_eq(&first_read.run, &second_read.run));
        assert_eq!([write(&first_read), write(&second_read)], kept);
        for number in 0..100 {
            let other = event(&format!(r#"{{"state":"failed","task":"t{number}"}}"#));
            keeper.write(&other);
        }
        assert_eq!(keeper.remembered.len(), REMEMBERED);
    }
}
