//! Keys and patterns of `[mask]` that are valid, but would hide something else than intended, or nothing.

use regex::Regex;

use super::seems_commented;

/// Text with every kind of boundary in it.
const PROBE: &str = "\na \u{e9}-1\n";

/// Beginnings that only a regular expression has.
const OF_EXPRESSIONS: [&str; 8] = ["regex:", "re:", "^", "(", ".*", ".+", "/", "~"];

/// Returns the problem of a name in `keys`.
pub fn key(key: &str) -> Option<&'static str> {
    let is_enclosed = |one: char| "\"'[]`".contains(one);
    if seems_commented(key) || key.starts_with('#') {
        return Some("contains what looks like a comment; put a comment on a line of its own");
    }
    if key.starts_with(is_enclosed) || key.ends_with(is_enclosed) {
        return Some(
            "has quotes or brackets, which would be part of the name; write `keys = password, *_token`",
        );
    }
    let is_expression = OF_EXPRESSIONS.iter().any(|begin| key.starts_with(begin));
    if is_expression || key.ends_with('$') || key.contains(['\\', '|']) {
        return Some(
            "looks like a regular expression, but `keys` takes names, in which `*` stands for any characters and `?` for one; write `*password*`",
        );
    }
    key.contains(';')
        .then_some("contains `;`; separate names with commas")
}

/// Returns the problem of a pattern.
pub fn pattern(line: &str, pattern: &Regex) -> Option<String> {
    if seems_commented(line) {
        let text = "contains what looks like a comment; put a comment on a line of its own, and write `[#]` or `[;]` for a literal one";
        return Some(text.to_owned());
    }
    for quote in ["\"", "'", "`"] {
        let inner = line
            .strip_prefix(quote)
            .and_then(|line| line.strip_suffix(quote));
        if inner.is_some_and(|inner| !inner.contains(quote)) {
            return Some(format!(
                "is in quotes, which would be part of the pattern; remove them, or write `[{quote}]` for a literal one"
            ));
        }
    }
    if let Some((inner, flags)) = in_slashes(line) {
        let flags = match flags.contains('i') {
            true => "(?i)",
            false => "",
        };
        return Some(format!(
            "is in slashes, which would be part of the pattern; write `{flags}{inner}`, or `[/]` for a literal slash"
        ));
    }
    can_be_empty(pattern).then(|| {
        "can match the empty text; write `+` instead of `*`, or add a part that is always present".to_owned()
    })
}

/// Returns the parts of a pattern that is written `/pattern/flags`, as in JavaScript or Perl.
fn in_slashes(line: &str) -> Option<(&str, &str)> {
    let (inner, flags) = line.strip_prefix('/')?.rsplit_once('/')?;
    let is_flag = |one: char| "dgimsuvxy".contains(one);
    let is_one = !inner.is_empty() && !inner.replace("\\/", "").contains('/');
    (is_one && flags.chars().all(is_flag)).then_some((inner, flags))
}

fn can_be_empty(pattern: &Regex) -> bool {
    let is_empty = |text: &str, at: usize| {
        let found = pattern.find_at(text, at);
        found.is_some_and(|found| found.is_empty())
    };
    let places = (0..=PROBE.len()).filter(|at| PROBE.is_char_boundary(*at));
    is_empty("", 0) || places.into_iter().any(|at| is_empty(PROBE, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_would_hide_nothing_are_found() {
        for wrong in [
            "\"password\"",
            "'token'",
            "[password",
            "token]",
            "password # all",
            "# password",
            "regex:^x",
            "^x",
            "x$",
            ".*password.*",
            "(?i)x",
            "/x/",
            "a|b",
            "\\w+",
            "a;b",
        ] {
            assert!(key(wrong).is_some(), "{wrong}");
        }
        for right in [
            "*password*",
            "api?key",
            "a-b_c.d",
            "spring.*",
            "user's",
            "$ref",
            "C#",
            "*",
        ] {
            assert_eq!(key(right), None, "{right}");
        }
    }

    #[test]
    fn patterns_that_would_hide_something_else_are_found() {
        let problem = |text: &str| pattern(text, &crate::event::mask::pattern(text).unwrap());
        for (wrong, said) in [
            ("x # comment", "comment"),
            ("x ;c", "comment"),
            ("\"geheim\"", "quotes"),
            ("'a'", "quotes"),
            ("/x/i", "write `(?i)x`"),
            ("/x/", "write `x`"),
            ("x*", "empty"),
            (".*", "empty"),
            ("^", "empty"),
            ("\\b\\w*\\b", "empty"),
            ("\\B", "empty"),
            ("(a)?", "empty"),
            ("^a*$", "empty"),
        ] {
            let found = problem(wrong).unwrap_or_default();
            assert!(found.contains(said), "{wrong}: {found}");
        }
        for right in [
            "x+",
            "key=(\\w*)",
            "^pin: .*$",
            "a#b",
            "/srv/secret/",
            "/etc/x y",
            "\"a\": \"b\"",
            "Bearer (\\S+)",
            "(?s)BEGIN.*?END",
            "Job [#]\\d",
            "\\bx\\b",
        ] {
            assert_eq!(problem(right), None, "{right}");
        }
    }
}
