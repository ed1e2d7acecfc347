//! The systemd journal (systemd, "Native Journal Protocol"): a datagram with the fields of an event.

use std::io::{Error, Result};
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use uuid::Uuid;

use super::Record;
use super::rfc5424::Layout;
use crate::text::{bytes, cut};

/// Prefix of the fields of an event: `journalctl ANSIBLE_HOST=web1`.
const PREFIX: &str = "ANSIBLE_";
/// Length limit of a field's name, in bytes (systemd, `journal_field_valid`).
const MAX_NAME: usize = 64;
/// Namespace of the ids of messages: one for each sort of event.
const MESSAGES: Uuid = Uuid::from_u128(0x9c2b_3a52_0f6e_4f0a_8a55_3d1c_6b7e_4d21);

/// Sender of entries.
pub struct Journal {
    path: PathBuf,
}

impl Journal {
    /// Creates a sender to a socket.
    pub fn new(path: &Path) -> Journal {
        Journal {
            path: path.to_owned(),
        }
    }

    /// Sends an entry. One that is too large for a datagram goes into memory that the journal reads itself.
    pub async fn send(&self, layout: &Layout, record: &Record<'_>) -> Result<()> {
        let entry = encoded(&entry(layout, record));
        let socket = self.connect()?;
        match socket.send(&entry).await {
            Err(error) if is_too_large(&error) => pass_memory(&socket, &entry).await,
            sent => sent.map(drop),
        }
    }

    /// Connects to the socket.
    pub fn reach(&self) -> Result<()> {
        self.connect().map(drop)
    }

    // Connected for each entry: a journal that has been restarted has another socket.
    fn connect(&self) -> Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.path)?;
        Ok(socket)
    }
}

fn is_too_large(error: &Error) -> bool {
    let too_large = [Errno::MSGSIZE, Errno::NOBUFS].map(Errno::raw_os_error);
    error
        .raw_os_error()
        .is_some_and(|code| too_large.contains(&code))
}

/// Sends an entry as a sealed file in memory.
async fn pass_memory(socket: &UnixDatagram, entry: &[u8]) -> Result<()> {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let memory = memfd_create("ansible-notify", flags)?;
    let mut rest = entry;
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest)?;
        rest = &rest[written..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&memory, seals)?;
    let passed = socket.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [memory.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(socket, &[], &mut control, SendFlags::empty()).map_err(Error::from)
    });
    passed.await.map(drop)
}

/// Returns the fields of an entry.
fn entry(layout: &Layout, record: &Record) -> Vec<(String, String)> {
    let event = record.message.context.event();
    let id = Uuid::new_v5(&MESSAGES, event.event.name().as_bytes());
    let own = [
        ("MESSAGE", record.text.clone()),
        ("MESSAGE_ID", id.simple().to_string()),
        ("PRIORITY", record.severity.to_string()),
        ("SYSLOG_FACILITY", layout.facility.to_string()),
        ("SYSLOG_IDENTIFIER", layout.app_name.clone()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let fields = record.fields.iter().map(|(name, value)| {
        let value = cut(value, layout.max_size, bytes).into_owned();
        (field_name(name), value)
    });
    own.into_iter().chain(fields).collect()
}

/// Returns the name of a field: upper case, digits and underscores.
fn field_name(name: &str) -> String {
    let shown = |one: char| match one.is_ascii_alphanumeric() {
        true => one.to_ascii_uppercase(),
        false => '_',
    };
    let prefix = PREFIX.chars();
    prefix
        .chain(name.chars().map(shown))
        .take(MAX_NAME)
        .collect()
}

/// Encodes fields: a value with line breaks has its length before it.
fn encoded(fields: &[(String, String)]) -> Vec<u8> {
    let mut entry = Vec::new();
    for (name, value) in fields {
        entry.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            entry.push(b'\n');
            entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            entry.push(b'=');
        }
        entry.extend_from_slice(value.as_bytes());
        entry.push(b'\n');
    }
    entry
}

/// Returns an entry for people, a line for each field.
pub fn preview(layout: &Layout, record: &Record) -> String {
    let fields = entry(layout, record).into_iter();
    fields
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_lines_has_its_length() {
        assert_eq!(field_name("task.näme"), "ANSIBLE_TASK_N_ME");
        let fields = [("A", "1"), ("B", "2\n3")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(encoded(&fields), b"A=1\nB\n\x03\0\0\0\0\0\0\x002\n3\n");
    }
}
