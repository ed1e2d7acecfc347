//! A message with other templates than the configured ones, as people would see it, to try them out.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rendered::{self, Loaded};
use crate::config::entry::{Entry, Origin};
use crate::delivery::destination::Destination;
use crate::delivery::page::PageAddress;
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
    /// One that its kind does not use is left out.
    pub fn of(status: &DestinationStatus, stranger: Option<&Path>) -> Result<Templates, String> {
        let section = rendered::load(status, stranger)?.destination.section;
        let template = |key| {
            let template = |key| section.template(key).unwrap_or_default();
            section.knows(key).then(|| secret::redact(template(key)))
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
    /// The newest for this trigger: the recorded one, or one of those whose texts are in the spool. If there is none, a
    /// sample.
    Newest {
        trigger: String,
        stored: Vec<String>,
        recorded: Option<Rebuilt>,
    },
}

/// An event that was made of what is recorded about it.
pub struct Rebuilt {
    pub event: Value,
    /// Its texts in the spool, if any is kept: they are complete.
    pub kept: Vec<String>,
    /// Id of its run in the record, and its number there if it is a result.
    pub run: String,
    pub result: Option<u64>,
    /// Keys that are not recorded.
    pub missing: &'static [&'static str],
}

/// Origin of the event that a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    Own,
    /// Its text is in the spool.
    Stored,
    /// Made of what is recorded, which is not all.
    Recorded,
    Sample,
}

/// The event that a message is about.
struct Chosen {
    event: Event,
    source: Source,
    missing: &'static [&'static str],
}

impl Chosen {
    fn whole(event: Event, source: Source) -> Chosen {
        Chosen {
            event,
            source,
            missing: &[],
        }
    }

    /// Returns the sentence for people that says what it is, unless it is simply what happened.
    fn note(&self) -> Option<String> {
        match self.source {
            Source::Own | Source::Stored => None,
            Source::Sample => Some("No such event is known: this is a sample.".to_owned()),
            Source::Recorded => Some(format!(
                "Made of what is recorded. Not recorded, so empty here: {}.",
                self.missing.join(", ")
            )),
        }
    }
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
    /// The event that it is about, its origin, and what it lacks: in keys, and in a sentence.
    pub event: Value,
    pub source: Source,
    pub missing: &'static [&'static str],
    pub note: Option<String>,
}

/// Returns the message that these templates give. Runs no commands.
pub fn draft(
    status: &DestinationStatus,
    templates: &Templates,
    choice: Choice,
    stranger: Option<&Path>,
) -> Result<Draft, String> {
    let Loaded {
        mut destination,
        labels,
        page,
    } = rendered::load(status, stranger)?;
    let mut problems = edit(&mut destination, templates);
    let chosen = match choice {
        Choice::Own(text) => Chosen::whole(own(&destination, &text)?, Source::Own),
        Choice::Newest {
            trigger,
            stored,
            recorded,
        } => newest(&destination, page.as_ref(), &trigger, &stored, recorded)?,
    };
    let note = chosen.note();
    let (source, missing) = (chosen.source, chosen.missing);
    let event = Arc::new(labels.apply(chosen.event));
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
        source,
        missing,
        note,
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
    let mistakes = mistakes.map(|problem| mistake(&problem.place, &problem.text));
    mistakes
        .chain(without_effect(destination, templates))
        .collect()
}

/// Returns a mistake for each template that the kind does not use.
fn without_effect(destination: &Destination, templates: &Templates) -> Vec<Mistake> {
    let section = &destination.section;
    let used: Vec<String> = KEYS
        .into_iter()
        .filter(|key| section.knows(key))
        .map(|key| format!("`{key}`"))
        .collect();
    let used = match used.as_slice() {
        [] => "it takes no template".to_owned(),
        used => format!("it takes {}", used.join(" and ")),
    };
    let kind = destination.kind.name;
    let given = templates
        .each()
        .filter(|(_, template)| !template.is_empty());
    let unused = given.filter(|(key, _)| !section.knows(key));
    let mistake = |key: &str| Mistake {
        field: key.to_owned(),
        line: None,
        text: format!("`{key}` has no effect in a notifier of type {kind}; {used}"),
    };
    unused.map(|(key, _)| mistake(key)).collect()
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

/// Returns the newest event for a trigger, with its whole text if that is kept; a sample if there is none.
fn newest(
    destination: &Destination,
    page: Option<&PageAddress>,
    trigger: &str,
    stored: &[String],
    recorded: Option<Rebuilt>,
) -> Result<Chosen, String> {
    let is_meant = route::meaning(trigger)?;
    // A failure that Ansible ignores fails nothing.
    let is_meant = |event: &Event| is_meant(event) && (trigger != "failed" || !event.ignored);
    let mut codec = destination.codec();
    let mut read = |text: &String| codec.read(text).ok().filter(is_meant);
    let stored = stored.iter().filter_map(&mut read);
    let stored = stored.max_by_key(|event| event.time.as_millisecond());
    let recorded = recorded.and_then(|rebuilt| match rebuilt.kept.iter().find_map(read) {
        Some(event) => Some(Chosen::whole(event, Source::Stored)),
        None => rebuild(destination, page, rebuilt),
    });
    let time = |chosen: &Chosen| chosen.event.time.as_millisecond();
    Ok(match (stored, recorded) {
        (Some(stored), Some(recorded)) if stored.time.as_millisecond() <= time(&recorded) => {
            recorded
        }
        (Some(stored), _) => Chosen::whole(stored, Source::Stored),
        (None, Some(recorded)) => recorded,
        (None, None) => {
            let sample = route::sample_of(trigger, sample::all())?;
            Chosen::whole(sample, Source::Sample)
        }
    })
}

/// Returns the event that a recorded one gives, with its address on the page.
fn rebuild(
    destination: &Destination,
    page: Option<&PageAddress>,
    rebuilt: Rebuilt,
) -> Option<Chosen> {
    let text = rebuilt.event.to_string();
    let mut event = parser(destination).read(text.as_bytes()).ok()?;
    event.url = page.map(|page| page.of(&rebuilt.run, rebuilt.result));
    Some(Chosen {
        event,
        source: Source::Recorded,
        missing: rebuilt.missing,
    })
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
