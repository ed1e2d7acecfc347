//! The settings of another program's notifier: typed values, and fields that nothing has read.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::draft::{Draft, Names, Secret};
use crate::config::section::truth;

/// Placeholder that AWX shows for a secret.
pub const ENCRYPTED: &str = "$encrypted$";

/// Fields of a configuration; getters record which of them were read.
pub struct Fields<'a> {
    fields: &'a Map<String, Value>,
    /// Owner of the fields, in texts.
    owner: &'static str,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Wraps the fields of `owner`.
    pub fn new(fields: &'a Map<String, Value>, owner: &'static str) -> Fields<'a> {
        Fields {
            fields,
            owner,
            asked: RefCell::default(),
        }
    }

    /// Returns a field, if it is there.
    pub fn value(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().insert(name);
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// Returns a scalar as text; an empty one counts as absent.
    pub fn text(&self, name: &'static str) -> Option<String> {
        let text = scalar(self.value(name)?)?;
        (!text.trim().is_empty()).then_some(text)
    }

    /// Returns true if a field is true.
    pub fn flag(&self, name: &'static str) -> bool {
        self.text(name).and_then(|text| truth(&text)) == Some(true)
    }

    /// Returns the items of a list, or one scalar.
    pub fn list(&self, name: &'static str) -> Vec<String> {
        let items = match self.value(name) {
            Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
            Some(value) => scalar(value).into_iter().collect(),
            None => Vec::new(),
        };
        let items = items.into_iter().map(|item: String| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect()
    }

    /// Sets keys to the fields of other names.
    pub fn copy(&self, draft: &mut Draft, names: &[(&'static str, &str)]) {
        for (theirs, ours) in names {
            match self.text(theirs) {
                Some(text) if text.starts_with(ENCRYPTED) => {
                    draft.remark(format!("`{theirs}` is left out: its value is not shown."));
                }
                Some(text) => draft.set(*ours, text),
                None => {}
            }
        }
    }

    /// Sets a key to the list in a field.
    pub fn copy_list(&self, draft: &mut Draft, theirs: &'static str, ours: &str) {
        draft.set(ours, self.list(theirs).join(", "));
    }

    /// Turns off the check of certificates if a field says so.
    pub fn copy_unverified(&self, draft: &mut Draft, theirs: &'static str) {
        if self.flag(theirs) {
            draft.set("validate_certs", "false");
        }
    }

    /// Sets a key to a variable that will hold the secret in a field.
    pub fn secret(&self, draft: &mut Draft, names: &mut Names, theirs: &'static str, ours: &str) {
        let known = self
            .text(theirs)
            .filter(|text| !text.starts_with(ENCRYPTED));
        let secret = Secret {
            variable: names.variable(&draft.stem, ours),
            source: format!("{} `{theirs}`", self.owner),
            known,
            is_guess: false,
        };
        draft.set_secret(ours, secret);
    }

    /// Returns the names of the fields that nothing has read.
    pub fn others(&self) -> Vec<&'a str> {
        let asked = self.asked.borrow();
        let names = self.fields.keys().map(String::as_str);
        names.filter(|name| !asked.contains(name)).collect()
    }
}

/// Returns a scalar as text.
pub fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}
