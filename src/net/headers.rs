//! Headers configured for a section, fixed or built from the event.

use std::collections::BTreeMap;

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::config::checked::noted;
use crate::config::literal;
use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::failure::Failure;
use crate::net::http::is_credential;
use crate::secret;
use crate::template::Template;
use crate::template::context::Context;
use crate::text::{Escape, one_line};

/// Headers that the program itself sets, or that could split a request in two.
const RESERVED: [&str; 6] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
];

/// Shorter texts within a template are ordinary words, such as a default.
const LONG: usize = 8;

/// Words before a credential that are not secret.
const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "token", "apikey", "key"];

/// Headers that the user set: fixed ones, and those made from each event.
#[derive(Default)]
pub struct Headers {
    pub fixed: HeaderMap,
    templates: Vec<(HeaderName, Template)>,
}

/// A header as configured.
struct Given {
    /// Key of the section that sets it.
    key: String,
    name: String,
    value: String,
    /// True if the value comes from a file, the environment or a command: no template, and never shown.
    secrecy: Secrecy,
}

impl Headers {
    /// Reads `headers`, which are `Name: value` lines or a JSON object, and `header.NAME` for single ones,
    /// which also have the forms of a secret. A value may be a template.
    pub fn read(section: &Section, content_type: &'static str) -> Headers {
        let mut headers = Headers::default();
        let content_type = HeaderValue::from_static(content_type);
        headers.fixed.insert(CONTENT_TYPE, content_type);
        let lines = pairs(section).into_iter().map(|(name, value)| Given {
            key: "headers".into(),
            name,
            value,
            secrecy: Secrecy::Open,
        });
        for given in lines.chain(singles(section)) {
            headers.add(section, &given);
        }
        headers
    }

    fn add(&mut self, section: &Section, given: &Given) {
        let Given {
            key, name, value, ..
        } = given;
        let problem = |text: String| section.problem(key, text);
        let parsed_name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(parsed_name), Ok(mut parsed_value)) = (parsed_name, HeaderValue::from_str(value))
        else {
            return problem(format!(
                "`{}` is not a valid header",
                crate::text::visible(name)
            ));
        };
        if RESERVED.contains(&parsed_name.as_str()) {
            return problem(format!("the header `{name}` is set by the program itself"));
        }
        if is_credential(&parsed_name) {
            if self.has(&parsed_name) {
                problem(format!(
                    "the header `{name}` is set twice; keep one of them"
                ));
            }
            section.holds_secret(key);
            mask(value);
        } else if parsed_name != CONTENT_TYPE && self.has(&parsed_name) {
            let warning = format!("the header `{name}` is set twice; only the last one is sent");
            section.warning(key, warning);
        }
        if given.secrecy == Secrecy::Secret {
            parsed_value.set_sensitive(true);
            self.templates.retain(|(known, _)| *known != parsed_name);
            self.fixed.insert(parsed_name, parsed_value);
            return;
        }
        if literal::names_variable(value) {
            let instead = match parsed_name == AUTHORIZATION {
                true => "; for a bearer token write `token_env = NAME`",
                false => "",
            };
            let warning = format!(
                "the header `{name}` is used literally: variables are not expanded, and commands are not run{instead}"
            );
            section.warning(key, warning);
        }
        if is_template(value) {
            let template = noted(section, key, Template::text(value, Escape::Plain));
            self.fixed.remove(&parsed_name);
            return self
                .templates
                .extend(template.map(|template| (parsed_name, template)));
        }
        self.fixed.insert(parsed_name, parsed_value);
    }

    /// Returns true if there is a header of this name, fixed or built from the event.
    pub fn has(&self, name: &HeaderName) -> bool {
        self.fixed.contains_key(name) || self.templates.iter().any(|(known, _)| known == name)
    }

    /// Returns true if a header depends on the event.
    pub fn has_templates(&self) -> bool {
        !self.templates.is_empty()
    }

    /// Returns the headers for an event. A value cannot contain a line break.
    pub fn of(&self, context: &Context) -> Result<HeaderMap, Failure> {
        let mut headers = self.fixed.clone();
        for (name, template) in &self.templates {
            let value = template.render(context);
            let value = value.map_err(|problem| {
                Failure::permanent(format!("`{name}` of `headers` failed: {problem}"))
            })?;
            headers.insert(name, header_of(&one_line(&value)));
        }
        Ok(headers)
    }
}

fn is_template(value: &str) -> bool {
    value.contains("{{") || value.contains("{%")
}

/// Masks a credential as configured, and without the `Bearer` before it. For a template, masks the fixed
/// parts: the text outside of tags, and longer texts inside.
fn mask(value: &str) {
    let mut rest = value;
    while let Some(start) = ["{{", "{%"].iter().filter_map(|mark| rest.find(mark)).min() {
        let (outside, template) = rest.split_at(start);
        mask_words(outside.trim());
        let end = ["}}", "%}"]
            .iter()
            .filter_map(|mark| template.find(mark))
            .min();
        let (inside, after) = template.split_at(end.map_or(template.len(), |end| end + 2));
        let texts = inside.split(['\'', '"']).skip(1).step_by(2);
        texts.filter(|text| text.len() >= LONG).for_each(mask_words);
        rest = after;
    }
    mask_words(rest.trim());
}

/// Masks a text, the rest after its first word, and its last word.
fn mask_words(text: &str) {
    let rest = text.split_once(' ').map(|(_, rest)| rest.trim());
    let last = text.rsplit(' ').next();
    [Some(text), rest, last]
        .into_iter()
        .flatten()
        .filter(|part| !SCHEMES.contains(&part.to_ascii_lowercase().as_str()))
        .for_each(secret::mask);
}

/// Returns the headers that have a key of their own, `header.NAME` or a form of it for a secret.
fn singles(section: &Section) -> Vec<Given> {
    let given = |key: String| {
        let (secrecy, value) = section.text_or_secret(&key)?;
        Some(Given {
            name: key.strip_prefix(HEADER)?.to_owned(),
            key,
            value,
            secrecy,
        })
    };
    let keys = section.families(HEADER);
    keys.into_iter().filter_map(given).collect()
}

/// Beginning of a key that sets a single header.
const HEADER: &str = "header.";

fn pairs(section: &Section) -> Vec<(String, String)> {
    let lines = section.lines("headers");
    if lines.first().is_some_and(|line| line.starts_with('{')) {
        let object = serde_json::from_str::<BTreeMap<String, String>>(&lines.join("\n"));
        let problem = |_| {
            section.problem("headers", "`headers` must be a JSON object whose values are strings, such as {\"X-Team\": \"ops\"}, or lines of the form `Name: value`")
        };
        return object
            .map_err(problem)
            .unwrap_or_default()
            .into_iter()
            .collect();
    }
    let pair = |line: &str| match line.split_once(':') {
        Some((name, value)) => Some((name.trim().to_owned(), value.trim().to_owned())),
        None => {
            section.problem(
                "headers",
                "write each header as `Name: value` on a line of its own",
            );
            None
        }
    };
    lines.into_iter().filter_map(pair).collect()
}

/// Returns a text as a header value, percent-encoded if it is not valid as is.
pub fn header_of(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| {
        let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        HeaderValue::from_str(&encoded).expect("percent-encoded text is a header's value")
    })
}
