//! What a service stored of the events that it got, for services that store many in a request.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::Value;

use super::Server;
use crate::sandbox::PATIENCE;

/// A text by which a service refuses an event, in its own way.
pub const POISON: &str = "poison";
/// A text for which it asks to be tried again, once for each event.
pub const BUSY: &str = "busy";

/// An event as it was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its id, as the program gives it.
    pub id: String,
    pub host: String,
    pub document: Value,
}

/// Events in the order in which they were stored.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Vec<Stored>>>);

/// A server, and what it stored.
pub struct Store {
    pub server: Server,
    pub shelf: Shelf,
}

impl Shelf {
    pub fn put(&self, stored: Stored) {
        self.0.lock().unwrap().push(stored);
    }

    pub fn all(&self) -> Vec<Stored> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// How often each event was stored, by its id.
    pub fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for stored in self.all() {
            *times.entry(stored.id).or_default() += 1;
        }
        times
    }

    /// Waits until so many are stored.
    #[track_caller]
    pub fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.len() < count {
            assert!(Instant::now() < deadline, "only {} are stored", self.len());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}
