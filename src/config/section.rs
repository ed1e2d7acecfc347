//! A section of the merged configuration: typed values, each with the place that it came from.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::advice;
use super::binding::Address;
use super::command;
use super::lines::{is_comment, without_comments};
use super::literal;
use super::units::{parse_duration, parse_size};
use crate::secret::{self, Secret, Source};
use crate::system::home;
use crate::system::trusted::{self, Trusted};

/// Where a value came from.
#[derive(Clone, Debug)]
pub enum Origin {
    File {
        file: Rc<File>,
        line: usize,
    },
    Environment(&'static str),
    Play,
    /// ansible-runner's settings, given to the run and not in the file.
    Runner,
    /// What is always so where ansible-runner's settings are used.
    DropIn,
}

/// A configuration file that was read.
#[derive(Debug)]
pub struct File {
    pub path: PathBuf,
    /// Why it must not hold a secret, if so.
    pub exposed: Option<String>,
}

impl Origin {
    /// The value is not there again by itself, when what waits is delivered later.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Origin::File { .. } | Origin::DropIn)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { file, line } => write!(formatter, "{}:{line}", file.path.display()),
            Origin::Environment(name) => formatter.write_str(name),
            Origin::Play => formatter.write_str("the play's vars"),
            Origin::Runner | Origin::DropIn => formatter.write_str("ansible-runner's settings"),
        }
    }
}

/// Which secrets are read, of those that do not stand in the configuration itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reads {
    #[default]
    All,
    /// An inspection runs nothing.
    NoCommands,
    /// What a stranger may have written gets nothing of the user's.
    None,
}

impl Reads {
    fn allows(self, source: &Source) -> bool {
        match (self, source) {
            (Reads::All, _) | (_, Source::Inline(_)) => true,
            (Reads::NoCommands, source) => !matches!(source, Source::Command(_)),
            (Reads::None, _) => false,
        }
    }
}

/// Something wrong with the configuration: where, what, and what to do.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Problem {
    pub place: String,
    pub text: String,
    #[serde(skip)]
    pub harm: Harm,
}

/// How far a problem reaches, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// The default holds, with which nothing is lost and nobody is notified by mistake.
    Slight,
    /// A secret of a notifier could not be read; at another time it may be.
    Unread,
    /// Its notifier cannot deliver.
    Notifier,
    /// Nobody knows which events its notifier is meant to take.
    Rules,
    /// Nothing can be sent.
    Everything,
}

/// Keys that select the events of a notifier.
const RULES: [&str; 3] = ["on", "when", "check_mode"];

impl Harm {
    /// Harm of a mistake in the value of `key`, or in several words that may be keys.
    pub fn of(key: &str) -> Harm {
        match key.split(' ').any(|word| RULES.contains(&word)) {
            true => Harm::Rules,
            false => Harm::Notifier,
        }
    }
}

impl Problem {
    pub fn new(place: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem {
            place: place.into(),
            text: text.into(),
            harm: Harm::Notifier,
        }
    }

    pub fn with(self, harm: Harm) -> Problem {
        Problem { harm, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.text)
    }
}

#[derive(Clone)]
pub struct Entry {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

/// A value of the configuration as it may be shown, and where it came from.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Shown {
    pub section: String,
    pub key: String,
    pub value: String,
    pub place: String,
}

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
    asked: RefCell<BTreeSet<String>>,
    problems: RefCell<Vec<Problem>>,
    /// Secrets that are there and were not read.
    withheld: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    prompted: RefCell<Option<Secret>>,
    /// Keys that must be there, and are not.
    missing: RefCell<BTreeSet<String>>,
    /// Keys that are of no use without another one, which is not there.
    needed: RefCell<BTreeSet<(String, String)>>,
    /// The keys whose values are secrets.
    secrets: RefCell<BTreeSet<String>>,
}

/// The most that a file of certificates holds, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Stands for a secret that is not read, in a form that every kind takes.
const STAND_IN: &str = "notReadHere0";

/// The forms in which a secret may be given.
const SECRET_FORMS: [&str; 4] = ["", "_file", "_env", "_command"];

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

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of an entry that has one line; a line that was not meant to belong to it is a problem.
    fn line_of<'a>(&self, entry: &'a Entry) -> &'a str {
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

    /// A secret, given as `KEY`, `KEY_file`, `KEY_env` or `KEY_command`.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        let (entry, source) = self.secret_source(key)?;
        self.secrets.borrow_mut().insert(key.to_owned());
        if let (Source::Inline(_), Some(reason)) = (&source, exposed(entry)) {
            let others = format!("or use `{key}_file`, `{key}_env` or `{key}_command`");
            self.problem(
                key,
                format!("`{key}` must stay private, but this file {reason}, {others}"),
            );
        }
        if let Source::Inline(value) = &source {
            self.doubt(entry, value, true);
        }
        if self.leads_elsewhere(entry) {
            return None;
        }
        if self.withholds(entry, &source) {
            return Some(Secret::new(STAND_IN));
        }
        self.read(entry, &source)
    }

    /// A secret that says where something goes: nothing stands in for one.
    pub fn secret_url(&self, key: &str) -> Option<Secret> {
        match self.secret_source(key) {
            Some((entry, source)) if self.withholds(entry, &source) => None,
            _ => self.secret(key),
        }
    }

    /// Whether a secret is not to be read; that is noted.
    fn withholds(&self, entry: &Entry, source: &Source) -> bool {
        let withheld = !self.reads.allows(source);
        let place = self.place(&entry.key);
        let mut noted = self.withheld.borrow_mut();
        if withheld && !noted.iter().any(|note| note.place == place) {
            let text = match self.reads {
                Reads::None => format!("`{}` is not read for a stranger", entry.key),
                _ => format!("`{}` is not run here; --run-commands runs it", entry.key),
            };
            noted.push(Problem::new(place, text));
        }
        withheld
    }

    /// The secrets that were not read, and why not.
    pub fn withheld(&self) -> Vec<Problem> {
        self.withheld.borrow().clone()
    }

    /// The value of `key`, which need not, holds a secret: it must not stand where others can read it.
    pub fn holds_secret(&self, key: &str) {
        if let Some(reason) = self.entry(key).and_then(exposed) {
            self.problem(
                key,
                format!("`{key}` holds a secret, but this file {reason}"),
            );
        }
        self.shows_who_sends(key);
    }

    /// The value of `key` shows who sends: an address that a nearer level set must not have it.
    pub fn shows_who_sends(&self, key: &str) {
        self.entry(key).map(|entry| self.leads_elsewhere(entry));
    }

    /// Whether a credential would go to another address than it was written for; that is noted, once.
    fn leads_elsewhere(&self, entry: &Entry) -> bool {
        let problem = self.bound_elsewhere(entry);
        let leads_elsewhere = problem.is_some();
        let mut problems = self.problems.borrow_mut();
        let known = |problem: &Problem| problems.iter().any(|other| other.text == problem.text);
        let new = problem.filter(|problem| !known(problem));
        problems.extend(new);
        leads_elsewhere
    }

    /// The commands that print its secrets.
    pub fn commands(&self) -> Vec<Vec<String>> {
        let secrets = self.secrets.borrow();
        let commands = self.entries.iter().filter_map(|entry| {
            let key = entry.key.strip_suffix("_command")?;
            let is_secret = secrets.contains(key) || secrets.contains(&entry.key);
            is_secret.then(|| command::split(self.line_of(entry)).ok())?
        });
        commands.collect()
    }

    /// A URL, and whether it was given as a secret: a plain one may be shown.
    pub fn url(&self, key: &str) -> Option<(bool, String)> {
        let (entry, source) = self.secret_source(key)?;
        match (&source, &entry.origin) {
            (Source::Inline(url), Origin::File { .. } | Origin::Environment(_)) => {
                // Quotes, blanks and braces are problems already.
                if !url.contains(['"', '\'', '{', ' ']) {
                    self.doubt(entry, url, false);
                }
                Some((false, url.clone()))
            }
            _ => {
                self.secrets.borrow_mut().insert(entry.key.clone());
                if self.leads_elsewhere(entry) || self.withholds(entry, &source) {
                    return None;
                }
                Some((true, self.read(entry, &source)?.expose().to_owned()))
            }
        }
    }

    fn read(&self, entry: &Entry, source: &Source) -> Option<Secret> {
        let unread = |error: anyhow::Error| {
            let problem = Problem::new(self.place(&entry.key), format!("{error:#}"));
            self.problems.borrow_mut().push(problem.with(Harm::Unread));
        };
        source.read().map_err(unread).ok()
    }

    fn secret_source(&self, key: &str) -> Option<(&Entry, Source)> {
        let forms = SECRET_FORMS
            .iter()
            .filter_map(|form| self.entry(&format!("{key}{form}")));
        let entries: Vec<&Entry> = forms
            .filter(|entry| !self.line_of(entry).is_empty())
            .collect();
        let entry = *entries.first()?;
        if entries.len() > 1 {
            let names: Vec<String> = entries
                .iter()
                .map(|entry| format!("`{}`", entry.key))
                .collect();
            self.problem(
                &entry.key,
                format!("{} are set; keep one of them", names.join(" and ")),
            );
        }
        let value = self.line_of(entry);
        let source = match &entry.key[key.len()..] {
            "_file" => Source::File(resolve(value, &entry.origin)),
            "_env" => Source::Environment(value.to_owned()),
            "_command" => Source::Command(self.command(entry, value)?),
            _ => Source::Inline(value.to_owned()),
        };
        Some((entry, source))
    }

    /// The program and the arguments of a command.
    fn command(&self, entry: &Entry, value: &str) -> Option<Vec<String>> {
        let key = &entry.key;
        if let Some(operator) = command::operator(value) {
            self.warning(key, format!("`{operator}` means nothing here, as no shell runs `{key}`; quote it, or write `sh -c '…'`"));
        }
        let words = command::split(value);
        words
            .map_err(|problem| self.problem_once(key, format!("`{key}`: {problem}")))
            .ok()
    }

    /// A password that nothing gives: asked for once, where there is a terminal to ask on.
    pub fn prompt(&self, question: &str) -> Option<Secret> {
        if !self.may_prompt {
            return None;
        }
        let mut prompted = self.prompted.borrow_mut();
        if prompted.is_none() {
            *prompted = secret::ask(question);
        }
        prompted.clone()
    }

    /// Notes what is wrong with a key, or with the whole section where it has no such key.
    pub fn problem(&self, key: &str, text: impl Into<String>) {
        self.note(Problem::new(self.place(key), text).with(Harm::of(key)));
    }

    /// The same, where several getters may find it.
    fn problem_once(&self, key: &str, text: String) {
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
    fn doubt(&self, entry: &Entry, value: &str, is_secret: bool) {
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

/// Why an entry must not be a secret, if so.
fn exposed(entry: &Entry) -> Option<&String> {
    match &entry.origin {
        Origin::File { file, .. } => file.exposed.as_ref(),
        _ => None,
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

/// The key without the ending that says how a secret is given.
pub(super) fn family(key: &str) -> &str {
    SECRET_FORMS[1..]
        .iter()
        .find_map(|form| key.strip_suffix(form))
        .unwrap_or(key)
}

pub(super) fn resolve(path: &str, origin: &Origin) -> PathBuf {
    let expanded = match (path.strip_prefix("~/"), home::directory()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    };
    match origin {
        Origin::File { file, .. } => file
            .path
            .parent()
            .map_or(expanded.clone(), |folder| folder.join(&expanded)),
        _ => expanded,
    }
}

#[cfg(test)]
mod tests {
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
