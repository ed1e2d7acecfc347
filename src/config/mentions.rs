//! Names of secrets where they have no effect: there, `secret:NAME` is ordinary text.

use super::entry::{Entry, family};
use super::problem::Problem;
use super::section::Section;
use super::vault::PREFIX;

impl Section {
    /// Warns about the name of a secret in a value that is used literally. The value may be masked, so the
    /// warning does not repeat it.
    pub fn warn_of_mentions(&self) {
        let keys = self.mentioned.iter();
        for entry in keys.filter_map(|key| self.entries.iter().find(|entry| entry.key == *key)) {
            if self.is_literal(entry) {
                let (key, instead) = (&entry.key, instead(entry));
                let text = format!(
                    "`{key}`: the name of a secret is sent literally there, as it must be the whole value; {instead}"
                );
                self.warning(key, text);
            }
        }
    }

    /// Returns true if a value is neither a reference nor a choice, and no warning about it was given.
    fn is_literal(&self, entry: &Entry) -> bool {
        let key = &entry.key;
        let chooses = self.choices(key).is_some_and(|names| !names.is_empty());
        // A reference that is itself a mistake is reported as such.
        let is_read = self.asked.borrow().contains(key)
            && !self.takes_secret(key)
            && self.problems.borrow().is_empty();
        let place = entry.origin.to_string();
        let is_warning = |warning: &Problem| {
            warning.place == place && warning.text.contains("is used literally")
        };
        let is_known = self.warnings.borrow().iter().any(is_warning);
        !chooses && !is_known && (is_read || self.reference(entry).is_none())
    }

    fn takes_secret(&self, key: &str) -> bool {
        let secrets = self.secrets.borrow();
        secrets.contains(key) || secrets.contains(family(key))
    }
}

/// Returns the advice on what to write instead.
fn instead(entry: &Entry) -> String {
    let key = family(&entry.key);
    let is_bearer = entry.value.to_ascii_lowercase().contains("bearer ");
    match key {
        "headers" | "token" | "header.Authorization" if is_bearer => {
            format!("for a bearer token write `token = {PREFIX}NAME`")
        }
        "headers" => format!("write `header.NAME = {PREFIX}NAME`"),
        _ if key.starts_with("header.") => {
            format!("write `{key} = {PREFIX}NAME`, or `{key}_file` for a file with the whole value")
        }
        _ => "only keys for a secret can have one".to_owned(),
    }
}
