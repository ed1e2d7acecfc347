//! The secrets of a section: their sources, and whether they may be read.

use super::command;
use super::entry::{Entry, Origin, Reads, SECRET_FORMS, exposed, resolve};
use super::literal::Expected;
use super::problem::{Harm, Problem};
use super::section::Section;
use crate::secret::{self, Secret, Source};

/// Placeholder for a secret that is not read, in a form that every kind accepts.
const STAND_IN: &str = "notReadHere0";

impl Section {
    /// Reads a secret, given as `KEY`, `KEY_file`, `KEY_env` or `KEY_command`.
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
            self.doubt(entry, value, Expected::Secret);
        }
        if self.leads_elsewhere(entry) {
            return None;
        }
        if self.withholds(entry, &source) {
            return Some(Secret::new(STAND_IN));
        }
        self.read(entry, &source)
    }

    /// Returns a text that may be a secret, and true if it was given as one, by `KEY_file`, `KEY_env` or
    /// `KEY_command`.
    pub fn text_or_secret(&self, key: &str) -> Option<(String, bool)> {
        match self.secret_source(key)?.1 {
            Source::Inline(text) => Some((text, false)),
            _ => Some((self.secret(key)?.expose().to_owned(), true)),
        }
    }

    /// Reads a secret that determines a target: it never gets a placeholder.
    pub fn secret_url(&self, key: &str) -> Option<Secret> {
        match self.secret_source(key) {
            Some((entry, source)) if self.withholds(entry, &source) => {
                self.secrets.borrow_mut().insert(key.to_owned());
                None
            }
            _ => self.secret(key),
        }
    }

    /// Returns true if a secret must not be read, and records that.
    fn withholds(&self, entry: &Entry, source: &Source) -> bool {
        let withheld = !self.reads.allows(source);
        let place = self.place(&entry.key);
        let mut noted = self.withheld.borrow_mut();
        if withheld && !noted.iter().any(|note| note.place == place) {
            let text = match self.reads {
                Reads::None => format!(
                    "`{}` is not read, as the spool may be somebody else's",
                    entry.key
                ),
                _ => format!(
                    "`{}` is not run here; use --run-commands to run it",
                    entry.key
                ),
            };
            noted.push(Problem::new(place, text));
        }
        withheld
    }

    /// Returns the secrets that were not read, and why.
    pub fn withheld(&self) -> Vec<Problem> {
        self.withheld.borrow().clone()
    }

    /// Treats the value of `key` as one that contains a secret, which is not always so: others must not be
    /// able to read its file.
    pub fn holds_secret(&self, key: &str) {
        if let Some(reason) = self.entry(key).and_then(exposed) {
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

    /// Returns the commands that print the section's secrets.
    pub fn commands(&self) -> Vec<Vec<String>> {
        let secrets = self.secrets.borrow();
        let commands = self.entries.iter().filter_map(|entry| {
            let key = entry.key.strip_suffix("_command")?;
            let is_secret = secrets.contains(key) || secrets.contains(&entry.key);
            is_secret.then(|| command::split(self.line_of(entry)).ok())?
        });
        commands.collect()
    }

    /// Returns a URL, and whether it was given as a secret; a plain one may be shown.
    pub fn url(&self, key: &str) -> Option<(bool, String)> {
        let (entry, source) = self.secret_source(key)?;
        match (&source, &entry.origin) {
            (Source::Inline(url), Origin::File { .. } | Origin::Environment(_)) => {
                // Quotes, blanks and braces are already reported as problems.
                if !url.contains(['"', '\'', '{', ' ']) {
                    self.doubt(entry, url, Expected::Plain);
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
