//! A setting of a notifier that is fixed, or chosen by a template for each message.

use crate::config::checked::noted;
use crate::config::section::Section;
use crate::message::Message;
use crate::template::context::Context;
use crate::template::limits::is_template;
use crate::template::{Template, Texts};
use crate::text;

/// Returns the value that a text names, or the problem with it.
pub type Parse<T> = fn(&str) -> Result<T, String>;

/// The value of an optional key.
pub struct Chosen<T> {
    key: &'static str,
    choice: Choice<T>,
    parse: Parse<T>,
}

enum Choice<T> {
    Absent,
    Fixed(T),
    Template(Template),
}

impl<T: Clone> Chosen<T> {
    /// Reads a key; notes problems in the section.
    pub fn read(section: &Section, key: &'static str, parse: Parse<T>) -> Chosen<T> {
        let template = section.template(key).filter(|text| is_template(text));
        let choice = match template {
            Some(source) => noted(section, key, Template::typed(source)).map(Choice::Template),
            None => {
                let parse = |text: &str| parse(text).map(Some);
                section.parsed(key, None, parse).map(Choice::Fixed)
            }
        };
        Chosen {
            key,
            choice: choice.unwrap_or(Choice::Absent),
            parse,
        }
    }

    /// Returns the value for a message, or the reason why there is none. An empty result is not a mistake.
    pub fn of(&self, message: &Message) -> Result<Option<T>, String> {
        self.in_context(&message.context)
    }

    /// Returns the value for one event of a message.
    pub fn in_context(&self, context: &Context) -> Result<Option<T>, String> {
        let template = match &self.choice {
            Choice::Absent => return Ok(None),
            Choice::Fixed(value) => return Ok(Some(value.clone())),
            Choice::Template(template) => template,
        };
        let failed = |problem| format!("`{}` failed: {problem}", self.key);
        let text = match template.texts(context).map_err(failed)? {
            Texts::One(text) => text,
            Texts::List(items) => items.join(", "),
        };
        match text.trim() {
            "" => Ok(None),
            text => (self.parse)(text).map(Some),
        }
    }
}

/// Accepts every text, as one line.
pub fn one_line(text: &str) -> Result<String, String> {
    Ok(text::one_line(text))
}
