//! The configuration that an import writes: notifiers, their keys, and remarks about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::secret;
use crate::text::visible;

/// Maximum length of a notifier's name, in characters.
const LONGEST: usize = 60;

/// Keys whose values may have several lines.
const LONG: [&str; 2] = ["message", "body"];

/// Values that stand for secrets when a draft is tried.
const STAND_IN: &str = "notReadHere0";
const STAND_IN_URL: &str = "https://host.invalid/notReadHere0";

/// A notifier to be written.
pub struct Draft {
    pub name: String,
    /// Common part of the names of its environment variables, shared with drafts of the same origin.
    pub stem: String,
    /// Origin of the notifier, and hints.
    pub about: Vec<String>,
    /// Settings that have no counterpart, or another meaning here.
    pub remarks: Vec<String>,
    pub keys: Vec<Key>,
    /// Fields of `[outputs:NAME]`: none in an empty section, the usual ones without a section.
    pub outputs: Option<Vec<Key>>,
    /// Reason why the notifier is written as a comment, if any.
    pub unfinished: Option<String>,
}

/// A key of a notifier to be written.
pub struct Key {
    pub name: String,
    pub value: Value,
    /// Reason why the key is written as a comment, if any.
    pub left_out: Option<String>,
}

/// Value of a key.
pub enum Value {
    Text(String),
    Secret(Secret),
}

/// A secret, which the user has to put into an environment variable.
pub struct Secret {
    pub variable: String,
    /// Name of the secret where it comes from.
    pub source: String,
    /// Its value, if the input has it.
    pub known: Option<String>,
    /// True if only its name or form suggests that it is a secret.
    pub is_guess: bool,
}

impl Draft {
    /// Creates a notifier of a kind.
    pub fn new(name: String, kind: &str) -> Draft {
        let mut draft = Draft {
            stem: name.clone(),
            name,
            about: Vec::new(),
            remarks: Vec::new(),
            keys: Vec::new(),
            outputs: None,
            unfinished: None,
        };
        draft.set("type", kind);
        draft
    }

    /// Sets a key; an empty value counts as absent.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let value = value.into().replace("\r\n", "\n");
        if !value.trim().is_empty() {
            self.push(name.into(), Value::Text(value));
        }
    }

    /// Adds a field to `[outputs:NAME]`, with its expression.
    pub fn output(&mut self, name: &str, expression: impl Into<String>) {
        let key = Key::new(name.to_owned(), Value::Text(expression.into()));
        self.outputs.get_or_insert_default().push(key);
    }

    /// Returns everything that is written as a key with a value: its keys and its outputs.
    pub fn written_keys(&mut self) -> impl Iterator<Item = &mut Key> {
        let outputs = self.outputs.iter_mut().flatten();
        self.keys.iter_mut().chain(outputs)
    }

    /// Sets a key to the empty text.
    pub fn set_empty(&mut self, name: &str) {
        self.push(name.to_owned(), Value::Text(String::new()));
    }

    /// Adds a remark, unless it is there already.
    pub fn remark_once(&mut self, text: String) {
        if !self.remarks.contains(&text) {
            self.remarks.push(text);
        }
    }

    /// Mutes the notifier.
    pub fn mute(&mut self, reason: &str) {
        self.remark(format!("It is muted: {reason}"));
        if self.keys.iter().all(|key| key.name != "enabled") {
            self.set("enabled", "false");
        }
    }

    /// Sets a key to an environment variable that will hold a secret.
    pub fn set_secret(&mut self, name: &str, mut secret: Secret) {
        if let Some(value) = &secret.known {
            secret::mask(value);
        }
        if secret
            .known
            .take_if(|known| known.contains(char::is_control))
            .is_some()
        {
            let source = &secret.source;
            self.remark(format!(
                "`{name}`: the value of {source} has several lines."
            ));
        }
        self.push(name.to_owned(), Value::Secret(secret));
    }

    fn push(&mut self, name: String, value: Value) {
        self.keys.push(Key::new(name, value));
    }

    /// Adds a line about its origin, or a hint.
    pub fn describe(&mut self, text: impl Into<String>) {
        self.about.push(text.into());
    }

    /// Adds a remark.
    pub fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }

    /// Returns the environment variables that it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.keys.iter().filter_map(|key| match &key.value {
            Value::Secret(secret) => Some(secret),
            Value::Text(_) => None,
        })
    }
}

impl Key {
    fn new(name: String, value: Value) -> Key {
        Key {
            name,
            value,
            left_out: None,
        }
    }

    /// Returns true if a file can hold the value.
    pub fn is_writable(&self) -> bool {
        self.lines(Form::Written).is_some()
    }

    /// Returns the key and its value as lines; None if no line can hold them.
    fn lines(&self, form: Form) -> Option<Vec<String>> {
        let (name, value) = match (&self.value, form) {
            (Value::Text(text), _) => (self.name.clone(), text.clone()),
            (Value::Secret(secret), Form::Written) => {
                (format!("{}_env", self.name), secret.variable.clone())
            }
            (Value::Secret(secret), Form::Tried) => (self.name.clone(), secret.tried(&self.name)),
        };
        let is_odd = |one: char| one.is_control() && !matches!(one, '\n' | '\t');
        let value = value.trim_matches('\n');
        let is_text = LONG.contains(&self.name.as_str());
        if value.contains(is_odd) || value.contains('\n') && !is_text {
            return None;
        }
        if !value.contains('\n') {
            return Some(vec![format!("{name} = {value}").trim_end().to_owned()]);
        }
        let indented = |line: &str| format!("  {line}").trim_end().to_owned();
        let first = std::iter::once(format!("{name} ="));
        Some(first.chain(value.lines().map(indented)).collect())
    }
}

impl Secret {
    /// Returns the value with which the draft is tried.
    fn tried(&self, key: &str) -> String {
        let stand_in = match key {
            "url" => STAND_IN_URL,
            _ => STAND_IN,
        };
        self.known.clone().unwrap_or_else(|| stand_in.to_owned())
    }
}

/// Forms in which drafts are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For the user.
    Written,
    /// For a trial, with the secrets themselves.
    Tried,
}

/// Drafts as the text of a file.
pub struct Page {
    pub text: String,
    lines: usize,
    /// First line of each key, and of each section, with the positions of its draft and its key.
    places: Vec<(usize, usize, Option<usize>)>,
}

impl Page {
    /// Writes drafts below a heading.
    pub fn new(heading: &[String], drafts: &[Draft], form: Form) -> Page {
        let mut page = Page {
            text: String::new(),
            lines: 0,
            places: Vec::new(),
        };
        heading.iter().for_each(|text| page.comment(text));
        for (index, draft) in drafts.iter().enumerate() {
            page.draft(index, draft, form);
        }
        page
    }

    fn draft(&mut self, index: usize, draft: &Draft, form: Form) {
        self.line("");
        let remarks = draft.about.iter().chain(&draft.remarks);
        remarks.for_each(|text| self.comment(text));
        if let Some(reason) = &draft.unfinished {
            self.comment(&format!("Not active: {reason}"));
        }
        let mark = if draft.unfinished.is_some() { "#" } else { "" };
        self.places.push((self.lines + 1, index, None));
        self.line(&format!("{mark}[notifier:{}]", draft.name));
        for (position, key) in draft.keys.iter().enumerate() {
            self.key((index, Some(position)), key, mark, form);
        }
        let Some(outputs) = &draft.outputs else {
            return;
        };
        self.line("");
        if outputs.is_empty() {
            self.comment("No fields below the text; without this section there are some.");
        }
        self.places.push((self.lines + 1, index, None));
        self.line(&format!("{mark}[outputs:{}]", draft.name));
        for key in outputs {
            self.key((index, None), key, mark, form);
        }
    }

    /// Writes a key, which is found again by the positions of its draft and itself.
    fn key(&mut self, place: (usize, Option<usize>), key: &Key, mark: &str, form: Form) {
        let mark = match &key.left_out {
            Some(reason) => {
                self.comment(&format!("`{}` is left out: {reason}", key.name));
                "#"
            }
            None => mark,
        };
        self.places.push((self.lines + 1, place.0, place.1));
        for line in key.lines(form).unwrap_or_default() {
            self.line(&format!("{mark}{line}"));
        }
    }

    /// Writes a remark, which may have several lines.
    pub fn comment(&mut self, text: &str) {
        for line in text.lines() {
            self.line(format!("# {}", visible(line)).trim_end());
        }
    }

    /// Writes one line.
    pub fn line(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
        self.lines += 1;
    }

    /// Returns the positions of the draft and the key on a line.
    pub fn at(&self, line: usize) -> Option<(usize, Option<usize>)> {
        let mut before = self.places.iter().rev();
        let (_, draft, key) = before.find(|(first, ..)| *first <= line)?;
        Some((*draft, *key))
    }
}

/// Names in use, of notifiers and of environment variables.
pub struct Names {
    notifiers: BTreeSet<String>,
    variables: BTreeSet<String>,
    /// Variable of each stem and key.
    given: BTreeMap<(String, String), String>,
}

impl Default for Names {
    fn default() -> Names {
        let reserved = [
            "CONFIG",
            "CALLBACK_URL",
            "USERNAME",
            "PASSWORD",
            "VALIDATE_CERTS",
        ];
        Names {
            // [inputs] is the notifier `callback`.
            notifiers: BTreeSet::from(["callback".to_owned()]),
            variables: reserved.map(|name| format!("ANSIBLE_NOTIFY_{name}")).into(),
            given: BTreeMap::new(),
        }
    }
}

impl Names {
    /// Returns an unused notifier name, made from any text.
    pub fn notifier(&mut self, wanted: &str, fallback: &str) -> String {
        let kept = |one: char| one.is_alphanumeric() || "_.".contains(one);
        let name = joined(&wanted.to_lowercase(), kept, '-');
        let name: String = name.chars().take(LONGEST).collect();
        let name = match name.is_empty() {
            true => fallback.to_owned(),
            false => name,
        };
        free(&mut self.notifiers, &name, '-')
    }

    /// Returns the name of the variable for a key of the notifiers with this stem.
    pub fn variable(&mut self, stem: &str, key: &str) -> String {
        let text = format!("ansible_notify {stem} {key}");
        let name = joined(&text, |one| one.is_ascii_alphanumeric(), '_').to_ascii_uppercase();
        let variables = &mut self.variables;
        let given = self.given.entry((stem.to_owned(), key.to_owned()));
        given.or_insert_with(|| free(variables, &name, '_')).clone()
    }
}

/// Returns the kept characters of a text, with a mark in place of the others between them.
fn joined(text: &str, kept: fn(char) -> bool, mark: char) -> String {
    let parts = text.split(|one: char| !kept(one));
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(&mark.to_string())
}

/// Reserves a name, with a number appended if it is in use.
fn free(taken: &mut BTreeSet<String>, name: &str, mark: char) -> String {
    let numbered = (2..).map(|number| format!("{name}{mark}{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    let free = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(free.clone());
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_valid_and_unique() {
        let mut names = Names::default();
        for (wanted, expected) in [
            ("Ops Slack (prod)", "ops-slack-prod"),
            ("ops]\n[inputs]\nslack prod", "ops-inputs-slack-prod"),
            ("ops slack PROD", "ops-slack-prod-2"),
            ("callback", "callback-2"),
            (" \n", "slack"),
            ("日本 チーム", "日本-チーム"),
        ] {
            assert_eq!(names.notifier(wanted, "slack"), expected);
        }
        for (notifier, key, expected) in [
            ("ops", "token", "ANSIBLE_NOTIFY_OPS_TOKEN"),
            ("o.ps", "token", "ANSIBLE_NOTIFY_O_PS_TOKEN"),
            ("o-ps", "token", "ANSIBLE_NOTIFY_O_PS_TOKEN_2"),
            ("日本", "url", "ANSIBLE_NOTIFY_URL"),
            ("日本", "username", "ANSIBLE_NOTIFY_USERNAME_2"),
        ] {
            assert_eq!(names.variable(notifier, key), expected);
        }
    }
}
