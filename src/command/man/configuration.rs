//! The manual page plugin_config.ini(5): the keys that the program knows, with their meaning in the documentation.

use std::collections::BTreeSet;

use clap_mangen::roff::{Inline, Roff, bold, roman};

use super::tables::{self, Row, Table};
use crate::delivery::keys::KnownKeys;
use crate::notifier::{KINDS, Kind, PAGES};
use crate::protocol::VERSION;

/// Name of the page.
pub const FILE: &str = "plugin_config.ini";
/// Suffixes of the other forms of a secret.
const FORMS: [&str; 3] = ["_file", "_env", "_command"];

const GENERAL: &str = include_str!("../../../docs/configuration.md");
const MESSAGES: &str = include_str!("../../../docs/notifiers/README.md");

const DESCRIPTION: [&str; 4] = [
    "The file configures what ansible-notify sends, and to whom. Those of the organization, the user and the project \
     count together; of a section that several of them have, the most specific one wins, key by key.",
    "A line is KEY = VALUE, below the [SECTION] that it belongs to. Values are literal: no quotes and no comments \
     after them. Comments start with # or ; at the beginning of a line. Texts, expressions and lists may continue on \
     lines that are indented deeper than their key. Times are 500ms, 30s, 5m, 72h or 14d.",
    "[inputs] is the notifier called callback, of the kind webhook. Each [notifier:NAME] is another one, of the kind \
     that its key type names. [outputs] and [outputs:NAME] list the fields that they send, as FIELD = EXPRESSION. \
     [secret:NAME] gives a secret a name: it has value, or one of its other forms, and any secret may be \
     secret:NAME. [time:NAME] is a window of time for the key mute.",
    "A secret is given as KEY, or in another form: KEY_file is a file that only you can read, KEY_env an environment \
     variable, and KEY_command a command that prints it. `ansible-notify check-config` finds mistakes, and shows \
     where each value comes from.",
];

/// Returns the page, without the section that names other pages.
pub fn page() -> String {
    let known = KnownKeys::collect();
    let all: BTreeSet<&str> = keys_of(known.sections.values().chain(known.kinds.values()));
    let mut roff = Roff::new();
    let source = format!("ansible-notify {VERSION}");
    roff.control("TH", [FILE, "5", "", &source, "ansible-notify"]);
    roff.control("nh", []).control("ad", ["l"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman("plugin_config.ini - configuration of ansible-notify")]);
    roff.control("SH", ["DESCRIPTION"]);
    for paragraph in DESCRIPTION {
        roff.control("PP", []);
        roff.text([roman(paragraph)]);
    }
    for table in general() {
        let title = tables::without_links(table.title).replace('`', "");
        roff.control("SH", [title.to_uppercase().as_str()]);
        rows(&mut roff, &table, &all);
    }
    roff.control("SH", ["KINDS OF NOTIFIERS"]);
    for kind in KINDS {
        let known = keys_of(known.kinds.get(kind.name));
        kind_section(&mut roff, kind, &known);
    }
    super::listed(&mut roff, "FILES", &super::FILES[..3]);
    roff.render()
}

fn general() -> impl Iterator<Item = Table> {
    [GENERAL, MESSAGES].into_iter().flat_map(tables::read)
}

/// Returns the table of a kind of notifier. A page may repeat some of its keys further down.
fn own(kind: &str) -> Option<Table> {
    let at = KINDS.iter().position(|known| known.name == kind)?;
    tables::read(PAGES[at]).into_iter().next()
}

fn keys_of<'a>(sets: impl IntoIterator<Item = &'a BTreeSet<String>>) -> BTreeSet<&'a str> {
    sets.into_iter().flatten().map(String::as_str).collect()
}

fn kind_section(roff: &mut Roff, kind: &Kind, known: &BTreeSet<&str>) {
    roff.control("SS", [format!("type = {}", kind.name).as_str()]);
    roff.text([roman(kind.about)]);
    let own = own(kind.name);
    if let Some(table) = &own {
        rows(roff, table, known);
    }
    let explained = |key: &&str| own.as_ref().is_some_and(|table| table.explains(key));
    let others = known
        .iter()
        .filter(|key| !explained(key) && !is_form(key, known));
    let others: Vec<&str> = others.copied().collect();
    roff.control("PP", []);
    roff.text([roman("Also "), bold(others.join(", ")), roman(".")]);
}

/// Writes the rows of a table whose keys are known.
fn rows(roff: &mut Roff, table: &Table, known: &BTreeSet<&str>) {
    for row in &table.rows {
        let keys: Vec<&str> = row.known(known).collect();
        if keys.is_empty() {
            continue;
        }
        roff.control("TP", []);
        roff.text([bold(keys.join(", "))]);
        roff.text(row.text(known));
    }
}

impl Table {
    fn explains(&self, key: &str) -> bool {
        self.rows.iter().any(|row| row.keys.contains(&key))
    }
}

impl Row {
    /// Returns those of its keys that exist. Part of a key may be the user's own: `header.NAME`.
    fn known(&self, known: &BTreeSet<&str>) -> impl Iterator<Item = &'static str> {
        let keys = self.keys.iter().copied();
        keys.filter(|key| known.contains(key) || key.ends_with(".NAME") || *key == "type")
    }

    fn text(&self, known: &BTreeSet<&str>) -> Vec<Inline> {
        let mut text = tables::without_links(self.meaning);
        if !self.default.is_empty() {
            text += &format!(". Default: {}", tables::without_links(self.default));
        }
        let secrets = self.keys.iter().filter(|key| is_secret(key, known));
        let secrets: Vec<String> = secrets.map(|key| format!("`{key}`")).collect();
        if !secrets.is_empty() {
            text += &format!(". In any form of a secret: {}", secrets.join(", "));
        }
        tables::inlines(&text)
    }
}

/// Returns true if the key has the forms of a secret.
fn is_secret(key: &str, known: &BTreeSet<&str>) -> bool {
    FORMS
        .iter()
        .all(|form| known.contains(format!("{key}{form}").as_str()))
}

/// Returns true if the key is such a form of another one.
fn is_form(key: &str, known: &BTreeSet<&str>) -> bool {
    let mut forms = FORMS.iter();
    forms.any(|form| {
        key.strip_suffix(form)
            .is_some_and(|key| known.contains(key))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_meaning() {
        let known = KnownKeys::collect();
        let general: Vec<Table> = general().collect();
        let kinds = known
            .kinds
            .iter()
            .map(|(kind, keys)| (kind, own(kind), keys));
        let sections = known.sections.iter();
        let sections = sections.map(|(section, keys)| (section, None, keys));
        for (place, own, keys) in kinds.chain(sections) {
            let own: Option<Table> = own;
            let names = keys_of([keys]);
            for key in keys.iter().filter(|key| !is_form(key, &names)) {
                let mut tables = own.iter().chain(&general);
                let is_there = tables.any(|table| table.explains(key));
                assert!(is_there || place == "secret:NAME", "{place}: {key}");
            }
        }
        for kind in KINDS {
            assert!(own(kind.name).is_some(), "{}", kind.name);
        }
    }
}
