//! Changes that are not urgent: they wait a moment for others, to share one commit with them.

use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::work::Work;

/// Changes that wait for the writing thread, which is woken once for all of them.
#[derive(Clone, Default)]
pub struct Gathered(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// True while changes may wait.
    gathers: bool,
    waiting: Vec<Box<dyn Work>>,
}

/// Fate of a change that was to wait.
pub enum Added {
    /// It waits with others.
    Waits,
    /// It waits as the first: the thread is to be woken.
    WaitsFirst,
    /// It may not wait.
    Not(Box<dyn Work>),
}

impl Gathered {
    /// Adds a change, if changes may wait now.
    pub fn add(&self, work: Box<dyn Work>) -> Added {
        let mut state = self.state();
        if !state.gathers {
            return Added::Not(work);
        }
        state.waiting.push(work);
        match state.waiting.len() {
            1 => Added::WaitsFirst,
            _ => Added::Waits,
        }
    }

    /// Sets if changes may wait from here on.
    pub fn set(&self, gathers: bool) {
        self.state().gathers = gathers;
    }

    /// Removes all changes that wait.
    pub fn take(&self) -> Vec<Box<dyn Work>> {
        mem::take(&mut self.state().waiting)
    }

    /// Drops all changes that wait, and lets none wait any longer: the thread has ended.
    pub fn end(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change to the list can leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::*;
    use crate::spool::{Error, Limits, Spool, Urgency};

    /// Returns the number of commits in the log: frames that give a size of the file (SQLite's "WAL-Index File Format").
    fn commits(folder: &Path) -> usize {
        let log = std::fs::read(folder.join("spool.db-wal")).unwrap_or_default();
        if log.is_empty() {
            return 0;
        }
        let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
        let frames = log[32..].chunks_exact(24 + page);
        let is_of_log = |frame: &&[u8]| frame[8..16] == log[16..24];
        let ends = frames
            .filter(is_of_log)
            .filter(|frame| frame[4..8] != [0; 4]);
        ends.count()
    }

    fn add<'a>(
        spool: &'a Spool,
        name: &'static str,
    ) -> impl Future<Output = Result<usize, Error>> + 'a {
        spool.write_by(Urgency::Soon, move |connection| {
            connection.execute("INSERT INTO name (text) VALUES (?1)", [name])
        })
    }

    #[tokio::test]
    async fn changes_share_a_commit() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), &Limits::default()).unwrap();
        spool.gather(true);
        let before = commits(folder.path());
        // The thread is at work until both wait.
        let (go_on, waits) = mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let busy = spool.read(move |_| Ok(waits.lock().unwrap().recv().is_ok()));
        let (first, second) = (add(&spool, "first"), add(&spool, "second"));
        drop(go_on);
        assert_eq!(tokio::join!(busy, first, second), (Ok(false), Ok(1), Ok(1)));
        assert_eq!(commits(folder.path()) - before, 1);
    }

    #[tokio::test]
    async fn what_waits_is_committed_with_the_next_urgent_change() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), &Limits::default()).unwrap();
        spool.gather(true);
        let waits = add(&spool, "waits");
        let names = spool.write(|connection| {
            connection.query_row("SELECT count(*) FROM name", [], |row| row.get(0))
        });
        assert_eq!(tokio::join!(waits, names), (Ok(1), Ok(1)));
    }

    #[tokio::test]
    async fn a_spool_that_cannot_be_used_keeps_nobody_waiting() {
        let spool = Spool::unusable(&anyhow::anyhow!("no place"));
        spool.gather(true);
        for name in ["first", "second"] {
            assert_eq!(
                add(&spool, name).await,
                Err(Error::Other("no place".to_owned()))
            );
        }
    }
}
