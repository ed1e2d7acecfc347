//! A section of the merged configuration: typed values, each with the place that it came from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::advice;
use super::entry::{Address, Entry, Origin, Reads, Shown, family, resolve};
use super::lines::{is_comment, without_comments};
use super::literal;
use super::problem::{Harm, Problem};
use super::units::{parse_duration, parse_size};
use crate::secret::{self, Secret};
use crate::system::trusted::{self, Trusted};

/// Keys of secrets that may have a value on each of several lines.
const OF_LINES: [&str; 1] = ["signing_secret"];

/// One section, merged over the levels. Its getters note what was asked for and what was wrong.
pub struct Section {
    pub name: String,
    /// Where the section itself stands.
    pub origin: Origin,
    pub entries: Vec<Entry>,
    /// Lines that make the values of keys longer than one line.
    pub continued: BTreeMap<String, usize>,
    /// A missing password may be asked for on the terminal.
    pub may_prompt: bool,
    pub reads: Reads,
    /// The address that each entry was written for, by key.
    pub(super) bound: BTreeMap<String, Rc<Address>>,
    pub(super) asked: RefCell<BTreeSet<String>>,
    pub(super) problems: RefCell<Vec<Problem>>,
    /// Secrets that are there and were not read.
    pub(super) withheld: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
    pub(super) prompted: RefCell<Option<Secret>>,
    /// Keys that must be there, and are not.
    missing: RefCell<BTreeSet<String>>,
    /// Keys that are of no use without another one, which is not there.
    needed: RefCell<BTreeSet<(String, String)>>,
    /// The keys whose values are secrets.
    pub(super) secrets: RefCell<BTreeSet<String>>,
}

/// The most that a file of certificates holds, in bytes.
const MAX_FILE: u64 = 4 << 20;

impl Section {
    pub fn new(name: &str, origin: Origin) -> Section {
        Section {
            name: name.to_owned(),
            origin,
            entries: Vec::new(),
            continued: BTreeMap::new(),
            may_prompt: false,
            reads: Reads::default(),
            bound: BTreeMap::new(),
            asked: RefCell::default(),
            problems: RefCell::default(),
            withheld: RefCell::default(),
            warnings: RefCell::default(),
            prompted: RefCell::default(),
            missing: RefCell::default(),
            needed: RefCell::default(),
            secrets: RefCell::default(),
        }
    }

    /// Sets a key whose value goes on beyond one line, from that line on.
    pub fn set_continued(&mut self, entry: Entry, line: Option<usize>) {
        let key = entry.key.clone();
        self.set(entry);
        self.continued.extend(line.map(|line| (key, line)));
    }

    /// Sets a key in place of the same one from a farther level, in whatever form that had it.
    pub fn set(&mut self, entry: Entry) {
        let family = family(&entry.key).to_owned();
        let is_field = self.name.starts_with("outputs");
        let same = |other: &Entry| {
            other.key == entry.key || !is_field && self::family(&other.key) == family
        };
        // Two forms in one file are a mistake that the getter reports; both stay.
        let from_here = |other: &Entry| match (&other.origin, &entry.origin) {
            (Origin::File { file: a, .. }, Origin::File { file: b, .. }) => Rc::ptr_eq(a, b),
            _ => false,
        };
        self.entries
            .retain(|other| !same(other) || from_here(other));
        self.continued.remove(&entry.key);
        self.entries.push(entry);
    }

    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of an entry that has one line; a line that was not meant to belong to it is a problem.
    pub(super) fn line_of<'a>(&self, entry: &'a Entry) -> &'a str {
        let value = &entry.value;
        let key = &entry.key;
        let may_have_lines = OF_LINES.contains(&key.as_str());
        if !value.contains('\n') || may_have_lines || !matches!(entry.origin, Origin::File { .. }) {
            return value;
        }
        if value.starts_with("!vault") {
            let text = format!(
                "`{key}` is vaulted, which only Ansible can decrypt; give it in the play's vars, or by `{}_command`",
                family(key)
            );
            self.problem_once(key, text);
            return "";
        }
        if let Some(line) = self.continued.get(key) {
            let text = format!(
                "line {line} is indented, so it became part of `{key}`; remove the blanks before it"
            );
            self.problem_once(key, text);
            return "";
        }
        first_line(value)
    }

    /// The text of a key, on one line and no template; an empty one counts as absent.
    pub fn text(&self, key: &str) -> Option<&str> {
        let entry = self.entry(key)?;
        let text = self.line_of(entry);
        self.doubt(entry, text, false);
        (!text.is_empty() && self.is_plain(key, text)).then_some(text)
    }

    /// The template of a key, with all its lines; an empty one counts as absent.
    pub fn template(&self, key: &str) -> Option<&str> {
        let text = self.entry(key)?.value.trim_start_matches('\n');
        (!text.is_empty()).then_some(text)
    }

    /// The expression of a key, or its template; lines of an expression that are comments are left out.
    pub fn expression(&self, key: &str) -> Option<String> {
        let text = self.template(key)?;
        let text = match has_template(text) {
            true => text.to_owned(),
            false => without_comments(text),
        };
        (!text.trim().is_empty()).then_some(text)
    }

    /// Whether the text of a key that is no template holds none: it would be sent as it stands.
    pub fn is_plain(&self, key: &str, text: &str) -> bool {
        let is_plain = !has_template(text);
        if !is_plain {
            let text =
                format!("`{key}` cannot be a template; `{{{{ … }}}}` would be sent as it stands");
            self.problem_once(key, text);
        }
        is_plain
    }

    pub fn flag(&self, key: &str, default: bool) -> bool {
        let Some(text) = self.text(key) else {
            return default;
        };
        truth(text).unwrap_or_else(|| {
            let given = advice::quoted(text);
            self.problem(key, format!("`{key}` must be true or false, not {given}"));
            default
        })
    }

    /// A whole number from 1 to `most`.
    pub fn count(&self, key: &str, default: usize, most: usize) -> usize {
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

    /// A time such as `500ms`, `30s`, `5m`, `72h` or `14d`; a bare number is seconds.
    pub fn duration(&self, key: &str, default: Duration) -> Duration {
        self.parsed(key, default, |text| {
            parse_duration(text).ok_or_else(|| {
                let given = advice::quoted(text);
                format!("`{key}` must be a time such as 500ms, 30s, 5m or 72h, not {given}")
            })
        })
    }

    /// A size in bytes, such as `64MiB`, at least 1 MiB.
    pub fn size(&self, key: &str, default: u64) -> u64 {
        self.parsed(key, default, |text| {
            let size = parse_size(text).filter(|size| *size >= 1 << 20);
            size.ok_or_else(|| {
                let given = advice::quoted(text);
                format!("`{key}` must be a size such as 64MiB or 1GiB, at least 1MiB, not {given}")
            })
        })
    }

    /// One of the named values, in upper or lower case.
    pub fn choice<T: Copy>(&self, key: &str, default: T, choices: &[(&str, T)]) -> T {
        self.parsed(key, default, |text| {
            let mut all = choices.iter();
            let found = all.find(|(name, _)| name.eq_ignore_ascii_case(text));
            let names = choices.iter().map(|(name, _)| *name);
            found
                .map(|(_, value)| *value)
                .ok_or_else(|| advice::none_of(key, names, text))
        })
    }

    /// A value that `parse` understands, or `default` with a problem noted.
    pub fn parsed<T>(&self, key: &str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let Some(text) = self.text(key) else {
            return default;
        };
        parse(text).unwrap_or_else(|problem| {
            self.problem(key, problem);
            default
        })
    }

    /// A list: separated by commas or lines.
    pub fn list(&self, key: &str) -> Vec<&str> {
        self.list_without(key, is_comment)
    }

    /// A list of channels: a line is a comment only where a blank follows its `#`.
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

    /// The lines of a longer value.
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

    /// A file, relative to the file that names it.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        Some(resolve(text, &self.entry(key)?.origin))
    }

    /// The content of a file named by `key`.
    pub fn file(&self, key: &str) -> Option<Trusted> {
        let read = trusted::read(&self.path(key)?, MAX_FILE);
        let problem = |error| self.problem(key, format!("{error:#}"));
        read.map_err(problem).ok()
    }

    /// Notes that a key is missing, where it is not given in any form: if so, reading it failed already.
    pub fn missing<T>(&self, key: &str) -> Option<T> {
        if !self.is_given(key) {
            self.missing.borrow_mut().insert(key.to_owned());
        }
        None
    }

    /// Notes that a key is of no use without another one, where that is not given in any form.
    pub fn needs(&self, key: &str, other: &str) {
        if !self.is_given(other) {
            let pair = (key.to_owned(), other.to_owned());
            self.needed.borrow_mut().insert(pair);
        }
    }

    /// Whether a key is there in any form, readable or not.
    pub fn is_given(&self, key: &str) -> bool {
        let given =
            |entry: &Entry| family(&entry.key) == key && !first_line(&entry.value).is_empty();
        self.entries.iter().any(given)
    }

    /// Whether a key is there, and says nothing.
    pub fn is_blank(&self, key: &str) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.key == key && first_line(&entry.value).is_empty())
    }

    /// A text that must be there.
    pub fn required(&self, key: &str) -> Option<&str> {
        self.text(key).or_else(|| self.missing(key))
    }

    /// A secret that must be there.
    pub fn required_secret(&self, key: &str) -> Option<Secret> {
        self.secret(key).or_else(|| self.missing(key))
    }

    /// A list that must be there.
    pub fn required_list(&self, key: &str) -> Option<Vec<String>> {
        self.required_items(key, self.list(key))
    }

    /// A list of channels that must be there.
    pub fn required_channels(&self, key: &str) -> Option<Vec<String>> {
        self.required_items(key, self.channels(key))
    }

    fn required_items(&self, key: &str, list: Vec<&str>) -> Option<Vec<String>> {
        if list.is_empty() {
            return self.missing(key);
        }
        Some(list.into_iter().map(str::to_owned).collect())
    }

    /// Notes what is wrong with a key, or with the whole section where it has no such key.
    pub fn problem(&self, key: &str, text: impl Into<String>) {
        self.note(Problem::new(self.place(key), text).with(Harm::of(key)));
    }

    /// The same, where several getters may find it.
    pub(super) fn problem_once(&self, key: &str, text: String) {
        let known = |problem: &Problem| problem.text == text;
        if !self.problems.borrow().iter().any(known) {
            self.problem(key, text);
        }
    }

    /// Notes a problem that was found elsewhere.
    pub fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Notes that events cannot go together, where that was asked for.
    pub fn no_batch(&self, reason: &str) {
        if self.text("batch").is_some() {
            self.problem("batch", reason);
        }
    }

    /// Notes what may be a mistake but hinders nothing.
    pub fn warning(&self, key: &str, text: impl Into<String>) {
        let warning = Problem::new(self.place(key), text);
        self.warnings.borrow_mut().push(warning);
    }

    /// Warns of a value in a file that may not be meant as it stands.
    pub(super) fn doubt(&self, entry: &Entry, value: &str, is_secret: bool) {
        let is_of_file = matches!(entry.origin, Origin::File { .. });
        let doubt = literal::doubt(&entry.key, value, is_secret).filter(|_| is_of_file);
        let is_known = |text: &String| {
            let warnings = self.warnings.borrow();
            warnings.iter().any(|warning| warning.text == *text)
        };
        if let Some(text) = doubt.filter(|text| !is_known(text)) {
            self.warning(&entry.key, text);
        }
    }

    pub(super) fn place(&self, key: &str) -> String {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry
            .map_or(&self.origin, |entry| &entry.origin)
            .to_string()
    }

    /// Every value with its place, secrets masked.
    pub fn shown(&self) -> Vec<Shown> {
        let shown = |entry: &Entry| Shown {
            section: self.name.clone(),
            key: entry.key.clone(),
            value: if self.secrets.borrow().contains(&entry.key) {
                secret::MASK.to_owned()
            } else {
                secret::without_user(&secret::redact(entry.value.trim_start()))
            },
            place: entry.origin.to_string(),
        };
        self.entries.iter().map(shown).collect()
    }

    pub fn take_problems(&self) -> Vec<Problem> {
        self.problems.take()
    }

    pub fn take_warnings(&self) -> Vec<Problem> {
        self.warnings.take()
    }

    /// Reports the keys that nobody asked for, with the one that is meant, and those that are missing.
    pub fn report_unknown(&self) {
        let asked = self.asked.borrow().clone();
        let known: Vec<&str> = asked.iter().map(String::as_str).collect();
        let (mut missing, mut needed) = (self.missing.take(), self.needed.take());
        let is_unknown = |entry: &&Entry| !asked.contains(&entry.key);
        for entry in self.entries.iter().filter(is_unknown) {
            let (hint, meant) = advice::key(&self.name, &entry.key, &known);
            let meant = meant.unwrap_or_default();
            // It is there, under another name.
            missing.retain(|key| !is_same(key, meant));
            needed.retain(|(_, other)| !is_same(other, meant));
            let text = format!("unknown key `{}` in [{}]{hint}", entry.key, self.name);
            let problem = Problem::new(entry.origin.to_string(), text);
            self.note(problem.with(Harm::of(meant)));
        }
        for (key, other) in needed {
            let text = match other.as_str() {
                "password" => format!(
                    "`{key}` has no password; set `password_file`, `password_env`, `password_command` or `password`, which may be empty"
                ),
                _ => format!("`{key}` needs `{other}` beside it"),
            };
            self.problem(&key, text);
        }
        for key in missing {
            self.problem("", format!("[{}] has no `{key}`", self.name));
        }
    }
}

/// Whether a text holds what makes it a template.
pub fn has_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// The first line of a value that is no comment; `#` in the line of the key is text.
fn first_line(value: &str) -> &str {
    let mut lines = value.lines().map(str::trim).enumerate();
    let first =
        lines.find(|(number, line)| !line.is_empty() && (*number == 0 || !is_comment(line)));
    first.map_or("", |(_, line)| line)
}

/// Whether a text says true or false, if it does either.
pub fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" | "t" => Some(true),
        "false" | "no" | "off" | "0" | "n" | "f" => Some(false),
        _ => None,
    }
}

/// Keys that say who sends; one of them may do without another.
const CREDENTIALS: [&str; 3] = ["username", "password", "token"];

/// Whether a key is no more missing where `meant` is there.
fn is_same(key: &str, meant: &str) -> bool {
    let are_credentials = CREDENTIALS.contains(&key) && CREDENTIALS.contains(&family(meant));
    key == family(meant) || are_credentials
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
