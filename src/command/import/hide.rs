//! Secrets in clear text that would get into the written file: in bodies, remarks and other texts.

use std::sync::LazyLock;

use fancy_regex::{Captures, Regex};

use super::draft::{Draft, Value};
use crate::secret::MASK;

/// Shortest secret that is looked for in other texts, in bytes: a shorter one may be a usual word.
const SHORTEST: usize = 8;

/// Parts of the names of fields that are secrets.
const NAMES: &str = "token|secret|passw|api[_-]?key|routing_key|service_key|integration_key|access_key|private_key|authorization";

/// A name of a secret.
static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i)(?:{NAMES})")));

/// A JSON field with such a name, and a value that is no template.
static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)("[^"]*(?:{NAMES})[^"]*"\s*:\s*")([^"{{}}]+)""#
    ))
});

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the patterns of secrets are valid")
}

/// Returns true if a field of this name is a secret.
pub fn is_secret(name: &str) -> bool {
    NAME.is_match(name).unwrap_or(true)
}

/// Hides secrets in the texts of drafts. A notifier whose texts need one stays a comment: no key but those for
/// secrets can take it from the environment.
pub fn hide(drafts: &mut [Draft]) {
    let known: Vec<String> = drafts
        .iter()
        .flat_map(Draft::secrets)
        .filter_map(|secret| secret.known.clone())
        .filter(|known| known.len() >= SHORTEST && !is_word(known))
        .collect();
    for draft in drafts {
        let remarks = draft.about.iter_mut().chain(&mut draft.remarks);
        remarks.for_each(|text| *text = without(text, &known));
        let mut holders = Vec::new();
        for key in &mut draft.keys {
            let Value::Text(text) = &mut key.value else {
                continue;
            };
            let hidden = without(text, &known);
            if hidden != *text {
                *text = hidden;
                holders.push(format!("`{}`", key.name));
            }
        }
        if !holders.is_empty() && draft.unfinished.is_none() {
            let holders = holders.join(" and ");
            draft.unfinished = Some(format!(
                "{holders} had a secret in clear text, which is not written"
            ));
        }
    }
}

/// Returns true for a text that may be a usual word.
fn is_word(text: &str) -> bool {
    text.chars().all(|one| one.is_lowercase())
}

/// Returns a text without these secrets, and without the values of fields that are secrets by their names.
fn without(text: &str, known: &[String]) -> String {
    let text = known
        .iter()
        .fold(text.to_owned(), |text, secret| text.replace(secret, MASK));
    let masked = |found: &Captures<'_, str>| match (found.get(1), found.get(2)) {
        (Some(field), Some(value)) if value.as_str().trim().is_empty() => {
            format!("{}{}\"", field.as_str(), value.as_str())
        }
        (field, _) => format!("{}{MASK}\"", field.map_or("", |field| field.as_str())),
    };
    FIELD.replace_all(&text, masked).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_is_a_secret_by_its_name_is_hidden() {
        for (text, expected) in [
            (
                r#"{"routing_key": "R1", "a": "b"}"#,
                r#"{"routing_key": "[redacted]", "a": "b"}"#,
            ),
            (r#"{"X-Api-Key":"x y"}"#, r#"{"X-Api-Key":"[redacted]"}"#),
            (
                r#"{"token": "{{ job.id }}", "dedup_key": "a"}"#,
                r#"{"token": "{{ job.id }}", "dedup_key": "a"}"#,
            ),
            (r#"a "known-1" b"#, r#"a "[redacted]" b"#),
        ] {
            assert_eq!(without(text, &["known-1".to_owned()]), expected);
        }
    }
}
