//! A section of the merged configuration: typed values, each with its origin.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use super::advice;
use super::entry::{Address, Entry, Origin, Reads, Shown, family, resolve};
use super::lines::{is_comment, without_comments};
use super::literal::{self, Expected};
use super::problem::{Harm, Problem};
use super::units::{self, parse_size};
use crate::secret::{self, Secret};
use crate::system::trusted::{self, Trusted};

/// Secret keys that may have one value per line.
const OF_LINES: [&str; 1] = ["signing_secret"];

/// One section, merged from all levels. Its getters record the keys asked for and the mistakes found.
pub struct Section {
    pub name: String,
    /// Origin of the section itself.
    pub origin: Origin,
    pub entries: Vec<Entry>,
    /// Per key, the line that makes its value longer than one line.
    pub continued: BTreeMap<String, usize>,
    /// True if a missing password may be asked for on the terminal.
    pub may_prompt: bool,
    pub reads: Reads,
    /// Per key, the named secrets that its value refers to.
    pub(super) named: BTreeMap<String, Vec<Named>>,
    /// Keys whose values contain the name of a secret.
    pub(super) mentioned: BTreeSet<String>,
    /// Per key, the address that its entry was written for.
    pub(super) bound: BTreeMap<String, Rc<Address>>,
    pub(super) asked: RefCell<BTreeSet<String>>,
    /// Defaults of keys that are not set.
    defaults: RefCell<BTreeMap<String, String>>,
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Secrets that are configured but were not read.
    pub(super) withheld: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
    pub(super) prompted: RefCell<Option<Secret>>,
    /// Required keys that are missing.
    pub(super) missing: RefCell<BTreeSet<String>>,
    /// Keys that need another key, which is missing.
    pub(super) needed: RefCell<BTreeSet<(String, String)>>,
    /// Keys whose values are secrets.
    pub(super) secrets: RefCell<BTreeSet<String>>,
}

/// A reference to a named secret.
#[derive(Clone)]
pub(super) struct Named {
    pub name: String,
    /// The section, or the hint for an unknown name.
    pub found: Result<Rc<Section>, String>,
}

/// Size limit of a file of certificates, in bytes.
const MAX_FILE: u64 = 4 << 20;

impl Section {
    /// Creates an empty section.
    pub fn new(name: &str, origin: Origin) -> Section {
        Section {
            name: name.to_owned(),
            origin,
            entries: Vec::new(),
            continued: BTreeMap::new(),
            may_prompt: false,
            reads: Reads::default(),
            named: BTreeMap::new(),
            mentioned: BTreeSet::new(),
            bound: BTreeMap::new(),
            asked: RefCell::default(),
            defaults: RefCell::default(),
            problems: RefCell::default(),
            withheld: RefCell::default(),
            warnings: RefCell::default(),
            prompted: RefCell::default(),
            missing: RefCell::default(),
            needed: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    /// Sets a key, replacing its value from a higher level, in whichever form that was given.
    pub fn set(&mut self, entry: Entry) {
        let family = family(&entry.key).to_owned();
        let is_field = self.name.starts_with("outputs");
        let same = |other: &Entry| {
            other.key == entry.key || !is_field && self::family(&other.key) == family
        };
        // Two forms in one file are a mistake that the getter reports; both are kept.
        let from_here = |other: &Entry| match (&other.origin, &entry.origin) {
            (Origin::File { file: a, .. }, Origin::File { file: b, .. }) => Rc::ptr_eq(a, b),
            _ => false,
        };
        self.entries
            .retain(|other| !same(other) || from_here(other));
        self.continued.remove(&entry.key);
        self.named.remove(&entry.key);
        self.mentioned.remove(&entry.key);
        self.entries.push(entry);
    }

    /// Returns the entry of a key, and notes that the key is known.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Returns the value of a one-line entry; a further line not meant to belong to it is a problem.
    pub(super) fn line_of<'a>(&self, entry: &'a Entry) -> &'a str {
        let value = &entry.value;
        let key = &entry.key;
        let may_have_lines = OF_LINES.contains(&key.as_str());
        if !value.contains('\n') || may_have_lines || !matches!(entry.origin, Origin::File { .. }) {
            return value;
        }
        if value.starts_with("!vault") {
            let text = format!(
                "`{key}` is encrypted with Ansible Vault, which only Ansible can decrypt; set it in the play's vars, or use `{}_command`",
                family(key)
            );
            self.problem_once(key, text);
            return "";
        }
        if let Some(line) = self.continued.get(key) {
            let text = format!(
                "line {line} is indented, so it became part of `{key}`; remove the indentation"
            );
            self.problem_once(key, text);
            return "";
        }
        first_line(value)
    }

    /// Returns the text of a key: one line, not a template. An empty text counts as absent.
    pub fn text(&self, key: &str) -> Option<&str> {
        let entry = self.entry(key)?;
        let text = self.line_of(entry);
        self.doubt(entry, text, Expected::Plain);
        (!text.is_empty() && self.is_plain(key, text)).then_some(text)
    }

    /// Returns the template of a key, with all its lines. An empty one counts as absent.
    pub fn template(&self, key: &str) -> Option<&str> {
        let text = self.entry(key)?.value.trim_start_matches('\n');
        (!text.is_empty()).then_some(text)
    }

    /// Returns the expression or template of a key; comment lines of an expression are removed.
    pub fn expression(&self, key: &str) -> Option<String> {
        let text = self.template(key)?;
        let text = match has_template(text) {
            true => text.to_owned(),
            false => without_comments(text),
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// Returns true if a text contains no template; else records a problem, as it would be sent literally.
    pub fn is_plain(&self, key: &str, text: &str) -> bool {
        let is_plain = !has_template(text);
        if !is_plain {
            let text =
                format!("`{key}` cannot be a template; `{{{{ … }}}}` would be sent literally");
            self.problem_once(key, text);
        }
        is_plain
    }

    /// Reads a yes or no.
    pub fn flag(&self, key: &str, default: bool) -> bool {
        let Some(text) = self.text(key) else {
            self.note_default(key, default);
            return default;
        };
        truth(text).unwrap_or_else(|| {
            let given = advice::quoted(text);
            self.problem(key, format!("`{key}` must be true or false, not {given}"));
            default
        })
    }

    /// Returns a whole number from 1 to `most`.
    pub fn count(&self, key: &str, default: usize, most: usize) -> usize {
        if default > 0 && !self.is_given(key) {
            self.note_default(key, default);
        }
        self.parsed(key, default, |text| {
            let number = text
                .parse()
                .ok()
                .filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| {
                let given = advice::quoted(text);
                format!("`{key}` must be a whole number from 1 to {most}, not {given}")
            })
        })
    }

    /// Returns a size in bytes, such as `64MiB`; at least 1 MiB.
    pub fn size(&self, key: &str, default: u64) -> u64 {
        if !self.is_given(key) {
            self.note_default(key, units::size(default));
        }
        self.parsed(key, default, |text| {
            let size = parse_size(text).filter(|size| *size >= 1 << 20);
            size.ok_or_else(|| {
                let given = advice::quoted(text);
                format!("`{key}` must be a size such as 64MiB or 1GiB, at least 1MiB, not {given}")
            })
        })
    }

    /// Returns one of the named values, in upper or lower case.
    pub fn choice<T: Copy + PartialEq>(&self, key: &str, default: T, choices: &[(&str, T)]) -> T {
        let named = choices.iter().find(|(_, value)| *value == default);
        if let Some((name, _)) = named.filter(|_| !self.is_given(key)) {
            self.note_default(key, name);
        }
        self.parsed(key, default, |text| advice::one_of(key, choices, text))
    }

    /// Returns the value parsed by `parse`, or `default` after recording a problem.
    pub fn parsed<T>(&self, key: &str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        parse(text).unwrap_or_else(|problem| {
            self.problem_once(key, problem);
            default
        })
    }

    /// Returns a list, separated by commas or lines.
    pub fn list(&self, key: &str) -> Vec<&str> {
        self.list_without(key, is_comment)
    }

    /// Returns a list of channels: a line is a comment only if a blank follows its `#`.
    pub fn channels(&self, key: &str) -> Vec<&str> {
        let is_comment = |line: &str| {
            is_comment(line)
                && line
                    .strip_prefix('#')
                    .is_none_or(|rest| rest.trim_start() != rest)
        };
        self.list_without(key, is_comment)
    }

    fn list_without(&self, key: &str, is_comment: impl Fn(&str) -> bool) -> Vec<&str> {
        let lines = self.lines_without(key, is_comment);
        let items = lines.into_iter().flat_map(|line| line.split(','));
        let items: Vec<&str> = items
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect();
        match items.iter().all(|item| self.is_plain(key, item)) {
            true => items,
            false => Vec::new(),
        }
    }

    /// Returns the lines of a longer value.
    pub fn lines(&self, key: &str) -> Vec<&str> {
        self.lines_without(key, is_comment)
    }

    fn lines_without(&self, key: &str, is_comment: impl Fn(&str) -> bool) -> Vec<&str> {
        let text = self.entry(key).map_or("", |entry| entry.value.as_str());
        let lines = text.lines().map(str::trim).enumerate();
        lines
            .filter(|(number, line)| !line.is_empty() && (*number == 0 || !is_comment(line)))
            .map(|(_, line)| line)
            .collect()
    }

    /// Returns a path, relative to the file that names it.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(resolve(text, &self.entry(key)?.origin))
    }

    /// Returns a path in the value of `key`, relative to the file that names it.
    pub fn resolved(&self, key: &str, path: &str) -> PathBuf {
        match self.entry(key) {
            Some(entry) => resolve(path, &entry.origin),
            None => PathBuf::from(path),
        }
    }

    /// Reads the file named by `key`.
    pub fn file(&self, key: &str) -> Option<Trusted> {
        let read = trusted::read(&self.path(key)?, MAX_FILE);
        let problem = |error| self.problem(key, format!("{error:#}"));
        read.map_err(problem).ok()
    }

    /// Records a key as missing, unless it is given in some form: then reading it has already failed.
    pub fn missing<T>(&self, key: &str) -> Option<T> {
        if !self.is_given(key) {
            self.missing.borrow_mut().insert(key.to_owned());
        }
        None
    }

    /// Records that a key needs another one, unless that is given in some form.
    pub fn needs(&self, key: &str, other: &str) {
        if !self.is_given(other) {
            let pair = (key.to_owned(), other.to_owned());
            self.needed.borrow_mut().insert(pair);
        }
    }

    /// Returns true if a key is given in any form, readable or not, and notes that the key is known.
    pub fn is_given(&self, key: &str) -> bool {
        self.asked.borrow_mut().insert(key.to_owned());
        let given =
            |entry: &Entry| family(&entry.key) == key && !first_line(&entry.value).is_empty();
        self.entries.iter().any(given)
    }

    /// Returns true if a key is given but empty.
    pub fn is_blank(&self, key: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.key == key && first_line(&entry.value).is_empty())
    }

    /// Returns a required text.
    pub fn required(&self, key: &str) -> Option<&str> {
        self.text(key).or_else(|| self.missing(key))
    }

    /// Returns a required secret.
    pub fn required_secret(&self, key: &str) -> Option<Secret> {
        self.secret(key).or_else(|| self.missing(key))
    }

    /// Records a problem of a key, or of the whole section if it has no such key.
    pub fn problem(&self, key: &str, text: impl Into<String>) {
        self.note(Problem::new(self.place(key), text).with(Harm::of(key)));
    }

    /// Records a problem that several getters may find, once.
    pub(super) fn problem_once(&self, key: &str, text: String) {
        let known = |problem: &Problem| problem.text == text;
        if !self.problems.borrow().iter().any(known) {
            self.problem(key, text);
        }
    }

    /// Records a problem that was found elsewhere.
    pub fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Returns the keys that begin with `prefix`, each once, without the suffixes of the forms of a secret.
    pub fn families(&self, prefix: &str) -> BTreeSet<String> {
        let keys = self.entries.iter().map(|entry| family(&entry.key));
        let keys = keys.filter(|key| key.starts_with(prefix));
        keys.map(str::to_owned).collect()
    }

    /// Records that events cannot be batched, if batching is configured.
    pub fn no_batch(&self, reason: &str) {
        if self.text("batch").is_some() {
            self.problem("batch", reason);
        }
    }

    /// Records a possible mistake that has no effect on delivery.
    pub fn warning(&self, key: &str, text: impl Into<String>) {
        let warning = Problem::new(self.place(key), text);
        self.warnings.borrow_mut().push(warning);
    }

    /// Warns of a value in a file that may not be meant literally.
    pub(super) fn doubt(&self, entry: &Entry, value: &str, expected: Expected) {
        let is_of_file = matches!(entry.origin, Origin::File { .. });
        let doubt = literal::doubt(&entry.key, value, expected);
        let doubt = doubt.or_else(|| self.misplaced(entry, expected));
        let doubt = doubt.filter(|_| is_of_file);
        let is_known = |text: &String| {
            let warnings = self.warnings.borrow();
            warnings.iter().any(|warning| warning.text == *text)
        };
        if let Some(text) = doubt.filter(|text| !is_known(text)) {
            self.warning(&entry.key, text);
        }
    }

    /// Returns the place to name in a message about a key: its own, or the section's if it is not set.
    pub(super) fn place(&self, key: &str) -> String {
        let mut entries = self.entries.iter();
        let entry = entries.clone().find(|entry| entry.key == key);
        // A secret may be given in another form.
        let entry = entry.or_else(|| entries.find(|entry| family(&entry.key) == key));
        let origin = entry.map_or(&self.origin, |entry| &entry.origin);
        origin.to_string()
    }

    /// Returns every value with its origin, secrets masked.
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |entry: &Entry| Shown {
            section: self.name.clone(),
            key: entry.key.clone(),
            value: if self.shows_nothing(entry) {
                secret::MASK.to_owned()
            } else {
                secret::without_user(&secret::redact(entry.value.trim_start()))
            },
            place: entry.origin.to_string(),
        };
        self.entries.iter().map(shown).collect()
    }

    /// Returns the problems noted so far, and forgets them.
    pub fn take_problems(&self) -> Vec<Problem> {
        self.problems.take()
    }

    /// Returns the warnings noted so far, and forgets them.
    pub fn take_warnings(&self) -> Vec<Problem> {
        self.warnings.take()
    }

    /// Returns the keys that are not set, with the defaults that apply.
    pub fn defaults(&self) -> BTreeMap<String, String> {
        self.defaults.take()
    }

    /// Notes the default that applies to a key that is not set.
    pub(super) fn note_default(&self, key: &str, default: impl ToString) {
        let mut defaults = self.defaults.borrow_mut();
        defaults.insert(key.to_owned(), default.to_string());
    }

    /// Returns the keys read so far.
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

/// Returns true if a text contains template syntax.
pub fn has_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Returns the first line of a value that is not a comment; `#` in the line of the key is text.
fn first_line(value: &str) -> &str {
    let mut lines = value.lines().map(str::trim).enumerate();
    let first =
        lines.find(|(number, line)| !line.is_empty() && (*number == 0 || !is_comment(line)));
    first.map_or("", |(_, line)| line)
}

/// Parses a text as true or false.
pub fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" | "t" => Some(true),
        "false" | "no" | "off" | "0" | "n" | "f" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::File;
    use super::*;

    #[test]
    fn the_nearer_level_wins_in_whatever_form() {
        let level = |path: &str| {
            Rc::new(File {
                path: path.into(),
                exposed: None,
            })
        };
        let (far, near) = (level("/far"), level("/near"));
        let mut section = Section::new("inputs", Origin::Play);
        for (key, value, file) in [
            ("password", "a", &far),
            ("username", "u", &far),
            ("password_env", "B", &near),
        ] {
            let origin = Origin::File {
                file: file.clone(),
                line: 1,
            };
            section.set(Entry {
                key: key.into(),
                value: value.into(),
                origin,
            });
        }
        let keys: Vec<&str> = section
            .entries
            .iter()
            .map(|entry| entry.key.as_str())
            .collect();
        assert_eq!(keys, ["username", "password_env"]);
    }
}
