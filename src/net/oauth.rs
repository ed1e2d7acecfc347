//! Access tokens of OAuth 2.0 for a program without a user: client credentials (RFC 6749, section 4.4).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::config::section::Section;
use crate::failure::Failure;
use crate::net::authorization::{names_user, warn_of_plain_http};
use crate::net::headers::Headers;
use crate::net::http::{Endpoint, Http, Reply, Request};
use crate::net::token_reply;
use crate::net::urls::{origin, read_url};
use crate::secret::{self, Secret};

/// Key of the token endpoint's address.
const URL: &str = "oauth_token_url";
/// Keys that need it.
const OTHERS: [&str; 4] = [
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
    "oauth_audience",
];

/// Time before its expiry from which a token is no longer used, at most a tenth of its lifetime.
const MARGIN: Duration = Duration::from_secs(30);
/// Number of tokens that stay masked: the current one, and those that a late message may still contain.
const MASKED: usize = 4;

/// A source of access tokens. The current one is kept in memory only.
pub struct OAuth {
    endpoint: Endpoint,
    url: Url,
    client: Client,
    /// `scope` and `audience`, if set.
    parameters: Vec<(&'static str, String)>,
    state: Mutex<State>,
}

struct Client {
    id: String,
    secret: Secret,
}

/// Place of the client's credentials in a request for a token.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Header,
    Body,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// Place in which the server last accepted the client.
    client_in: Place,
    /// Time and reason of the last failure.
    failed: Option<(Instant, Failure)>,
    /// Tokens that are masked only for this source.
    masked: Vec<String>,
}

struct Token {
    value: Secret,
    until: Instant,
}

impl OAuth {
    /// Reads the keys of a section. None if they are wrong, or their secret cannot be read; Some(None) if there
    /// are no such keys.
    pub fn read(section: &Section, http: &Http) -> Option<Option<OAuth>> {
        if !section.is_given(URL) {
            for key in OTHERS {
                if section.is_given(key) {
                    section.needs(key, URL);
                }
            }
            return Some(None);
        }
        let url = read_url(section, URL).map(|(_, url)| url);
        let id = section.required("oauth_client_id");
        let secret = section.required_secret("oauth_client_secret");
        let parameters = [("scope", "oauth_scope"), ("audience", "oauth_audience")];
        let parameter = |(name, key)| Some((name, section.text(key)?.to_owned()));
        let parameters = parameters.into_iter().filter_map(parameter).collect();
        let endpoint = url
            .as_ref()
            .and_then(|url| http.endpoint_beside(section, url));
        let url = url?;
        warn_of_plain_http(section, URL, &url);
        if names_user(&url) {
            let text =
                format!("`{URL}` contains a user; use `oauth_client_id` and `oauth_client_secret`");
            section.problem(URL, text);
        }
        let client = Client {
            id: id?.to_owned(),
            secret: secret?,
        };
        secret::mask(&client.basic());
        Some(Some(OAuth {
            endpoint: endpoint?,
            url,
            client,
            parameters,
            state: Mutex::default(),
        }))
    }

    /// Returns a token that is still valid and is not the `refused` one. Callers share one request for it, and
    /// its failure.
    pub async fn token(&self, refused: Option<&Secret>) -> Result<Secret, Failure> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(token) = &state.token
            && Instant::now() < token.until
            && Some(&token.value) != refused
        {
            return Ok(token.value.clone());
        }
        if let Some((at, failure)) = &state.failed
            && *at > asked
        {
            return Err(failure.clone());
        }
        state.token = None;
        match self.fetch(&mut state).await {
            Ok(token) => {
                let value = token.value.clone();
                state.token = Some(token);
                Ok(value)
            }
            Err(failure) => {
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Sends a request with a token; once more with a new one if the service answers 401.
    pub async fn exchange(&self, endpoint: &Endpoint, request: Request) -> Result<Reply, Failure> {
        let token = self.token(None).await?;
        let reply = endpoint.exchange(bearing(request.clone(), &token)).await?;
        if reply.status.as_u16() != 401 {
            return Ok(reply);
        }
        let token = self.token(Some(&token)).await?;
        endpoint.exchange(bearing(request, &token)).await
    }

    /// Returns the step of a check that obtained a token.
    pub fn step(&self) -> String {
        format!("POST {} gave a token", origin(&self.url))
    }

    async fn fetch(&self, state: &mut State) -> Result<Token, Failure> {
        let begun = Instant::now();
        let mut reply = self.ask(state.client_in).await?;
        let mut place = state.client_in;
        // Servers must support the header, but some accept the client only in the body.
        if place == Place::Header && token_reply::refuses_client(&reply) {
            let other = self.ask(Place::Body).await?;
            place = Place::Body;
            // A server that recognized the client in the header gives the better error there.
            if !token_reply::misses_client(&other) || token_reply::misses_client(&reply) {
                reply = other;
            }
        }
        let read = token_reply::read(&reply).map_err(|failure| self.failed(&failure));
        state.client_in = match read.is_ok() {
            true => place,
            false => Place::Header,
        };
        let (value, lifetime) = read?;
        if secret::mask_new(&value) {
            state.masked.push(value.clone());
        }
        if state.masked.len() > MASKED {
            secret::unmask(&state.masked.remove(0));
        }
        Ok(Token {
            value: Secret::new(value),
            until: begun + lifetime - MARGIN.min(lifetime / 10),
        })
    }

    async fn ask(&self, client_in: Place) -> Result<Reply, Failure> {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        form.extend_pairs(&self.parameters);
        let mut headers = HeaderMap::new();
        if client_in == Place::Body {
            form.append_pair("client_id", &self.client.id);
            form.append_pair("client_secret", self.client.secret.expose());
        } else {
            let value = HeaderValue::try_from(format!("Basic {}", self.client.basic()));
            let mut value = value.expect("base64 is a header's value");
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let content_type = "application/x-www-form-urlencoded";
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let request = Request {
            method: Method::POST,
            url: self.url.clone(),
            secret_url: false,
            headers,
            body: Bytes::from(form.finish()),
        };
        self.endpoint.exchange(request).await
    }

    /// Returns the failure of a delivery without a token. Only temporary errors are retried soon; a rejection
    /// is not about the message.
    fn failed(&self, failure: &Failure) -> Failure {
        let text = format!("no token from {}: {}", origin(&self.url), failure.error());
        match failure {
            Failure::Retry { after, .. } => Failure::Retry {
                error: text,
                after: *after,
            },
            _ => Failure::Denied(text),
        }
    }
}

impl Client {
    /// Returns the credentials of basic authentication, each encoded as in a form (RFC 6749, section 2.3.1).
    fn basic(&self) -> String {
        let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
        STANDARD.encode(format!(
            "{}:{}",
            encoded(&self.id),
            encoded(self.secret.expose())
        ))
    }
}

/// Records a problem if a section has other credentials for the same requests.
pub fn refuse_others(section: &Section, url: Option<&Url>, headers: &Headers) {
    let keys = ["token", "password", "username"];
    let key = keys.into_iter().find(|key| section.is_given(key));
    let user = url.is_some_and(names_user).then_some("the user in the URL");
    let header = headers.has(&AUTHORIZATION);
    let header = header.then_some("`Authorization` in `headers`");
    let other = key.map(|key| format!("`{key}`"));
    let other = other.or_else(|| user.or(header).map(str::to_owned));
    if let Some(other) = other {
        let text = format!("`{URL}` and {other} are set; keep one of them");
        section.problem(URL, text);
    }
}

/// Returns a request with a token.
pub fn bearing(mut request: Request, token: &Secret) -> Request {
    let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
    let mut value = value.expect("a token was checked to be a header's value");
    value.set_sensitive(true);
    request.headers.insert(AUTHORIZATION, value);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_basic_authentication_are_encoded() {
        let client = Client {
            id: "a:b".into(),
            secret: Secret::new("c d%"),
        };
        assert_eq!(client.basic(), STANDARD.encode("a%3Ab:c+d%25"));
    }
}
