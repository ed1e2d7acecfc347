//! Marks by which a section, or where it sends to, is known again.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::entry::{Entry, resolve};
use super::section::Section;
use crate::secret::MAX_FILE;
use crate::system::trusted;

impl Section {
    /// Changes when something in the section does, or in a file or variable that it names. It is stored:
    /// of 16 bits, so that no secret can be guessed by it.
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
        }
        short(&hasher)
    }

    /// The values that are not there again by themselves when what waits is delivered later.
    pub fn passing(&self) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(|entry| entry.origin.is_passing())
    }

    /// Tells apart to whom events go by such values: an address, or a user. Of 16 bits, too.
    pub fn addressee(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for entry in self.addressed() {
            (&entry.key, &entry.value).hash(&mut hasher);
        }
        short(&hasher)
    }

    /// Those of the passing values that say to whom events go.
    pub fn addressed(&self) -> impl Iterator<Item = &Entry> {
        let keys = ["callback_url", "url", "socket", "username"];
        self.passing()
            .filter(move |entry| keys.contains(&entry.key.as_str()))
    }
}

fn short(hasher: &DefaultHasher) -> String {
    format!("{:04x}", hasher.finish() & 0xffff)
}
