//! What every kind of notifier offers, and the list of the kinds.

pub mod webhook;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::config::section::Section;
use crate::http::Http;

/// The kinds, in the order in which help and documentation list them.
pub const KINDS: [&Kind; 1] = [&webhook::KIND];

/// A kind of notifier: one source file each.
pub struct Kind {
    /// What `type` names it.
    pub name: &'static str,
    pub about: &'static str,
    /// Makes a notifier of a section; what is wrong is noted in the section.
    pub build: fn(&Section, &Http) -> Option<std::rc::Rc<dyn Notifier>>,
}

/// What one notifier says about one event.
#[derive(Clone, Debug)]
pub struct Message {
    /// The event's id: the same on every attempt.
    pub id: String,
    /// The fields of `[outputs]`.
    pub payload: Map<String, Value>,
}

/// A configured way to tell somebody.
#[async_trait(?Send)]
pub trait Notifier {
    /// Makes one attempt. Retrying, order and limits are the caller's.
    async fn send(&self, message: &Message) -> Result<(), Failure>;

    /// The request as it would go, secrets masked.
    fn preview(&self, message: &Message) -> Result<String, Failure>;

    /// Reaches the service without notifying anyone, step by step; the last line of a failure is its reason.
    async fn check(&self) -> Check;
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

    pub fn error(&self) -> &str {
        match self {
            Failure::Retry { error, .. }
            | Failure::Denied(error)
            | Failure::Gone(error)
            | Failure::Permanent(error) => error,
        }
    }
}
