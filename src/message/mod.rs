//! Messages of a notifier about an event or a group of events: `subject`, `message` and `body`.

pub mod body;
pub mod content;
pub mod defaults;
pub mod fields;
pub mod item;
pub mod labels;
pub mod outputs;

use std::cell::Cell;
use std::collections::BTreeMap;

use hyper::body::Bytes;
use serde_json::Value;

use crate::config::checked::noted;
use crate::config::section::Section;
use crate::console::stderr;
use crate::event::{Event, State, Status};
use crate::message::body::{Body, readable};
use crate::message::content::Content;
use crate::message::fields::{Fields, fields, mapped_fields};
use crate::message::item::Item;
use crate::template::Template;
use crate::template::context::Context;
use crate::text::{Escape, one_line, printable};

/// A message of one notifier.
#[derive(Clone, Debug)]
pub struct Message {
    /// Id of the event, or of the first one of a group: the same on every attempt.
    pub id: String,
    /// Fields of `[outputs]`, as the text of a JSON object; for a kind that sends data, the `body` instead if
    /// there is one, in the notifier's `content`. Requests share it: it may be large.
    pub payload: Bytes,
    /// Events of a batch, whose payloads replace `payload`.
    pub batch: Vec<Item>,
    /// One line, without markup.
    pub subject: String,
    /// A few lines in the markup of the kind.
    pub text: String,
    /// Result of the user's `body`: a string for a kind that takes HTML, any JSON for the others.
    pub body: Option<Value>,
    /// Names and values next to the text, without markup.
    pub fields: Vec<(String, String)>,
    pub level: Level,
    pub context: Context,
    /// Recipients that already have it, from earlier attempts, and where each can be answered (a Slack
    /// thread).
    pub reached: Receipts,
    /// Location of an earlier message of the same run or incident, per recipient.
    pub threads: BTreeMap<String, String>,
    /// Template that failed, and why: the default was sent instead.
    pub note: Option<String>,
}

/// Key in a run's threads that stands for no recipient: the end of the run was reported, and later messages
/// no longer replace it.
pub const ENDED: &str = "";

impl Message {
    /// Returns true if the first message of the run already shows its end, and this is not the end.
    pub fn comes_late(&self) -> bool {
        self.context.event().end.is_none() && self.threads.contains_key(ENDED)
    }

    /// Returns the URL at which a person can look at the event or its run, unless it is longer than services
    /// accept; none for events of several runs.
    pub fn link(&self) -> Option<&str> {
        let url = self.context.event().link();
        let is_link = |url: &&str| !url.is_empty() && url.len() <= LINK;
        url.filter(|url| is_link(url) && self.context.is_of_one_run())
    }
}

/// Maximum length of a URL that every service accepts as a link, in bytes.
const LINK: usize = 2000;

/// Recipients that were reached, with the service's name for the message there, if it gives one.
pub type Receipts = BTreeMap<String, Option<String>>;

/// Importance of a message, for colours and severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Success,
    Warning,
    Error,
}

impl Level {
    /// Returns the level of an event.
    pub fn of(event: &Event) -> Level {
        match (event.status(), event.state) {
            (Some(Status::Success), _) | (None, Some(State::Success)) => Level::Success,
            (Some(Status::Error), _) => Level::Error,
            (Some(Status::Canceled), _) => Level::Warning,
            _ if event.alert.is_some() => Level::Warning,
            (None, Some(State::Failed | State::Unreachable)) if event.ignored => Level::Warning,
            (None, Some(State::Failed | State::Unreachable)) => Level::Error,
            _ => Level::Info,
        }
    }

    /// Returns the colour as `#rrggbb`, the same for all services.
    pub fn color(self) -> &'static str {
        match self {
            Level::Info => "#439fe0",
            Level::Success => "#2eb67d",
            Level::Warning => "#ecb22e",
            Level::Error => "#e01e5a",
        }
    }
}

/// Parts that a kind needs of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFormat {
    /// Only the payload, or `body` as JSON.
    Data,
    /// Only the payload, or `body`, as a value of JSON, which the kind puts into its requests.
    Record,
    /// The event itself: nothing is rendered.
    Event,
    /// Texts in this markup; `body`, if the kind has one, is JSON.
    Text(Escape),
    /// Texts without markup, and `body` as HTML.
    Mail,
}

/// Templates of a section, and the form that its kind needs.
pub struct MessageTemplates {
    form: MessageFormat,
    /// Encoding of the payload, for a kind that sends data.
    content: Option<Content>,
    subject: Option<Template>,
    message: Option<Template>,
    /// Sent if there is no `message`, or if it fails.
    default: &'static Template,
    body: Option<Body>,
    /// True once a template failed: reported once, not once per event.
    failed: Cell<bool>,
}

impl MessageFormat {
    fn escape(self) -> Escape {
        match self {
            MessageFormat::Text(escape) => escape,
            MessageFormat::Mail => Escape::Plain,
            MessageFormat::Data | MessageFormat::Record | MessageFormat::Event => Escape::Plain,
        }
    }

    /// Returns true if a message has texts for people.
    pub fn has_texts(self) -> bool {
        !self.is_data() && self != MessageFormat::Event
    }

    fn is_data(self) -> bool {
        matches!(self, MessageFormat::Data | MessageFormat::Record)
    }
}

impl MessageTemplates {
    /// Reads `subject`, `message` and `body`; notes problems in the section.
    pub fn new(section: &Section, form: MessageFormat) -> MessageTemplates {
        let text = |key: &str, escape| {
            let source = section.template(key)?;
            noted(section, key, Template::text(source, escape))
        };
        let content = match form {
            MessageFormat::Data => Some(Content::of(section)),
            MessageFormat::Record => Some(Content::Json),
            _ => None,
        };
        let form = match content {
            Some(Content::Text) => MessageFormat::Text(Escape::Plain),
            _ => form,
        };
        let speaks = form.has_texts();
        if content == Some(Content::Xml) {
            section.needs("content", "body");
        }
        MessageTemplates {
            form,
            content,
            subject: speaks.then(|| text("subject", Escape::Plain)).flatten(),
            message: speaks.then(|| text("message", form.escape())).flatten(),
            default: defaults::message(section, form.escape()),
            body: match form {
                MessageFormat::Event => None,
                MessageFormat::Mail => text("body", Escape::Html).map(Body::Text),
                MessageFormat::Data | MessageFormat::Record | MessageFormat::Text(_) => {
                    section.template("body").and_then(|source| {
                        let body = Body::new(source, content.unwrap_or_default());
                        noted(section, "body", body)
                    })
                }
            },
            failed: Cell::new(false),
        }
    }

    /// Returns them for someone who sees the note of a message, so that nothing needs to be said on standard error.
    pub fn silent(self) -> MessageTemplates {
        self.failed.set(true);
        self
    }

    /// Notes the templates that fail on a sample.
    pub fn try_on(&self, section: &Section, samples: &[&Context]) {
        for context in samples {
            for (key, result) in [
                (
                    "subject",
                    self.subject.as_ref().map(|t| t.render(context).map(drop)),
                ),
                (
                    "message",
                    self.message.as_ref().map(|t| t.render(context).map(drop)),
                ),
                (
                    "body",
                    self.body
                        .as_ref()
                        .map(|body| body.render(context).map(drop)),
                ),
            ] {
                if let Some(Err(problem)) = result {
                    let name = &context.event().event;
                    return section
                        .problem(key, format!("{problem} (tried on a sample of {name})"));
                }
            }
        }
    }

    /// Renders the message about an event; a template that fails is replaced by the default.
    pub fn message(&self, context: &Context, payload: Bytes, source: Fields) -> Message {
        let event = context.event();
        let mut note = None;
        let mut message = Message {
            id: event.id.clone(),
            payload,
            batch: Vec::new(),
            subject: String::new(),
            text: String::new(),
            body: None,
            fields: Vec::new(),
            level: Level::of(event),
            // Data derived from a large result is not kept while the message is on its way.
            context: context.afresh(),
            reached: Receipts::default(),
            threads: BTreeMap::new(),
            note: None,
        };
        if self.form.has_texts() {
            let subject = render(
                &self.subject,
                &defaults::SUBJECT,
                "subject",
                context,
                &mut note,
            );
            let test = if event.test { "Test: " } else { "" };
            message.subject = one_line(&format!("{test}{subject}"));
            let text = render(&self.message, self.default, "message", context, &mut note);
            message.text = printable(&text).into_owned();
            message.fields = match source {
                Fields::OfPayload => mapped_fields(&message.payload),
                Fields::OfEvent if context.is_digest() => Vec::new(),
                Fields::OfEvent => fields(event),
            };
        }
        let body = self.body(context, &mut note);
        match self.content {
            Some(content) => message.payload = content.data(body, &message),
            None => message.body = body,
        }
        if let Some(note) = &note
            && !self.failed.replace(true)
        {
            stderr::say(format!("{note}; the default is sent instead"));
        }
        let failed = note.as_ref().filter(|note| !note.ends_with(NOTHING));
        if let (Some(note), true) = (failed, self.form.has_texts()) {
            message
                .text
                .push_str(&format!("\n({})", self.form.escape().apply(note)));
        }
        message.note = note;
        message
    }

    /// Renders the user's `body`; None if it fails or leaves people without a text.
    fn body(&self, context: &Context, note: &mut Option<String>) -> Option<Value> {
        match self.body.as_ref()?.render(context) {
            // Data may be null, and keeps Ansible's output verbatim.
            Ok(body) if self.form.is_data() => Some(body),
            Ok(Value::Null) => {
                *note = Some(format!("`body` {NOTHING}"));
                None
            }
            Ok(Value::String(text)) if is_blank(&text) => {
                *note = Some(format!("`body` {NOTHING}"));
                None
            }
            Ok(body) => Some(readable(body)),
            Err(problem) => {
                *note = Some(format!("`body` failed: {problem}"));
                None
            }
        }
    }
}

/// Note about a template that leaves a text empty.
const NOTHING: &str = "is empty";

fn is_blank(text: &str) -> bool {
    printable(text).trim().is_empty()
}

/// Renders the user's template, or the default one if that fails or produces nothing.
fn render(
    own: &Option<Template>,
    default: &Template,
    key: &str,
    context: &Context,
    note: &mut Option<String>,
) -> String {
    let by_default = || default.render(context).unwrap_or_default();
    let Some(own) = own else { return by_default() };
    match own.render(context) {
        Ok(text) if is_blank(&text) => {
            let text = by_default();
            if !is_blank(&text) {
                *note = Some(format!("`{key}` {NOTHING}"));
            }
            text
        }
        Ok(text) => text,
        Err(problem) => {
            *note = Some(format!("`{key}` failed: {problem}"));
            by_default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::entry::{Entry, Origin};
    use crate::event::parse::EventParser;
    use crate::event::sample;

    fn said(form: MessageFormat, keys: &[(&str, &str)], event: Event) -> Message {
        let mut section = Section::new("notifier:x", Origin::Play);
        for (key, value) in keys {
            section.set(Entry {
                key: (*key).into(),
                value: (*value).into(),
                origin: Origin::Play,
            });
        }
        let texts = MessageTemplates::new(&section, form);
        assert!(section.take_problems().is_empty());
        texts.message(
            &Context::new(Arc::new(event)),
            Bytes::new(),
            Fields::OfEvent,
        )
    }

    fn data_of(message: &Message) -> Value {
        serde_json::from_slice(&message.payload).unwrap()
    }

    fn failed() -> Event {
        let event = r#"{"state":"failed","host":"<web1>","task":"Install","result":{"msg":"a & \"b\" @all"}}"#;
        EventParser::new().read(event.as_bytes()).unwrap()
    }

    #[test]
    fn the_defaults_read_well() {
        let message = said(MessageFormat::Text(Escape::Mrkdwn), &[], failed());
        assert_eq!(message.subject, "<web1>: Install: failed");
        assert_eq!(message.text, "a &amp; \"b\" @all");
        assert_eq!(message.level, Level::Error);
        let message = said(MessageFormat::Mail, &[], sample::run_end(Status::Error));
        assert_eq!(message.subject, "Test: test.yml failed");
        assert_eq!(
            message.text,
            "test-host: a test message from ansible-notify (/srv/ansible/test.yml:3): This is a test message from ansible-notify.\n1 host, 1 changed, 1 failed, in 12.5 s"
        );
    }

    #[test]
    fn values_are_escaped_and_markup_stays() {
        let keys = [
            ("message", "*{{ host }}* {{ reason | safe }}"),
            ("subject", "{{ host }}\nx"),
        ];
        let message = said(MessageFormat::Text(Escape::Mrkdwn), &keys, failed());
        assert_eq!(message.text, "*&lt;web1&gt;* a & \"b\" @all");
        assert_eq!(message.subject, "<web1> x");
    }

    #[test]
    fn no_value_breaks_a_body() {
        let keys = [(
            "body",
            r#"{"a": "{{ reason }}", "n": ["{{ 1 + 1 }}", "x {{ host }}"]}"#,
        )];
        let message = said(MessageFormat::Data, &keys, failed());
        let expected = serde_json::json!({"a": "a & \"b\" @all", "n": [2, "x <web1>"]});
        assert_eq!(data_of(&message), expected);
        let keys = [("body", r#"{"a": {{ reason | tojson }}}"#)];
        let message = said(MessageFormat::Data, &keys, failed());
        assert_eq!(data_of(&message)["a"], "a & \"b\" @all");
    }

    #[test]
    fn a_template_that_fails_gives_way_to_the_default() {
        let message = said(
            MessageFormat::Mail,
            &[("message", "{{ 1 // 0 }}")],
            failed(),
        );
        assert!(
            message
                .text
                .starts_with("a & \"b\" @all\n(`message` failed: "),
            "{}",
            message.text
        );
        assert!(message.note.is_some());
    }

    #[test]
    fn a_template_that_says_nothing_gives_way_to_the_default() {
        let keys = [
            ("subject", "{% if status == 'success' %}done{% endif %}"),
            ("message", " \n{{ job.no_such_field }}\u{1b}[0m"),
            ("body", "{% if changed %}x{% endif %} "),
        ];
        let message = said(MessageFormat::Mail, &keys, failed());
        assert_eq!(message.subject, "<web1>: Install: failed");
        assert_eq!(message.text, "a & \"b\" @all");
        assert_eq!(message.body, None);
        assert!(message.note.is_some());
        // If the default produces nothing either, nothing is wrong.
        let silent = EventParser::new().read(br#"{"state":"success","host":"web1"}"#);
        let message = said(
            MessageFormat::Mail,
            &[("message", "{{ reason }}")],
            silent.unwrap(),
        );
        assert_eq!((message.text.as_str(), message.note), ("", None));
        for body in ["\"{{ reason[99:] }}\"", "\"{{ item }}\""] {
            let keys = [("body", body)];
            let text = said(MessageFormat::Text(Escape::Mrkdwn), &keys, failed());
            assert_eq!(text.body, None);
            let data = said(MessageFormat::Data, &keys, failed());
            assert!(["", "null"].contains(&data_of(&data).as_str().unwrap_or("null")));
        }
    }

    #[test]
    fn no_text_for_people_holds_what_colours_a_terminal() {
        let event = br#"{"state":"failed","host":"web1","result":{"msg":"\u001b[0;31mfatal\u001b[0m: \u009b1mno"}}"#;
        let event = || EventParser::new().read(event).unwrap();
        let keys = [
            ("subject", "{{ reason }}"),
            ("message", "{{ reason | safe }}"),
            (
                "body",
                r#"{"text": "{{ reason }}", "all": ["{{ result }}"]}"#,
            ),
        ];
        let message = said(MessageFormat::Text(Escape::Markdown), &keys, event());
        assert_eq!(message.subject, "fatal: no");
        assert_eq!(message.text, "fatal: no");
        let body = serde_json::json!({"text": "fatal: no", "all": [{"msg": "fatal: no"}]});
        assert_eq!(message.body, Some(body));
        let data = said(
            MessageFormat::Data,
            &[("body", r#"{"text": "{{ reason }}"}"#)],
            event(),
        );
        let verbatim = "\u{1b}[0;31mfatal\u{1b}[0m: \u{9b}1mno";
        assert_eq!(data_of(&data)["text"], verbatim);
    }

    #[test]
    fn a_message_written_for_awx_works() {
        let keys = [(
            "message",
            "{{ job_friendly_name }} '{{ job.name }}' {{ job.status }}: {{ job.host_status_counts.failures }} {{ job.summary_fields.inventory.name }}{{ url }}",
        )];
        let message = said(MessageFormat::Mail, &keys, sample::run_end(Status::Error));
        assert_eq!(message.text, "Job 'test.yml' failed: 1 ");
    }
}
