//! What every kind of notifier offers, and the list of the kinds.

pub mod awssns;
pub mod discord;
pub mod email;
pub mod grafana;
pub mod hipchat;
pub mod irc;
mod mail;
pub mod mattermost;
pub mod pagerduty;
pub mod rocketchat;
pub mod service;
pub mod slack;
pub mod teams;
pub mod telegram;
pub mod twilio;
pub mod webhook;
pub mod zeromq;

use std::rc::Rc;
use std::time::Duration;

use async_trait::async_trait;
use hyper::body::Bytes;
use serde_json::value::RawValue;

use crate::cloudevents::{self, CloudEvent};
use crate::config::section::Section;
use crate::http::Http;
use crate::message::{Form, Message};
use crate::reply;
use crate::thread::Thread;

/// Kinds that wake people: without `check_mode`, they hear of nothing in check mode.
pub const WAKING: [&str; 2] = ["pagerduty", "twilio"];

/// The kinds, in the order in which help and documentation list them.
pub const KINDS: &[&Kind] = &[
    &webhook::KIND,
    &email::KIND,
    &slack::KIND,
    &hipchat::KIND,
    &mattermost::KIND,
    &rocketchat::KIND,
    &pagerduty::KIND,
    &twilio::KIND,
    &irc::KIND,
    &grafana::KIND,
    &awssns::KIND,
    &teams::KIND,
    &discord::KIND,
    &telegram::KIND,
    &zeromq::KIND,
];

/// Stands for a kind that there is not, so that the section's events can wait.
pub const UNKNOWN: Kind = Kind {
    name: "unknown",
    about: "its `type` is unknown",
    form: Form::Data,
    build: |_, _| None,
};

/// A kind of notifier: one source file each.
pub struct Kind {
    /// What `type` names it.
    pub name: &'static str,
    pub about: &'static str,
    /// What it needs of a message.
    pub form: Form,
    /// Makes a notifier of a section; what is wrong is noted in the section.
    pub build: fn(&Section, &Http) -> Option<Rc<dyn Notifier>>,
}

/// What is sent of an event: the key `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The user's `body`, or the fields of `[outputs]`.
    #[default]
    Json,
    /// The same as the data of a CloudEvent.
    CloudEvents,
    /// What ansible-runner said, as it said it; the fields for what did not come from there.
    Runner,
}

impl Format {
    pub fn of(section: &Section) -> Format {
        let formats = [
            ("json", Format::Json),
            ("cloudevents", Format::CloudEvents),
            ("runner", Format::Runner),
        ];
        let format = section.choice("format", Format::Json, &formats);
        if format != Format::Json {
            section.no_batch("with this `format` each event goes by itself");
        }
        format
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::CloudEvents => cloudevents::CONTENT_TYPE,
            Format::Json | Format::Runner => "application/json",
        }
    }

    /// The text that is sent.
    pub fn body(self, message: &Message) -> Bytes {
        let record = &message.context.event().record;
        match (self, record, &message.body) {
            (Format::Runner, Some(record), _) => Bytes::copy_from_slice(record.get().as_bytes()),
            (Format::CloudEvents, _, Some(body)) => service::json(&CloudEvent::new(message, body)),
            (Format::CloudEvents, _, None) => {
                let payload: &RawValue =
                    serde_json::from_slice(&message.payload).unwrap_or(RawValue::NULL);
                service::json(&CloudEvent::new(message, &payload))
            }
            (_, _, Some(body)) => service::json(body),
            (_, _, None) if message.batch.is_empty() => message.payload.clone(),
            (_, _, None) => [b"[", &message.batch.join(&b',')[..], b"]"].concat().into(),
        }
    }
}

/// A configured way to tell somebody.
#[async_trait(?Send)]
pub trait Notifier {
    /// Makes one attempt. Retrying, order and limits are the caller's.
    async fn send(&self, message: &Message) -> Result<(), Failure>;

    /// Relation between the messages of a run.
    fn thread(&self) -> Thread {
        Thread::None
    }

    /// The request as it would go, secrets masked.
    fn preview(&self, message: &Message) -> Result<String, Failure>;

    /// Reaches the service without notifying anyone, step by step; the last line of a failure is its reason.
    async fn check(&self) -> Check;
}

/// Stands for a notifier with a mistake in its section, or a secret that cannot be read now: the reason.
pub struct Unready(pub String);

#[async_trait(?Send)]
impl Notifier for Unready {
    async fn send(&self, _message: &Message) -> Result<(), Failure> {
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

/// What `check-config --connect` found, a line a step.
#[derive(Debug, Default)]
pub struct Check {
    pub steps: Vec<String>,
    pub error: Option<String>,
}

/// Why an attempt failed, and so what is to become of the delivery. Texts hold no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another attempt may succeed, not before `after` where the service said so.
    Retry {
        error: String,
        after: Option<Duration>,
    },
    /// The credentials were refused: they may be read anew.
    Denied(String),
    /// The destination says that it is gone for good.
    Gone(String),
    /// The message is too large; a shorter one may pass.
    TooLarge(String),
    /// No attempt will ever succeed.
    Permanent(String),
}

impl Failure {
    /// A failure that another attempt may mend.
    pub fn retry(error: impl Into<String>) -> Failure {
        Failure::Retry {
            error: error.into(),
            after: None,
        }
    }

    pub fn permanent(error: impl Into<String>) -> Failure {
        Failure::Permanent(error.into())
    }

    pub fn error(&self) -> &str {
        match self {
            Failure::Retry { error, .. }
            | Failure::Denied(error)
            | Failure::Gone(error)
            | Failure::TooLarge(error)
            | Failure::Permanent(error) => error,
        }
    }

    /// The same failure; another attempt is made not before `seconds`, where the reply says so itself.
    pub fn not_before(self, seconds: Option<f64>) -> Failure {
        match (self, seconds.and_then(reply::pause)) {
            (Failure::Retry { error, .. }, Some(pause)) => Failure::Retry {
                error,
                after: Some(pause),
            },
            (failure, _) => failure,
        }
    }

    /// The same failure, told with more words.
    fn with_error(self, error: String) -> Failure {
        match self {
            Failure::Retry { after, .. } => Failure::Retry { error, after },
            Failure::Denied(_) => Failure::Denied(error),
            Failure::Gone(_) => Failure::Gone(error),
            Failure::TooLarge(_) => Failure::TooLarge(error),
            Failure::Permanent(_) => Failure::Permanent(error),
        }
    }

    /// Several recipients failed: what may still be mended comes first.
    fn rank(&self) -> u8 {
        match self {
            Failure::Retry { .. } => 0,
            Failure::Denied(_) => 1,
            Failure::TooLarge(_) => 2,
            Failure::Gone(_) => 3,
            Failure::Permanent(_) => 4,
        }
    }
}

/// What became of a message to several recipients: nothing where all have it, else the failure that may
/// still be mended, with every recipient that failed. Those that were reached are not tried again.
pub fn outcome(recipients: usize, failures: Vec<(String, Failure)>) -> Result<(), Failure> {
    let text = match failures.as_slice() {
        [] => return Ok(()),
        [(_, failure)] if recipients == 1 => failure.error().to_owned(),
        failures => {
            let each = failures
                .iter()
                .map(|(recipient, failure)| format!("{recipient}: {}", failure.error()));
            let each: Vec<String> = each.collect();
            let count = failures.len();
            format!("{count} of {recipients} not reached: {}", each.join("; "))
        }
    };
    let failures = failures.into_iter().map(|(_, failure)| failure);
    let worst = failures.min_by_key(Failure::rank);
    Err(worst.map_or_else(|| Failure::retry(""), |failure| failure.with_error(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_mended_decides() {
        assert_eq!(outcome(2, Vec::new()), Ok(()));
        let gone = Failure::permanent("404");
        let busy = Failure::Retry {
            error: "429".into(),
            after: Some(Duration::from_secs(1)),
        };
        assert_eq!(
            outcome(1, vec![("a".into(), gone.clone())]),
            Err(gone.clone())
        );
        let both = outcome(3, vec![("a".into(), gone), ("b".into(), busy)]);
        let expected = Failure::Retry {
            error: "2 of 3 not reached: a: 404; b: 429".into(),
            after: Some(Duration::from_secs(1)),
        };
        assert_eq!(both, Err(expected));
    }
}
