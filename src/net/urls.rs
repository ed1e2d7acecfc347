//! URLs of a section: reading, checks and display.

use url::Url;

use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::secret;
use crate::text;

/// Returns the URL of `key`, and whether it was given as a secret; secret parts of it are masked.
pub fn read_url(section: &Section, key: &str) -> Option<(Secrecy, Url)> {
    let read = section.url(key).or_else(|| section.missing(key));
    let (secrecy, text) = read?;
    parse_url(section, key, &text, secrecy).map(|url| (secrecy, url))
}

/// Returns a URL that is itself a secret, as those of incoming webhooks are.
pub fn read_secret_url(section: &Section, key: &str) -> Option<Url> {
    let read = section.secret_url(key).or_else(|| section.missing(key));
    parse_url(section, key, read?.expose(), Secrecy::Secret)
}

/// Parses `text`, the value of `key`, as a URL; secret parts of it are masked.
pub fn parse_url(section: &Section, key: &str, text: &str, secrecy: Secrecy) -> Option<Url> {
    if !section.is_plain(key, text) {
        return None;
    }
    let not_url = |problem: &str| format!("`{key}` is not a URL: {problem}");
    let problem = match (unfit(text), Url::parse(text)) {
        (Some(problem), _) => not_url(&problem),
        (None, Ok(url)) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
            if secrecy == Secrecy::Secret {
                secret::mask_url(&url);
            }
            url.query_pairs()
                .for_each(|(_, value)| secret::mask(&value));
            secret::mask_user(&url);
            if url.password().is_some() {
                section.holds_secret(key);
            }
            return Some(url);
        }
        (None, Ok(_) | Err(url::ParseError::RelativeUrlWithoutBase)) => {
            format!("`{key}` must begin with http:// or https://")
        }
        (None, Err(error)) => not_url(&error.to_string()),
    };
    section.problem(key, problem);
    None
}

/// Returns the problem of a character that is invalid in a URL, and would be sent encoded.
pub fn unfit(text: &str) -> Option<String> {
    if text.starts_with(['"', '\'']) {
        return Some("remove the quotes".to_owned());
    }
    let bad = text.find(|character: char| {
        character.is_whitespace() || character.is_control() || "<>{}\"\\^`|".contains(character)
    })?;
    Some(match text[bad..].chars().next() {
        Some('{' | '<') => "write a value of the event as `{{ host }}`".to_owned(),
        Some(' ') => {
            "it contains a space; put a comment on a line of its own, and write a space in a URL as %20"
                .to_owned()
        }
        Some(character) => format!("it contains `{}`", text::visible(&character.to_string())),
        None => return None,
    })
}

/// Returns `scheme://host:port` of a URL, the part that may always be shown.
pub fn origin(url: &Url) -> String {
    if url.origin().is_tuple() {
        return url.origin().ascii_serialization();
    }
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}", url.scheme())
}
