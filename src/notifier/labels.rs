//! Labels in the sense of Prometheus, as the keys `label.NAME` set them (Prometheus, "Data model").

use std::collections::BTreeMap;

use crate::config::advice::quoted;
use crate::config::checked::noted;
use crate::config::section::Section;
use crate::message::Message;
use crate::template::Template;
use crate::text::{Escape, characters, cut, one_line};

/// Beginning of a key that sets a label.
const LABEL: &str = "label.";
/// Maximum length of a value, in characters. Prometheus and Alertmanager have no limit of their own, but the services
/// behind them do.
const VALUE: usize = 500;

/// Labels of a section, which replace the default ones of their name, or are added to them.
pub struct Labels(BTreeMap<String, Template>);

impl Labels {
    /// Reads the labels of a section; notes those that cannot be one.
    pub fn of(section: &Section) -> Labels {
        let label = |key: String| {
            let name = key.strip_prefix(LABEL)?;
            if !is_label(name) {
                let allowed = "letters, digits and `_`, and cannot begin with a digit";
                let given = quoted(name);
                section.problem(&key, format!("a label must have {allowed}, not {given}"));
            }
            let source = section.template(&key).unwrap_or_default();
            let template = noted(section, &key, Template::text(source, Escape::Plain))?;
            Some((name.to_owned(), template))
        };
        let keys = section.families(LABEL).into_iter();
        Labels(keys.filter_map(label).collect())
    }

    /// Notes a problem for each label whose name these metrics or alerts need for themselves.
    pub fn refuse(&self, section: &Section, is_taken: impl Fn(&str) -> Option<&'static str>) {
        for name in self.0.keys() {
            if let Some(reason) = is_taken(name) {
                section.problem(&format!("{LABEL}{name}"), reason);
            }
        }
    }

    /// Returns the labels of a message, each on one line and none empty, and the reasons why some of the configured
    /// ones are missing.
    pub fn over(
        &self,
        defaults: &[(&str, &str)],
        message: &Message,
    ) -> (BTreeMap<String, String>, Vec<String>) {
        let value = |text: &str| cut(&one_line(text), VALUE, characters).into_owned();
        let defaults = defaults.iter();
        let defaults = defaults.map(|(name, text)| ((*name).to_owned(), value(text)));
        let mut labels: BTreeMap<_, _> = defaults.collect();
        let mut mistakes = Vec::new();
        for (name, template) in &self.0 {
            match template.render(&message.context) {
                Ok(text) => drop(labels.insert(name.clone(), value(&text))),
                Err(problem) => mistakes.push(format!("`{LABEL}{name}` failed: {problem}")),
            }
        }
        // An empty label is the same as none.
        labels.retain(|_, value| !value.is_empty());
        (labels, mistakes)
    }
}

/// Returns true if a text can be the name of a label.
pub fn is_label(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(allowed)
}
