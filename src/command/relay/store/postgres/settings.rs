//! The section `[postgres]`.

use std::time::Duration;

use rustls::ClientConfig;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::config::section::Section;
use crate::net::tls::{Channel, Trust, read_identity};
use crate::secret;

/// Default of `max_age`.
const MAX_AGE: Duration = Duration::from_secs(72 * 3600);
/// Default of `max_size`.
const MAX_SIZE: u64 = 10 << 30;
/// Time limit of a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Address of a database, and requirements on it.
pub struct Settings {
    pub config: Config,
    pub tls: ClientConfig,
    pub require_standby: bool,
    /// Time for which acknowledged segments are kept.
    pub max_age: Duration,
    /// Size of all segments that are not acknowledged, in bytes.
    pub max_size: u64,
}

impl Settings {
    /// Reads the section; notes problems in it. All keys are read before it returns, so that every mistake is found at
    /// once.
    pub fn read(section: &Section) -> Option<Settings> {
        let url = section.required_secret("url");
        let config = url.and_then(|url| config(section, url.expose()));
        let is_local = config.as_ref().is_none_or(is_local);
        let trust = Trust::read(section, Channel::encrypted_if(!is_local));
        let identity = read_identity(section);
        let tls = trust.and_then(|trust| {
            let config = trust.config(identity.as_deref());
            config.map_err(|text| section.problem("", text)).ok()
        });
        let require_standby = section.flag("require_standby", false);
        let max_age = section.duration("max_age", MAX_AGE);
        let max_size = section.size("max_size", MAX_SIZE);
        Some(Settings {
            config: config?,
            tls: tls?,
            require_standby,
            max_age,
            max_size,
        })
    }
}

/// Reads the address. Events must not be sent unencrypted over a network.
fn config(section: &Section, url: &str) -> Option<Config> {
    let Ok(mut config) = url.parse::<Config>() else {
        let text = "`url` must be an address such as postgres://user:password@db.example.com/ansible_notify";
        section.problem("url", text);
        return None;
    };
    if let Some(password) = config.get_password() {
        secret::mask(&String::from_utf8_lossy(password));
    }
    if config.get_hosts().is_empty() {
        section.problem("url", "`url` names no host");
        return None;
    }
    if !is_local(&config) {
        config.ssl_mode(SslMode::Require);
    }
    config.connect_timeout(CONNECT);
    config.keepalives_idle(CONNECT);
    config.tcp_user_timeout(CONNECT);
    Some(config)
}

/// Returns true if all hosts are this machine.
fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            let address = name.parse::<std::net::IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    })
}
