//! The secrets of a section: their sources, and whether they may be read.

use super::command;
use super::entry::{Entry, Origin, Reads, SECRET_FORMS, exposed, resolve};
use super::literal::Expected;
use super::problem::{Harm, Problem};
use super::section::{Named, Section};
use super::vault::section_of;
use crate::secret::{self, Secret, Source};

/// Placeholder for a secret that is not read, in a form that every kind accepts.
const STAND_IN: &str = "notReadHere0";

/// Form of a value that may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// Literal: it may be shown.
    Open,
    /// Secret: it is never shown.
    Secret,
}

/// A secret as configured.
struct Given<'a> {
    /// Entry of the key itself, which decides to which address the secret belongs.
    entry: &'a Entry,
    /// Entry that holds the secret: the same, or one of a `[secret:NAME]`.
    held: &'a Entry,
    source: Source,
}

/// Key of a named secret.
const VALUE: &str = "value";

impl Given<'_> {
    fn is_named(&self) -> bool {
        !std::ptr::eq(self.entry, self.held)
    }
}

impl Section {
    /// Reads a secret, given as `KEY`, `KEY_file`, `KEY_env` or `KEY_command`, or by the name of a
    /// `[secret:NAME]`.
    pub fn secret(&self, key: &str) -> Option<Secret> {
        let given = self.secret_source(key)?;
        self.secrets.borrow_mut().insert(key.to_owned());
        let (held, source) = (given.held, &given.source);
        if let (Source::Inline(_), Some(reason)) = (source, exposed(held)) {
            let key = &held.key;
            let others = format!("or use `{key}_file`, `{key}_env` or `{key}_command`");
            let text = format!("`{key}` must stay private, but this file {reason}, {others}");
            self.note(Problem::new(held.origin.to_string(), text));
        }
        if let (Source::Inline(value), false) = (source, given.is_named()) {
            self.doubt(held, value, Expected::Secret);
        }
        if self.leads_elsewhere(given.entry) {
            return None;
        }
        if self.withholds(&given) {
            return Some(Secret::new(STAND_IN));
        }
        self.read(&given)
    }

    /// Returns a text that may be a secret, and whether it was given as one, by `KEY_file`, `KEY_env`,
    /// `KEY_command` or a name.
    pub fn text_or_secret(&self, key: &str) -> Option<(Secrecy, String)> {
        let given = self.secret_source(key)?;
        match (given.is_named(), given.source) {
            (false, Source::Inline(text)) => Some((Secrecy::Open, text)),
            _ => Some((Secrecy::Secret, self.secret(key)?.expose().to_owned())),
        }
    }

    /// Reads a secret that determines a target: it never gets a placeholder.
    pub fn secret_url(&self, key: &str) -> Option<Secret> {
        match self.secret_source(key) {
            Some(given) if self.withholds(&given) => {
                self.secrets.borrow_mut().insert(key.to_owned());
                None
            }
            _ => self.secret(key),
        }
    }

    /// Returns true if a secret must not be read, and records that.
    fn withholds(&self, given: &Given) -> bool {
        let withheld = !self.reads.allows(&given.source);
        let (key, place) = (&given.held.key, given.held.origin.to_string());
        let mut noted = self.withheld.borrow_mut();
        let is_noted = self.reads == Reads::Muted || noted.iter().any(|note| note.place == place);
        if withheld && !is_noted {
            let text = match self.reads {
                Reads::None => {
                    format!("`{key}` is not read, because someone else may have written the spool")
                }
                _ => format!("`{key}` is not run here; use --run-commands to run it"),
            };
            noted.push(Problem::new(place, text));
        }
        withheld
    }

    /// Returns true if `key`, which names a command or a file, may be used: not for a spool that somebody else may
    /// have written; records that.
    pub fn may_use(&self, key: &str) -> bool {
        if self.reads != Reads::None {
            return true;
        }
        let place = self.entry(key).map(|entry| entry.origin.to_string());
        let text = format!("`{key}` is not used, because someone else may have written the spool");
        let note = Problem::new(place.unwrap_or_default(), text);
        self.withheld.borrow_mut().push(note);
        false
    }

    /// Returns true if the value of an entry is a secret, and not the name of one.
    pub(super) fn shows_nothing(&self, entry: &Entry) -> bool {
        let is_secret = self.secrets.borrow().contains(&entry.key);
        is_secret && self.named(&entry.key).is_empty()
    }

    /// Returns the secrets that were not read, and why.
    pub fn withheld(&self) -> Vec<Problem> {
        self.withheld.borrow().clone()
    }

    /// Allows the commands for its secrets from now on. Returns true if some were not run before.
    pub fn allow_commands(&mut self) -> bool {
        if self.reads != Reads::NoCommands {
            return false;
        }
        self.reads = Reads::All;
        !self.withheld.take().is_empty()
    }

    /// Treats the value of `key` as one that contains a secret, which is not always so: others must not be
    /// able to read its file.
    pub fn holds_secret(&self, key: &str) {
        let entry = self.entry(key);
        let entry = entry.filter(|entry| self.reference(entry).is_none());
        if let Some(reason) = entry.and_then(exposed) {
            self.problem(
                key,
                format!("`{key}` contains a secret, but this file {reason}"),
            );
        }
        self.shows_who_sends(key);
    }

    /// Treats `key` as a credential, which reveals the sender: an address set at a nearer level must not get
    /// it.
    pub fn shows_who_sends(&self, key: &str) {
        self.entry(key).map(|entry| self.leads_elsewhere(entry));
    }

    /// Returns true if a credential would go to an address it was not written for; records that once.
    fn leads_elsewhere(&self, entry: &Entry) -> bool {
        let problem = self.bound_elsewhere(entry);
        let leads_elsewhere = problem.is_some();
        let mut problems = self.problems.borrow_mut();
        let known = |problem: &Problem| problems.iter().any(|other| other.text == problem.text);
        let new = problem.filter(|problem| !known(problem));
        problems.extend(new);
        leads_elsewhere
    }

    /// Returns the commands that print the section's secrets, unless none of them may run.
    pub fn commands(&self) -> Vec<Vec<String>> {
        if self.reads == Reads::None {
            return Vec::new();
        }
        let secrets = self.secrets.borrow();
        let used = self.named.keys().filter(|key| secrets.contains(*key));
        let named = used.flat_map(|key| self.holders(key));
        let named = named.flat_map(Section::commands);
        let commands = self.entries.iter().filter_map(|entry| {
            let key = entry.key.strip_suffix("_command")?;
            let is_secret = secrets.contains(key) || secrets.contains(&entry.key);
            is_secret.then(|| command::split(self.line_of(entry)).ok())?
        });
        commands.chain(named).collect()
    }

    /// Returns a URL, and whether it was given as a secret.
    pub fn url(&self, key: &str) -> Option<(Secrecy, String)> {
        let given = self.secret_source(key)?;
        let entry = given.entry;
        match (&given.source, &entry.origin) {
            (Source::Inline(url), Origin::File { .. } | Origin::Environment(_))
                if !given.is_named() =>
            {
                // Quotes, blanks and braces are already reported as problems.
                if !url.contains(['"', '\'', '{', ' ']) {
                    self.doubt(entry, url, Expected::Plain);
                }
                Some((Secrecy::Open, url.clone()))
            }
            _ => {
                self.secrets.borrow_mut().insert(entry.key.clone());
                if self.leads_elsewhere(entry) || self.withholds(&given) {
                    return None;
                }
                Some((Secrecy::Secret, self.read(&given)?.expose().to_owned()))
            }
        }
    }

    fn read(&self, given: &Given) -> Option<Secret> {
        let unread = |error: anyhow::Error| {
            let place = given.held.origin.to_string();
            let problem = Problem::new(place, format!("{error:#}"));
            self.problems.borrow_mut().push(problem.with(Harm::Unread));
        };
        given.source.read().map_err(unread).ok()
    }

    fn secret_source(&self, key: &str) -> Option<Given<'_>> {
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
            self.problem_once(
                &entry.key,
                format!("{} are set; keep one of them", names.join(" and ")),
            );
        }
        let value = self.line_of(entry);
        let source = match &entry.key[key.len()..] {
            "_file" => Source::File(resolve(value, &entry.origin)),
            "_env" => Source::Environment(value.to_owned()),
            "_command" => Source::Command(self.command(entry, value)?),
            _ => match self.reference(entry) {
                Some(named) => return self.named_source(entry, named),
                None => Source::Inline(value.to_owned()),
            },
        };
        Some(Given {
            entry,
            held: entry,
            source,
        })
    }

    /// Returns the secret that an entry names.
    fn named_source<'a>(&'a self, entry: &'a Entry, named: &'a Named) -> Option<Given<'a>> {
        let section = section_of(named, &entry.key);
        let section = section.map_err(|problem| self.problem_once(&entry.key, problem));
        let section = section.ok()?;
        let given = section.secret_source(VALUE);
        if self.shares_problems_of(section) {
            return None;
        }
        Some(Given { entry, ..given? })
    }

    /// Splits a command into the program and its arguments.
    fn command(&self, entry: &Entry, value: &str) -> Option<Vec<String>> {
        let key = &entry.key;
        if let Some(operator) = command::operator(value) {
            self.warning(key, format!("`{operator}` has no special meaning, as `{key}` does not run in a shell; quote it, or write `sh -c '…'`"));
        }
        let words = command::split(value);
        words
            .map_err(|problem| self.problem_once(key, format!("`{key}`: {problem}")))
            .ok()
    }

    /// Asks once for a password that is not configured, if there is a terminal.
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
}
