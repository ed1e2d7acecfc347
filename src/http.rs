//! The one place where the HTTP client is set up, and where a reply becomes a success or a failure.

use std::cell::RefCell;
use std::error::Error as _;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, PROXY_AUTHORIZATION};
use reqwest::{Certificate, Client, Identity, Method, NoProxy, Proxy, Response, StatusCode, Url};

use crate::config::section::Section;
use crate::notifier::{Check, Failure};
use crate::report;
use crate::secret::{self, MASK};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The most of a reply that is read, in bytes.
const MAX_REPLY: usize = 64 << 10;
/// The longest pause that a Retry-After can ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// The clients in use; notifiers with the same settings share one and its connections.
#[derive(Default)]
pub struct Http {
    clients: RefCell<Vec<(Settings, Client)>>,
}

/// The keys that say how to connect, common to every kind that speaks HTTP.
#[derive(Clone, PartialEq, Eq)]
struct Settings {
    /// Reading the system's certificates takes longer than a request: only where they are needed.
    tls: bool,
    validate_certs: bool,
    ca_file: Option<Vec<u8>>,
    identity: Option<Vec<u8>>,
    proxy: Option<String>,
    socket: Option<PathBuf>,
}

/// A client with its time limit.
#[derive(Clone)]
pub struct Endpoint {
    client: Client,
    timeout: Duration,
    /// How an error names the destination: never its path, which may be a secret.
    origin: String,
}

/// A request as a notifier makes it; the preview shows exactly this.
pub struct Request {
    pub method: Method,
    pub url: Url,
    /// The URL was given as a secret: only its origin is shown.
    pub secret_url: bool,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Http {
    /// Reads the connection's keys from a section and gives the client for them.
    pub fn endpoint(&self, section: &Section, url: &Url) -> Option<Endpoint> {
        let settings = Settings::read(section, url)?;
        let timeout = section.duration("timeout", ATTEMPT_TIMEOUT);
        let client = match self.client(&settings) {
            Ok(client) => client,
            Err(problem) => {
                section.problem("", problem);
                return None;
            }
        };
        let proxy = settings.proxy.as_deref().and_then(proxy_url);
        Some(Endpoint {
            client,
            timeout,
            origin: match proxy {
                Some(proxy) => format!("{} (proxy {})", origin(url), origin(&proxy)),
                None => origin(url),
            },
        })
    }

    fn client(&self, settings: &Settings) -> Result<Client, String> {
        let mut clients = self.clients.borrow_mut();
        if let Some((_, client)) = clients.iter().find(|(known, _)| known == settings) {
            return Ok(client.clone());
        }
        let client = settings.client()?;
        clients.push((settings.clone(), client.clone()));
        Ok(client)
    }
}

impl Settings {
    fn read(section: &Section, url: &Url) -> Option<Settings> {
        let validate_certs = section.flag("validate_certs", true);
        if !validate_certs && url.scheme() == "https" {
            section.warning(
                "validate_certs",
                "whoever is on the way can pose as the endpoint; for a private authority, set `ca_file`",
            );
        }
        let ca_file = section.file("ca_file");
        let proxy = section.url("proxy").map(|(_, proxy)| proxy);
        if let Some(proxy) = proxy.as_deref().and_then(proxy_url) {
            secret::mask_user(&proxy);
        }
        let settings = Settings {
            tls: url.scheme() == "https",
            validate_certs,
            ca_file,
            identity: read_identity(section),
            proxy,
            socket: section.path("socket"),
        };
        if let Some(certificates) = &settings.ca_file
            && Certificate::from_pem_bundle(certificates).map_or(true, |found| found.is_empty())
        {
            section.problem("ca_file", "`ca_file` holds no certificate in PEM form");
            return None;
        }
        if let Some(identity) = &settings.identity
            && Identity::from_pem(identity).is_err()
        {
            section.problem(
                "client_cert",
                "`client_cert` and `client_key` are no certificate and unencrypted key in PEM form",
            );
            return None;
        }
        if let Some(proxy) = settings.proxy.as_deref().filter(|proxy| *proxy != "env")
            && (proxy_url(proxy).is_none() || Proxy::all(proxy).is_err())
        {
            // Whatever it is, it may hold a password.
            secret::mask(proxy);
            section.problem(
                "proxy",
                "`proxy` is a URL such as http://proxy.example.com:3128, or `env`",
            );
            return None;
        }
        Some(settings)
    }

    fn client(&self) -> Result<Client, String> {
        let mut builder = Client::builder()
            .user_agent(concat!("ansible-notify/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirected POST becomes a GET, and its 200 a delivery that never was.
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .tls_danger_accept_invalid_certs(!self.validate_certs);
        builder = match (&self.ca_file, self.tls && self.validate_certs) {
            (Some(bundle), _) => {
                builder.tls_certs_only(Certificate::from_pem_bundle(bundle).unwrap_or_default())
            }
            (None, true) => builder,
            (None, false) => builder.tls_certs_only([]),
        };
        if let Some(identity) = &self.identity {
            builder = builder.identity(
                Identity::from_pem(identity)
                    .map_err(|_| "the client certificate cannot be used".to_owned())?,
            );
        }
        builder = match self.proxy.as_deref() {
            Some("env") => builder,
            Some(proxy) => {
                let proxy = Proxy::all(proxy).map_err(|_| "`proxy` is not a URL".to_owned())?;
                builder.proxy(proxy.no_proxy(NoProxy::from_env()))
            }
            // Who runs a playbook with a proxy for its modules did not mean this.
            None => builder.no_proxy(),
        };
        if let Some(socket) = &self.socket {
            builder = builder.unix_socket(socket.clone());
        }
        builder.build().map_err(|error| {
            format!("no HTTP client can be made ({}); install the system's ca-certificates or set `ca_file`", reason(&error))
        })
    }
}

/// A proxy's URL; none for `env`, and for what has no scheme before its host.
fn proxy_url(proxy: &str) -> Option<Url> {
    Url::parse(proxy).ok().filter(Url::has_host)
}

fn read_identity(section: &Section) -> Option<Vec<u8>> {
    let certificate = section.file("client_cert");
    let key = section.file("client_key");
    match (certificate, key) {
        (Some(mut certificate), Some(key)) => {
            certificate.push(b'\n');
            certificate.extend(key);
            Some(certificate)
        }
        (None, Some(_)) if section.text("client_cert").is_none() => {
            section.problem("client_key", "`client_key` needs `client_cert` beside it");
            None
        }
        // One file may hold both.
        (certificate, _) => certificate,
    }
}

/// `scheme://host:port` of a URL: what may be shown of any.
pub fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

impl Endpoint {
    /// Makes one attempt: done at a reply of 2xx, or what went wrong.
    pub async fn send(&self, request: Request) -> Result<(), Failure> {
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::retry(format!(
                "{}: no answer within {:?}",
                self.origin, self.timeout
            ))),
        }
    }

    async fn exchange(&self, request: Request) -> Result<(), Failure> {
        let response = self.request(request).await?;
        let status = response.status();
        let pause = retry_after(response.headers(), Timestamp::now());
        let location = response
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        // The body of a success must arrive whole: a reply cut short says nothing certain.
        let body = match read_body(response).await {
            Ok(body) => body,
            Err(error) if status.is_success() => {
                return Err(Failure::retry(format!(
                    "{}: the reply broke off: {}",
                    self.origin,
                    reason(&error)
                )));
            }
            Err(_) => Vec::new(),
        };
        match classify(status, pause, location.as_deref(), &body) {
            None => Ok(()),
            Some(failure) => Err(failure),
        }
    }

    async fn request(&self, request: Request) -> Result<Response, Failure> {
        let builder = self
            .client
            .request(request.method, request.url)
            .headers(request.headers)
            .body(request.body);
        builder.send().await.map_err(|error| {
            let text = format!("{}: {}", self.origin, reason(&error));
            // The answer to a CONNECT comes as an error, and means what a 407 does.
            if text.contains("proxy authorization required") {
                Failure::Denied(text)
            } else {
                Failure::retry(text)
            }
        })
    }

    /// Resolves, connects, does the TLS handshake and shows the credentials, with a request that changes nothing.
    pub async fn check(&self, request: impl Fn(Method) -> Request) -> Check {
        let mut check = Check::default();
        for method in [Method::OPTIONS, Method::HEAD] {
            let attempt =
                tokio::time::timeout(self.timeout, self.request(request(method.clone()))).await;
            let response = match attempt {
                Ok(Ok(response)) => response,
                Ok(Err(failure)) => {
                    check.error = Some(failure.error().to_owned());
                    return check;
                }
                Err(_) => {
                    check.error = Some(format!(
                        "{}: no answer within {:?}",
                        self.origin, self.timeout
                    ));
                    return check;
                }
            };
            let status = response.status();
            check
                .steps
                .push(format!("{method} {} answered {status}", self.origin));
            match status.as_u16() {
                401 | 403 | 407 => {
                    check.error = Some(format!(
                        "{}: the credentials were refused: {status}",
                        self.origin
                    ))
                }
                405 | 501 if method == Method::OPTIONS => continue,
                300..=399 => {
                    check.error = Some(format!(
                        "{}: redirects ({status}); set the final URL",
                        self.origin
                    ))
                }
                404 | 410 => {
                    check.error = Some(format!("{}: nothing is there: {status}", self.origin))
                }
                500..=599 => {
                    check.error = Some(format!(
                        "{}: the endpoint is in trouble: {status}",
                        self.origin
                    ))
                }
                _ => {}
            }
            break;
        }
        check
    }
}

async fn read_body(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_REPLY - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_REPLY {
            break;
        }
    }
    Ok(body)
}

/// What a status means for the delivery; none for success.
fn classify(
    status: StatusCode,
    pause: Option<Duration>,
    location: Option<&str>,
    body: &[u8],
) -> Option<Failure> {
    let error = describe(status, location, body);
    Some(match status.as_u16() {
        200..=299 => return None,
        401 | 403 | 407 => Failure::Denied(error),
        410 => Failure::Gone(error),
        501 | 505 => Failure::Permanent(error),
        408 | 425 | 429 | 500..=599 => Failure::Retry {
            error,
            after: pause,
        },
        _ => Failure::Permanent(error),
    })
}

/// The status, and the start of what the endpoint says about it.
fn describe(status: StatusCode, location: Option<&str>, body: &[u8]) -> String {
    let mut text = status.to_string();
    if status.is_redirection() {
        let target = location
            .and_then(|location| Url::parse(location).ok())
            .filter(Url::has_host)
            .map(|url| origin(&url));
        let target = target.unwrap_or_else(|| "another address".to_owned());
        let _ = write!(text, ": redirects to {target}; set the final URL");
    } else if let Some(said) = std::str::from_utf8(body).ok().and_then(essence) {
        // Masked while it is whole: half of a secret would not be known for one.
        let said: String = secret::redact(said).chars().take(120).collect();
        let _ = write!(text, ": {said}");
    }
    text
}

/// What a reply says in short: the title of a page, or the first line of a text.
fn essence(body: &str) -> Option<&str> {
    let title = || {
        let (_, rest) = body.split_once("<title>")?;
        rest.split_once("</title>").map(|(title, _)| title)
    };
    let is_page = body.trim_start().starts_with('<');
    let text = title().filter(|_| is_page).unwrap_or(body);
    text.lines().map(str::trim).find(|line| !line.is_empty())
}

/// How long the service asks to wait: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let seconds = match text.parse::<f64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            date.duration_since(now).as_secs_f64()
        }
    };
    seconds
        .is_finite()
        .then(|| Duration::from_secs_f64(seconds.clamp(0.0, MAX_PAUSE.as_secs_f64())))
}

/// What the TLS library says in its own words, and what it means to who reads it.
const MEANINGS: [(&str, &str); 10] = [
    (
        "UnknownIssuer",
        "for an authority of your own, set `ca_file`",
    ),
    ("BadSignature", "made by another key, or by one too weak"),
    (
        "UnsupportedSignatureAlgorithm",
        "an algorithm too weak, such as SHA-1",
    ),
    ("InvalidContentType", "is TLS spoken on this port?"),
    ("tls handshake eof", "the server closed the connection"),
    (
        "alert: ProtocolVersion",
        "the server has neither TLS 1.2 nor 1.3",
    ),
    ("alert: HandshakeFailure", "no cipher in common"),
    ("alert: CertificateRequired", "set `client_cert`"),
    (
        "alert: Certificate",
        "the server refuses the client certificate",
    ),
    (
        "alert: UnknownCA",
        "the server refuses the client certificate",
    ),
];

/// The innermost reasons of an error on one line, without the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        // Each layer repeats what it wraps, or says `client error (Connect)`; the last word is enough.
        parts.retain(|part| !text.contains(part.as_str()) && !part.starts_with("client error ("));
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        source = error.source();
    }
    if parts.is_empty() {
        parts.push(if error.is_timeout() {
            "timed out".to_owned()
        } else {
            "the request failed".to_owned()
        });
    }
    let text = parts.join(": ");
    // Some go on with a dump of the library's own state.
    let text = text.split(" { ").next().unwrap_or_default();
    match MEANINGS.iter().find(|(words, _)| text.contains(words)) {
        Some((_, meaning)) => format!("{text}; {meaning}"),
        None => text.to_owned(),
    }
}

impl Request {
    /// The request as text, secrets masked.
    pub fn preview(&self) -> String {
        let mut text = format!("{} {}\n", self.method, self.shown_url());
        for (name, value) in &self.headers {
            let value = if is_credential(name) {
                MASK.to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
        text.push_str(&String::from_utf8_lossy(&self.body));
        report::visible_lines(&secret::redact(&text))
    }

    /// The URL with its query values and user information masked.
    fn shown_url(&self) -> String {
        if self.secret_url {
            return format!("{}/{MASK}", origin(&self.url));
        }
        let mut text = format!("{}{}", origin(&self.url), self.url.path());
        for (index, (name, _)) in self.url.query_pairs().enumerate() {
            let _ = write!(text, "{}{name}={MASK}", if index == 0 { '?' } else { '&' });
        }
        text
    }
}

/// Whether the value of such a header is not to be shown.
pub fn is_credential(name: &HeaderName) -> bool {
    let name = name.as_str();
    *name == AUTHORIZATION
        || *name == PROXY_AUTHORIZATION
        || [
            "token",
            "key",
            "secret",
            "cookie",
            "auth",
            "pass",
            "credential",
            "signature",
            "session",
        ]
        .iter()
        .any(|word| name.contains(word) && name != "idempotency-key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_one_meaning() {
        let kind = |code: u16| {
            let status = StatusCode::from_u16(code).unwrap();
            match classify(status, None, None, b"") {
                None => "ok",
                Some(Failure::Retry { .. }) => "retry",
                Some(Failure::Denied(_)) => "denied",
                Some(Failure::Gone(_)) => "gone",
                Some(Failure::Permanent(_)) => "permanent",
            }
        };
        for (codes, expected) in [
            (&[200, 201, 204, 299][..], "ok"),
            (&[408, 425, 429, 500, 502, 503, 504, 507, 524, 599], "retry"),
            (&[401, 403, 407], "denied"),
            (&[410], "gone"),
            (
                &[
                    301, 302, 304, 307, 308, 400, 404, 405, 409, 413, 422, 451, 501, 505, 999,
                ],
                "permanent",
            ),
        ] {
            for code in codes {
                assert_eq!(kind(*code), expected, "{code}");
            }
        }
    }

    #[test]
    fn retry_after_in_all_its_forms() {
        let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
        for (text, seconds) in [
            ("0", Some(0.0)),
            ("1.5", Some(1.5)),
            ("-5", Some(0.0)),
            ("99999999999", Some(3600.0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30.0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0)),
            ("soon", None),
            ("NaN", None),
        ] {
            let headers =
                HeaderMap::from_iter([(reqwest::header::RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(
                retry_after(&headers, now).map(|pause| pause.as_secs_f64()),
                seconds,
                "{text}"
            );
        }
    }

    #[test]
    fn a_shown_url_keeps_its_secrets() {
        let request = |url: &str, secret_url| Request {
            method: Method::POST,
            url: url.parse().unwrap(),
            secret_url,
            headers: HeaderMap::new(),
            body: Vec::new(),
        };
        let shown = request("https://user:pass@h:8443/a/b?token=canary&x=", false).shown_url();
        assert_eq!(shown, "https://h:8443/a/b?token=[redacted]&x=[redacted]");
        assert_eq!(
            request("https://h/services/canary", true).shown_url(),
            "https://h/[redacted]"
        );
    }
}
