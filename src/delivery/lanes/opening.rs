//! The first message of a run, where later ones answer to it or take its place: nothing else of the run goes
//! beside it, so that they find it.

use std::collections::HashSet;
use std::rc::Rc;

use crate::notifier::Thread;

/// Runs whose first message is on its way, and what waits for it.
#[derive(Debug, Default)]
pub struct Opening {
    thread: Thread,
    /// Runs whose first message is there.
    open: HashSet<String>,
    /// Runs of which one message is under way, and nothing may go beside it.
    alone: HashSet<String>,
    /// Lanes that wait for it.
    behind: Vec<Rc<str>>,
}

impl Opening {
    pub fn new(thread: Thread) -> Opening {
        Opening {
            thread,
            ..Opening::default()
        }
    }

    /// Tells whether a lane may go on with a message of this run; else it waits until `done` gives it back.
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

    /// Notes that a message of this run was delivered, and can be answered.
    pub fn open(&mut self, run: &str) {
        if self.thread == Thread::Replies {
            self.open.insert(run.to_owned());
        }
    }

    /// Forgets a run that has ended: a late message of it finds the thread like any first one.
    pub fn close(&mut self, run: &str) {
        self.open.remove(run);
    }

    /// Lanes that waited for an attempt at a message of this run, which is over.
    pub fn done(&mut self, run: &str) -> Vec<Rc<str>> {
        match self.alone.remove(run) {
            true => std::mem::take(&mut self.behind),
            false => Vec::new(),
        }
    }
}
