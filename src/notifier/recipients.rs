//! Recipients of a notifier, and other lists: fixed, or chosen by a template for each message.

use std::borrow::Cow;

use crate::config::advice::quoted;
use crate::config::checked::noted;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::message::Message;
use crate::template::limits::is_template;
use crate::template::{Template, Texts};
use crate::text::{Escape, INNER, characters, cut};

/// Preview of a message without recipients.
pub const NOBODY: &str = "(nobody: this event has no recipients)";

/// Maximum number of recipients that a template may choose: more are a mistake, and each costs an attempt.
const MOST: usize = 100;

/// Maximum length of a wrong recipient in an error, in characters.
const NAME: usize = 80;

/// The recipients named by a key.
pub struct Recipients {
    key: &'static str,
    choice: Choice,
    split: fn(&str) -> Vec<&str>,
    check: Check,
}

/// How a list of recipients is written.
pub struct Syntax {
    /// Returns the recipients that a key of the configuration lists.
    pub read: for<'a> fn(&'a Section, &str) -> Vec<&'a str>,
    /// Splits a text that a template gives.
    pub split: fn(&str) -> Vec<&str>,
}

/// Names separated by commas or line breaks.
pub const LIST: Syntax = Syntax {
    read: Section::list,
    split: names,
};

/// The same for channels, whose names may begin with `#`.
pub const CHANNELS: Syntax = Syntax {
    read: Section::channels,
    split: names,
};

/// Returns a recipient as the service knows it, or what is wrong with it.
pub type Check = fn(&str) -> Result<String, String>;

/// Recipients of a message by name, each with what is sent to it, or why it is wrong.
pub type Each<T> = Vec<(String, Result<T, Failure>)>;

/// Recipients of a message that are wrong, as they are written.
pub type Refused = Vec<(String, Failure)>;

/// Separates what is to be sent from the recipients that are wrong.
pub fn split<T>(each: Each<T>) -> (Vec<(String, T)>, Refused) {
    let (mut good, mut failures) = (Vec::new(), Vec::new());
    for (name, one) in each {
        match one {
            Ok(one) => good.push((name, one)),
            Err(failure) => failures.push((name, failure)),
        }
    }
    (good, failures)
}

/// Returns the preview of a message to a recipient that is wrong.
pub fn unreachable(failure: &Failure) -> String {
    format!("(not sent: {})", failure.error())
}

/// Recipients of a message.
struct Chosen<'a> {
    names: Cow<'a, [String]>,
    refused: Refused,
}

enum Choice {
    Fixed(Vec<String>),
    /// Results in a list, or in text with recipients separated by commas or line breaks, except for those in
    /// inserted values.
    Template(Template),
}

impl Recipients {
    /// Reads the recipients of a required key; notes problems in the section.
    pub fn required(
        section: &Section,
        key: &'static str,
        syntax: &Syntax,
        check: Check,
    ) -> Option<Recipients> {
        let choice = match section.template(key).filter(|text| is_template(text)) {
            Some(template) => {
                let template = Template::typed_as(template, Escape::Item);
                Choice::Template(noted(section, key, template)?)
            }
            None => match (syntax.read)(section, key) {
                list if list.is_empty() => return section.missing(key),
                list => Choice::Fixed(fixed(section, key, &list, check)),
            },
        };
        Some(Recipients {
            key,
            choice,
            split: syntax.split,
            check,
        })
    }

    /// Reads the recipients of a key that may be absent.
    pub fn optional(
        section: &Section,
        key: &'static str,
        syntax: &Syntax,
        check: Check,
    ) -> Option<Recipients> {
        // Makes the key known, even if it is empty.
        section.template(key);
        let is_given = section.is_given(key);
        is_given.then(|| Recipients::required(section, key, syntax, check))?
    }

    /// Returns the first recipient, to check the service; a stand-in if each message has its own.
    pub fn first(&self) -> &str {
        match &self.choice {
            Choice::Fixed(list) => list.first().map_or("", String::as_str),
            Choice::Template(_) => "ansible-notify",
        }
    }

    /// Returns true if each message has recipients of its own.
    pub fn has_template(&self) -> bool {
        matches!(self.choice, Choice::Template(_))
    }

    /// Returns the recipients of a message, each once. None are no mistake: nobody is to be notified. One that is
    /// wrong is a failure: for lists that only make sense as a whole.
    pub fn of(&self, message: &Message) -> Result<Cow<'_, [String]>, Failure> {
        let chosen = self.chosen(message)?;
        match chosen.refused.into_iter().next() {
            Some((_, failure)) => Err(failure),
            None => Ok(chosen.names),
        }
    }

    /// Returns what `make` gives for each recipient of a message. One that is wrong fails alone: the others are
    /// notified.
    pub fn each<T>(
        &self,
        message: &Message,
        mut make: impl FnMut(&String) -> Result<T, Failure>,
    ) -> Result<Each<T>, Failure> {
        let chosen = self.chosen(message)?;
        let made = |name: &String| Ok((name.clone(), Ok(make(name)?)));
        let made: Result<Each<T>, Failure> = chosen.names.iter().map(made).collect();
        let refused = chosen.refused.into_iter();
        let refused = refused.map(|(name, failure)| (name, Err(failure)));
        made.map(|made| made.into_iter().chain(refused).collect())
    }

    fn chosen(&self, message: &Message) -> Result<Chosen<'_>, Failure> {
        let template = match &self.choice {
            Choice::Fixed(list) => {
                return Ok(Chosen {
                    names: Cow::Borrowed(list),
                    refused: Vec::new(),
                });
            }
            Choice::Template(template) => template,
        };
        let failed = |problem: String| Failure::permanent(format!("`{}`: {problem}", self.key));
        let texts = template.texts(&message.context).map_err(failed)?;
        let named = match &texts {
            Texts::One(text) => (self.split)(text),
            Texts::List(items) => items.iter().map(String::as_str).collect(),
        };
        let (mut recipients, mut refused): (Vec<String>, Vec<_>) = Default::default();
        for one in named
            .into_iter()
            .map(str::trim)
            .filter(|one| !one.is_empty())
        {
            match self.checked(one) {
                Ok(recipient) if !recipients.contains(&recipient) => recipients.push(recipient),
                Ok(_) => {}
                Err(problem) => {
                    let name = cut(&one.replace(INNER, ","), NAME, characters).into_owned();
                    if !refused.iter().any(|(known, _)| *known == name) {
                        refused.push((name, failed(problem)));
                    }
                }
            }
        }
        match recipients.len() + refused.len() {
            0..=MOST => Ok(Chosen {
                names: Cow::Owned(recipients),
                refused,
            }),
            many => Err(failed(format!("gives {many} recipients, more than {MOST}"))),
        }
    }

    /// Returns a recipient, unless an inserted value would split it into several.
    fn checked(&self, name: &str) -> Result<String, String> {
        if !name.contains(INNER) {
            return (self.check)(name);
        }
        let name = quoted(&name.replace(INNER, ","));
        Err(format!(
            "a comma or line break in an inserted value does not separate recipients ({name}); give a list, or insert the value with `| safe`"
        ))
    }
}

fn fixed(section: &Section, key: &str, list: &[&str], check: Check) -> Vec<String> {
    let mut recipients = Vec::new();
    for one in list {
        match check(one) {
            Ok(recipient) if !recipients.contains(&recipient) => recipients.push(recipient),
            Ok(_) => {}
            Err(problem) => section.problem(key, problem),
        }
    }
    recipients
}

fn names(text: &str) -> Vec<&str> {
    text.split([',', '\n']).collect()
}

/// Accepts every name on one line.
pub fn any(name: &str) -> Result<String, String> {
    match name.contains(char::is_control) {
        true => Err(format!("{} has control characters", quoted(name))),
        false => Ok(name.to_owned()),
    }
}
