//! Configurations of one notifier.

use std::ops::Deref;

/// The text of a configuration, whose keys can be set again.
#[derive(Clone)]
pub struct Config(String);

impl Config {
    /// Sends `state` and `host` of every result to `url`.
    pub fn to(url: &str) -> Config {
        Config(format!(
            "[inputs]\ncallback_url = {url}\n[delivery]\ndrain = 5\n[outputs]\nstate = state\nhost = host\n"
        ))
    }

    /// Sets keys of the notifier, in place of the values that they have.
    pub fn with(self, lines: &str) -> Config {
        self.set(
            |section| section == "inputs" || section.starts_with("notifier:"),
            lines,
        )
    }

    /// The same in `[delivery]`.
    pub fn delivery(self, lines: &str) -> Config {
        self.set(|section| section == "delivery", lines)
    }

    pub fn text(self) -> String {
        self.0
    }

    fn set(self, is_meant: impl Fn(&str) -> bool, lines: &str) -> Config {
        let sections = self
            .0
            .split_inclusive('\n')
            .fold(Vec::new(), |mut all, line| {
                match name_of(line) {
                    Some(_) => all.push(line.to_owned()),
                    None => *all.last_mut().expect("a section") += line,
                }
                all
            });
        let given = entries(lines);
        let set = |section: String| {
            let (name, keys) = section.split_once('\n').unwrap();
            if !name_of(name).is_some_and(&is_meant) {
                return section;
            }
            let mut all = entries(keys);
            all.retain(|entry| given.iter().all(|new| key_of(new) != key_of(entry)));
            all.extend_from_slice(&given);
            format!("{name}\n{}\n", all.join("\n"))
        };
        Config(sections.into_iter().map(set).collect())
    }
}

/// Keys with their values, each of which may have several lines.
fn entries(lines: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for line in lines.lines() {
        match all.last_mut() {
            Some(entry) if line.is_empty() || line.starts_with([' ', '\t']) => {
                *entry += &format!("\n{line}");
            }
            _ => all.push(line.to_owned()),
        }
    }
    all
}

fn name_of(line: &str) -> Option<&str> {
    line.trim_end().strip_prefix('[')?.strip_suffix(']')
}

fn key_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry).trim()
}

impl From<String> for Config {
    fn from(text: String) -> Config {
        Config(text)
    }
}

impl Deref for Config {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
