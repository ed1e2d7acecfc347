//! Interface that every kind of notifier implements, and the list of kinds.

pub mod alertmanager;
pub mod awssns;
pub mod bulk;
pub mod choice;
pub mod chosen;
pub mod cloudevents;
pub mod discord;
pub mod elasticsearch;
pub mod email;
pub mod exec;
pub mod file;
pub mod format;
pub mod googlechat;
pub mod gotify;
pub mod grafana;
pub mod hipchat;
pub mod irc;
pub mod labels;
pub mod loki;
pub mod matrix;
pub mod mattermost;
pub mod ntfy;
pub mod otlp;
pub mod over_http;
pub mod pagerduty;
pub mod prometheus;
pub mod recipients;
#[cfg(feature = "redis")]
pub mod redis;
pub mod relay;
pub mod rocketchat;
pub mod slack;
mod snippet;
pub mod splunk;
pub mod syslog;
pub mod teams;
pub mod telegram;
pub mod twilio;
pub mod webex;
pub mod webhook;
pub mod zeromq;
pub mod zulip;

use std::rc::Rc;

use async_trait::async_trait;
use hyper::body::Bytes;

use crate::config::section::Section;
use crate::event::Event;
use crate::failure::{Check, Failure, outcome};
use crate::message::{Message, MessageFormat, Receipts};
use crate::net::http::Http;
use crate::route::grouping::Limits;

/// Kinds that page people, or tell the last success to those who do: without `check_mode`, they get no events in
/// check mode.
pub const WAKING: [&str; 4] = ["pagerduty", "twilio", "alertmanager", "prometheus"];

/// Kinds with a separate record for each event: their messages never combine several events, except with
/// `group_by`.
pub const SINGLE: [&str; 5] = [
    "pagerduty",
    "grafana",
    "alertmanager",
    "prometheus",
    "syslog",
];

/// Kinds that record what happened: by default, they get every result and the end of each run, as kinds in bulk do.
pub const RECORDING: [&str; 1] = ["syslog"];

/// Kinds that pass events on as they are, to a program that decides what becomes of them: they want every event, and
/// send those of a run in batches.
pub const PASSING_ON: [&str; 1] = ["relay"];

/// Kinds that send events in bulk, by name.
pub const IN_BULK: &[(&str, &Bulk)] = &[
    ("splunk", &splunk::BULK),
    ("elasticsearch", &elasticsearch::BULK),
    ("loki", &loki::BULK),
    ("otlp", &otlp::BULK),
    #[cfg(feature = "redis")]
    ("redis", &redis::BULK),
];

/// Kinds that this program was built without: each has a feature of its name.
pub const LEFT_OUT: &[&str] = &[
    #[cfg(not(feature = "redis"))]
    "redis",
];

/// Default of `concurrency` of a kind that sends in bulk.
pub const BULK_REQUESTS: usize = 4;

/// Properties of a kind that sends events in bulk: a request has many, and an answer for each of them.
pub struct Bulk {
    pub limits: Limits,
    /// Returns the data of an event without `[outputs]` and `body`, unless the usual fields are sent.
    pub record: Option<fn(&Event) -> Bytes>,
}

/// Declares the kinds of notifiers, by the names of their modules.
macro_rules! kinds {
    ($($(#[$gate:meta])? $kind:ident)*) => {
        /// The kinds, in the order in which help and documentation list them.
        pub const KINDS: &[&Kind] = &[$($(#[$gate])? &$kind::KIND),*];

        /// Their pages in the documentation, in the same order.
        pub const PAGES: &[&str] = &[$(
            $(#[$gate])?
            include_str!(concat!("../../docs/notifiers/", stringify!($kind), ".md"))
        ),*];
    };
}

kinds! {
    webhook
    email
    slack
    hipchat
    mattermost
    rocketchat
    pagerduty
    twilio
    irc
    grafana
    awssns
    teams
    discord
    telegram
    ntfy
    googlechat
    alertmanager
    prometheus
    gotify
    matrix
    webex
    zulip
    exec
    file
    syslog
    otlp
    zeromq
    relay
    splunk
    elasticsearch
    loki
    #[cfg(feature = "redis")]
    redis
}

/// Placeholder for an unknown kind, so that the section's events can wait.
pub const UNKNOWN: Kind = Kind {
    name: "unknown",
    about: "its `type` is unknown",
    form: MessageFormat::Data,
    build: |_, _| None,
};

/// A kind of notifier: one source file each.
pub struct Kind {
    /// Value of `type` that selects it.
    pub name: &'static str,
    pub about: &'static str,
    /// Parts that it needs of a message.
    pub form: MessageFormat,
    /// Builds a notifier from a section; notes problems in the section.
    pub build: fn(&Section, &Http) -> Option<Rc<dyn Notifier>>,
}

impl Kind {
    /// Returns how it sends events in bulk, if it does.
    pub fn bulk(&self) -> Option<&'static Bulk> {
        let known = IN_BULK.iter().find(|(name, _)| *name == self.name);
        known.map(|(_, bulk)| *bulk)
    }
}

/// Relation between the messages of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thread {
    /// Each stands alone.
    #[default]
    None,
    /// Later messages reply to the first.
    Replies,
    /// Later messages replace the first.
    Updates,
}

/// Note of a message whose template chose no recipients.
const NO_RECIPIENTS: &str = "nobody was notified: this event has no recipients";

/// Result of an attempt that did not fail as a whole.
#[derive(Default)]
pub struct Sent {
    /// Recipients that this attempt reached.
    pub reached: Receipts,
    /// Failure to be recorded, if a recipient still lacks the message.
    pub failure: Option<Failure>,
    /// True if the message has no recipients: a template chose none.
    pub to_nobody: bool,
    /// Note about a default that was sent instead of a template's result.
    pub replaced: Option<String>,
    /// Result for each event of a batch, in order; empty if the result of the attempt is that of all.
    pub each: Vec<Result<(), Failure>>,
}

impl Sent {
    /// Returns the result for a message to this many recipients, of which some failed.
    pub fn to(recipients: usize, reached: Receipts, failures: Vec<(String, Failure)>) -> Sent {
        Sent {
            reached,
            failure: outcome(recipients, failures).err(),
            to_nobody: recipients == 0,
            replaced: None,
            each: Vec::new(),
        }
    }

    /// Returns the result of a batch whose receiver answered for each of its events, in order.
    pub fn each(results: Vec<Result<(), Failure>>) -> Sent {
        Sent {
            each: results,
            ..Sent::default()
        }
    }

    /// Returns the result for all of a number of events, and that for each of them if they differ.
    pub fn results(self, events: usize) -> (Result<(), Failure>, Vec<Result<(), Failure>>) {
        let Some(first) = self.each.first().cloned() else {
            return (self.failure.map_or(Ok(()), Err), Vec::new());
        };
        if self.each.len() != events {
            let text = format!("results for {} of {events} events", self.each.len());
            return (Err(Failure::retry(text)), Vec::new());
        }
        match self.each.iter().all(|result| *result == first) {
            true => (first, Vec::new()),
            false => (Ok(()), self.each),
        }
    }

    /// Returns the note for the record.
    pub fn note(&self) -> Option<String> {
        match self.to_nobody {
            true => Some(NO_RECIPIENTS.to_owned()),
            false => self.replaced.clone(),
        }
    }
}

/// Sender of messages to a configured destination.
#[async_trait(?Send)]
pub trait Notifier {
    /// Makes one attempt, at the recipients that `message` has not reached yet. Retries, order and limits
    /// are up to the caller, who must not drop the attempt: it alone knows which recipients it reached. A
    /// limit on its time, or a panic, therefore concerns one recipient at a time.
    async fn send(&self, message: &Message) -> Result<Sent, Failure>;

    /// Relation between the messages of a run.
    fn thread(&self) -> Thread {
        Thread::None
    }

    /// Returns true if the receiver answers. Without an answer, a message is sent, and nobody knows whether it arrived.
    fn is_answered(&self) -> bool {
        true
    }

    /// Returns the request as it would be sent, with secrets masked.
    fn preview(&self, message: &Message) -> Result<String, Failure>;

    /// Returns the HTML of a mail, with secrets masked; None for a kind that sends none.
    fn html(&self, _message: &Message) -> Option<String> {
        None
    }

    /// Ends a connection that stays open between messages as its protocol wants it. Called once, at the end of the
    /// process; must not wait long.
    async fn close(&self) {}

    /// Contacts the service without notifying anyone, step by step; the last line of a failure is its reason.
    async fn check(&self) -> Check;
}

/// Reason why a notifier cannot send: a mistake in its section, or a secret that cannot be read now.
pub struct Unavailable(pub String);

#[async_trait(?Send)]
impl Notifier for Unavailable {
    async fn send(&self, _message: &Message) -> Result<Sent, Failure> {
        Err(Failure::Denied(self.0.clone()))
    }

    fn preview(&self, _message: &Message) -> Result<String, Failure> {
        Err(Failure::Denied(self.0.clone()))
    }

    async fn check(&self) -> Check {
        Check {
            error: Some(self.0.clone()),
            ..Check::default()
        }
    }
}
