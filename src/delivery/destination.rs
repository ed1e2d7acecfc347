//! Configured notifiers, ready for use, and the messages they make.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::config::entry::{Entry, Origin};
use crate::config::levels::Search;
use crate::config::otel;
use crate::config::section::Section;
use crate::config::trouble::Trouble;
use crate::delivery::lanes::Delivery;
use crate::delivery::record::Recording;
use crate::event::masked::Masks;
use crate::event::shorten::shortened;
use crate::event::stored::EventCodec;
use crate::event::{Event, State};
use crate::message::defaults;
use crate::message::fields::Fields;
use crate::message::item::Item;
use crate::message::outputs::Payload;
use crate::message::{Message, MessageFormat, MessageTemplates};
use crate::net::http::Http;
use crate::notifier::over_http::json;
use crate::notifier::{Kind, Notifier, Unavailable, choice};
use crate::route::Rules;
use crate::route::grouping::Grouping;
use crate::route::timing::Timing;
use crate::spool::{DestinationKey, Expectation, Scope};
use crate::template::context::Context;

/// Returns the environment variable that sets a key of `[inputs]`, or of a notifier of type `otlp`.
pub fn variable(key: &str) -> String {
    if let Some(name) = otel::variable(key) {
        return name.to_owned();
    }
    format!("ANSIBLE_NOTIFY_{}", key.to_uppercase())
}

/// Returns the notifier, or in its place one that cannot deliver, if there is trouble.
pub fn unless_in_trouble(
    notifier: Option<Rc<dyn Notifier>>,
    trouble: Option<&Trouble>,
) -> Option<Rc<dyn Notifier>> {
    match trouble {
        Some(trouble) => Some(Rc::new(Unavailable(trouble.reason.clone()))),
        None => notifier,
    }
}

/// A configured notifier, ready for use.
pub struct Destination {
    pub name: String,
    pub kind: &'static Kind,
    pub rules: Rules,
    pub payload: Payload,
    pub texts: MessageTemplates,
    pub grouping: Grouping,
    /// Origin of the fields shown with a text.
    pub fields: Fields,
    /// Rules for when it sends, if any.
    pub timing: Option<Box<Timing>>,
    /// Number of lanes that deliver concurrently.
    pub concurrency: usize,
    /// True if it sends the original records of ansible-runner.
    pub verbatim: bool,
    /// True if it sends the output of a command of `ansible-notify run`.
    pub shows_output: bool,
    /// Age after which a delivery is given up.
    pub max_age: Duration,
    /// Longest time that the end of a play waits for deliveries.
    pub drain: Duration,
    /// True if delivered events stay in the spool.
    pub keep_bodies: bool,
    /// Which messages stay in the spool as they were sent.
    pub recording: Recording,
    /// Everything that events must not show.
    pub masks: Option<Rc<Masks>>,
    pub notifier: Rc<dyn Notifier>,
    /// Reason why it cannot deliver now: its section has a mistake, or a secret cannot be read.
    pub trouble: Option<Trouble>,
    /// Kept so that the notifier can be rebuilt when its credentials are refused.
    pub section: Section,
}

impl Destination {
    /// Returns the commands that print its secrets, unless a mistake keeps it from delivering anyway.
    pub fn commands(&self) -> Vec<Vec<String>> {
        match self.is_mistaken() {
            true => Vec::new(),
            false => self.section.commands(),
        }
    }

    /// Rebuilds its notifier if commands for its secrets were not allowed before, and are now.
    pub fn read_withheld(&mut self, http: &Http) {
        if self.is_mistaken() || !self.section.allow_commands() {
            return;
        }
        let notifier = choice::build(self.kind, &self.section, http);
        self.trouble = Trouble::of(&self.section.take_problems());
        if let Some(notifier) = unless_in_trouble(notifier, self.trouble.as_ref()) {
            self.notifier = notifier;
        }
    }

    fn is_mistaken(&self) -> bool {
        self.trouble.as_ref().is_some_and(Trouble::is_mistake)
    }

    /// Returns the message about an event, or about several that are sent together.
    pub fn message(&self, mut events: Vec<Arc<Event>>) -> Message {
        if !self.grouping.is_batch() {
            return self.group(events);
        }
        let others = events.split_off(1);
        let (mut first, item) = self.item(events.remove(0));
        first.batch.push(item);
        for event in others {
            self.add(&mut first, event);
        }
        first
    }

    /// Adds an event to the batch of a message.
    pub fn add(&self, message: &mut Message, event: Arc<Event>) {
        let (other, item) = self.item(event);
        message.batch.push(item);
        message.note = message.note.take().or(other.note);
    }

    /// Returns the message about an event of a batch, and what the batch has of it. An event whose data is larger than
    /// the kind takes is shortened.
    fn item(&self, mut event: Arc<Event>) -> (Message, Item) {
        let mut message = self.single(Context::new(event.clone()));
        let most = self.kind.bulk().map(|bulk| bulk.limits.event_bytes);
        if most.is_some_and(|most| message.payload.len() > most) {
            event = Arc::new(shortened(&event));
            message = self.single(Context::new(event.clone()));
        }
        let payload = std::mem::take(&mut message.payload);
        (message, Item { payload, event })
    }

    /// Returns the message about a group of events, presented as the first one that failed, if any did.
    fn group(&self, mut events: Vec<Arc<Event>>) -> Message {
        let id = events[0].id.clone();
        let failed = events.iter().position(|event| event.is_bad());
        let before = failed.unwrap_or(0);
        let told = events.remove(before);
        let context = defaults::with_lines(Context::group(told, events, before));
        Message {
            id,
            ..self.single(context)
        }
    }

    fn single(&self, context: Context) -> Message {
        let record = self.kind.bulk().and_then(|bulk| bulk.record);
        let payload = match (self.kind.form, record, self.fields) {
            (MessageFormat::Event, ..) => json(context.event()),
            (_, Some(record), Fields::OfEvent) => record(context.event()),
            _ => self.payload.render(&context),
        };
        self.texts.message(&context, payload, self.fields)
    }

    /// Returns true if the message about these events is kept as it is sent.
    pub fn keeps_message(&self, events: &[Arc<Event>]) -> bool {
        match self.recording {
            Recording::Off => false,
            // Few, and those that a person looks for. A failure that Ansible ignores is one here, too.
            Recording::Failed => events.iter().any(|event| {
                let has_failed = matches!(event.state, Some(State::Failed | State::Unreachable));
                has_failed || event.host.is_none()
            }),
            Recording::All => true,
        }
    }

    /// Returns true if these deliveries are sent as a batch, which can be divided.
    pub fn sends_batch(&self, claimed: &[Delivery]) -> bool {
        self.grouping.is_batch() && claimed.len() > 1
    }

    /// Returns a codec that reads its events from the spool, as they may be sent.
    pub fn codec(&self) -> EventCodec {
        EventCodec::masking(self.masks.clone())
    }

    /// Returns the keys that the play's vars or the environment set.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        self.section.passing().map(|entry| entry.key.as_str())
    }

    /// Returns the playbooks that it expects to run, with the file and the notifier that expect them: the
    /// same in every project; None without any.
    pub fn expectations(&self) -> Option<(String, Vec<Expectation>)> {
        let mut entries = self.section.entries.iter();
        let entry = entries.find(|entry| entry.key == "expect")?;
        let Origin::File { file, .. } = &entry.origin else {
            return None;
        };
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let expected = self.rules.expected.iter().map(|one| Expectation {
            playbook: one.playbook.clone(),
            every: milliseconds(one.every),
            within: milliseconds(one.within),
            successful: one.successful,
        });
        let path = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone());
        let source = format!("{}\n{}", path.display(), self.name);
        let expected: Vec<Expectation> = expected.collect();
        (!expected.is_empty()).then_some((source, expected))
    }

    /// Returns its key in the spool: configuration and notifier, so that two projects never mix. If the
    /// play's vars or the environment changed it, it belongs to that run: their values are not stored, only
    /// a hash by which the same address is recognised. If only the environment gave the credentials, other
    /// runs with the same ones share it.
    pub fn key(&self, search: &Search, run: &str) -> DestinationKey {
        let is_credential = |entry: &Entry| {
            matches!(entry.origin, Origin::Environment(_)) && entry.key != "callback_url"
        };
        let passing: Vec<&Entry> = self.section.passing().collect();
        let addressee = (!passing.is_empty()).then(|| self.section.addressee());
        let scope = if passing.is_empty() {
            Scope::Configured
        } else if passing.into_iter().all(is_credential) {
            Scope::Environment {
                credentials: self.section.fingerprint(),
                addressee,
            }
        } else {
            Scope::Run {
                id: run.to_owned(),
                addressee,
            }
        };
        let search = search.fixed();
        let project = search.file().filter(|_| search.project.is_some());
        DestinationKey {
            own: project.is_some_and(|file| self.section.is_addressed_by(&file)),
            search: serde_json::to_string(&search).expect("paths can be written"),
            name: self.name.clone(),
            scope,
            needs: self.needs().map(str::to_owned).collect(),
        }
    }
}
