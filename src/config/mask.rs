//! The `[mask]` sections, which hide parts of events. Those of all levels are combined, so that no level can
//! reveal what another one hides.

use std::rc::Rc;

use regex::Regex;

use super::entry::Origin;
use super::lines::is_comment;
use super::misread;
use super::problem::{Harm, Problem};
use super::section::Section;
use crate::event::mask::{self, Mask};
use crate::event::masked::Masks;

/// Name of the section.
pub const NAME: &str = "mask";

/// Returns the combined mask of all levels, if any. A mistake in one of them stops everything: otherwise events
/// would be stored and sent with parts that should be hidden.
pub fn read(sections: &[Section]) -> (Option<Rc<Masks>>, Vec<Problem>) {
    let mut keys = Vec::new();
    let mut patterns = Vec::new();
    for section in sections {
        keys.extend(read_keys(section));
        patterns.extend(read_patterns(section));
        section.report_unknown();
    }
    let problems = sections.iter().flat_map(Section::take_problems);
    let problems = problems.map(|problem| problem.with(Harm::Everything));
    let problems: Vec<Problem> = problems.collect();
    let is_empty = keys.is_empty() && patterns.is_empty();
    let masks = (!is_empty).then(|| Rc::new(Masks::new(Mask::new(&keys, patterns))));
    (masks, problems)
}

fn read_keys(section: &Section) -> Vec<&str> {
    let keys = section.list("keys");
    if section.entry("keys").is_some() && keys.is_empty() {
        section.problem("keys", "`keys` is empty; list names of keys, or remove it");
    }
    for key in &keys {
        if let Some(problem) = misread::key(key) {
            section.problem("keys", format!("`{key}` in `keys` {problem}"));
        } else if key.contains(char::is_whitespace) {
            let text = format!("`{key}` in `keys` is one name; separate names with commas");
            section.warning("keys", text);
        }
    }
    keys
}

fn read_patterns(section: &Section) -> Vec<Regex> {
    let lines = pattern_lines(section);
    if section.entry("patterns").is_some() && lines.is_empty() {
        let text = "`patterns` is empty; list regular expressions, or remove it";
        section.problem("patterns", text);
    }
    let mut patterns = Vec::new();
    for (place, line) in lines {
        match mask::pattern(line) {
            Ok(pattern) => {
                if let Some(problem) = misread::pattern(line, &pattern) {
                    section.note(Problem::new(place, format!("`{line}` {problem}")));
                }
                patterns.push(pattern);
            }
            Err(problem) => {
                let text = format!("`{line}` is not a regular expression: {problem}");
                section.note(Problem::new(place, text));
            }
        }
    }
    patterns
}

/// Returns the patterns of a section, one for each line, with their places.
fn pattern_lines(section: &Section) -> Vec<(String, &str)> {
    let Some(entry) = section.entry("patterns") else {
        return Vec::new();
    };
    let place = |number: usize| match &entry.origin {
        Origin::File { file, line } => format!("{}:{}", file.path.display(), line + number),
        origin => origin.to_string(),
    };
    let lines = entry.value.lines().map(str::trim).enumerate();
    lines
        .filter(|(number, line)| !line.is_empty() && (*number == 0 || !is_comment(line)))
        .map(|(number, line)| (place(number), line))
        .collect()
}
