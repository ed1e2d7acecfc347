//! What all workers of a process share.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::console::stderr;
use crate::delivery::turns::Turns;
use crate::event::Event;
use crate::net::http::Http;
use crate::spool::{DestinationKey, Spool};

/// What all workers of a process share.
pub struct Shared {
    /// Set when the configuration has said where it is.
    spool: OnceCell<Spool>,
    http: Http,
    /// What the workers do in turn.
    pub turns: Turns,
    /// Somewhere a delivery was finished.
    pub progress: Notify,
    /// Events that could not be written to the spool and are in memory only.
    pub unspooled: RefCell<Unspooled>,
    /// No further attempt is begun.
    pub stopping: Cell<bool>,
    /// It leaves all deliveries to other processes.
    pub accepts_only: Cell<bool>,
}

/// Deliveries without a place in the spool have negative numbers.
#[derive(Default)]
pub struct Unspooled {
    pub last: i64,
    /// Those that are unfinished.
    pub open: BTreeMap<i64, Unwritten>,
    /// The destinations that have no place there either, by their numbers here.
    pub destinations: BTreeMap<i64, DestinationKey>,
    pub reported: bool,
}

pub struct Unwritten {
    /// Its place in the stream.
    pub sequence: u64,
    pub event: Arc<Event>,
    pub destination: i64,
}

impl Shared {
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

    pub fn http(&self) -> &Http {
        &self.http
    }

    /// The spool, opened when it is first asked for.
    pub fn open(&self, open: impl FnOnce() -> Spool) {
        self.spool.get_or_init(open);
    }

    pub fn spool(&self) -> &Spool {
        self.spool
            .get_or_init(|| Spool::unusable(&anyhow::anyhow!("the spool is not open")))
    }

    /// Says what is wrong with the spool, once.
    pub fn complain(&self, text: &str) {
        let said = std::mem::replace(&mut self.unspooled.borrow_mut().reported, true);
        if !said {
            stderr::say(text);
        }
    }

    /// A delivery without a place in the spool is finished with.
    pub fn forget(&self, id: i64) {
        self.unspooled.borrow_mut().open.remove(&id);
    }
}
