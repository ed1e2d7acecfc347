//! Reading of a segment: compressed lines, each an event. What a node sends is not trusted: sizes are limited, and
//! everything that must not be kept is removed again.

use std::io::Read as _;
use std::rc::Rc;

use flate2::read::GzDecoder;
use hyper::StatusCode;

use crate::event::Event;
use crate::event::masked::Masks;
use crate::event::parse::EventParser;
use crate::json::splitter::{JsonSplitter, Record};
use crate::net::digest::sha256_hex;
use crate::notifier::relay::MAX_EVENTS;

/// Size limit of a segment once it is unpacked, in bytes.
pub const MAX_UNPACKED: usize = 16 << 20;
/// Number of bytes that are unpacked at a time.
const PIECE: usize = 64 << 10;
/// Length limit of an id, in bytes.
const MAX_ID: usize = 256;

/// Answer to a rejected segment.
pub struct Rejected {
    pub status: StatusCode,
    /// Quotes nothing of it.
    pub reason: String,
    /// Time after which it may be sent again, in seconds.
    pub after: Option<u64>,
}

impl Rejected {
    /// Creates the answer; nothing is known about when to try again.
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Rejected {
        Rejected {
            status,
            reason: reason.into(),
            after: None,
        }
    }
}

/// Reads the events of a segment, each with its number in its run.
pub fn read(packed: &[u8], masks: Option<Rc<Masks>>) -> Result<Vec<(u64, Event)>, Rejected> {
    let mut parser = EventParser::new();
    parser.mask(masks);
    let mut reading = Reading {
        parser,
        events: Vec::new(),
    };
    let (mut unpacked, mut records) = (GzDecoder::new(packed), JsonSplitter::default());
    let (mut piece, mut total) = (vec![0; PIECE], 0);
    loop {
        let length = unpacked.read(&mut piece).map_err(|_| {
            let text = "the segment is not gzip, or was cut off";
            Rejected::new(StatusCode::BAD_REQUEST, text)
        })?;
        if length == 0 {
            break;
        }
        total += length;
        if total > MAX_UNPACKED {
            return Err(too_large("bytes"));
        }
        records.feed(&piece[..length]);
        reading.take(&mut records)?;
    }
    records.finish();
    reading.take(&mut records)?;
    match reading.events.is_empty() {
        true => Err(unreadable(1, "there are no events")),
        false => Ok(reading.events),
    }
}

/// Events of a segment so far.
struct Reading {
    parser: EventParser,
    events: Vec<(u64, Event)>,
}

impl Reading {
    fn take(&mut self, records: &mut JsonSplitter) -> Result<(), Rejected> {
        while let Some(record) = records.next() {
            if self.events.len() == MAX_EVENTS {
                return Err(too_large("events"));
            }
            let line = record.line;
            let event = self.event(record);
            let event = event.map_err(|reason| unreadable(line, &reason))?;
            self.events.push((number(&event), event));
        }
        Ok(())
    }

    /// Reads an event as another program completed it. An id that is made up here would be another one when the event
    /// is sent again.
    fn event(&mut self, record: Record) -> Result<Event, String> {
        let mut event = self.parser.read(&record.content?)?;
        let made_up = self.parser.run_id();
        if event.run.id == made_up || event.id.starts_with(made_up) {
            return Err("the event has no `id` or no `run`".to_owned());
        }
        if event.id.len() > MAX_ID || event.run.id.len() > MAX_ID {
            return Err(format!("an id is longer than {MAX_ID} bytes"));
        }
        event.truncated |= record.truncated;
        // Records of ansible-runner hold the arguments of modules.
        event.record = None;
        Ok(event)
    }
}

/// Returns the number of an event in its run, which its id ends with; for any other id, one that is made of it.
fn number(event: &Event) -> u64 {
    let rest = event.id.strip_prefix(&*event.run.id);
    let rest = rest.and_then(|rest| rest.strip_prefix('-'));
    let number = rest.and_then(|rest| rest.parse::<u32>().ok());
    number.map_or_else(
        || u64::from_str_radix(&sha256_hex(event.id.as_bytes())[..12], 16).unwrap_or_default(),
        u64::from,
    )
}

fn unreadable(line: usize, reason: &str) -> Rejected {
    Rejected::new(StatusCode::BAD_REQUEST, format!("line {line}: {reason}"))
}

fn too_large(what: &str) -> Rejected {
    let text = format!("the segment has too many {what}; set `batch` to a smaller number");
    Rejected::new(StatusCode::PAYLOAD_TOO_LARGE, text)
}
