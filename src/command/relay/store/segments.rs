//! Segments in the form in which a store outside of the process keeps them: without everything that must not be kept, and
//! with the partition that they belong to.

use hyper::StatusCode;
use hyper::body::Bytes;

use crate::cli::serve::PARTITIONS;
use crate::command::relay::segment::Rejected;
use crate::event::Event;
use crate::event::stored::EventCodec;
use crate::net::digest::sha256_hex;
use crate::notifier::relay::packed;

/// Length of a segment's id, in characters.
const ID: usize = 32;

/// A segment to be stored.
pub struct Segment {
    pub partition: u16,
    /// The same whenever the same events are sent.
    pub id: String,
    pub packed: Bytes,
    /// Number of its events.
    pub count: usize,
}

impl Segment {
    /// Packs the events of a tenant, of which there is at least one.
    pub fn new(tenant: &str, events: &[(u64, Event)]) -> Result<Segment, Rejected> {
        let mut codec = EventCodec::default();
        let lines: Vec<Bytes> = events
            .iter()
            .map(|(_, event)| codec.write(event).into())
            .collect();
        let packed = packed(&lines).map_err(|error| {
            let text = format!("cannot compress the events: {error}");
            Rejected::new(StatusCode::INTERNAL_SERVER_ERROR, text)
        })?;
        let ids = events.iter().map(|(_, event)| event.id.as_str());
        let ids: Vec<&str> = std::iter::once(tenant).chain(ids).collect();
        let mut id = sha256_hex(ids.join("\n").as_bytes());
        id.truncate(ID);
        Ok(Segment {
            partition: events.first().map_or(0, |(_, event)| of(tenant, event)),
            id,
            packed: packed.into(),
            count: events.len(),
        })
    }
}

/// Returns the partition of an event: the same for all runs of a playbook.
fn of(tenant: &str, event: &Event) -> u16 {
    let key = match event.run.playbook_key() {
        key if key.is_empty() => event.run.id.clone(),
        key => key,
    };
    let hash = sha256_hex(format!("{tenant}\n{key}").as_bytes());
    let number = u32::from_str_radix(&hash[..8], 16).unwrap_or_default();
    u16::try_from(number % u32::from(PARTITIONS)).unwrap_or_default()
}
