//! Secrets that the page must mask: those of all configurations that wrote to the spool.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::cli;
use crate::command::{only_named_by, secrets};
use crate::spool::{Source, Viewer};

/// Age at which they are read again: they may have been changed.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The configurations whose secrets are known.
pub struct Learned {
    place: cli::Place,
    known: RefCell<HashSet<Source>>,
    read: Cell<Option<Instant>>,
}

impl Learned {
    /// Knows none yet.
    pub fn new(place: cli::Place) -> Learned {
        Learned {
            place,
            known: RefCell::default(),
            read: Cell::new(None),
        }
    }

    /// Reads the configurations that are new, and now and then all, before anything is shown.
    pub async fn update(&self, viewer: &Viewer) {
        let is_old = self.read.get().is_none_or(|read| read.elapsed() > MAX_AGE);
        // If the spool cannot be read, nothing of it is shown.
        let mut sources = viewer.sources().await.unwrap_or_default();
        if !is_old {
            let known = self.known.borrow();
            sources.retain(|source| !known.contains(source));
        }
        if sources.is_empty() {
            return;
        }
        let stranger = only_named_by(&self.place);
        let learned = sources.clone();
        let learn = move || secrets::learn(&learned, stranger.as_deref());
        if tokio::task::spawn_blocking(learn).await.is_ok() {
            self.known.borrow_mut().extend(sources);
            if is_old {
                self.read.set(Some(Instant::now()));
            }
        }
    }
}
