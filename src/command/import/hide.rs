//! Secrets in clear text that would end up in the written file, in bodies, remarks and other texts.

use super::clear_text;
use super::draft::{Draft, Secret, Value};
use crate::secret::MASK;

/// Shortest secret that is looked for in other texts, in bytes: a shorter one may be an ordinary word.
const SHORTEST: usize = 8;

/// A secret that is looked for in all texts.
struct Known {
    value: String,
    /// Name of the secret where it comes from.
    source: String,
}

/// Hides secrets in the texts of drafts. A notifier whose texts need one becomes a comment, because only keys
/// for secrets can read the environment.
pub fn hide(drafts: &mut [Draft]) {
    let secrets = drafts.iter().flat_map(Draft::secrets);
    let mut known: Vec<Known> = secrets.flat_map(known).collect();
    known.sort_by_key(|known| std::cmp::Reverse(known.value.len()));
    for draft in drafts {
        let remarks = draft.about.iter_mut().chain(&mut draft.remarks);
        remarks.for_each(|text| *text = without(text, &known).0);
        let mut holders = Vec::new();
        for key in draft.written_keys() {
            let Value::Text(text) = &mut key.value else {
                continue;
            };
            let (hidden, source) = without(text, &known);
            if hidden != *text {
                *text = hidden;
                let source = source.map_or_else(String::new, |source| format!(" ({source})"));
                holders.push(format!("`{}` had a secret in clear text{source}", key.name));
            }
        }
        if !holders.is_empty() && draft.unfinished.is_none() {
            let holders = holders.join(" and ");
            draft.unfinished = Some(format!("{holders}, which is not written"));
        }
    }
}

/// Returns the texts to search for to find a secret elsewhere. For a guessed secret, these are its parts that
/// look like tokens.
fn known(secret: &Secret) -> Vec<Known> {
    let value = secret.known.as_deref().unwrap_or_default();
    let parts: Vec<&str> = match secret.is_guess {
        true => value.split_whitespace().filter(is_token).collect(),
        false => vec![value],
    };
    let is_long = |part: &&str| part.len() >= SHORTEST && !is_word(part) && !part.contains("{{");
    let parts = parts.into_iter().filter(is_long);
    parts
        .map(|part| Known {
            value: part.to_owned(),
            source: secret.source.clone(),
        })
        .collect()
}

/// Returns true for a text that may be an ordinary word.
fn is_word(text: &str) -> bool {
    text.chars().all(|one| one.is_lowercase())
}

/// Returns true for a text that looks like a token.
fn is_token(text: &&str) -> bool {
    let has = |kind: fn(&char) -> bool| text.chars().any(|one| kind(&one));
    has(char::is_ascii_digit) && has(char::is_ascii_alphabetic) && !has(|one| "{}".contains(*one))
}

/// Returns a text without these secrets and without anything that looks like one, and the origin of the first
/// one found.
fn without<'a>(text: &str, known: &'a [Known]) -> (String, Option<&'a str>) {
    let mut source = None;
    let mut hidden = text.to_owned();
    for one in known {
        if hidden.contains(&one.value) {
            hidden = hidden.replace(&one.value, MASK);
            source.get_or_insert(one.source.as_str());
        }
    }
    (clear_text::hide(&hidden), source)
}
