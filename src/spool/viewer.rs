//! Read-only view of the spool for a process that runs for long: a connection that is opened again when the file
//! is replaced. It waits for no lock, changes nothing, and keeps no transaction open between queries.

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::error::Error;
use super::writer::inode;
use super::{folder, reader, rescue, schema};
use crate::console::stderr;
use crate::panics;

/// Time limit of a query. A longer one would prevent the log from being moved to the file.
const MAX_TIME: Duration = Duration::from_secs(5);
/// Number of SQLite's steps between two checks of the time limit.
const STEPS: i32 = 10_000;

/// Reasons why the spool cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// This folder contains no spool yet.
    Missing(PathBuf),
    Older,
    Newer,
    Damaged,
    /// The query exceeded its time limit.
    Slow,
    Other(String),
}

impl std::error::Error for Unseen {}

impl Display for Unseen {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Unseen::Missing(folder) => {
                return write!(
                    formatter,
                    "nothing has been sent from the spool in {} yet",
                    folder.display()
                );
            }
            Unseen::Older => {
                "the spool was written by an older ansible-notify; the next run, or `ansible-notify status`, brings it up to date"
            }
            Unseen::Newer => {
                "the spool was written by a newer ansible-notify; use that one"
            }
            Unseen::Damaged => {
                "the spool is damaged; the next run, or `ansible-notify flush`, sets it aside and recovers what it can"
            }
            Unseen::Slow => "this took too long; choose a shorter time or fewer results",
            Unseen::Other(text) => text,
        })
    }
}

impl From<&rusqlite::Error> for Unseen {
    fn from(error: &rusqlite::Error) -> Unseen {
        match Error::from(error) {
            _ if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Unseen::Slow,
            Error::Damaged => Unseen::Damaged,
            // It would come with the whole question.
            _ if matches!(error, rusqlite::Error::SqlInputError { .. }) => {
                Unseen::Other("this cannot be read from the spool".to_owned())
            }
            error => Unseen::Other(error.to_string()),
        }
    }
}

/// A query that also sends its answer.
type Question = Box<dyn FnOnce(Result<&Connection, Unseen>) + Send>;

/// Handle to the reading thread.
pub struct Viewer {
    folder: PathBuf,
    questions: mpsc::Sender<Question>,
    /// Number of connections opened so far.
    openings: Arc<AtomicU64>,
}

impl Viewer {
    /// Returns the view of the spool in `folder`, which need not exist yet.
    pub fn new(folder: &Path) -> Viewer {
        let (questions, queue) = mpsc::channel::<Question>();
        let openings = Arc::new(AtomicU64::new(0));
        let mut eye = Eye {
            folder: folder.to_owned(),
            open: None,
            openings: openings.clone(),
            until: Arc::new(Mutex::new(Instant::now())),
        };
        std::thread::spawn(move || {
            for question in queue {
                eye.answer(question);
            }
        });
        Viewer {
            folder: folder.to_owned(),
            questions,
            openings,
        }
    }

    /// Returns the folder of the spool.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs `look` in a transaction, so that everything it reads belongs to one state of the file.
    pub async fn ask<T, F>(&self, look: F) -> Result<T, Unseen>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let question = move |connection: Result<&Connection, Unseen>| {
            let found = connection.and_then(|connection| {
                let found = panics::caught(|| look(connection)).map_err(Unseen::Other)?;
                found.map_err(|error| Unseen::from(&error))
            });
            // The client may have disconnected.
            let _ = sender.send(found);
        };
        let gone = || Unseen::Other("the spool cannot be read now".to_owned());
        let asked = self.questions.send(Box::new(question));
        asked.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Returns numbers that change whenever another process commits to the spool, or the file is replaced.
    pub async fn version(&self) -> Result<(u64, i64), Unseen> {
        let version = |connection: &Connection| {
            connection.query_row("PRAGMA data_version", [], |row| row.get(0))
        };
        let version = self.ask(version).await?;
        Ok((self.openings.load(atomic::Ordering::Relaxed), version))
    }
}

/// State of the reading thread.
struct Eye {
    folder: PathBuf,
    /// The connection, with the inode of its file.
    open: Option<(Option<u64>, Connection)>,
    openings: Arc<AtomicU64>,
    /// Time at which SQLite interrupts the query.
    until: Arc<Mutex<Instant>>,
}

impl Eye {
    fn answer(&mut self, question: Question) {
        let inode = inode(&self.folder);
        if self.open.as_ref().is_some_and(|(open, _)| *open != inode) {
            self.open = None;
        }
        if self.open.is_none() {
            match self.connect() {
                Ok(connection) => {
                    self.openings.fetch_add(1, atomic::Ordering::Relaxed);
                    self.open = Some((inode, connection));
                }
                Err(unseen) => return question(Err(unseen)),
            }
        }
        let Some((_, connection)) = &self.open else {
            return;
        };
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + MAX_TIME;
        if let Err(error) = connection.execute_batch("BEGIN") {
            return question(Err(Unseen::from(&error)));
        }
        question(Ok(connection));
        // After an error, the file is opened again.
        if connection.execute_batch("COMMIT").is_err() {
            self.open = None;
        }
    }

    fn connect(&self) -> Result<Connection, Unseen> {
        if !folder::is_in(&self.folder) {
            return Err(Unseen::Missing(self.folder.clone()));
        }
        let mut connection = reader::connect(&self.folder).map_err(|error| {
            if rescue::is_damage(&error) || error.is::<reader::DamagedLog>() {
                return Unseen::Damaged;
            }
            Unseen::Other(stderr::causes(&error))
        })?;
        let until = self.until.clone();
        let is_late = move || {
            let until = until.lock().unwrap_or_else(PoisonError::into_inner);
            Instant::now() > *until
        };
        let limited = connection.progress_handler(STEPS, Some(is_late));
        let age = limited.and_then(|()| schema::age(&connection));
        match age.map_err(|error| Unseen::from(&error))? {
            Ordering::Less => Err(Unseen::Older),
            Ordering::Equal => Ok(connection),
            Ordering::Greater => Err(Unseen::Newer),
        }
    }
}
