//! The kind `syslog`: one message for each event, to a syslog server or the systemd journal.

mod address;
mod journal;
mod relp;
mod rfc5424;
mod socket;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConfig;

use super::{Kind, Notifier, Sent};
use crate::config::advice::quoted;
use crate::config::section::Section;
use crate::config::units::{parse_size, size};
use crate::failure::{Check, Failure};
use crate::message::fields::values;
use crate::message::{Level, Message, MessageFormat, Receipts};
use crate::net::http::{ATTEMPT_TIMEOUT, Http};
use crate::net::response::interrupted;
use crate::net::tls::{Channel, Trust, read_identity};
use crate::notifier::syslog::address::{Address, Protocol};
use crate::notifier::syslog::journal::Journal;
use crate::notifier::syslog::relp::Relp;
use crate::notifier::syslog::rfc5424::Layout;
use crate::notifier::syslog::socket::{Datagrams, Frames};
use crate::secret;
use crate::text::{self, Escape, bytes, cut};

/// Syslog, as a kind of notifier.
pub const KIND: Kind = Kind {
    name: "syslog",
    about: "logs each event to a syslog server (UDP, TCP, TLS or RELP) or the systemd journal",
    form: MessageFormat::Text(Escape::Plain),
    build,
};

/// Default of `max_size`, and its limits, in bytes: rsyslog cuts a message at 8 KiB, and RFC 5425 asks every receiver
/// to accept 2 KiB.
const SIZE: usize = 8 << 10;
const SIZES: std::ops::RangeInclusive<usize> = 1 << 10..=1 << 20;
/// Largest datagram over IPv4, in bytes.
const MAX_DATAGRAM: usize = 65_507;

/// Facilities by name, and their codes (RFC 5424, table 1).
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// Content of an entry about an event.
pub struct Record<'a> {
    /// Severity (RFC 5424, table 2): 3 error, 4 warning, 5 notice, 6 informational.
    pub severity: u8,
    pub text: String,
    /// Fields of `[outputs]`, by name.
    pub fields: Vec<(String, String)>,
    pub message: &'a Message,
}

struct Syslog {
    address: Address,
    layout: Layout,
    /// True if the text is only the `message`, because the configuration has one, and no `subject`.
    has_only_message: bool,
    timeout: Duration,
    transport: Transport,
}

enum Transport {
    Datagrams(Datagrams),
    Frames(Frames),
    Relp(Relp),
    Journal(Journal),
}

// All keys are read before anything returns, so that every mistake is found at once.
fn build(section: &Section, _: &Http) -> Option<Rc<dyn Notifier>> {
    let address = Address::read(section);
    let is_encrypted = address.as_ref().is_some_and(Address::is_encrypted);
    let layout = layout(section, address.as_ref());
    let tls = tls(section, is_encrypted);
    let timeout = section.time_limit(ATTEMPT_TIMEOUT);
    let has_only_message = section.is_given("message") && !section.is_given("subject");
    let (address, tls) = (address?, tls?);
    let transport = match &address.protocol {
        Protocol::Udp => Transport::Datagrams(Datagrams::new(&address)),
        Protocol::Tcp | Protocol::Tls => Transport::Frames(Frames::new(&address, tls)),
        Protocol::Relp | Protocol::Relps => Transport::Relp(Relp::new(&address, tls)),
        Protocol::Journal(path) => Transport::Journal(Journal::new(path)),
    };
    Some(Rc::new(Syslog {
        address,
        layout,
        has_only_message,
        timeout,
        transport,
    }))
}

fn layout(section: &Section, address: Option<&Address>) -> Layout {
    let facility = section.choice("facility", 1, &FACILITIES);
    let app_name = section.parsed("app_name", "ansible".to_owned(), rfc5424::app_name);
    let element = Some("ansible@32473".to_owned());
    let element = section.parsed("structured_data", element, rfc5424::element);
    let max_size = section.parsed("max_size", SIZE, max_size);
    let is_udp = address.is_some_and(|address| address.protocol == Protocol::Udp);
    if is_udp && max_size > MAX_DATAGRAM {
        let text = format!("`max_size` can be at most {MAX_DATAGRAM} bytes with udp://");
        section.problem("max_size", text);
    }
    let node = rustix::system::uname();
    Layout {
        facility,
        app_name,
        hostname: node.nodename().to_string_lossy().into_owned(),
        element,
        max_size,
    }
}

fn max_size(text: &str) -> Result<usize, String> {
    let given = parse_size(text).and_then(|size| usize::try_from(size).ok());
    given.filter(|size| SIZES.contains(size)).ok_or_else(|| {
        let (least, most) = (size(*SIZES.start() as u64), size(*SIZES.end() as u64));
        let given = quoted(text);
        format!("`max_size` must be a size from {least} to {most}, such as 8KiB, not {given}")
    })
}

/// Reads the keys of TLS; None if they have a mistake, Some(None) for a connection without TLS.
fn tls(section: &Section, is_encrypted: bool) -> Option<Option<Arc<ClientConfig>>> {
    let trust = Trust::read(section, Channel::encrypted_if(is_encrypted));
    let identity = read_identity(section);
    let trust = trust?;
    let config = is_encrypted.then(|| trust.config(identity.as_deref()));
    let noted = |problem| section.problem("client_cert", problem);
    let config = config.transpose().map_err(noted).ok()?;
    Some(config.map(Arc::new))
}

/// Returns the severity of a message.
fn severity(message: &Message) -> u8 {
    match message.level {
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info | Level::Success if message.context.event().changed => 5,
        Level::Info | Level::Success => 6,
    }
}

impl Syslog {
    fn record<'a>(&self, message: &'a Message) -> Record<'a> {
        let (subject, text) = (message.subject.trim(), message.text.trim());
        let text = match self.has_only_message {
            true if !text.is_empty() => text.to_owned(),
            _ if text.is_empty() => subject.to_owned(),
            _ => format!("{subject}: {text}"),
        };
        Record {
            severity: severity(message),
            text: cut(&text, self.layout.max_size, bytes).into_owned(),
            fields: values(&message.payload),
            message,
        }
    }

    async fn pass(&self, message: &Message) -> Result<(), Failure> {
        let record = self.record(message);
        let sent = match &self.transport {
            Transport::Datagrams(datagrams) => datagrams.send(&self.layout.line(&record)).await,
            Transport::Frames(frames) => frames.send(&self.layout.line(&record)).await,
            Transport::Journal(journal) => journal.send(&self.layout, &record).await,
            Transport::Relp(relp) => return relp.send(&self.layout.line(&record)).await,
        };
        sent.map_err(|error| Failure::retry(interrupted(&error)))
    }

    async fn reach(&self) -> Result<(), Failure> {
        let reached = match &self.transport {
            Transport::Datagrams(datagrams) => datagrams.reach().await,
            Transport::Frames(frames) => frames.reach().await,
            Transport::Journal(journal) => journal.reach(),
            Transport::Relp(relp) => return relp.reach().await,
        };
        reached.map_err(|error| Failure::retry(interrupted(&error)))
    }

    /// Limits the time of an exchange, and names the receiver in its failure.
    async fn limited(
        &self,
        exchange: impl Future<Output = Result<(), Failure>>,
    ) -> Result<(), Failure> {
        let named = |text: &str| format!("{}: {text}", self.address);
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Failure::Permanent(error))) => Err(Failure::Permanent(named(&error))),
            Ok(Err(failure)) => Err(Failure::retry(named(failure.error()))),
            Err(_) => {
                if let Transport::Relp(relp) = &self.transport {
                    relp.give_up();
                }
                let text = format!("no answer within {:?}", self.timeout);
                Err(Failure::retry(named(&text)))
            }
        }
    }
}

#[async_trait(?Send)]
impl Notifier for Syslog {
    async fn send(&self, message: &Message) -> Result<Sent, Failure> {
        self.limited(self.pass(message)).await?;
        let reached = Receipts::from([(String::new(), None)]);
        Ok(Sent::to(1, reached, Vec::new()))
    }

    fn is_answered(&self) -> bool {
        matches!(self.transport, Transport::Relp(_))
    }

    async fn close(&self) {
        if let Transport::Relp(relp) = &self.transport {
            relp.close().await;
        }
    }

    fn preview(&self, message: &Message) -> Result<String, Failure> {
        let record = self.record(message);
        let shown = match &self.transport {
            Transport::Journal(_) => journal::preview(&self.layout, &record),
            _ => String::from_utf8_lossy(&self.layout.line(&record)).into_owned(),
        };
        let shown = format!("{}\n\n{}", self.address, shown.trim_end());
        Ok(text::visible_lines(&secret::redact(&shown)))
    }

    async fn check(&self) -> Check {
        let verb = match self.transport {
            Transport::Datagrams(_) => "has an address; UDP has no answers",
            Transport::Journal(_) => "can be written",
            Transport::Frames(_) => "is connected",
            Transport::Relp(_) => "speaks RELP",
        };
        match self.limited(self.reach()).await {
            Ok(()) => Check {
                steps: vec![format!("{} {verb}", self.address)],
                error: None,
            },
            Err(failure) => Check {
                error: Some(failure.error().to_owned()),
                ..Check::default()
            },
        }
    }
}
