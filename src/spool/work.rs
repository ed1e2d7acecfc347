//! Work for the writing thread, and the answer to who asked for it.

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::Error;
use crate::panics;

/// Time by which a change is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once.
    Now,
    /// With what else comes within a moment, if the spool gathers changes now.
    Soon,
}

/// A piece of work in a transaction that it shares with others. If one of them fails, it is run again.
pub trait Work: Send {
    /// Does the work and keeps the result for the caller.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Answers the caller once the outcome of the transaction is known.
    fn answer(self: Box<Self>, commit: Result<(), Error>);
}

/// Work whose caller waits for the result.
pub struct Asked<T, F> {
    work: F,
    /// None until it is done.
    done: Option<Result<T, Error>>,
    answer: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Asked<T, F> {
    /// Creates work whose result goes to `answer` after the commit.
    pub fn new(work: F, answer: oneshot::Sender<Result<T, Error>>) -> Asked<T, F> {
        Asked {
            work,
            done: None,
            answer,
        }
    }
}

impl<T, F> Work for Asked<T, F>
where
    T: Send,
    F: Fn(&Connection) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let done = panics::caught(|| (self.work)(connection))
            .unwrap_or_else(|fault| Err(Error::Other(fault).into_sqlite()));
        let (done, failed) = match done {
            Ok(done) => (Ok(done), Ok(())),
            Err(error) => (Err(Error::from(&error)), Err(error)),
        };
        self.done = Some(done);
        failed
    }

    fn answer(self: Box<Self>, commit: Result<(), Error>) {
        let result = match (commit, self.done) {
            (Ok(()), Some(done)) => done,
            (Err(error), _) => Err(error),
            // Its caller gets no answer.
            (Ok(()), None) => return,
        };
        // The caller may be gone; the work is done all the same.
        let _ = self.answer.send(result);
    }
}
