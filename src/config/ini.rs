//! The text of one `plugin_config.ini`: rust-ini reads the values, a scan of our own adds line numbers
//! and refuses what rust-ini would take for something else.

use std::collections::HashMap;

use ini::{Ini, ParseOption};

/// One section as it stands in a file.
#[derive(Debug, PartialEq, Eq)]
pub struct RawSection {
    pub name: String,
    pub line: usize,
    pub entries: Vec<RawEntry>,
}

/// One `key = value`; the lines of a longer value are joined by line breaks.
#[derive(Debug, PartialEq, Eq)]
pub struct RawEntry {
    pub key: String,
    pub value: String,
    pub line: usize,
}

/// What is wrong on a line, from 1.
pub type Fault = (usize, String);

/// Reads a file's text: its sections, or all that is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Vec<RawSection>, Vec<Fault>> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.trim_start_matches('\u{feff}'),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            return Err(vec![(
                line,
                "this is not UTF-8 text; save the file as UTF-8".to_owned(),
            )]);
        }
    };
    let mut scan = Scan::default();
    for (number, line) in text.lines().enumerate() {
        scan.line(number + 1, line);
    }
    if !scan.faults.is_empty() {
        return Err(scan.faults);
    }
    let option = ParseOption {
        enabled_quote: false,
        enabled_escape: false,
        enabled_indented_mutiline_value: true,
        ..ParseOption::default()
    };
    let ini = Ini::load_from_str_opt(&scan.text, option)
        .map_err(|error| vec![(error.line, error.msg.to_string())])?;
    Ok(scan.fill(&ini))
}

/// The second look at the text, line by line.
#[derive(Default)]
struct Scan {
    sections: Vec<RawSection>,
    faults: Vec<Fault>,
    /// Where each section and each key of the present section stood first.
    seen_sections: HashMap<String, usize>,
    seen_keys: HashMap<String, usize>,
    /// The indentation of the last key: deeper lines go on with its value, as in Python's configparser.
    indentation: Option<usize>,
    /// The text as rust-ini is to read it: only continued values are indented.
    text: String,
}

impl Scan {
    fn line(&mut self, number: usize, line: &str) {
        let content = line.trim();
        let indentation = line.len() - line.trim_start().len();
        let continues = self.indentation.is_some_and(|key| indentation > key);
        let comment = content.starts_with(['#', ';']);
        if content.is_empty() || comment {
            return;
        }
        if continues {
            self.text.push_str(&format!(" {content}\n"));
            return;
        }
        self.text.push_str(&format!("{content}\n"));
        match content.strip_prefix('[') {
            Some(rest) => self.section(number, rest),
            None => self.key(number, content, indentation),
        }
    }

    fn section(&mut self, line: usize, rest: &str) {
        self.indentation = None;
        self.seen_keys.clear();
        let Some(name) = rest.strip_suffix(']') else {
            return self.fault(line, "a section is written [name], alone on its line");
        };
        let name = name.trim().to_owned();
        if let Some(first) = self.seen_sections.insert(name.clone(), line) {
            self.fault(
                line,
                format!("section [{name}] stands here again; it began on line {first}"),
            );
        }
        self.sections.push(RawSection {
            name,
            line,
            entries: Vec::new(),
        });
    }

    fn key(&mut self, line: usize, content: &str, indentation: usize) {
        self.indentation = Some(indentation);
        let Some((key, _)) = content.split_once('=') else {
            return self.fault(line, "this line has no `=`; a key is written `key = value`");
        };
        let key = key.trim().to_owned();
        if key.is_empty() {
            return self.fault(line, "there is no key before the `=`");
        }
        if key.contains(':') {
            return self.fault(line, "a key holds no `:`; write `key = value`");
        }
        if let Some(first) = self.seen_keys.insert(key.clone(), line) {
            self.fault(line, format!("`{key}` is set twice; first on line {first}"));
        }
        match self.sections.last_mut() {
            Some(section) => section.entries.push(RawEntry {
                key,
                value: String::new(),
                line,
            }),
            None => self.fault(
                line,
                format!("`{key}` stands before the first section, such as [inputs]"),
            ),
        }
    }

    fn fault(&mut self, line: usize, text: impl Into<String>) {
        self.faults.push((line, text.into()));
    }

    /// The sections, with the values that rust-ini read.
    fn fill(mut self, ini: &Ini) -> Vec<RawSection> {
        for section in &mut self.sections {
            let Some(properties) = ini.section(Some(section.name.as_str())) else {
                continue;
            };
            for entry in &mut section.entries {
                properties
                    .get(&entry.key)
                    .unwrap_or_default()
                    .clone_into(&mut entry.value);
            }
        }
        self.sections
    }
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
            values("[i]\nheaders =\n  A: 1\n  # note\n\n  B: x=2\non = ok"),
            ["A: 1\nB: x=2", "ok"]
        );
        assert_eq!(values("  [i]\n  a = 1\n  b = 2\n    3\n"), ["1", "2\n3"]);
    }

    #[test]
    fn every_fault_is_found_with_its_line() {
        let faults =
            parse(b"a = 1\n[i\n[i]\nenabled\na = 1\na = 2\n[i]\n= x\nk:v = 1\n").unwrap_err();
        assert_eq!(
            faults.iter().map(|fault| fault.0).collect::<Vec<_>>(),
            [1, 2, 4, 6, 7, 8, 9]
        );
        assert_eq!(faults[3].1, "`a` is set twice; first on line 5");
        assert_eq!(parse(b"[i]\na = \xe9").unwrap_err()[0].0, 2);
    }
}
