//! Whether a section is still what it was when its notifier was turned off.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::section::{Entry, Section, resolve};

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
                let content = std::fs::read(resolve(&entry.value, &entry.origin));
                content.ok().hash(&mut hasher);
            } else if entry.key.ends_with("_env") {
                std::env::var_os(&entry.value).hash(&mut hasher);
            }
        }
        format!("{:04x}", hasher.finish() & 0xffff)
    }
}
