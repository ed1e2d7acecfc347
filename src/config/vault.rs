//! Named secrets: the `[secret:NAME]` sections, and the values that refer to them as `secret:NAME`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::entry::{Entry, File, Origin, SECRET_FORMS};
use super::ini::RawEntry;
use super::literal::Expected;
use super::problem::Problem;
use super::section::{Named, Section, has_template};
use crate::text::suggest;

/// Beginning of the name of such a section, and of a value that refers to one.
pub const PREFIX: &str = "secret:";

/// Keys whose template may choose among named secrets.
const CHOOSING: [&str; 2] = ["url", "callback_url"];

/// The named secrets of all levels. A file can refer only to those of its own level and of higher ones, so a
/// more specific level cannot replace a secret that a higher one uses.
#[derive(Default)]
pub struct Vault {
    /// Those that the file being read may refer to.
    known: BTreeMap<String, Rc<Section>>,
    pub all: Vec<Rc<Section>>,
}

impl Vault {
    /// Adds a section of the file being read, replacing one of the same name from a higher level.
    pub fn add(&mut self, section: Section) {
        section.check_named();
        let section = Rc::new(section);
        let name = section.name.trim_start_matches(PREFIX).trim();
        self.known.insert(name.to_owned(), section.clone());
        self.all.push(section);
    }

    /// Forgets those of higher levels.
    pub fn clear(&mut self) {
        *self = Vault::default();
    }

    /// Returns true if a value contains the name of a secret.
    fn is_mentioned_in(&self, value: &str) -> bool {
        value.contains(PREFIX) && self.known.keys().any(|name| mentions(value, name))
    }

    /// Finds the secrets that a value refers to.
    fn named_in(&self, key: &str, value: &str) -> Vec<Named> {
        let is_choice = has_template(value) && CHOOSING.contains(&key);
        let whole = match is_choice {
            true => "; a template must contain each name whole",
            false => "",
        };
        let names = match value.trim() {
            value if is_choice => quoted_names(value),
            value if value.contains('\n') => Vec::new(),
            value => value.strip_prefix(PREFIX).into_iter().collect(),
        };
        let named = |name: &str| Named {
            name: name.to_owned(),
            found: self.known.get(name).cloned().ok_or_else(|| {
                let known = self.known.keys().map(String::as_str);
                suggest(name, known) + whole
            }),
        };
        names.into_iter().map(str::trim).map(named).collect()
    }
}

/// Returns the names in a template's texts that are references, such as `'secret:ops'`, each once.
fn quoted_names(template: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (at, _) in template.match_indices(PREFIX) {
        let quote = template[..at].chars().next_back();
        let Some(quote) = quote.filter(|quote| ['"', '\''].contains(quote)) else {
            continue;
        };
        let rest = &template[at + PREFIX.len()..];
        let name = rest
            .split(quote)
            .next()
            .filter(|name| name.len() < rest.len());
        names.extend(name.filter(|name| !names.contains(name)));
    }
    names
}

/// Returns true if a text contains the name of a secret as a word.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |one: char| one.is_alphanumeric() || "_-".contains(one);
    !name.is_empty()
        && text.match_indices(PREFIX).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let is_word = !before.is_some_and(|one| is_part(one) || one == '[');
            let rest = text[at + PREFIX.len()..].strip_prefix(name);
            is_word && rest.is_some_and(|rest| !rest.starts_with(is_part))
        })
}

/// Returns the section of a reference in `key`, or the problem.
pub(super) fn section_of<'a>(named: &'a Named, key: &str) -> Result<&'a Section, String> {
    let unknown = |hint: &String| {
        if named.name.is_empty() {
            return format!("`{key}`: there is no name after `{PREFIX}`{hint}");
        }
        format!(
            "`{key}`: there is no [{PREFIX}{}] in this file or at a higher level{hint}",
            named.name
        )
    };
    named.found.as_deref().map_err(unknown)
}

impl Section {
    /// Adds a key as written in a file, whose values may refer to the secrets of `vault`.
    pub fn add(&mut self, file: &Rc<File>, raw: RawEntry, vault: Option<&Vault>) {
        let origin = Origin::File {
            file: file.clone(),
            line: raw.line,
        };
        let named = vault.map(|vault| vault.named_in(&raw.key, &raw.value));
        let mentions = vault.is_some_and(|vault| vault.is_mentioned_in(&raw.value));
        let mentioned = mentions.then(|| raw.key.clone());
        let entry = Entry {
            key: raw.key.clone(),
            value: raw.value,
            origin,
        };
        self.set(entry);
        self.mentioned.extend(mentioned);
        if let Some(named) = named.filter(|named| !named.is_empty()) {
            self.named.insert(raw.key.clone(), named);
        }
        let continued = raw.continued.map(|line| (raw.key, line));
        self.continued.extend(continued);
    }

    /// Returns the named secrets that the value of a key refers to.
    pub(super) fn named(&self, key: &str) -> &[Named] {
        self.named.get(key).map_or(&[], Vec::as_slice)
    }

    /// Returns the named secret if it is the whole value of an entry.
    pub(super) fn reference(&self, entry: &Entry) -> Option<&Named> {
        let is_all = !has_template(&entry.value);
        self.named(&entry.key).first().filter(|_| is_all)
    }

    /// Returns the sections of the named secrets that an entry refers to.
    pub(super) fn holders(&self, key: &str) -> impl Iterator<Item = &Section> {
        self.named(key)
            .iter()
            .filter_map(|named| named.found.as_deref().ok())
    }

    /// Returns the places of all parts of this section, including named secrets.
    pub fn origins(&self) -> impl Iterator<Item = &Origin> {
        let own = self.entries.iter();
        let named = self.named.keys().flat_map(|key| self.holders(key));
        let named = named.flat_map(|section| &section.entries);
        own.chain(named).map(|entry| &entry.origin)
    }

    /// Checks the section of a named secret, which may never be used.
    pub fn check_named(&self) {
        for form in SECRET_FORMS {
            self.entry(&format!("value{form}"));
        }
        self.secrets.borrow_mut().insert("value".to_owned());
        if let Some(entry) = self.entries.iter().find(|entry| entry.key == "value") {
            self.doubt(entry, self.line_of(entry), Expected::Secret);
        }
        self.report_unknown();
        if !self.is_given("value") && !self.has_problems() {
            let text = format!(
                "[{}] has no `value`; set `value`, `value_file`, `value_env` or `value_command`",
                self.name
            );
            self.problem("", text);
        }
    }

    /// Returns a warning about a reference in a key that takes no secret.
    pub(super) fn misplaced(&self, entry: &Entry, expected: Expected) -> Option<String> {
        let key = &entry.key;
        // Addresses are read as text first.
        let is_literal = expected == Expected::Plain && !key.ends_with("url");
        self.reference(entry).filter(|_| is_literal)?;
        Some(format!(
            "`{key}` is used literally: only a secret can be the name of one"
        ))
    }

    /// Returns true if a problem is noted.
    fn has_problems(&self) -> bool {
        !self.problems.borrow().is_empty()
    }

    /// Notes the problems of a named secret's section as this one's; returns true if there are any.
    pub(super) fn shares_problems_of(&self, named: &Section) -> bool {
        let problems: Vec<Problem> = named.problems.borrow().clone();
        let any = !problems.is_empty();
        problems
            .into_iter()
            .for_each(|problem| self.note_once(problem));
        any
    }

    /// Notes a problem unless it is known.
    fn note_once(&self, problem: Problem) {
        let same = |known: &Problem| known.place == problem.place && known.text == problem.text;
        let is_known = self.problems.borrow().iter().any(same);
        if !is_known {
            self.note(problem);
        }
    }

    /// Returns the names of the secrets among which the template of a URL chooses; None if it is not such a
    /// template.
    pub fn choices(&self, key: &str) -> Option<Vec<&str>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        let value = entry.value.trim_start();
        let chooses = value.starts_with("{{") || value.starts_with("{%");
        let names = self.named(key).iter().map(|named| named.name.as_str());
        chooses.then(|| names.collect())
    }

    /// Returns the same section with one of the secrets chosen by the template of `key`; a stand-in without one.
    pub fn choosing(&self, key: &str, name: Option<&str>) -> Section {
        let mut one = Section::new(&self.name, self.origin.clone());
        one.entries.clone_from(&self.entries);
        one.continued.clone_from(&self.continued);
        one.continued.remove(key);
        one.named.clone_from(&self.named);
        one.may_prompt = self.may_prompt;
        one.reads = self.reads;
        one.prompted.replace(self.prompted.borrow().clone());
        let Some(entry) = one.entries.iter_mut().find(|entry| entry.key == key) else {
            return one;
        };
        let before = self.normal(entry);
        entry.value = match name {
            Some(name) => format!("{PREFIX}{name}"),
            None => "http://localhost/".to_owned(),
        };
        let entry = entry.clone();
        let mut named = one.named.remove(key).unwrap_or_default();
        named.retain(|named| Some(named.name.as_str()) == name);
        one.named.insert(key.to_owned(), named);
        let after = one.normal(&entry);
        for (bound, address) in &self.bound {
            let mut address = address.as_ref().clone();
            // Only an address that contains the template itself is the same as before.
            if let Some(known) = address.get_mut(key).filter(|known| **known == before) {
                known.clone_from(&after);
            }
            one.bound.insert(bound.clone(), Rc::new(address));
        }
        one
    }

    /// Takes over the notes of the getters of a section that `choosing` returned.
    pub fn absorb(&self, one: &Section) {
        self.asked.borrow_mut().extend(one.asked.take());
        self.secrets.borrow_mut().extend(one.secrets.take());
        self.missing.borrow_mut().extend(one.missing.take());
        self.needed.borrow_mut().extend(one.needed.take());
        self.prompted.replace(one.prompted.take());
        one.take_problems()
            .into_iter()
            .for_each(|problem| self.note_once(problem));
        let same = |known: &[Problem], new: &Problem| {
            known
                .iter()
                .any(|known| known.place == new.place && known.text == new.text)
        };
        for (own, others) in [
            (&self.withheld, &one.withheld),
            (&self.warnings, &one.warnings),
        ] {
            let mut own = own.borrow_mut();
            let others = others.take().into_iter();
            let new: Vec<Problem> = others.filter(|other| !same(&own, other)).collect();
            own.extend(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_in_a_template_are_its_texts() {
        let template = "{{ 'secret:a' if x == \"secret:b c\" else 'secret:a' ~ secret:d ~ 'x secret:e' ~ 'secret:f }}";
        assert_eq!(quoted_names(template), ["a", "b c"]);
    }

    #[test]
    fn a_mention_is_a_whole_word() {
        for text in [
            "secret:a",
            "Bearer secret:a",
            "X: secret:a, b",
            "{{ 'secret:a' }}",
            "{\"k\":\"secret:a\"}",
        ] {
            assert!(mentions(text, "a"), "{text}");
        }
        for text in [
            "",
            "secret:",
            "secret:ab",
            "secret:a-b",
            "client_secret:a",
            "see [secret:a]",
            "secret: a",
        ] {
            assert!(!mentions(text, "a"), "{text}");
        }
    }
}
