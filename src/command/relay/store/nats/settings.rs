//! The section `[nats]`.

use std::time::Duration;

use rustls::ClientConfig;
use url::Url;

use crate::config::secrets::Secrecy;
use crate::config::section::Section;
use crate::net::authorization::{is_local, names_user};
use crate::net::http::{Endpoint, Http};
use crate::net::tls::{Channel, Trust, read_identity};
use crate::net::urls::parse_url;
use crate::secret::{self, Secret};

/// Default of `stream`.
const STREAM: &str = "ansible-notify";
/// Default of `replicas`, and their maximum in JetStream.
const REPLICAS: usize = 3;
const MAX_REPLICAS: usize = 5;
/// Default of `max_age`.
const MAX_AGE: Duration = Duration::from_secs(72 * 3600);
/// Default of `max_size`.
const MAX_SIZE: u64 = 10 << 30;

/// Addresses of a NATS cluster, and requirements on it.
pub struct Settings {
    pub servers: Vec<String>,
    pub login: Login,
    /// None if no connection is encrypted.
    pub tls: Option<ClientConfig>,
    /// Name of the stream, and first part of its subjects.
    pub stream: String,
    pub replicas: usize,
    /// Time for which segments are kept, acknowledged or not.
    pub max_age: Duration,
    pub max_size: u64,
    pub require_sync: bool,
    /// Monitoring addresses of the servers.
    pub monitors: Vec<(Url, Endpoint)>,
}

/// Credentials of the program.
pub enum Login {
    None,
    /// Content of a credentials file: JWT and seed.
    Credentials(Secret),
    Password(String, Secret),
    Token(Secret),
}

impl Settings {
    /// Reads the section; notes problems in it. All keys are read before it returns, so that every mistake is found at
    /// once.
    pub fn read(section: &Section, http: &Http) -> Option<Settings> {
        let servers = section.list("servers");
        if servers.is_empty() {
            section.missing::<()>("servers");
        }
        let servers = servers.iter().filter_map(|one| server(section, one));
        let servers: Vec<Url> = servers.collect();
        let is_encrypted = servers.iter().any(|url| url.scheme() == "tls");
        let trust = Trust::read(section, Channel::encrypted_if(is_encrypted));
        let identity = read_identity(section);
        let config = |trust: Trust| {
            let config = trust.config(identity.as_deref());
            config.map_err(|text| section.problem("", text)).ok()
        };
        let tls = trust.filter(|_| is_encrypted).and_then(config);
        let stream = section.text("stream").unwrap_or(STREAM).to_owned();
        let is_plain = |one: char| one.is_ascii_alphanumeric() || "_-".contains(one);
        if !stream.chars().all(is_plain) {
            section.problem("stream", "`stream` has letters, digits, `_` and `-` only");
        }
        let monitors = monitors(section, http);
        let require_sync = section.flag("require_sync", true);
        if require_sync && monitors.is_empty() && !section.is_given("monitor") {
            section.problem(
                "",
                "[nats] has no `monitor`, so nobody knows if the servers write to disk before they answer; name their \
                 monitoring addresses, or accept a loss with `require_sync = false`",
            );
        }
        let settings = Settings {
            servers: servers.iter().map(ToString::to_string).collect(),
            login: login(section),
            tls,
            stream,
            replicas: section.count("replicas", REPLICAS, MAX_REPLICAS),
            max_age: section.duration("max_age", MAX_AGE),
            max_size: section.size("max_size", MAX_SIZE),
            require_sync,
            monitors,
        };
        Some(settings).filter(|settings| !settings.servers.is_empty())
    }
}

/// Reads the address of a server. Events must not be sent unencrypted over a network.
fn server(section: &Section, text: &str) -> Option<Url> {
    let problem = match Url::parse(text) {
        Ok(url) if names_user(&url) => {
            secret::mask_user(&url);
            "`servers` cannot contain a user or a password; set `username` and `password`, `token` or `credentials_file`"
        }
        Ok(url) if url.scheme() == "nats" && !is_near(&url) => {
            "`servers` must begin with tls://; only a server on this machine can be reached by nats://"
        }
        Ok(url) if ["nats", "tls"].contains(&url.scheme()) && url.has_host() => return Some(url),
        _ => "`servers` must be addresses such as tls://nats1.example.com:4222",
    };
    section.problem("servers", problem);
    None
}

/// Returns true for this machine; the address of a scheme other than http is not parsed yet.
fn is_near(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    Url::parse(&format!("http://{host}")).is_ok_and(|url| is_local(&url))
}

fn login(section: &Section) -> Login {
    let password = section.secret("password");
    let token = section.secret("token");
    let username = section.text("username");
    let credentials = section.file("credentials_file").map(|file| {
        let text = String::from_utf8_lossy(&file.bytes).into_owned();
        // The seed is a line of its own.
        text.lines().map(str::trim).for_each(secret::mask);
        Secret::new(text)
    });
    if username.is_some() {
        section.needs("username", "password");
    }
    match (credentials, username.zip(password), token) {
        (Some(credentials), _, _) => Login::Credentials(credentials),
        (_, Some((name, password)), _) => Login::Password(name.to_owned(), password),
        (_, _, Some(token)) => Login::Token(token),
        _ => Login::None,
    }
}

/// Reads the monitoring addresses.
fn monitors(section: &Section, http: &Http) -> Vec<(Url, Endpoint)> {
    let urls = section.list("monitor").into_iter();
    let urls = urls.filter_map(|text| parse_url(section, "monitor", text, Secrecy::Open));
    let reached = |mut url: Url| {
        let endpoint = http.endpoint(section, &url)?;
        url.set_path("/jsz");
        url.set_query(Some("config=true"));
        Some((url, endpoint))
    };
    let reached: Vec<_> = urls.filter_map(reached).collect();
    if reached.is_empty() {
        // The keys of the connection are known all the same.
        let placeholder = Url::parse("http://localhost").expect("a URL");
        http.endpoint(section, &placeholder);
    }
    reached
}
