//! Secrets in clear text, recognized by their context (names, commands, URLs) or by the form of tokens.

use std::sync::LazyLock;

use fancy_regex::{Captures, Regex};
use serde_json::Value;

use crate::secret::MASK;

/// Names, or parts of names, of secrets.
const NAMES: &str = r"(?:token|secret|passw|passphrase|api[_-]?key|routing_key|service_key|integration_key|access_key|private_key|authorization|credential|\bcookie|signature|\bpass\b|\bpwd\b|_pass\b|_pwd\b|\bsig\b|\bpw\b|\bpin\b|\bauth\b)";

/// One character of a value without quotes, which ends at templates and escaped line ends.
const BARE: &str = r#"(?:(?!\{\{|\{%|\\[nrt"])[^\s"'])"#;

/// Words before a secret that are not secrets themselves.
const SCHEMES: [&str; 8] = [
    "basic", "bearer", "digest", "token", "apikey", "key", "splunk", "geniekey",
];

/// Values that are settings rather than secrets.
const SETTINGS: [&str; 6] = ["true", "false", "none", "null", "yes", "no"];

static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i){NAMES}")));

/// A tag of a template without texts of its own.
static TAG: LazyLock<Regex> = LazyLock::new(|| pattern(r#"\{\{[^'"{}]*\}\}"#));

/// A name and a value without quotes, which in a template's tag is a variable.
static ASSIGNED: LazyLock<Regex> = LazyLock::new(|| {
    let words = "bearer|basic|digest|token|apikey|splunk";
    pattern(&format!(
        r#"(?i){NAMES}[^\s"':=]*\\?["']?\]?(?:[ \t]+(?:is|was))?[ \t]*[:=][ \t]*(?:(?:{words})[ \t]+)?(?P<v>{BARE}+)"#
    ))
});

/// Other places of secrets; each is the group `v`.
static PLACES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // A private key.
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<v>.+?)(?:-----END|\z)".to_owned(),
        // A name and a value in quotes.
        format!(
            r#"(?i){NAMES}[^\s"':=]*\\?["']?\]?[ \t]*[:=]\s*\\?(["'])(?P<v>(?:(?!\{{\{{|\{{%|\\?\1).)+)"#
        ),
        // All of a cookie.
        r#"(?i)\bcookie\\?["']?[ \t]*[:=][ \t]*\\?["']?(?P<v>(?:(?!\{\{|\{%|\\[nr])[^\n"'])+)"#.to_owned(),
        // A credential after its scheme: ordinary words have no digits, and capitals only at their start.
        format!(
            r"(?:(?i)\b(?:bearer|basic|digest|splunk|genie-?key|api-?key))[ \t]+(?=\S*[0-9=]|\S+[A-Z]|\S{{16}})(?P<v>{BARE}{{6,}})"
        ),
        format!(
            r"(?:(?i)\b(?:token|secret|passwd|password)(?:[ \t]+(?:is|was))?)[ \t]+(?=\S*[0-9])(?P<v>{BARE}{{8,}})"
        ),
        // Options of commands.
        format!(
            r#"(?:^|[\s"'])(?:-[uU]|--(?:proxy-)?user)[\s=]*\\?["']?[^\s:"'{{}}]*:(?!//)(?P<v>{BARE}+)"#
        ),
        format!(
            r#"(?i)(?:^|\s)--?[\w-]*{NAMES}[\w-]*[ \t]+\\?["']?(?!-)(?P<v>{BARE}+)"#
        ),
        format!(r#"\bsshpass\s+-p\s*\\?["']?(?P<v>{BARE}+)"#),
        format!(r"\b(?:mysql\w*|mariadb\S*)\s(?:[^\n]*?\s)?-p(?P<v>{BARE}+)"),
        // An element of XML.
        format!(r"(?i)<[^<>\s]*{NAMES}[^<>]*>(?P<v>[^<>{{}}]+)</"),
        // Parts of URLs.
        r#"://(?P<v>[^\s/?#"'{}<>]+)@"#.to_owned(),
        r#"(?i)[?&](?:sig|key|code|auth)=(?P<v>[^\s&"'{}#]+)"#.to_owned(),
        r#"(?:hooks\.slack\.com/[a-z]+|discord(?:app)?\.com/api/webhooks|webhook\.office\.com/webhookb2|api\.telegram\.org)/(?P<v>[^\s"'<>{}|]+)"#.to_owned(),
        // Tokens by their beginnings.
        r"\b(?P<v>(?:xox[a-z]-|xapp-|gh[pousr]_|github_pat_|glpat-|sk[-_]|rk_live_|hvs\.|SG\.|AKIA|ASIA|AIza|eyJ)(?=\S*[0-9])[\w.-]{8,})".to_owned(),
    ]
    .iter()
    .map(|source| pattern(source))
    .collect()
});

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("the patterns of secrets are valid")
}

/// Returns true if a field of this name is a secret.
pub fn is_name(name: &str) -> bool {
    NAME.is_match(name).unwrap_or(true)
}

/// Returns true if a value is a secret, perhaps after a word such as `Bearer`.
pub fn is_credential(value: &str) -> bool {
    let hidden = hide(value);
    hidden != value && is_scheme(&hidden.replace(MASK, ""))
}

/// Returns true if a value is a template whose only fixed text is a word such as `Bearer`.
pub fn is_template(value: &str) -> bool {
    let fixed = TAG.replace_all(value, "");
    fixed != value && is_scheme(&fixed)
}

fn is_scheme(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    text.is_empty() || SCHEMES.contains(&text.as_str())
}

/// Returns a text, which may be JSON, without its secrets.
pub fn hide(text: &str) -> String {
    let value: Result<Value, _> = serde_json::from_str(text);
    match value {
        Ok(value) if value.is_object() || value.is_array() => {
            let hidden = in_json(value.clone());
            match hidden == value {
                true => text.to_owned(),
                false => format!("{hidden:#}"),
            }
        }
        _ => in_prose(text),
    }
}

/// Hides secrets in the texts of a value.
fn in_json(value: Value) -> Value {
    match value {
        Value::String(text) => in_prose(&text).into(),
        Value::Array(values) => values.into_iter().map(in_json).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match is_name(&name) {
                true => (name, all_of(value)),
                false => (name, in_json(value)),
            })
            .collect(),
        value => value,
    }
}

/// Hides all texts and numbers of a value.
fn all_of(value: Value) -> Value {
    match value {
        Value::String(text) if is_hidden(&text) && !text.contains("{{") => MASK.into(),
        Value::String(text) => in_prose(&text).into(),
        Value::Number(_) => MASK.into(),
        Value::Array(values) => values.into_iter().map(all_of).collect(),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (name, all_of(value)))
            .collect(),
        value => value,
    }
}

/// Returns false for a value that is not a secret even if its key has the name of one.
fn is_hidden(value: &str) -> bool {
    let lower = value.trim().to_ascii_lowercase();
    !is_scheme(&lower) && !SETTINGS.contains(&lower.as_str()) && lower.chars().any(|one| one != '*')
}

fn in_prose(text: &str) -> String {
    let places = PLACES.iter().map(|place| (place, true));
    let assigned = std::iter::once((&*ASSIGNED, false));
    places
        .chain(assigned)
        .fold(text.to_owned(), |text, (place, is_anywhere)| {
            let masked = |found: &Captures<'_, str>| {
                let (Some(all), Some(value)) = (found.get(0), found.name("v")) else {
                    return String::new();
                };
                let is_meant = is_anywhere || !is_in_tag(&text[..all.start()]);
                if !is_meant || !is_hidden(value.as_str()) {
                    return all.as_str().to_owned();
                }
                let (before, after) = (all.start()..value.start(), value.end()..all.end());
                format!("{}{MASK}{}", &text[before], &text[after])
            };
            // A text that is too complicated for a pattern is not written.
            let hidden = place.try_replacen(&text, 0, masked);
            hidden.map_or_else(|_| MASK.to_owned(), |hidden| hidden.into_owned())
        })
}

/// Returns true if a text ends within a tag of a template.
fn is_in_tag(before: &str) -> bool {
    let last = |marks: [&str; 2]| marks.iter().filter_map(|mark| before.rfind(mark)).max();
    last(["{{", "{%"]) > last(["}}", "%}"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_recognized_by_its_context() {
        for text in [
            "password: S3CRET",
            "token=S3CRET, next",
            "password = \"S3CRET S3CRET\"",
            "DB_PASS='S3CRET'",
            "curl -u u:S3CRET https://h/",
            "curl --user \"u:S3CRET\"",
            "x --api-token S3CRET y",
            "sshpass -p S3CRET ssh h",
            "mysql -u root -pS3CRET db",
            "pw: S3CRET, PIN=S3CRET",
            "password is: S3CRET",
            "curl -H 'X-Auth: S3CRET'",
            "<x><password>S3CRET</password></x>",
            "https://u:S3CRET@h/",
            "https://h/?a=b&sig=S3CRET",
            "Authorization: Bearer S3CRET_S3CRET",
            "Authorization: Basic S3CRET==",
            "Cookie: a=S3CRET; b=S3CRET",
            "use Bearer S3CRETabc",
            "the password is S3CRETabc",
            "xoxb-1-S3CRET",
            "https://hooks.slack.com/services/T1/B1/S3CRET",
            "-----BEGIN PRIVATE KEY-----\nS3CRET\n-----END PRIVATE KEY-----",
            r#"{"routing_key": "S3CRET", "a": "b"}"#,
            r#"{"header": "Bearer S3CRETabc"}"#,
            r#"{"X-Api-Key":"S3CRET y", "text": "password: S3CRET\ntoken=\"S3CRET\""}"#,
            r#"{"credentials": {"value": "S3CRET"}}"#,
            r#"{% if x %}{"token": "S3CRET"}{% endif %}"#,
            "token=S3CRET{{ job.id }}",
            "{% set password = 'S3CRET' %}",
        ] {
            let hidden = hide(text);
            assert!(!hidden.contains("S3CRET"), "{hidden}");
            assert!(hidden.contains(MASK), "{text}");
            assert_eq!(hide(&hidden), hidden);
        }
    }

    #[test]
    fn text_without_secrets_is_unchanged() {
        for text in [
            "{{ job_friendly_name }} #{{ job.id }} '{{ job.name }}' {{ job.status }}: {{ url }}",
            "token: {{ job.id }}",
            "Authorization: Bearer {{ job.id }}",
            "{% set token = job.id %}{{ token }}",
            r#"{"token": "{{ job.id }}", "dedup_key": "a"}"#,
            "The token has expired, basic checks failed on web1: password **** reset",
            "https://h/path?id=1 mailto:a@example.com at 10:30",
            "uses_token=false",
        ] {
            assert_eq!(hide(text), text);
        }
        assert!(is_template("Bearer {{ job.id }}") && is_template("{{ job.id }}"));
        assert!(!is_template("abc {{ job.id }}") && !is_template("{{ 'abc' }}"));
        assert!(is_credential("Bearer abcdefgh1") && !is_credential("x password: y"));
    }
}
