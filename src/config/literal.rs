//! Literal values that look as if they were meant to be expanded.

use std::path::Path;

/// Kind of text that a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Text that is no secret: a path, a URL, a name.
    Plain,
    /// Credential, which may also come from the environment, a file or a command.
    Secret,
}

/// Returns a warning about a value that is neither an expression nor a template. It never repeats the
/// value, which may be a secret.
pub fn doubt(key: &str, value: &str, expected: Expected) -> Option<String> {
    let stands = format!("`{key}` is used literally");
    if is_in_quotes(value) {
        return Some(format!("{stands}, with its quotes; remove them"));
    }
    if value.contains("://") && names_variable(value) && !value.contains("{{") {
        return Some(format!("{stands}: variables are not expanded here"));
    }
    if expected == Expected::Plain {
        return is_variable(value).then(|| format!("{stands}: variables are not expanded here"));
    }
    let any = format!("use `{key}_env`, `{key}_file` or `{key}_command`");
    let said = if value.starts_with("!vault") || value.starts_with("$ANSIBLE_VAULT") {
        format!("values are not decrypted here; {any}")
    } else if value.contains("{{") || value.contains("{%") || value.starts_with("lookup(") {
        format!("templates are not rendered here; {any}")
    } else if is_variable(value) {
        format!("variables are not expanded here; use `{key}_env = NAME`")
    } else if is_command(value) {
        format!("commands are not run here; use `{key}_command = COMMAND`")
    } else if is_file(value) {
        format!("files are not read here; use `{key}_file = PATH`")
    } else if value.starts_with('!') && value.contains(' ') || is_placeholder(value) {
        any
    } else {
        return None;
    };
    Some(format!("{stands}: {said}"))
}

fn is_in_quotes(value: &str) -> bool {
    let quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
    quoted('"') || quoted('\'')
}

/// Returns true for `$NAME`, `${…}`, `%NAME%`, `%(name)s` or `env:NAME`.
fn is_variable(value: &str) -> bool {
    let is_name = |name: &str| {
        let is_part = |character: char| {
            character.is_ascii_uppercase() || character.is_ascii_digit() || character == '_'
        };
        name.len() > 1
            && name.chars().all(is_part)
            && !name.starts_with(|first: char| first.is_ascii_digit())
    };
    let within = |open: &str, close: &str| value.strip_prefix(open)?.strip_suffix(close);
    value.strip_prefix('$').is_some_and(is_name)
        || within("${", "}").is_some()
        || within("%", "%").is_some_and(is_name)
        || within("%(", ")s").is_some()
        || value.strip_prefix("env:").is_some_and(is_name)
}

/// Returns true if a text contains `$NAME`, `${NAME}` or `$(command)`, which a shell would replace.
pub fn names_variable(text: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let is_part = |one: char| one.is_alphanumeric() || one == '$';
        if text[..at].ends_with(is_part) {
            return false;
        }
        let rest = &text[at + 1..];
        let is_name = |one: char| one.is_ascii_uppercase() || one.is_ascii_digit() || one == '_';
        let name = rest.split(|one| !is_name(one)).next().unwrap_or_default();
        let is_braced = |open, close| rest.starts_with(open) && rest.contains(close);
        let stands_alone = !rest[name.len()..].starts_with(char::is_alphanumeric);
        let is_bare = name.len() > 1 && name.starts_with(|one: char| !one.is_ascii_digit());
        is_bare && stands_alone
            || is_braced('{', '}') && !rest.starts_with("{{")
            || is_braced('(', ')')
    })
}

fn is_command(value: &str) -> bool {
    let within = |open: &str, close: &str| {
        let inner = value.strip_prefix(open)?.strip_suffix(close)?;
        Some(inner).filter(|inner| !inner.is_empty())
    };
    within("$(", ")").or_else(|| within("`", "`")).is_some()
}

/// Returns true for a path in the home directory, or of an existing file.
fn is_file(value: &str) -> bool {
    let path = value.strip_prefix("file:").unwrap_or(value);
    let path = path.strip_prefix("//").unwrap_or(path);
    path.starts_with("~/") || path.starts_with('/') && Path::new(path).is_file()
}

/// Returns true for a placeholder such as `<password>`, copied from documentation.
fn is_placeholder(value: &str) -> bool {
    value.len() > 2 && value.starts_with('<') && value.ends_with('>')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_as_it_stands_and_may_not_be_meant() {
        for (value, said) in [
            ("\"secret\"", "with its quotes"),
            ("'secret'", "with its quotes"),
            ("$OPS_PW", "variables are not"),
            ("${ops_pw}", "variables are not"),
            ("%OPS_PW%", "variables are not"),
            ("%(pw)s", "variables are not"),
            ("env:OPS_PW", "variables are not"),
            ("{{ vault_pw }}", "templates are not"),
            ("lookup('env', 'X')", "templates are not"),
            ("!vault abc", "values are not decrypted"),
            ("$ANSIBLE_VAULT;1.1;AES256", "values are not decrypted"),
            ("$(pass show x)", "commands are not"),
            ("`pass show x`", "commands are not"),
            ("~/token", "files are not"),
            ("/etc/passwd", "files are not"),
            ("file:///etc/passwd", "files are not"),
            ("<password>", "use `password_env`"),
            ("!secret ops", "use `password_env`"),
        ] {
            let doubt = doubt("password", value, Expected::Secret).unwrap_or_default();
            assert!(doubt.contains(said), "{value}: {doubt}");
            assert!(!doubt.contains(value), "{value}: {doubt}");
        }
        for value in [
            "hunter2", "$ecret", "\"", "'", "pa$$word", "!x", "/Ab+cd==", "%41%42", "a{b}c", "$1",
            "<>", "xoxb-1",
        ] {
            assert_eq!(doubt("password", value, Expected::Secret), None, "{value}");
        }
        assert!(doubt("username", "\"anna\"", Expected::Plain).is_some());
        assert!(doubt("username", "$USER", Expected::Plain).is_some());
        assert_eq!(doubt("socket", "/etc/passwd", Expected::Plain), None);
        for url in ["https://$HOST/x", "https://ops.example.com/$OPS_TOKEN"] {
            assert!(doubt("url", url, Expected::Secret).is_some(), "{url}");
        }
        for text in [
            "Bearer $TOKEN",
            "${TOKEN}",
            "Basic $(cat file)",
            "a $A_1, b",
        ] {
            assert!(names_variable(text), "{text}");
        }
        for text in [
            "pa$$WORD", "a$TOKEN", "$1", "$ecret", "${{ x }}", "$", "5 $", "$TOKENx",
        ] {
            assert!(!names_variable(text), "{text}");
        }
    }
}
