//! Commands in the configuration: a program and its arguments, quoted as in a shell, but run without one.

/// Unquoted text with a meaning in a shell, but none here.
const OPERATORS: [&str; 7] = ["|", "&&", ";", ">", "<", "$", "`"];

/// Splits a command into the program and its arguments.
pub fn split(command: &str) -> Result<Vec<String>, &'static str> {
    let mut command = command.to_owned();
    // Only a shell would treat the rest as a comment.
    for at in bare(&command).collect::<Vec<_>>().into_iter().rev() {
        if command[at..].starts_with('#') {
            command.insert(at, '\\');
        }
    }
    shlex::split(&command).ok_or("a quote is not closed, or a backslash is at the end")
}

/// Returns the first shell operator in a command.
pub fn operator(command: &str) -> Option<&'static str> {
    bare(command).find_map(|at| {
        let rest = &command[at..];
        OPERATORS
            .into_iter()
            .find(|operator| rest.starts_with(operator))
    })
}

/// Positions of the characters that a shell would not take literally: outside of quotes, and `$` and the
/// backtick in double quotes too.
fn bare(command: &str) -> impl Iterator<Item = usize> {
    let mut quote = None;
    let mut escaped = false;
    command.char_indices().filter_map(move |(at, character)| {
        if std::mem::take(&mut escaped) {
            return None;
        }
        match (quote, character) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(character),
            (None, _) | (Some('"'), '$' | '`') => return Some(at),
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_those_of_a_shell() {
        for (command, words) in [
            ("op read 'my item'", &["op", "read", "my item"][..]),
            ("a \"b c\"'d e' f\\ g", &["a", "b cd e", "f g"]),
            (
                "echo #x a#b '#c' \"#d\"",
                &["echo", "#x", "a#b", "#c", "#d"],
            ),
            ("echo ''", &["echo", ""]),
            ("", &[]),
        ] {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
        for command in ["a 'b", "a \"b", "a\\"] {
            assert!(split(command).is_err(), "{command}");
        }
    }

    #[test]
    fn operators_count_outside_of_quotes() {
        for (command, found) in [
            ("a | b", Some("|")),
            ("a > b", Some(">")),
            ("a && b", Some("&&")),
            ("a; b", Some(";")),
            ("a \"$B\"", Some("$")),
            ("a `b`", Some("`")),
            ("a '$B | c'", None),
            ("a \"b | c\" d\\|e", None),
            ("curl http://h/?a=1&b=2", None),
        ] {
            assert_eq!(operator(command), found, "{command}");
        }
    }
}
