//! Attempts: one message about claimed deliveries, sent once. An attempt has no side effects besides its
//! result; its worker applies that.

use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::large;
use crate::delivery::destination::Destination;
use crate::delivery::lanes::Delivery;
use crate::delivery::shared::Shared;
use crate::delivery::threads;
use crate::event::Event;
use crate::event::shorten::shortened;
use crate::failpoint;
use crate::failure::Failure;
use crate::message::{Message, Receipts};
use crate::notifier::{Notifier, Thread};
use crate::panics;
use crate::secret;
use crate::spool::{DestinationId, Leadership};
use crate::text::{characters, cut};

/// Time after which an attempt gives up its turn: endpoints that answer slowly do not hold up the others.
const MAX_TURN: Duration = Duration::from_secs(2);

/// Length limit of a message that is kept, in characters.
const MAX_KEPT: usize = 16_000;

/// An attempt at claimed deliveries, with everything that it needs.
pub struct Attempt {
    pub shared: Rc<Shared>,
    /// Number of the destination in the spool.
    pub id: DestinationId,
    pub destination: Rc<Destination>,
    pub notifier: Rc<dyn Notifier>,
    pub leadership: Option<Rc<Leadership>>,
    /// Held by the worker's only attempt with large events.
    pub large: Rc<Mutex<()>>,
    /// Threads of messages that the spool did not take.
    pub threads: HashMap<String, String>,
    pub claimed: Vec<Delivery>,
}

/// Outcome of an attempt.
pub struct Outcome {
    pub claimed: Vec<Delivery>,
    /// Time at which it started.
    pub started: Timestamp,
    pub begun: Instant,
    pub reply: Reply,
    /// Times of earlier attempts at a delivery that fails for the first time in this process, in
    /// milliseconds since 1970.
    pub earlier: Vec<i64>,
}

/// Result of sending a message, and its by-products.
pub struct Reply {
    pub result: Result<(), Failure>,
    /// Result for each claimed delivery, if they differ; empty if `result` is that of all.
    pub each: Vec<Result<(), Failure>>,
    /// Recipients that have the message, even if it failed.
    pub reached: Receipts,
    /// Error of a template that failed.
    pub note: Option<String>,
    /// The message as it was sent, if it is kept.
    pub message: Option<String>,
    /// Threads that the spool keeps.
    pub threads: Vec<(String, String)>,
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        Reply {
            result: Err(failure),
            each: Vec::new(),
            reached: Receipts::new(),
            note: None,
            message: None,
            threads: Vec::new(),
        }
    }
}

impl Outcome {
    /// Returns the outcome of deliveries that fail without an attempt.
    pub fn without_attempt(claimed: Vec<Delivery>, failure: Failure) -> Outcome {
        Outcome {
            claimed,
            started: Timestamp::now(),
            begun: Instant::now(),
            reply: failure.into(),
            earlier: Vec::new(),
        }
    }
}

impl Attempt {
    /// Makes the attempt.
    pub async fn make(self) -> Outcome {
        let (started, begun) = (Timestamp::now(), Instant::now());
        failpoint::pass("before_send");
        let told = Box::pin(self.noting(panics::caught_async(self.tell())));
        let told = self.in_turn(told).await;
        let reply = told.unwrap_or_else(|fault| Failure::Permanent(fault).into());
        failpoint::pass("after_send");
        let earlier = match &reply.result {
            Ok(()) if reply.each.is_empty() => Vec::new(),
            _ => self.earlier().await,
        };
        Outcome {
            claimed: self.claimed,
            started,
            begun,
            reply,
            earlier,
        }
    }

    /// Runs an attempt at large events in its turn: one at a time per notifier, and few across all notifiers.
    ///
    /// The attempt is boxed: it is large, and would be copied at each of these steps.
    async fn in_turn<T>(&self, mut attempt: Pin<Box<dyn Future<Output = T> + '_>>) -> T {
        let bytes = self.claimed.iter().map(|one| one.in_spool).sum();
        if bytes == 0 {
            return attempt.await;
        }
        let _own = self.large.lock().await;
        let turn = self.shared.turns.under_way(bytes).await;
        let soon = tokio::time::timeout(MAX_TURN, attempt.as_mut()).await;
        drop(turn);
        match soon {
            Ok(result) => result,
            Err(_) => attempt.await,
        }
    }

    /// Returns the times of the attempts before this process's first one.
    async fn earlier(&self) -> Vec<i64> {
        let first = &self.claimed[0];
        if first.failing.is_some() || first.attempts == 0 || first.id < 0 {
            return Vec::new();
        }
        let times = self.shared.spool().attempt_times(first.id).await;
        times.unwrap_or_default()
    }

    /// Sends the claimed deliveries. An event that is too large is cut and sent once more.
    async fn tell(&self) -> Reply {
        let mut events = Vec::new();
        for one in &self.claimed {
            let destination = (self.id, &*self.destination);
            match large::whole(self.shared.spool(), destination, one).await {
                Ok(event) => events.push(event),
                Err(failure) => return failure.into(),
            }
        }
        let reached = self.claimed[0].reached.clone();
        let first = self.send(events.clone(), reached).await;
        let is_batch = self.destination.sends_batch(&self.claimed);
        if is_batch || !matches!(first.result, Err(Failure::TooLarge(_))) {
            return first;
        }
        let short = events.iter().map(|event| Arc::new(shortened(event)));
        let second = self.send(short.collect(), first.reached.clone());
        let second = panics::caught_async(second).await;
        second.unwrap_or_else(|fault| Reply {
            reached: first.reached,
            ..Failure::Permanent(fault).into()
        })
    }

    /// Makes the message. A batch may have many large events: other work goes on between them, such as reading the
    /// answers to requests whose time is limited.
    async fn message(&self, mut events: Vec<Arc<Event>>) -> Message {
        let others = match self.destination.grouping.is_batch() {
            true => events.split_off(1),
            false => Vec::new(),
        };
        let mut message = self.destination.message(events);
        for event in others {
            tokio::task::yield_now().await;
            self.destination.add(&mut message, event);
        }
        message
    }

    /// Sends one message to all recipients except those already reached, which the reply includes.
    async fn send(&self, events: Vec<Arc<Event>>, reached: Receipts) -> Reply {
        failpoint::pass_for("make_message", self.claimed[0].event.host_name());
        // Rendered at delivery: fixing a template also fixes pending deliveries.
        let is_kept = self.destination.keeps_message(&events);
        let mut message = self.message(events).await;
        message.reached = reached;
        // A message about events of several runs belongs to none of their threads.
        let relation = match self.claimed[0].hold > 0 && self.claimed.len() > 1 {
            true => Thread::None,
            false => self.notifier.thread(),
        };
        if relation != Thread::None {
            let event = &self.claimed[0].event;
            let keys = threads::keys(event);
            let kept = self.shared.spool().threads(self.id, keys).await;
            // If the spool cannot be read, the message begins a new thread.
            let mut kept = kept.unwrap_or_default();
            kept.extend(self.threads.clone());
            message.threads = threads::recall(event, kept);
        }
        let kept = is_kept.then(|| self.shown(&message)).flatten();
        let mut each = Vec::new();
        let result = match self.notifier.send(&message).await {
            Ok(mut sent) => {
                message.note = sent.note().or(message.note);
                message.reached.extend(std::mem::take(&mut sent.reached));
                let (result, results) = sent.results(self.claimed.len());
                each = results;
                result
            }
            Err(failure) => Err(failure),
        };
        let delivered = result.is_ok();
        let threads = match relation {
            Thread::None => Vec::new(),
            relation => threads::keep(&message, delivered, relation),
        };
        let note = message.note.filter(|_| delivered);
        Reply {
            result,
            each,
            reached: message.reached,
            note: note.map(|note| secret::redact(&note)),
            message: kept,
            threads,
        }
    }

    /// Returns the message for the eyes of people, with secrets masked.
    fn shown(&self, message: &Message) -> Option<String> {
        let preview = panics::caught(|| self.notifier.preview(message)).ok()?;
        let text = secret::redact(&preview.ok()?);
        Some(cut(&text, MAX_KEPT, characters).into_owned())
    }
}
