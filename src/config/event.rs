//! `[event]`: the variables that may leave Ansible. The plugin resolves them, so it needs this list first.

use super::Reading;
use super::advice;
use super::levels::Search;
use super::section::Section;

/// Name of the section.
pub const NAME: &str = "event";

/// Variables that events contain.
#[derive(Default, serde::Serialize)]
pub struct Variables {
    /// Names, and globs of names.
    pub vars: Vec<String>,
    /// True if events contain the host's groups even without variables.
    pub groups: bool,
}

impl Variables {
    /// Reads the keys of the section.
    pub fn new(section: &Section) -> Variables {
        let names = section.list("vars");
        for name in &names {
            if !is_pattern(name) {
                let given = advice::quoted(name);
                let text =
                    format!("`vars` must be names of variables, such as team or ci_*, not {given}");
                section.problem("vars", text);
            }
        }
        Variables {
            vars: names
                .iter()
                .filter(|name| is_pattern(name))
                .map(|name| (*name).to_owned())
                .collect(),
            groups: section.flag("groups", !names.is_empty()),
        }
    }

    /// Reads the section in the files that a search finds, if there is one. Reads no secret and runs no
    /// command.
    pub fn find(search: &Search) -> Variables {
        let options = super::Options {
            search: search.clone(),
            ..super::Options::default()
        };
        let sections = Reading::new(&options, Vec::new()).sections;
        sections.get(NAME).map(Variables::new).unwrap_or_default()
    }
}

/// Returns true for the name of a variable, which may have the wildcards `*`, `?` and `[…]`.
fn is_pattern(name: &str) -> bool {
    let is_part =
        |character: char| character.is_ascii_alphanumeric() || "_*?[]!-".contains(character);
    name.chars().all(is_part) && !name.starts_with(|character: char| character.is_ascii_digit())
}
