//! Parser for one `plugin_config.ini`. Our own scan finds the logical lines with their numbers, keeps
//! longer texts verbatim, and refuses ambiguous input; rust-ini then reads sections, keys and values.

use std::collections::HashMap;

use ini::{Ini, ParseOption};

use super::lines;

/// One section as written in a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RawSection {
    pub name: String,
    pub line: usize,
    pub entries: Vec<RawEntry>,
    /// Mistakes that affect this section only.
    pub faults: Vec<Fault>,
}

/// One `key = value`. The lines of a longer value are kept verbatim, without their common indentation; an
/// empty first line is the line of the key.
#[derive(Debug, PartialEq, Eq)]
pub struct RawEntry {
    pub key: String,
    pub value: String,
    pub line: usize,
    /// Line where a value meant to be one line continues.
    pub continued: Option<usize>,
}

/// A mistake on a line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub line: usize,
    pub text: String,
    /// First word of the line; possibly a key.
    pub key: String,
}

/// Parses a file's text into sections, or returns all mistakes of a file that cannot be divided into
/// sections.
pub fn parse(bytes: &[u8]) -> Result<Vec<RawSection>, Vec<Fault>> {
    let text = lines::decode(bytes).map_err(|(line, text)| vec![Fault::new(line, text)])?;
    let mut scan = Scan::default();
    for (number, line) in text.lines().enumerate() {
        scan.line(number + 1, line);
    }
    scan.end_value();
    if !scan.fatal.is_empty() {
        let faults = scan.sections.into_iter().flat_map(|section| section.faults);
        scan.fatal.extend(faults);
        scan.fatal.sort_by_key(|fault| fault.line);
        return Err(scan.fatal);
    }
    let option = ParseOption {
        enabled_quote: false,
        enabled_escape: true,
        ..ParseOption::default()
    };
    let ini = Ini::load_from_str_opt(&scan.text, option)
        .map_err(|error| vec![Fault::new(error.line, error.msg.to_string())])?;
    Ok(scan.fill(&ini))
}

impl Fault {
    fn new(line: usize, text: impl Into<String>) -> Fault {
        Fault {
            line,
            text: text.into(),
            key: String::new(),
        }
    }
}

/// First pass over the text, line by line.
#[derive(Default)]
struct Scan {
    sections: Vec<RawSection>,
    /// Mistakes after which lines can no longer be assigned to a section.
    fatal: Vec<Fault>,
    /// First line of each section, and of each key of the current section.
    seen_sections: HashMap<String, usize>,
    seen_keys: HashMap<String, usize>,
    /// Indentation of the last key: deeper lines continue its value, as in Python's configparser.
    indentation: Option<usize>,
    /// Lines of the continued value, including blank ones, with their numbers.
    continuation: Vec<(usize, String)>,
    /// True while lines belong to a duplicate section or key, and are ignored.
    repeats_section: bool,
    repeats_key: bool,
    /// Logical lines for rust-ini, with backslashes escaped so that they stay literal.
    text: String,
}

impl Scan {
    fn line(&mut self, number: usize, line: &str) {
        let content = line.trim();
        let indentation = lines::indentation(line);
        let continues = self.indentation.is_some_and(|key| indentation > key);
        if content.is_empty() || continues {
            if self.indentation.is_some() {
                let line = if content.is_empty() { "" } else { line };
                self.continuation.push((number, line.to_owned()));
            }
            return;
        }
        if lines::is_comment(content) {
            return;
        }
        self.end_value();
        match content.strip_prefix('[') {
            Some(rest) => self.section(number, rest),
            None => self.key(number, content, indentation),
        }
    }

    /// Assigns the collected lines to the last key.
    fn end_value(&mut self) {
        let mut lines = std::mem::take(&mut self.continuation);
        while lines.pop_if(|(_, line)| line.is_empty()).is_some() {}
        self.indentation = None;
        let section = self.sections.last_mut();
        let Some(entry) = section.and_then(|section| section.entries.last_mut()) else {
            return;
        };
        if lines.is_empty() || self.repeats_section || self.repeats_key {
            return;
        }
        let is_more = |(_, line): &&(usize, String)| !line.is_empty() && !lines::is_comment(line);
        let own = usize::from(entry.value.is_empty());
        entry.continued = lines
            .iter()
            .filter(is_more)
            .nth(own)
            .map(|(number, _)| *number);
        let lines: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
        entry.value = format!("{}\n{}", entry.value, lines::dedent(&lines));
    }

    fn section(&mut self, line: usize, rest: &str) {
        self.seen_keys.clear();
        let Some(name) = rest.strip_suffix(']') else {
            let text = "a section must be written [name], on a line of its own";
            return self.fatal.push(Fault::new(line, text));
        };
        let name = name.trim().to_owned();
        self.repeats_section = false;
        if let Some(first) = self.seen_sections.get(&name) {
            let text = format!("duplicate section [{name}]; first on line {first}");
            self.repeats_section = true;
            let known = self
                .sections
                .iter()
                .position(|section| section.name == name);
            // The first one moves to the end, so that mistakes below are recorded for it.
            if let Some(known) = known {
                let section = self.sections.remove(known);
                self.sections.push(section);
            }
            return self.fault(line, "", text);
        }
        self.seen_sections.insert(name.clone(), line);
        self.text.push_str(&format!("[{}]\n", escaped(&name)));
        self.sections.push(RawSection {
            name,
            line,
            ..RawSection::default()
        });
    }

    fn key(&mut self, line: usize, content: &str, indentation: usize) {
        self.indentation = Some(indentation);
        self.repeats_key = true;
        let first = content.split([' ', '\t', '=', ':']).next().unwrap_or("");
        let Some((key, value)) = content.split_once('=') else {
            let text = lines::without_equals(content);
            return self.fault(line, first, text);
        };
        let key = key.trim();
        if key.is_empty() {
            return self.fault(line, "", "no key before the `=`");
        }
        if key.contains(':') {
            return self.fault(line, first, "a key cannot contain `:`; write `key = value`");
        }
        if let Some(first) = self.seen_keys.get(key) {
            let text = format!("`{key}` is set twice; first on line {first}");
            return self.fault(line, key, text);
        }
        self.seen_keys.insert(key.to_owned(), line);
        self.repeats_key = false;
        if self.repeats_section {
            // Reported once per section; only the names of the keys may matter.
            if let Some(fault) = self.sections.last_mut().and_then(|s| s.faults.last_mut()) {
                fault.key = format!("{} {key}", fault.key);
            }
            return;
        }
        match self.sections.last_mut() {
            Some(section) => {
                let value = value.trim().to_owned();
                self.text
                    .push_str(&format!("{} = {}\n", escaped(key), escaped(&value)));
                section.entries.push(RawEntry {
                    key: key.to_owned(),
                    value,
                    line,
                    continued: None,
                });
            }
            None => self.fault(
                line,
                key,
                format!("`{key}` is outside a section; put it below one, such as [inputs]"),
            ),
        }
    }

    fn fault(&mut self, line: usize, key: &str, text: impl Into<String>) {
        let fault = Fault {
            key: key.to_owned(),
            ..Fault::new(line, text)
        };
        match self.sections.last_mut() {
            Some(section) => section.faults.push(fault),
            None => self.fatal.push(fault),
        }
    }

    /// Fills the sections with the values that rust-ini read.
    fn fill(mut self, ini: &Ini) -> Vec<RawSection> {
        for section in &mut self.sections {
            let Some(properties) = ini.section(Some(section.name.as_str())) else {
                continue;
            };
            for entry in &mut section.entries {
                let first = properties.get(&entry.key).unwrap_or_default();
                let more = entry.value.find('\n').unwrap_or(entry.value.len());
                entry.value.replace_range(..more, first);
            }
        }
        self.sections
    }
}

/// Escapes a text so that rust-ini reads it back unchanged: a backslash at the end of a line would join the
/// next one.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, String, usize)> {
        let sections = parse(text.as_bytes()).unwrap();
        let entries = sections.into_iter().flat_map(|section| section.entries);
        entries
            .map(|entry| (entry.key, entry.value, entry.line))
            .collect()
    }

    fn values(text: &str) -> Vec<String> {
        entries(text)
            .into_iter()
            .map(|(_, value, _)| value)
            .collect()
    }

    #[test]
    fn values_are_taken_as_they_stand() {
        let text = "\u{feff}[inputs]\r\nurl = https://h/a?b=c ; d\r\n\
            # comment\r\npassword='\"50%% \\n #x\n;c\n[o]\nempty =\nlast={{ host }}";
        let expected = ["https://h/a?b=c ; d", "'\"50%% \\n #x", "", "{{ host }}"];
        assert_eq!(values(text), expected);
        assert_eq!(
            entries(text)
                .iter()
                .map(|entry| entry.2)
                .collect::<Vec<_>>(),
            [2, 4, 7, 8]
        );
    }

    #[test]
    fn deeper_lines_go_on_with_the_value() {
        assert_eq!(
            values("[i]\nheaders =\n  A: 1\n  # note\n\n  B: x=2\n\non = ok"),
            ["\nA: 1\n# note\n\nB: x=2", "ok"]
        );
        assert_eq!(values("  [i]\n  a = 1\n  b = 2\n    3\n"), ["1", "2\n3"]);
        let text = "[i]\nmessage = a\n\t# b\n# a comment\n\t    c  \n\n\t;d\n\n[o]\n";
        assert_eq!(values(text), ["a\n# b\n    c  \n\n;d"]);
    }

    #[test]
    fn a_backslash_is_text_wherever_it_stands() {
        let text = "[i]\na = b\\\nc = \\n\\\\\nd = e\\\n  f\\\n";
        assert_eq!(values(text), ["b\\", "\\n\\\\", "e\\\nf\\"]);
    }

    #[test]
    fn the_line_is_known_that_makes_a_value_longer() {
        let continued = |text: &str| {
            let sections = parse(text.as_bytes()).unwrap();
            sections[0].entries[0].continued
        };
        assert_eq!(continued("[i]\na = b\n\n  # c\n  d\n"), Some(5));
        assert_eq!(continued("[i]\na =\n  # c\n  d\n"), None);
        assert_eq!(continued("[i]\na = b\n  # c\n"), None);
        assert_eq!(continued("[i]\na =\n  b\n  c = d"), Some(4));
    }

    #[test]
    fn a_mistake_stays_in_its_section() {
        let text = b"[i]\nenabled\na = 1\na = 2\n= x\nk:v = 1\n[o]\nb = 1\n[i]\nwhen = x\n";
        let sections = parse(text).unwrap();
        let named = |name: &str| sections.iter().find(|section| section.name == name);
        let section = named("i").unwrap();
        let lines: Vec<usize> = section.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [2, 4, 5, 6, 9]);
        assert_eq!(section.faults[1].text, "`a` is set twice; first on line 3");
        assert!(section.faults[4].key.contains("when"));
        assert_eq!(section.entries.len(), 1);
        assert!(named("o").unwrap().faults.is_empty());
    }

    #[test]
    fn without_sections_nothing_is_certain() {
        let faults = parse(b"a = 1\n[i\n[i]\nenabled\n").unwrap_err();
        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [1, 2, 4]);
        assert_eq!(parse(b"[i]\na = \xe9").unwrap_err()[0].line, 2);
    }
}
