//! Live updates: a stream of events (SSE) that says when something in the spool has changed.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::sleep;

use crate::spool::Viewer;

/// Interval at which the spool is asked for its version.
const POLL: Duration = Duration::from_millis(250);
/// Interval of the lines that keep a silent connection open.
const BEAT: Duration = Duration::from_secs(15);
/// Limit of streams. A browser tab has one.
const MAX_STREAMS: usize = 16;
/// Time after which a browser connects again, in milliseconds.
const RETRY: u32 = 2000;

/// All streams, and what they wait for.
pub struct Events {
    viewer: Rc<Viewer>,
    /// Newest known version of the spool, as text.
    version: watch::Sender<String>,
    places: Arc<Semaphore>,
    is_polling: Cell<bool>,
}

/// The body of an answer that goes on.
pub struct Stream {
    lines: mpsc::Receiver<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let lines = self.lines.poll_recv(context);
        lines.map(|lines| lines.map(|lines| Ok(Frame::data(lines))))
    }
}

impl Events {
    /// Creates the streams of a spool.
    pub fn new(viewer: Rc<Viewer>) -> Rc<Events> {
        Rc::new(Events {
            viewer,
            version: watch::Sender::new(String::new()),
            places: Arc::new(Semaphore::new(MAX_STREAMS)),
            is_polling: Cell::new(false),
        })
    }

    /// Returns the version of the spool as it is now; the same text as long as nothing changes in it.
    pub async fn now(&self) -> String {
        match self.viewer.version().await {
            Ok((file, version)) => format!("{file}.{version}"),
            // One that cannot be read may be another one when it can be read again.
            Err(_) => "none".to_owned(),
        }
    }

    /// Opens a stream for a client that knows this version; None if there are too many.
    pub fn open(self: &Rc<Self>, known: Option<String>) -> Option<Stream> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        let (sender, lines) = mpsc::channel(1);
        tokio::task::spawn_local(self.clone().tell(known, sender));
        if !self.is_polling.replace(true) {
            tokio::task::spawn_local(self.clone().poll());
        }
        Some(Stream {
            lines,
            _place: place,
        })
    }

    /// Looks for changes as long as there is a stream.
    async fn poll(self: Rc<Self>) {
        while self.version.receiver_count() > 0 {
            let now = self.now().await;
            self.version.send_if_modified(|known| {
                let has_changed = *known != now;
                *known = now;
                has_changed
            });
            sleep(POLL).await;
        }
        self.is_polling.set(false);
    }

    /// Tells one client about changes until it is gone.
    async fn tell(self: Rc<Self>, known: Option<String>, client: mpsc::Sender<Bytes>) {
        let mut version = self.version.subscribe();
        let first = self.now().await;
        let mut known = known.unwrap_or_else(|| first.clone());
        let mut lines = format!("retry: {RETRY}\n: connected\n\n");
        if first != known {
            lines.push_str(&change(&first));
            known = first;
        }
        while client.send(lines.into()).await.is_ok() {
            lines = loop {
                tokio::select! {
                    () = client.closed() => return,
                    () = sleep(BEAT) => break ": still here\n\n".to_owned(),
                    changed = version.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        let newest = version.borrow_and_update().clone();
                        if newest != known {
                            known.clone_from(&newest);
                            break change(&newest);
                        }
                    }
                }
            };
        }
    }
}

fn change(version: &str) -> String {
    format!("id: {version}\nevent: change\ndata: {{}}\n\n")
}
