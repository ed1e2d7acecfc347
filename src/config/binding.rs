//! Credentials are bound to the address that they were written for: an address set at a nearer level does
//! not get the credentials of a farther one.

use std::path::Path;
use std::rc::Rc;

use url::Url;

use super::entry::{Address, Entry, Origin, family};
use super::problem::Problem;
use super::section::Section;

/// Keys that determine where a section's messages go, and on which route.
const KEYS: [&str; 15] = [
    "callback_url",
    "url",
    "api_url",
    "traces_url",
    "logs_url",
    "metrics_url",
    "server",
    "host",
    "port",
    "encryption",
    "tls",
    "socket",
    "proxy",
    "type",
    OAUTH,
];

/// Address that gets only the client's credentials.
const OAUTH: &str = "oauth_token_url";

/// Further keys that name a recipient or the sender: changing one of them means another recipient.
const RECIPIENTS: [&str; 34] = [
    "username",
    "password",
    "token",
    "headers",
    "signing_secret",
    "to",
    "cc",
    "bcc",
    "to_numbers",
    "from_number",
    "messaging_service_sid",
    "account_sid",
    "auth_token",
    "api_key_sid",
    "api_key_secret",
    "routing_key",
    "channel",
    "channels",
    "channel_key",
    "targets",
    "users",
    "email",
    "api_key",
    "rooms",
    "chat_ids",
    "message_thread_id",
    "thread_id",
    "topic",
    "topic_arn",
    "access_key_id",
    "secret_access_key",
    "dashboard_uid",
    "oauth_client_id",
    "oauth_client_secret",
];

/// Beginnings of such keys.
const FAMILIES: [&str; 2] = ["header.", "body."];

impl Section {
    fn address(&self) -> Address {
        let says = |entry: &Entry| KEYS.contains(&family(&entry.key)) && !entry.value.is_empty();
        let entries = self.entries.iter().filter(|entry| says(entry));
        entries
            .map(|entry| (entry.key.clone(), self.normal(entry)))
            .collect()
    }

    /// Returns true if this file sets part of the address or of the recipients.
    pub fn is_addressed_by(&self, file: &Path) -> bool {
        let is_here = |origin: &Origin| {
            matches!(origin, Origin::File { file: from, .. }
                if std::path::absolute(&from.path).is_ok_and(|path| path == file))
        };
        self.entries.iter().any(|entry| {
            let key = family(&entry.key);
            let is_one = KEYS.contains(&key)
                || RECIPIENTS.contains(&key)
                || FAMILIES.iter().any(|prefix| key.starts_with(prefix));
            is_one && is_here(&entry.origin)
        })
    }

    /// Binds these entries to the section's current address.
    pub fn bind(&mut self, entries: impl Fn(&Origin) -> bool) {
        let address = Rc::new(self.address());
        let bound = self.entries.iter().filter(|entry| entries(&entry.origin));
        let keys: Vec<String> = bound.map(|entry| entry.key.clone()).collect();
        for key in keys {
            self.bound.insert(key, address.clone());
        }
    }

    /// Returns why a credential must not be used, if a nearer level set another address.
    pub fn bound_elsewhere(&self, credential: &Entry) -> Option<Problem> {
        let meant = self.bound.get(&credential.key)?;
        let address = self.address();
        let differs = |key: &&String| {
            let own = family(key) == family(&credential.key);
            // Without a proxy there is no third party in between.
            let direct = key.as_str() == "proxy" && !address.contains_key(*key);
            // Other credentials are not sent there.
            let apart = key.as_str() == OAUTH && !credential.key.starts_with("oauth_");
            !own && !direct && !apart && address.get(*key) != meant.get(*key)
        };
        let key = address.keys().chain(meant.keys()).find(differs)?;
        let text = format!(
            "`{key}` differs in scheme, host or port from the address that {} ({}) was set for; set {} next to it, or keep the address",
            shown(credential),
            credential.origin,
            shown(credential),
        );
        Some(Problem::new(self.place(key), text))
    }

    /// Reduces a value to the part that identifies an address. Secrets are not read: a different file, command
    /// or named secret counts as a different address.
    pub(super) fn normal(&self, entry: &Entry) -> String {
        if family(&entry.key) != entry.key {
            return format!("{} of {}", entry.value, file_of(&entry.origin));
        }
        let holders = self.holders(&entry.key).map(|named| file_of(&named.origin));
        let holders: Vec<String> = holders.collect();
        if !holders.is_empty() {
            return format!("{} of {}", entry.value, holders.join(" and "));
        }
        let fixed = entry.value.split(['{']).next().unwrap_or_default();
        match Url::parse(fixed) {
            Ok(url) if url.has_host() => {
                let (host, port) = (
                    url.host_str().unwrap_or_default(),
                    url.port_or_known_default(),
                );
                format!("{}://{host}:{port:?}", url.scheme())
            }
            _ => entry.value.to_lowercase(),
        }
    }
}

fn file_of(origin: &Origin) -> String {
    match origin {
        Origin::File { file, .. } => file.path.display().to_string(),
        _ => String::new(),
    }
}

fn shown(entry: &Entry) -> String {
    format!("`{}`", family(&entry.key))
}
