//! How a notifier says who it is: basic authentication or a bearer token.

use base64::Engine as _;
use reqwest::Url;
use reqwest::header::HeaderValue;

use crate::config::section::Section;
use crate::secret::{self, Secret, percent_decoded};

/// Basic authentication or a bearer token, from the keys or from the URL itself.
pub fn authorization(section: &Section, url: Option<&Url>) -> Option<HeaderValue> {
    let username = section.text("username");
    let password = section.secret("password");
    let token = section.secret("token");
    if username.is_some_and(|username| username.contains(':')) {
        section.problem("username", "`username` holds a `:`, which ends it");
    }
    let from_url = url.filter(|url| !url.username().is_empty());
    if token.is_some() && username.is_some() {
        section.problem("token", "`token` and `username` are set; keep one of them");
    }
    let text = match (token, username, from_url) {
        (Some(token), _, _) => format!("Bearer {}", token.expose()),
        (None, Some(username), _) => {
            let password = password.or_else(|| ask_password(section, username))?;
            basic(username, &password)
        }
        (None, None, Some(url)) => basic(
            &percent_decoded(url.username()),
            &Secret::new(percent_decoded(url.password().unwrap_or_default())),
        ),
        (None, None, None) => {
            if password.is_some() {
                section.problem("password", "`password` needs `username` beside it");
            }
            return None;
        }
    };
    header(section, &text)
}

/// The value of `Authorization` for a bearer token that must be there.
pub fn bearer(section: &Section, key: &str) -> Option<HeaderValue> {
    let token = section.required_secret(key)?;
    header(section, &format!("Bearer {}", token.expose()))
}

/// A header's value that is not shown.
pub fn header(section: &Section, text: &str) -> Option<HeaderValue> {
    let problem = "the credentials hold a line break or another control character";
    let value = HeaderValue::from_str(text).map_err(|_| section.problem("", problem));
    let mut value = value.ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn ask_password(section: &Section, username: &str) -> Option<Secret> {
    if section.is_given("password") {
        // It was given, and reading it failed: that problem is noted already.
        return None;
    }
    let password = section.prompt(&format!("Password of {username} for [{}]: ", section.name));
    if password.is_none() {
        section.problem("username", "`username` has no password; set `password_file`, `password_env`, `password_command` or `password`");
    }
    password
}

/// The value of `Authorization` for a user and a password.
pub fn basic(username: &str, password: &Secret) -> String {
    let encoded = base64::engine::general_purpose::STANDARD
        .encode(format!("{username}:{}", password.expose()));
    secret::mask(&encoded);
    format!("Basic {encoded}")
}

/// A URL without user information, which goes into a header.
pub fn without_credentials(mut url: Url) -> Url {
    // Only fails for URLs without a host, which were refused.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Warns of credentials that can be read on the way.
pub fn warn_of_plain_http(section: &Section, key: &str, url: &Url) {
    if url.scheme() == "http" && !is_local(url) && section.path("socket").is_none() {
        section.warning(
            key,
            "the credentials go over plain http, readable on the way; use https",
        );
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
