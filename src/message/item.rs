//! One event of a message that carries several, for kinds that send in bulk.

use std::sync::Arc;

use hyper::body::Bytes;
use jiff::Timestamp;

use super::{Level, Message};
use crate::event::Event;

/// An event of a message.
#[derive(Clone, Debug)]
pub struct Item {
    /// The data of the event alone, as [`Message::payload`] describes it.
    pub payload: Bytes,
    /// The event, for everything that a kind sends besides the payload.
    pub event: Arc<Event>,
}

impl Item {
    /// Id of the event: the same on every attempt, so that a receiver can recognise a repeat.
    pub fn id(&self) -> &str {
        &self.event.id
    }

    /// Time of the event.
    pub fn time(&self) -> Timestamp {
        self.event.time
    }

    /// Name of the host; empty if the event is about none.
    pub fn host(&self) -> &str {
        self.event.host_name()
    }

    /// Importance of the event.
    pub fn level(&self) -> Level {
        Level::of(&self.event)
    }
}

impl Message {
    /// Returns the events of a message, each with its data: those of a batch, or the only one.
    pub fn items(&self) -> Vec<Item> {
        if !self.batch.is_empty() {
            return self.batch.clone();
        }
        let event = self.context.events().next().cloned();
        let item = |event| Item {
            payload: self.payload.clone(),
            event,
        };
        event.map(item).into_iter().collect()
    }

    /// Returns the data of each event of a message.
    pub fn payloads(&self) -> Vec<Bytes> {
        match self.batch.is_empty() {
            true => vec![self.payload.clone()],
            false => self.batch.iter().map(|item| item.payload.clone()).collect(),
        }
    }
}
