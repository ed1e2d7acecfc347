//! A message with other templates than the configured ones, as people would see it, to try them out.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rendered;
use crate::config::entry::{Entry, Origin};
use crate::delivery::destination::Destination;
use crate::event::parse::EventParser;
use crate::event::{Event, sample};
use crate::failure::Failure;
use crate::message::{Message, MessageFormat, MessageTemplates};
use crate::net::http::Http;
use crate::notifier::choice;
use crate::route;
use crate::secret;
use crate::spool::DestinationStatus;
use crate::text::{self, Escape};
use crate::{json, panics};

/// Limit of a template, in bytes.
const MAX_TEMPLATE: usize = 64 << 10;
/// Keys that can be tried out.
const KEYS: [&str; 3] = ["subject", "message", "body"];

/// Templates as they are in the file. An empty one stands for the default; one that is left out, for the configured
/// one.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Templates {
    pub subject: Option<String>,
    pub message: Option<String>,
    pub body: Option<String>,
}

impl Templates {
    /// Returns the templates of a notifier, for an editor.
    pub fn of(status: &DestinationStatus, stranger: Option<&Path>) -> Result<Templates, String> {
        let (destination, _) = rendered::load(status, stranger)?;
        let template = |key| {
            let template = destination.section.template(key).unwrap_or_default();
            Some(secret::redact(template))
        };
        let [subject, message, body] = KEYS.map(template);
        Ok(Templates {
            subject,
            message,
            body,
        })
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let all = [&self.subject, &self.message, &self.body];
        let pairs = KEYS.into_iter().zip(all);
        pairs.filter_map(|(key, template)| Some((key, template.as_ref()?)))
    }

    /// Returns the reason if one of them is too long.
    pub fn check(&self) -> Result<(), String> {
        let mut all = self.each();
        match all.find(|(_, template)| template.len() > MAX_TEMPLATE) {
            Some((key, _)) => Err(format!("`{key}` can have at most {MAX_TEMPLATE} bytes")),
            None => Ok(()),
        }
    }
}

/// Events among which the one is chosen that the message is about.
pub enum Choice {
    /// The text of an event that someone wrote.
    Own(String),
    /// The first for this trigger: among the events in the spool, the recorded ones, and the samples.
    First {
        trigger: String,
        stored: Vec<String>,
        recorded: Option<Value>,
    },
}

/// A mistake in a template.
#[derive(Debug, Serialize)]
pub struct Mistake {
    /// Key of the template.
    pub field: String,
    /// Line in it, if it is known.
    pub line: Option<u32>,
    pub text: String,
}

/// A message as people would see it, secrets masked.
#[derive(Debug, Serialize)]
pub struct Draft {
    pub kind: &'static str,
    /// Mistakes, because of which the defaults are shown instead.
    pub problems: Vec<Mistake>,
    /// Color of its level, as `#rrggbb`, and the level itself.
    pub level: &'static str,
    /// None where the kind sends only data.
    pub subject: Option<String>,
    pub text: Option<String>,
    pub fields: Vec<(String, String)>,
    /// The mail as HTML.
    #[serde(skip)]
    pub html: Option<String>,
    /// True if the mail is shown in a frame of its own.
    pub is_mail: bool,
    /// The request, or the reason why none can be shown.
    pub request: Result<String, String>,
    /// The event that it is about.
    pub event: Value,
}

/// Returns the message that these templates give. Runs no commands.
pub fn draft(
    status: &DestinationStatus,
    templates: &Templates,
    choice: Choice,
    stranger: Option<&Path>,
) -> Result<Draft, String> {
    let (mut destination, labels) = rendered::load(status, stranger)?;
    let mut problems = edit(&mut destination, templates);
    let event = match choice {
        Choice::Own(text) => own(&destination, &text)?,
        Choice::First {
            trigger,
            stored,
            recorded,
        } => first(&destination, &trigger, &stored, recorded)?,
    };
    let event = Arc::new(labels.apply(event));
    let made = panics::caught(|| {
        let message = destination.message(vec![event.clone()]);
        let request = destination.notifier.preview(&message);
        (destination.notifier.html(&message), request, message)
    });
    let (html, request, message) = made?;
    problems.extend(message.note.iter().map(|note| mistake("", note)));
    let form = destination.kind.form;
    let shown = |text: &str| form.has_texts().then(|| secret::redact(text));
    let event = destination.codec().write(&event);
    Ok(Draft {
        kind: destination.kind.name,
        problems,
        level: level(&message),
        subject: shown(&message.subject),
        text: shown(&readable(form, &message.text)),
        fields: message.fields.clone(),
        is_mail: html.is_some(),
        html,
        request: request.map_err(|failure: Failure| failure.error().to_owned()),
        event: json::bulk::value(&event).unwrap_or_default(),
    })
}

/// Gives a destination other templates, and returns what is wrong with them.
fn edit(destination: &mut Destination, templates: &Templates) -> Vec<Mistake> {
    for (key, template) in templates.each() {
        destination.section.entries.retain(|entry| entry.key != key);
        if !template.is_empty() {
            destination.section.set(Entry {
                key: key.to_owned(),
                value: template.clone(),
                // So that a problem names the key as its place.
                origin: Origin::Environment(key),
            });
        }
    }
    destination.section.take_problems();
    let form = destination.kind.form;
    destination.texts = MessageTemplates::new(&destination.section, form).silent();
    let problems = destination.section.take_problems();
    // A kind may read a template, too; its other problems are known.
    let built = choice::build(destination.kind, &destination.section, &Http::default());
    destination.section.take_problems();
    if let (Some(notifier), None) = (built, &destination.trouble) {
        destination.notifier = notifier;
    }
    let mistakes = problems.iter();
    mistakes
        .map(|problem| mistake(&problem.place, &problem.text))
        .collect()
}

/// Returns a mistake from its place and its description, which may name the key and the line.
fn mistake(place: &str, text: &str) -> Mistake {
    let named = |key: &&&str| **key == place || text.starts_with(&format!("`{key}`"));
    let field = KEYS.iter().find(named).copied().unwrap_or_default();
    let line = text.rsplit_once(" (line ").map(|(_, rest)| rest);
    let line = line.and_then(|rest| rest.strip_suffix(')')?.parse().ok());
    Mistake {
        field: field.to_owned(),
        line,
        text: secret::redact(text),
    }
}

fn parser(destination: &Destination) -> EventParser {
    let mut parser = EventParser::new();
    parser.mask(destination.masks.clone());
    parser
}

fn own(destination: &Destination, text: &str) -> Result<Event, String> {
    let event = parser(destination).read(text.as_bytes());
    event.map_err(|problem| format!("the event {problem}"))
}

/// Returns the first event for a trigger: one that is stored, else one that is recorded, else a sample.
fn first(
    destination: &Destination,
    trigger: &str,
    stored: &[String],
    recorded: Option<Value>,
) -> Result<Event, String> {
    let mut codec = destination.codec();
    let stored = stored.iter().filter_map(|text| codec.read(text).ok());
    let recorded = recorded.and_then(|event| {
        let text = event.to_string();
        parser(destination).read(text.as_bytes()).ok()
    });
    let events = stored.chain(recorded).chain(sample::all());
    route::sample_of(trigger, events.collect())
}

/// Returns a text without the markup of its service.
fn readable(form: MessageFormat, text: &str) -> String {
    match form {
        MessageFormat::Text(Escape::Html | Escape::Mrkdwn) => text::without_markup(text),
        _ => text.to_owned(),
    }
}

fn level(message: &Message) -> &'static str {
    use crate::message::Level;
    match message.level {
        Level::Info => "info",
        Level::Success => "success",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}
