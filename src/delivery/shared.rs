//! State shared by all workers of a process.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::console::stderr;
use crate::delivery::turns::Turns;
use crate::event::Event;
use crate::net::http::Http;
use crate::spool::DestinationId;
use crate::spool::{DestinationKey, Spool};

/// State shared by all workers of a process.
pub struct Shared {
    /// Set once the configuration has named its directory.
    spool: OnceCell<Spool>,
    http: Http,
    /// Coordinates work on large events.
    pub turns: Turns,
    /// Notified when a delivery is finished anywhere.
    pub progress: Notify,
    /// Events that could not be written to the spool and are in memory only.
    pub unspooled: RefCell<Unspooled>,
    /// If true, no further attempt is started.
    pub stopping: Cell<bool>,
    /// If true, this process leaves all deliveries to others.
    pub accepts_only: Cell<bool>,
}

/// Deliveries without a place in the spool; they have negative numbers.
#[derive(Default)]
pub struct Unspooled {
    pub last: i64,
    /// Unfinished ones.
    pub open: BTreeMap<i64, Unwritten>,
    /// Destinations that have no place there either, by their numbers here.
    pub destinations: BTreeMap<DestinationId, DestinationKey>,
    pub reported: bool,
}

/// A delivery that could not be written to the spool.
pub struct Unwritten {
    /// Position in the stream.
    pub sequence: u64,
    pub event: Arc<Event>,
    pub destination: DestinationId,
}

impl Shared {
    /// Creates the state of a process that has no events yet.
    pub fn new(http: Http) -> Shared {
        Shared {
            spool: OnceCell::new(),
            http,
            turns: Turns::default(),
            progress: Notify::new(),
            unspooled: RefCell::default(),
            stopping: Cell::new(false),
            accepts_only: Cell::new(false),
        }
    }

    /// Returns the HTTP client.
    pub fn http(&self) -> &Http {
        &self.http
    }

    /// Opens the spool, unless it is open already.
    pub fn open(&self, open: impl FnOnce() -> Spool) {
        self.spool.get_or_init(open);
    }

    /// Returns the spool; an unusable one until it is open.
    pub fn spool(&self) -> &Spool {
        self.spool
            .get_or_init(|| Spool::unusable(&anyhow::anyhow!("the spool is not open")))
    }

    /// Reports a problem with the spool, once.
    pub fn complain(&self, text: &str) {
        let said = std::mem::replace(&mut self.unspooled.borrow_mut().reported, true);
        if !said {
            stderr::say(text);
        }
    }

    /// Forgets a delivery without a place in the spool: it is finished.
    pub fn forget(&self, id: i64) {
        self.unspooled.borrow_mut().open.remove(&id);
    }
}
