//! Keys of a section that nothing has read, and missing keys.

use super::advice;
use super::entry::{Entry, family};
use super::problem::{Harm, Problem};
use super::section::Section;

impl Section {
    /// Returns true if a key has been read so far, whether or not it is set: one that nothing reads has no effect.
    pub fn knows(&self, key: &str) -> bool {
        self.asked.borrow().contains(key)
    }

    /// Reports unknown keys, each with a suggestion, and missing keys.
    pub fn report_unknown(&self) {
        self.warn_of_mentions();
        let asked = self.asked.borrow().clone();
        let known: Vec<&str> = asked.iter().map(String::as_str).collect();
        let (mut missing, mut needed) = (self.missing.take(), self.needed.take());
        let is_unknown = |entry: &&Entry| !asked.contains(&entry.key);
        for entry in self.entries.iter().filter(is_unknown) {
            let (hint, meant) = advice::key(&self.name, &entry.key, &known);
            let meant = meant.unwrap_or_default();
            // The key exists under another name.
            missing.retain(|key| !is_same(key, meant));
            needed.retain(|(_, other)| !is_same(other, meant));
            let text = format!("unknown key `{}` in [{}]{hint}", entry.key, self.name);
            let problem = Problem::new(entry.origin.to_string(), text);
            self.note(problem.with(Harm::of(meant)));
        }
        for (key, other) in needed {
            let text = match other.as_str() {
                "password" => format!(
                    "`{key}` has no password; set `password_file`, `password_env`, `password_command` or `password`, which may be empty"
                ),
                _ => format!("`{key}` requires `{other}`"),
            };
            self.problem(&key, text);
        }
        for key in missing {
            self.problem("", format!("[{}] has no `{key}`", self.name));
        }
    }
}

/// Keys that identify the sender; one may make another unnecessary.
const CREDENTIALS: [&str; 3] = ["username", "password", "token"];

/// Returns true if a key is no longer missing once `meant` is given.
fn is_same(key: &str, meant: &str) -> bool {
    let are_credentials = CREDENTIALS.contains(&key) && CREDENTIALS.contains(&family(meant));
    key == family(meant) || are_credentials
}
