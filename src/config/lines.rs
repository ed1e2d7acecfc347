//! The lines of a configuration: encoding, indentation, comments, and text that is not INI.

/// Decodes a file's text. An error has the line of the mistake, and the remedy.
pub fn decode(bytes: &[u8]) -> Result<&str, (usize, String)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((1, "this is UTF-16; save the file as UTF-8".to_owned()));
    }
    let line_at = |end: usize| 1 + bytes[..end].iter().filter(|byte| **byte == b'\n').count();
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let byte = bytes[error.valid_up_to()];
        let text = format!(
            "this is not UTF-8 text (byte 0x{byte:02x}, in Latin-1 `{}`); save the file as UTF-8",
            char::from(byte)
        );
        (line_at(error.valid_up_to()), text)
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let offset = bytes.len() - text.len();
    let is_alone = |(at, _): &(usize, &str)| !text[at + 1..].starts_with('\n');
    if let Some((at, _)) = text.match_indices('\r').find(is_alone)
        && !text[at..].trim().is_empty()
    {
        let problem = "this line contains a carriage return; end lines with a line feed";
        return Err((line_at(offset + at), problem.to_owned()));
    }
    match not_ini(text) {
        Some(found) => Err(found),
        None => Ok(text),
    }
}

/// Finds the first line that shows the text is YAML or JSON, with the INI form to write instead.
fn not_ini(text: &str) -> Option<(usize, String)> {
    let mut lines = text
        .lines()
        .zip(1..)
        .map(|(line, number)| (line.trim(), number));
    let (first, number) = lines.find(|(line, _)| !line.is_empty() && !is_comment(line))?;
    let language = if first.starts_with('{') {
        "JSON"
    } else if first.starts_with("---") || first.starts_with("- ") || is_yaml(first) {
        "YAML"
    } else {
        return None;
    };
    let form =
        "write an INI file: [inputs] on a line of its own, and `key = value` on the lines below";
    Some((number, format!("this looks like {language}; {form}")))
}

/// Returns the problem of a line without `=`.
pub fn without_equals(line: &str) -> &'static str {
    if is_yaml(line) {
        "this line has no `=`; write `key = value`, not `key: value`"
    } else {
        "this line has no `=`; write `key = value`"
    }
}

/// Returns true if a line is `key:` or `key: value`.
fn is_yaml(line: &str) -> bool {
    let is_name = |character: char| character.is_alphanumeric() || "_-.".contains(character);
    line.split_once(':').is_some_and(|(key, value)| {
        let value_apart = value.is_empty() || value.starts_with([' ', '\t']);
        !key.is_empty() && key.chars().all(is_name) && value_apart
    })
}

/// Returns true if the line is a comment.
pub fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with(['#', ';'])
}

/// Returns the column of a line's first character; a tab advances to the next multiple of eight.
pub fn indentation(line: &str) -> usize {
    let blanks = line
        .chars()
        .take_while(|character| character.is_whitespace());
    blanks.fold(0, |column, blank| match blank {
        '\t' => column / 8 * 8 + 8,
        _ => column + 1,
    })
}

/// Removes the indentation that all lines share.
pub fn dedent(lines: &[&str]) -> String {
    let blanks = |line: &str| line.len() - line.trim_start().len();
    let mut filled = lines.iter().filter(|line| !line.is_empty());
    let first = filled.next().map_or("", |line| &line[..blanks(line)]);
    let shared = filled.fold(first, |shared, line| {
        let same = shared.char_indices().zip(line.chars());
        let end = same
            .take_while(|((_, one), other)| one == other)
            .last()
            .map_or(0, |((at, one), _)| at + one.len_utf8());
        &shared[..end]
    });
    let lines = lines
        .iter()
        .map(|line| line.strip_prefix(shared).unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

/// Removes comments from an expression: lines that begin with `#` or `;` outside of quotes.
pub fn without_comments(expression: &str) -> String {
    let mut quote = None;
    let mut kept = Vec::new();
    for line in expression.lines() {
        if quote.is_none() && is_comment(line) {
            continue;
        }
        kept.push(line);
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match (quote, character) {
                (Some(_), '\\') => drop(characters.next()),
                (Some(open), _) if open == character => quote = None,
                (None, '\'' | '"') => quote = Some(character),
                _ => {}
            }
        }
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_said_with_its_line() {
        let problem = |bytes: &[u8]| decode(bytes).unwrap_err();
        assert_eq!(problem(b"[i]\na = \xe9\n").0, 2);
        assert!(
            problem(b"[i]\na = \xe9\n")
                .1
                .contains("0xe9, in Latin-1 `\u{e9}`")
        );
        assert!(
            problem(b"\xff\xfe[\0i\0]\0")
                .1
                .starts_with("this is UTF-16")
        );
        assert_eq!(problem("\u{feff}[i]\n\na = 1\rb = 2".as_bytes()).0, 3);
        assert_eq!(
            decode("\u{feff}[i]\r\na = 1\r\n".as_bytes()),
            Ok("[i]\r\na = 1\r\n")
        );
    }

    #[test]
    fn yaml_and_json_are_known() {
        for yaml in ["---\na: 1", "# x\ninputs:\n  a: 1", "- a", "{\"a\": 1}"] {
            assert!(
                not_ini(yaml).unwrap().1.starts_with("this looks like "),
                "{yaml}"
            );
        }
        for ini in ["[i]\na: b", "callback_url = http://h", "", "# a: b"] {
            assert_eq!(not_ini(ini), None, "{ini}");
        }
    }

    #[test]
    fn shared_indentation_goes() {
        assert_eq!(dedent(&["  a", "", "    b", "  c"]), "a\n\n  b\nc");
        assert_eq!(dedent(&["\ta", "\t\tb"]), "a\n\tb");
        assert_eq!(dedent(&["\ta", "  b"]), "\ta\n  b");
        assert_eq!(indentation("  \tx"), 8);
    }

    #[test]
    fn comments_of_an_expression_are_outside_of_its_texts() {
        assert_eq!(without_comments("a\n# b\n+ '\n# c'\n; d"), "a\n+ '\n# c'");
        assert_eq!(without_comments("'it\\'s\n# x'"), "'it\\'s\n# x'");
    }
}
