//! Checks of requests: the name that they were sent to, the site that caused them, and the user.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode};
use url::{Position, Url};

use crate::net::authorization::{bearer_in, is_same};
use crate::net::digest::{hmac_sha256, sha256_hex};
use crate::secret::Secret;

/// Header in which a browser says where a request comes from, and its relative for the kind of request.
const FETCH_SITE: &str = "sec-fetch-site";
const FETCH_MODE: &str = "sec-fetch-mode";

/// Credentials that a client needs.
pub enum Credentials {
    /// None: only the user can open the socket.
    Socket,
    /// A token, or the cookie of a session that was started with it.
    Token(Secret),
    /// The value of `Authorization` for the user's name and password.
    Password(String),
    /// A proxy authenticates the user and names them in this header. Only these addresses are trusted; on a
    /// unix socket, every client is.
    Header(HeaderName, Vec<IpAddr>),
}

/// Rules by which requests are accepted.
pub struct Access {
    pub credentials: Credentials,
    /// Address that it listens on; None for a unix socket.
    pub address: Option<SocketAddr>,
    /// Further host names, in lower case.
    pub hosts: Vec<String>,
    pub is_tls: bool,
}

/// Reason to refuse a request, with its status.
pub type Refused = (StatusCode, &'static str);

const FOREIGN: Refused = (
    StatusCode::FORBIDDEN,
    "this host name is not served here; allow it with `--host NAME`",
);
const CROSS_SITE: Refused = (
    StatusCode::FORBIDDEN,
    "the request was made by another site",
);
const NOT_PROXY: Refused = (StatusCode::FORBIDDEN, "only the proxy may connect");
const NO_USER: Refused = (
    StatusCode::FORBIDDEN,
    "the proxy named no user in the trusted header",
);
const UNAUTHORIZED: Refused = (StatusCode::UNAUTHORIZED, "sign in first");

impl Access {
    /// Checks that a request is meant for this server, and was not made by another site: a browser would send
    /// it for any site, and with DNS rebinding even reveal the answer.
    pub fn check_origin(&self, head: &Parts) -> Result<(), Refused> {
        let mut hosts = head.headers.get_all(HOST).into_iter();
        let host = hosts.next().and_then(|host| host.to_str().ok());
        let target = head.uri.authority().map(Authority::as_str);
        let is_single = hosts.next().is_none();
        let is_known = |host: &str| self.is_known(host);
        if !is_single || !host.is_some_and(is_known) || !target.is_none_or(is_known) {
            return Err(FOREIGN);
        }
        match is_of_other_site(head, host.unwrap_or_default()) {
            true => Err(CROSS_SITE),
            false => Ok(()),
        }
    }

    /// Returns true for a name of this server: an address of its own, or one that the user gave.
    fn is_known(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        if host.contains('@') {
            return false;
        }
        let name = authority.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        if self.hosts.iter().any(|known| known == name) {
            return true;
        }
        // A forwarded port may have any number.
        let usual = if self.is_tls { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(usual);
        if self.address.is_some_and(|address| address.port() != port) {
            return false;
        }
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        let ip = bare.unwrap_or(name).parse::<IpAddr>().ok();
        let is_open = self
            .address
            .is_some_and(|address| !address.ip().is_loopback());
        match ip {
            // No site can have an address as its name.
            Some(ip) => is_open || ip.is_loopback(),
            None => !is_open && (name == "localhost" || name.ends_with(".localhost")),
        }
    }

    /// Checks the credentials of a request, and returns the user's name if it is known.
    pub fn check_user(
        &self,
        headers: &HeaderMap,
        from: Option<SocketAddr>,
    ) -> Result<Option<String>, Refused> {
        match &self.credentials {
            Credentials::Socket => Ok(None),
            Credentials::Token(token) => {
                let is_known = self.has_session(headers) || bears(headers, token);
                is_known.then_some(None).ok_or(UNAUTHORIZED)
            }
            Credentials::Password(expected) => {
                let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
                let is_right = given.is_some_and(|given| is_same(given, expected.as_bytes()));
                is_right.then_some(None).ok_or(UNAUTHORIZED)
            }
            Credentials::Header(name, proxies) => {
                let is_proxy = |from: SocketAddr| proxies.contains(&from.ip().to_canonical());
                if !from.is_none_or(is_proxy) {
                    return Err(NOT_PROXY);
                }
                let mut values = headers.get_all(name).into_iter();
                let user = values.next().and_then(|user| user.to_str().ok());
                let user = user.map(str::trim).filter(|user| !user.is_empty());
                let user = user.filter(|_| values.next().is_none());
                user.map(|user| Some(user.to_owned())).ok_or(NO_USER)
            }
        }
    }

    /// Returns true if this is the token.
    pub fn is_token(&self, given: &str) -> bool {
        let Credentials::Token(token) = &self.credentials else {
            return false;
        };
        is_same(given.as_bytes(), token.expose().as_bytes())
    }

    /// Returns true if a request has the cookie of a session.
    pub fn has_session(&self, headers: &HeaderMap) -> bool {
        let Some((name, value)) = self.session() else {
            return false;
        };
        let cookies = headers.get_all(COOKIE).into_iter();
        let cookies = cookies.filter_map(|cookie| cookie.to_str().ok());
        let mut pairs = cookies.flat_map(|cookie| cookie.split(';'));
        pairs.any(|pair| {
            let (given, content) = pair.trim().split_once('=').unwrap_or_default();
            given == name && is_same(content.as_bytes(), value.as_bytes())
        })
    }

    /// Returns the cookie that starts a session. Scripts cannot read it, and other sites cannot make a browser
    /// send it.
    pub fn cookie(&self) -> Option<HeaderValue> {
        let (name, value) = self.session()?;
        let secure = if self.is_tls { "; Secure" } else { "" };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::from_str(&cookie).ok()
    }

    /// Returns the name and the value of the cookie. The name contains the port, because all servers on a host
    /// receive each other's cookies; the value does not reveal the token to them.
    fn session(&self) -> Option<(String, String)> {
        let Credentials::Token(token) = &self.credentials else {
            return None;
        };
        let port = self.address.map_or(0, |address| address.port());
        let value = hmac_sha256(token.expose().as_bytes(), b"session");
        Some((format!("ansible_notify_{port}"), sha256_hex(&value)))
    }
}

/// Returns the path and query of a target on this page, as a browser understands it; `/` for any other target, and for
/// the one that signs in.
pub fn own_path(target: &str) -> String {
    let base = Url::parse("http://page.invalid/").ok();
    let own = base.and_then(|base| {
        let url = base.join(target).ok()?;
        let is_own = target.starts_with('/') && url.origin() == base.origin();
        let path = &url[Position::BeforePath..Position::AfterQuery];
        // Two slashes begin the name of another host.
        let is_here = is_own && !path.starts_with("//") && url.path() != "/session";
        is_here.then(|| path.to_owned())
    });
    own.unwrap_or_else(|| "/".to_owned())
}

/// Returns true if a browser sends this request for another site. Programs send none of these headers.
fn is_of_other_site(head: &Parts, host: &str) -> bool {
    let text = |name: &str| head.headers.get(name).map(HeaderValue::as_bytes);
    let is_safe = matches!(head.method, Method::GET | Method::HEAD);
    match text(FETCH_SITE) {
        Some(b"same-origin" | b"none") => false,
        // A link to the page, opened as a page of its own.
        Some(_) => !(is_safe && text(FETCH_MODE) == Some(b"navigate")),
        None => match text(ORIGIN.as_str()) {
            None => false,
            Some(origin) => {
                let origin = std::str::from_utf8(origin).unwrap_or_default();
                let site = origin.split_once("://").map(|(_, site)| site);
                !site.is_some_and(|site| site.eq_ignore_ascii_case(host))
            }
        },
    }
}

/// Returns true if a request has this bearer token.
fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    bearer_in(headers).is_some_and(|given| is_same(given, token.expose().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_targets_on_this_page_are_followed() {
        for target in [
            "/",
            "/runs/last",
            "/runs/r%2F1/results/27",
            "/deliveries?state=dead&host=a%20b",
        ] {
            assert_eq!(own_path(target), target);
        }
        for target in [
            "",
            "runs",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            "\\\\evil.example",
            "http://evil.example/",
            "http://page.invalid/runs",
            "https:evil.example",
            "javascript:alert(1)",
            "/.//evil.example",
            "/x/..//evil.example",
            "/%2e//evil.example",
            "/session",
            "/session?to=/",
        ] {
            assert_eq!(own_path(target), "/", "{target:?}");
        }
        assert_eq!(own_path("/runs/../actions"), "/actions");
    }
}
