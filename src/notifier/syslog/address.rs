//! Address of a receiver of logs: a URL whose scheme is the protocol.

use std::fmt;
use std::path::PathBuf;

use url::Url;

use crate::config::section::Section;
use crate::net::urls::unfit;

/// Socket of the systemd journal (systemd, "Native Journal Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Protocol of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
    Tls,
    Relp,
    Relps,
    /// Socket of the journal.
    Journal(PathBuf),
}

/// Address of a receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub protocol: Protocol,
    /// Name or address, without brackets; empty for the journal.
    pub host: String,
    pub port: u16,
}

impl Address {
    /// Reads `url`; notes problems in the section.
    pub fn read(section: &Section) -> Option<Address> {
        let (_, text) = section.url("url").or_else(|| section.missing("url"))?;
        if !section.is_plain("url", &text) {
            return None;
        }
        let problem = match unfit(&text) {
            Some(problem) => format!("`url` is not a URL: {problem}"),
            None => match parse(&text) {
                Some(address) => return Some(address),
                None => "`url` must be udp://HOST:PORT, tcp://HOST:PORT, tls://HOST:PORT, relp://HOST:PORT, relps://HOST:PORT or `journal:`".to_owned(),
            },
        };
        section.problem("url", problem);
        None
    }

    /// Returns true if the connection uses TLS.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.protocol, Protocol::Tls | Protocol::Relps)
    }

    fn scheme(&self) -> &'static str {
        match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
            Protocol::Tls => "tls",
            Protocol::Relp => "relp",
            Protocol::Relps => "relps",
            Protocol::Journal(_) => "journal",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = (self.scheme(), &self.host, self.port);
        match &self.protocol {
            Protocol::Journal(path) => write!(formatter, "journal:{}", path.display()),
            _ if host.contains(':') => write!(formatter, "{scheme}://[{host}]:{port}"),
            _ => write!(formatter, "{scheme}://{host}:{port}"),
        }
    }
}

fn parse(text: &str) -> Option<Address> {
    let url = Url::parse(text).ok()?;
    // Ports: RFC 5426, the usual one of TCP, RFC 5425, and that of rsyslog's manual for RELP.
    let (protocol, port) = match url.scheme() {
        "udp" => (Protocol::Udp, 514),
        "tcp" => (Protocol::Tcp, 514),
        "tls" => (Protocol::Tls, 6514),
        "relp" => (Protocol::Relp, 2514),
        "relps" => (Protocol::Relps, 2514),
        "journal" if !url.has_host() => {
            let path = match url.path() {
                "" => JOURNAL,
                path => path,
            };
            return path.starts_with('/').then(|| Address {
                protocol: Protocol::Journal(path.into()),
                host: String::new(),
                port: 0,
            });
        }
        _ => return None,
    };
    let is_bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    let host = url.host_str().filter(|host| is_bare && !host.is_empty())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Address {
        protocol,
        host: host.to_owned(),
        port: url.port().unwrap_or(port),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_a_protocol_with_its_port() {
        for (text, shown) in [
            ("udp://logs", "udp://logs:514"),
            ("tcp://logs:601", "tcp://logs:601"),
            ("tls://logs.example.com/", "tls://logs.example.com:6514"),
            ("relp://[::1]:20514", "relp://[::1]:20514"),
            ("relps://logs", "relps://logs:2514"),
            ("journal:", "journal:/run/systemd/journal/socket"),
            ("journal:/run/x/socket", "journal:/run/x/socket"),
        ] {
            assert_eq!(parse(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "logs:514",
            "http://logs",
            "udp://",
            "udp://user@logs",
            "tcp://logs/path",
            "tcp://logs?x",
            "journal://logs/x",
            "journal:x",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
