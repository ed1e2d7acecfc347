//! First message of a run, where later ones reply to it or replace it: no other message of the run is sent
//! concurrently, so that they find it.

use std::collections::HashSet;
use std::rc::Rc;

use crate::notifier::Thread;

/// Runs whose first message is being sent, and the lanes that wait for it.
#[derive(Debug, Default)]
pub struct Opening {
    thread: Thread,
    /// Runs whose first message was delivered.
    open: HashSet<String>,
    /// Runs with a message in progress that no other may accompany.
    alone: HashSet<String>,
    /// Lanes waiting for such a message.
    behind: Vec<Rc<str>>,
}

impl Opening {
    /// Creates the state for a kind that continues threads as `thread` says.
    pub fn new(thread: Thread) -> Opening {
        Opening {
            thread,
            ..Opening::default()
        }
    }

    /// Returns true if a lane may send a message of this run; otherwise it waits until `done` returns it.
    pub fn admits(&mut self, run: &str, lane: &Rc<str>) -> bool {
        if self.thread == Thread::None || self.open.contains(run) {
            return true;
        }
        let is_first = self.alone.insert(run.to_owned());
        if !is_first {
            self.behind.push(lane.clone());
        }
        is_first
    }

    /// Records that a message of this run was delivered and can be replied to.
    pub fn open(&mut self, run: &str) {
        if self.thread == Thread::Replies {
            self.open.insert(run.to_owned());
        }
    }

    /// Forgets a run that has ended: a late message of it looks up the thread like any first message.
    pub fn close(&mut self, run: &str) {
        self.open.remove(run);
    }

    /// Returns the lanes that waited for the attempt at a message of this run, which is over.
    pub fn done(&mut self, run: &str) -> Vec<Rc<str>> {
        match self.alone.remove(run) {
            true => std::mem::take(&mut self.behind),
            false => Vec::new(),
        }
    }
}
