//! Hashes that identify a section, or its target.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::entry::{Entry, resolve};
use super::section::Section;
use crate::secret::MAX_FILE;
use crate::system::trusted;

impl Section {
    /// Hash over the section and the files and variables that it names. It is stored, so it has only 16
    /// bits: no secret can be guessed from it.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by_key(|entry| &entry.key);
        for entry in entries {
            (&entry.key, &entry.value).hash(&mut hasher);
            if entry.key.ends_with("_file") {
                let content = trusted::read(&resolve(&entry.value, &entry.origin), MAX_FILE);
                content.ok().map(|file| file.bytes).hash(&mut hasher);
            } else if entry.key.ends_with("_env") {
                std::env::var_os(&entry.value).hash(&mut hasher);
            }
            for named in self.holders(&entry.key) {
                named.fingerprint().hash(&mut hasher);
            }
        }
        short(&hasher)
    }

    /// Returns the values that may be absent when pending deliveries are sent later.
    pub fn passing(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.origin.is_passing())
    }

    /// Hash over the address and user among these values, to tell recipients apart. Also 16 bits.
    pub fn addressee(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for entry in self.addressed() {
            (&entry.key, &entry.value).hash(&mut hasher);
        }
        short(&hasher)
    }

    /// Returns the passing values that determine the recipient of events.
    pub fn addressed(&self) -> impl Iterator<Item = &Entry> {
        let keys = ["callback_url", "url", "socket", "username"];
        self.passing()
            .filter(move |entry| keys.contains(&entry.key.as_str()))
    }
}

fn short(hasher: &DefaultHasher) -> String {
    format!("{:04x}", hasher.finish() & 0xffff)
}
