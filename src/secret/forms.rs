//! Forms in which a secret may appear: verbatim, and in the encodings of other programs.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::Case;

/// Minimum length for matches inside base64: a shorter text could be part of anything.
const SHORTEST_EMBEDDED: usize = 6;

/// Returns the value and its forms in JSON, HTML, URLs, base64 and hexadecimal digits.
pub fn of(value: &str) -> Vec<String> {
    let form: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
    let mut forms = vec![
        value.to_owned(),
        STANDARD.encode(value),
        percent_encoded(value),
        form,
        hex(value),
    ];
    forms.extend(json(value));
    forms.extend(html(value));
    if value.len() >= SHORTEST_EMBEDDED {
        forms.extend((0..3).flat_map(|before| embedded(value, before)));
    }
    forms
}

fn percent_encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

fn hex(value: &str) -> String {
    value.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the forms in JSON: non-ASCII characters verbatim or escaped, and the slash as some programs
/// escape it.
fn json(value: &str) -> [String; 3] {
    let text = serde_json::Value::from(value).to_string();
    let text = text[1..text.len() - 1].to_owned();
    let mut ascii = String::new();
    for unit in text.encode_utf16() {
        match u8::try_from(unit).ok().filter(u8::is_ascii) {
            Some(byte) => ascii.push(byte.into()),
            None => {
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    let slashes = ascii.replace('/', "\\/");
    [text, ascii, slashes]
}

/// Returns the forms in HTML, with the quotes as common libraries write them.
fn html(value: &str) -> [String; 3] {
    let text = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    [
        ("&quot;", "&#39;"),
        ("&#34;", "&#39;"),
        ("&quot;", "&#x27;"),
    ]
    .map(|(double, single)| text.replace('"', double).replace('\'', single))
}

/// Returns the base64 characters of a value `before` bytes after a multiple of three that do not depend on
/// the surrounding text.
fn embedded(value: &str, before: usize) -> [String; 2] {
    let bytes = [&vec![0; before], value.as_bytes()].concat();
    let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    [
        STANDARD_NO_PAD.encode(&bytes)[start..end].to_owned(),
        URL_SAFE_NO_PAD.encode(&bytes)[start..end].to_owned(),
    ]
}

/// Replaces `form` wherever it occurs in `text`; without regard to case, it is in lower case.
pub fn replace(text: &str, form: &str, case: Case, by: &str) -> String {
    if case == Case::Exact {
        return text.replace(form, by);
    }
    // ASCII lowercasing keeps every byte's position.
    let lower = text.to_ascii_lowercase();
    let mut replaced = String::with_capacity(text.len());
    let mut end = 0;
    for (start, _) in lower.match_indices(form) {
        replaced.push_str(&text[end..start]);
        replaced.push_str(by);
        end = start + form.len();
    }
    replaced.push_str(&text[end..]);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_a_longer_text_holds_one_of_the_forms() {
        let value = "s3cret-canary";
        let forms = of(value);
        for before in ["", "a", "ab", "abc", "user:", "\0user\0"] {
            for behind in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{value}{behind}");
                for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                    let holds = forms.iter().any(|form| encoded.contains(form.as_str()));
                    assert!(holds, "{before} {behind}");
                }
            }
        }
    }

    #[test]
    fn what_others_write_is_a_form() {
        let forms = of("a b/\u{e9}\"<'&");
        for form in [
            "a%20b%2F%C3%A9%22%3C%27%26",
            "a+b%2F%C3%A9%22%3C%27%26",
            "a b/\u{e9}\\\"<'&",
            "a b/\\u00e9\\\"<'&",
            "a b\\/\\u00e9\\\"<'&",
            "a b/\u{e9}&quot;&lt;&#39;&amp;",
            "a b/\u{e9}&#34;&lt;&#39;&amp;",
            "6120622fc3a9223c2726",
        ] {
            assert!(
                forms.iter().any(|known| known == form),
                "{form} in {forms:?}"
            );
        }
    }

    #[test]
    fn upper_and_lower_case_are_alike_where_that_is_asked_for() {
        assert_eq!(
            replace("\u{c9}aBcDe\u{e9}", "abcd", Case::Any, "-"),
            "\u{c9}-e\u{e9}"
        );
        assert_eq!(replace("aBcD", "AbCd", Case::Exact, "-"), "aBcD");
    }
}
