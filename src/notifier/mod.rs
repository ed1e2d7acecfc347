//! What every kind of notifier offers, and the list of the kinds.

pub mod awssns;
pub mod cloudevents;
pub mod discord;
pub mod email;
pub mod format;
pub mod grafana;
pub mod hipchat;
pub mod irc;
pub mod mattermost;
pub mod over_http;
pub mod pagerduty;
pub mod rocketchat;
pub mod slack;
pub mod teams;
pub mod telegram;
pub mod twilio;
pub mod webhook;
pub mod zeromq;

use std::rc::Rc;

use async_trait::async_trait;

use crate::config::section::Section;
use crate::failure::{Check, Failure};
use crate::message::{Form, Message};
use crate::net::http::Http;

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

/// Relation between the messages of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thread {
    /// Each stands alone.
    #[default]
    None,
    /// Later ones answer to the first.
    Replies,
    /// Later ones take the place of the first.
    Updates,
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
