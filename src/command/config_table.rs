//! The values of a configuration as a table: file by file, with line numbers, and the defaults in effect.

use std::fmt::Write as _;

use crate::config::entry::Shown;
use crate::console::stdout::Styled;
use crate::delivery::setup::Config;

/// Width of the column of keys, unless one is longer.
const KEYS: usize = 14;

/// Returns the levels and their values, each with its line, and the defaults of every section.
pub fn of(config: &Config) -> Vec<Styled> {
    let mut parts = Vec::new();
    for (level, read) in &config.levels {
        let path = level.path.display().to_string();
        let state = if *read { "" } else { ", not found" };
        parts.push(Styled::Plain(format!(
            "\n{path}  ({}{state})\n",
            level.name
        )));
        let of_line = |value| {
            let line = place_in(&path, value)?;
            Some((line.parse::<usize>().ok()?, line, value))
        };
        let mut here: Vec<_> = config.values.iter().filter_map(of_line).collect();
        here.sort_by_key(|(number, ..)| *number);
        rows(
            &mut parts,
            here.into_iter().map(|(_, line, value)| (line, value)),
        );
    }
    let is_in_file = |value: &&Shown| {
        let mut levels = config.levels.iter();
        levels.any(|(level, _)| place_in(&level.path.to_string_lossy(), value).is_some())
    };
    let mut others = config
        .values
        .iter()
        .filter(|value| !is_in_file(value))
        .peekable();
    if others.peek().is_some() {
        parts.push(Styled::Plain("\nenvironment and settings\n".to_owned()));
        let named = others.map(|value| (value.place.as_str(), value));
        rows(&mut parts, named);
    }
    parts.push(Styled::Dim("\ndefaults in effect\n".to_owned()));
    let defaults = config.defaults.iter();
    for (section, defaults) in defaults.filter(|(_, defaults)| !defaults.is_empty()) {
        let mut text = format!("  [{section}]\n");
        for (key, value) in defaults {
            let _ = writeln!(text, "        {key:<KEYS$}  {value}");
        }
        parts.push(Styled::Dim(text));
    }
    parts
}

/// Returns the line of a value, if it is in this file.
fn place_in<'a>(path: &str, value: &'a Shown) -> Option<&'a str> {
    value.place.strip_prefix(path)?.strip_prefix(':')
}

/// Appends rows of values under the names of their sections.
fn rows<'a>(parts: &mut Vec<Styled>, values: impl Iterator<Item = (&'a str, &'a Shown)>) {
    let mut section = "";
    for (line, value) in values {
        if value.section != section {
            section = &value.section;
            parts.push(Styled::Plain(format!("  [{section}]\n")));
        }
        let indented = format!("\n        {:KEYS$}  ", "");
        let shown = value.value.replace('\n', &indented);
        parts.push(Styled::Dim(format!("  {line:>4}  ")));
        parts.push(Styled::Plain(format!("{:<KEYS$}  {shown}\n", value.key)));
    }
}
