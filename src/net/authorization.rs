//! Credentials of a notifier's requests: basic authentication or a bearer token.

use base64::Engine as _;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use url::Url;

use crate::config::section::Section;
use crate::net::digest::sha256_hex;
use crate::net::headers::Headers;
use crate::secret::{self, Secret, percent_decoded};

/// Returns the value of `Authorization` for basic authentication or a bearer token, from the keys or the
/// URL; None where `headers` set it. Only one source of credentials is allowed: of two, one would be lost.
pub fn authorization(
    section: &Section,
    url: Option<&Url>,
    headers: &Headers,
) -> Option<HeaderValue> {
    let username = section.text("username");
    let password = section.secret("password");
    let token = section.secret("token");
    if username.is_some_and(|username| username.contains(':')) {
        section.problem("username", "`username` cannot contain `:`");
    }
    let has_login = username.is_some() || section.is_given("password");
    let from_url = url.filter(|url| names_user(url) && !is_overridden(section));
    let key = url_key(section);
    let login = if username.is_some() {
        "username"
    } else {
        "password"
    };
    let sources = [
        (from_url.is_some(), key, format!("the user in `{key}`")),
        (section.is_given("token"), "token", "`token`".to_owned()),
        (has_login, login, format!("`{login}`")),
        (
            headers.has(&AUTHORIZATION),
            "headers",
            "`Authorization` in `headers`".to_owned(),
        ),
    ];
    let mut sources = sources.iter().filter(|(given, ..)| *given);
    if let (Some((_, key, one)), Some((_, _, other))) = (sources.next(), sources.next()) {
        section.problem(key, format!("{one} and {other} are set; keep one of them"));
    }
    let text = match (&token, from_url) {
        (Some(token), _) => bearer_of(section, "token", token),
        (None, _) if has_login => {
            let username = username.unwrap_or_default();
            let password = password.or_else(|| ask_password(section, username))?;
            basic(username, &password)
        }
        (None, Some(url)) => basic(
            &percent_decoded(url.username()),
            &Secret::new(percent_decoded(url.password().unwrap_or_default())),
        ),
        (None, None) => return None,
    };
    let key = if token.is_some() { "token" } else { "password" };
    header(section, key, &text)
}

/// Returns true if a URL has user information.
pub fn names_user(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Returns true if the environment or a play's vars set a user in place of the one in the URL of a file.
fn is_overridden(section: &Section) -> bool {
    let passing = |key: &str| section.passing().any(|entry| entry.key == key);
    !passing(url_key(section)) && (passing("username") || passing("password"))
}

fn url_key(section: &Section) -> &'static str {
    if section.name == "inputs" {
        "callback_url"
    } else {
        "url"
    }
}

/// Records a problem if a service's address contains user information in addition to another credential.
pub fn refuse_user(section: &Section, url: Option<&Url>, credential: &str) {
    if url.is_some_and(names_user) {
        let text = format!("the user in `api_url` and `{credential}` are set; keep one of them");
        section.problem("api_url", text);
    }
}

/// Records a problem for proxy credentials that would not reach the proxy, or be sent to it twice.
pub fn check_proxy_authorization(section: &Section, url: Option<&Url>, headers: &Headers) {
    if !headers.has(&PROXY_AUTHORIZATION) {
        return;
    }
    let proxy = section.url("proxy").map(|(_, proxy)| proxy);
    let user = proxy.as_deref().and_then(|proxy| Url::parse(proxy).ok());
    let user = user.is_some_and(|proxy| names_user(&proxy));
    let encrypted = url.is_some_and(|url| url.scheme() == "https");
    let problem = if user {
        "the user in `proxy` and `Proxy-Authorization` in `headers` are set; keep one of them"
    } else if proxy.is_none() || encrypted {
        "`Proxy-Authorization` in `headers` would go to the endpoint; write `proxy` as http://USER:PASSWORD@HOST:PORT"
    } else {
        return;
    };
    section.problem("headers", problem);
}

/// Returns the value of `Authorization` for a required bearer token.
pub fn bearer(section: &Section, key: &str) -> Option<HeaderValue> {
    let token = section.required_secret(key)?;
    header(section, key, &bearer_of(section, key, &token))
}

/// Returns the bearer token of a request to a server.
pub fn bearer_in(headers: &HeaderMap) -> Option<&[u8]> {
    let given = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = given.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Compares two secrets in constant time.
pub fn is_same(given: &[u8], expected: &[u8]) -> bool {
    sha256_hex(given) == sha256_hex(expected)
}

fn bearer_of(section: &Section, key: &str, token: &Secret) -> String {
    let scheme = token.expose().split(' ').next().unwrap_or_default();
    if ["bearer", "basic"].contains(&scheme.to_ascii_lowercase().as_str()) {
        let warning = format!("`{key}` must be the token only; `Bearer` is added");
        section.warning(key, warning);
    }
    format!("Bearer {}", token.expose())
}

/// Returns a header value marked as sensitive, made of the secret `key`.
pub fn header(section: &Section, key: &str, text: &str) -> Option<HeaderValue> {
    let value = HeaderValue::from_str(text).map_err(|_| {
        let problem = "must be one line, without control characters";
        section.problem(key, format!("`{key}` {problem}"));
    });
    let mut value = value.ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn ask_password(section: &Section, username: &str) -> Option<Secret> {
    if section.is_given("password") {
        // It was given, but reading it failed: that problem is already recorded.
        return None;
    }
    if section.is_blank("password") {
        return Some(Secret::new(""));
    }
    let password = section.prompt(&format!("Password of {username} for [{}]: ", section.name));
    if password.is_none() {
        section.needs("username", "password");
    }
    password
}

/// Returns the value of `Authorization` for a user and a password.
pub fn basic(username: &str, password: &Secret) -> String {
    let encoded = base64::engine::general_purpose::STANDARD
        .encode(format!("{username}:{}", password.expose()));
    secret::mask(&encoded);
    format!("Basic {encoded}")
}

/// Removes the user information, which is sent in a header.
pub fn without_credentials(mut url: Url) -> Url {
    // This only fails for URLs without a host, which were rejected.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

/// Warns of credentials that are sent unencrypted.
pub fn warn_of_plain_http(section: &Section, key: &str, url: &Url) {
    if url.scheme() == "http" && !is_local(url) && section.path("socket").is_none() {
        section.warning(
            key,
            "the credentials are sent unencrypted over http; use https",
        );
    }
}

/// Returns true if a URL leads to this machine.
pub fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}
