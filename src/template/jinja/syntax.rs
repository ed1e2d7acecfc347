//! Tokens of expressions: the filters and tests that one uses, and Python's `'…' % value`, which the
//! template engine lacks and which is rewritten to the filter `format`.

/// Rewrites `'text' % operand` to `'text' | format(operand)` in an expression or template.
pub fn rewrite_percent(source: &str) -> String {
    if !source.contains('%') {
        return source.to_owned();
    }
    let pieces = pieces(source).into_iter();
    pieces
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            Piece::Expression(source) => expression(source),
        })
        .collect()
}

/// Rewrites a template so that `{% set name = value %}` is limited to the memory of a template: a value can
/// be set again to hold itself twice, and so grow without bound.
pub fn rewrite_sets(source: &str) -> String {
    let pieces = pieces(source).into_iter();
    pieces
        .map(|piece| match piece {
            Piece::Expression(tag) => bounded_set(tag).unwrap_or_else(|| tag.to_owned()),
            Piece::Text(text) => text.to_owned(),
        })
        .collect()
}

/// Filter applied to every value that is set. No configuration can name it.
pub const BOUNDED: &str = "__bounded";

fn bounded_set(tag: &str) -> Option<String> {
    let (tokens, _) = tokens(tag, None);
    let mut words = tokens.iter().map(|(start, end)| &tag[*start..*end]);
    let first = words.next()?;
    let is_set = first == "set" || (matches!(first, "-" | "+") && words.next()? == "set");
    let is_assignment = |(start, end): &&(usize, usize)| &tag[*start..*end] == "=";
    let (_, start) = tokens.iter().find(is_assignment).filter(|_| is_set)?;
    let (target, value) = tag.split_at(*start);
    let value = value.trim_end();
    // The dash or plus before the end of a tag controls the blanks after it.
    let value = value.strip_suffix(['-', '+']).unwrap_or(value);
    let end = &tag[start + value.len()..];
    let is_part = target.contains('.');
    Some(format!("{target} ({value}) | {BOUNDED}({is_part}) {end}"))
}

/// Returns the filters and tests that a text uses, ignoring quoted text.
pub fn used_names(source: &str) -> (Vec<&str>, Vec<&str>) {
    let (mut filters, mut tests) = (Vec::new(), Vec::new());
    for piece in pieces(source) {
        let Piece::Expression(source) = piece else {
            continue;
        };
        let (tokens, _) = tokens(source, None);
        let words: Vec<&str> = tokens
            .iter()
            .map(|(start, end)| &source[*start..*end])
            .collect();
        let is_name = |word: &&str| word.starts_with(|one: char| one.is_alphabetic() || one == '_');
        for (at, word) in words.iter().enumerate() {
            // `is` may be a name after a dot, or a key.
            let begins = at.checked_sub(1).is_none_or(|before| words[before] == ".");
            match *word {
                "|" => filters.extend(words.get(at + 1).filter(|word| is_name(word))),
                "is" if !begins => {
                    let skip = if words.get(at + 1) == Some(&"not") {
                        2
                    } else {
                        1
                    };
                    tests.extend(words.get(at + skip).filter(|word| is_name(word)));
                }
                _ => {}
            }
        }
    }
    (filters, tests)
}

/// Returns the line, from 1 on, of the first token that is meant, given the token before it and itself.
pub fn line_of(source: &str, is_meant: impl Fn(&str, &str) -> bool) -> Option<usize> {
    let lines = |text: &str| text.matches('\n').count();
    let mut line = 1;
    for piece in pieces(source) {
        let text = match piece {
            Piece::Text(text) => text,
            Piece::Expression(text) => {
                let mut before = "";
                for (start, end) in tokens(text, None).0 {
                    let token = &text[start..end];
                    if is_meant(before, token) {
                        return Some(line + lines(&text[..start]));
                    }
                    before = token;
                }
                text
            }
        };
        line += lines(text);
    }
    None
}

/// Operators of other languages, and their replacements.
const FOREIGN: [(&str, &str); 6] = [
    ("&&", "and"),
    ("&", "and"),
    ("||", "or"),
    ("!", "not"),
    ("=~", "is search('…')"),
    ("===", "=="),
];

/// Returns the problem of a character that is invalid outside of quotes. The template engine takes some of
/// them for the end of the expression, and ignores the rest.
pub fn stray(source: &str) -> Option<String> {
    let is_template = crate::template::limits::is_template(source);
    pieces(source).into_iter().find_map(|piece| match piece {
        Piece::Text(_) => None,
        Piece::Expression(expression) => stray_of(expression, is_template),
    })
}

fn stray_of(source: &str, is_template: bool) -> Option<String> {
    let mut depth = 0_usize;
    for (start, end) in tokens(source, None).0 {
        let (token, rest) = (&source[start..end], &source[start..]);
        let first = token.chars().next()?;
        let is_ours = match first {
            '(' | '[' | '{' => {
                depth += 1;
                true
            }
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                true
            }
            // After a value it starts a comment; `check-config` warns of that.
            '#' | ';' if !is_template && start > 0 => return None,
            '|' => !rest.starts_with("||"),
            '=' if token == "=" => is_template || depth > 0,
            '=' => !rest.starts_with("==="),
            '\'' | '"' if !is_closed(token, first) => {
                return Some(format!("a quote ({first}) is not closed"));
            }
            '\'' | '"' | '_' => true,
            '+' | '-' | '*' | '/' | '%' | '.' | ',' | ':' | '~' | '<' | '>' => true,
            '!' => token == "!=",
            _ => first.is_alphanumeric(),
        };
        if !is_ours {
            return Some(not_ours(first, rest));
        }
    }
    None
}

fn is_closed(token: &str, quote: char) -> bool {
    let Some(inside) = token[1..].strip_suffix(quote) else {
        return false;
    };
    let backslashes = inside.chars().rev().take_while(|one| *one == '\\');
    backslashes.count() % 2 == 0
}

/// Returns the problem of a text that begins with a character that is not part of an expression.
fn not_ours(first: char, rest: &str) -> String {
    if ['“', '”', '„', '‘', '’'].contains(&first) {
        return format!("`{first}` is not a quote here; write ' or \"");
    }
    let foreign = FOREIGN.iter().find(|(theirs, _)| rest.starts_with(theirs));
    match foreign {
        Some((theirs, ours)) => format!("`{theirs}` is not an operator here; write `{ours}`"),
        None if first == '=' => "`=` does not compare; write `==`".to_owned(),
        None => format!("unexpected `{}`", first.escape_debug()),
    }
}

/// A part of a configured text.
enum Piece<'a> {
    /// Unchanged text: text around tags, the tags' brackets, comments.
    Text(&'a str),
    /// An expression, or the content of a tag.
    Expression(&'a str),
}

/// Splits a text into pieces; an expression is a single piece.
fn pieces(source: &str) -> Vec<Piece<'_>> {
    if !source.contains("{{") && !source.contains("{%") {
        return vec![Piece::Expression(source)];
    }
    let mut pieces = Vec::new();
    let mut rest = source;
    let begin = |rest: &str| {
        ["{{", "{%", "{#"]
            .iter()
            .filter_map(|tag| rest.find(tag))
            .min()
    };
    while let Some(start) = begin(rest) {
        let end = match &rest[start..start + 2] {
            "{{" => "}}",
            "{%" => "%}",
            _ => "#}",
        };
        let inside = start + 2;
        pieces.push(Piece::Text(&rest[..inside]));
        if end == "#}" {
            let length = rest[inside..].find(end).unwrap_or(rest.len() - inside);
            pieces.push(Piece::Text(&rest[inside..inside + length]));
            rest = &rest[inside + length..];
            continue;
        }
        let length = tokens(&rest[inside..], Some(end)).1;
        let tag = &rest[inside..inside + length];
        rest = &rest[inside + length..];
        // The content of a `raw` block is text.
        let after = if tag.trim_matches(['-', '+', ' ']) == "raw" {
            rest.find("endraw").unwrap_or(rest.len())
        } else {
            0
        };
        pieces.push(Piece::Expression(tag));
        pieces.push(Piece::Text(&rest[..after]));
        rest = &rest[after..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Returns the positions of an expression's tokens, and the end of the expression.
fn tokens(source: &str, end: Option<&str>) -> (Vec<(usize, usize)>, usize) {
    let mut tokens = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        if depth == 0 && end.is_some_and(|end| rest.starts_with(end)) {
            break;
        }
        let is_word = |one: char| one.is_alphanumeric() || one == '_';
        let length = match first {
            '"' | '\'' => text_length(rest, first),
            _ if first.is_whitespace() => {
                at += first.len_utf8();
                continue;
            }
            _ if is_word(first) => rest.find(|one| !is_word(one)).unwrap_or(rest.len()),
            _ if ["**", "//", "==", "!=", "<=", ">="]
                .iter()
                .any(|two| rest.starts_with(two)) =>
            {
                2
            }
            _ => first.len_utf8(),
        };
        match first {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        tokens.push((at, at + length));
        at += length;
    }
    (tokens, at)
}

fn text_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, one)| {
        let ends = *one == quote && !escaped;
        escaped = *one == '\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

fn expression(source: &str) -> String {
    let (tokens, _) = tokens(source, None);
    let token = |at: usize| tokens.get(at).map(|(start, end)| &source[*start..*end]);
    let is_text = |at: usize| token(at).is_some_and(|token| token.starts_with(['"', '\'']));
    let percent = (1..tokens.len()).find(|at| token(*at) == Some("%") && is_text(at - 1));
    let Some(percent) = percent else {
        return source.to_owned();
    };
    let last = operand(percent + 1, &token);
    if last == percent + 1 {
        return source.to_owned();
    }
    let (start, end) = (tokens[percent].1, tokens[last - 1].1);
    let mut operand = source[start..end].trim();
    // A tuple means several operands.
    if token(percent + 1) == Some("(")
        && closing(percent + 1, &token) == last
        && operand.ends_with(')')
    {
        operand = operand[1..operand.len() - 1].trim().trim_end_matches(',');
    }
    let before = &source[..tokens[percent].0];
    let operand = expression(operand);
    let after = expression(&source[end..]);
    format!("{before}| format({operand}){after}")
}

/// Returns the index of the token after an operand: a sign, a value, and its suffixes.
fn operand<'a>(start: usize, token: &impl Fn(usize) -> Option<&'a str>) -> usize {
    let mut at = start;
    while matches!(token(at), Some("-" | "+")) {
        at += 1;
    }
    at = match token(at) {
        None => return start,
        Some("(" | "[" | "{") => closing(at, token),
        Some(_) => at + 1,
    };
    loop {
        at = match token(at) {
            Some("." | "|") => at + 2,
            Some("(" | "[") => closing(at, token),
            _ => return at,
        };
    }
}

/// Returns the index of the token after the bracket that closes the one at `at`.
fn closing<'a>(at: usize, token: &impl Fn(usize) -> Option<&'a str>) -> usize {
    let mut depth = 0_usize;
    let mut at = at;
    while let Some(found) = token(at) {
        match found {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            break;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_before_a_percent_sign_is_formatted() {
        for (source, rewritten) in [
            ("'%s x' % host", "'%s x' | format(host)"),
            (
                "'%s %d' % (host, result.rc)",
                "'%s %d' | format(host, result.rc)",
            ),
            ("'%s' % (host,)", "'%s' | format(host)"),
            (
                "'%s' % a.b[0] | upper ~ 'x'",
                "'%s' | format(a.b[0] | upper) ~ 'x'",
            ),
            ("'%d' % -x.y(1, '2') + 1", "'%d' | format(-x.y(1, '2')) + 1"),
            ("'a' % b ~ \"c\" % d", "'a' | format(b) ~ \"c\" | format(d)"),
            ("'%s' % ('%s' % x)", "'%s' | format('%s' | format(x))"),
            ("7 % 2", "7 % 2"),
            ("a ~ '50 % of' ~ b", "a ~ '50 % of' ~ b"),
            ("'it\\'s %s' % x", "'it\\'s %s' | format(x)"),
            (
                "5 % {{ '%s' % x }}% {% if '%s' % x == y %}'a' % b{% endif %}",
                "5 % {{ '%s' | format(x) }}% {% if '%s' | format(x) == y %}'a' % b{% endif %}",
            ),
            (
                "{# '%s' % x #}{{ '}}' ~ '%s' % x }}",
                "{# '%s' % x #}{{ '}}' ~ '%s' | format(x) }}",
            ),
            ("'%s' %", "'%s' %"),
            (
                "{% raw %}{{ '%s' % x }}{% endraw %}{{ '%s' % x }}",
                "{% raw %}{{ '%s' % x }}{% endraw %}{{ '%s' | format(x) }}",
            ),
            ("'%s' % (x", "'%s' | format((x)"),
        ] {
            assert_eq!(
                rewrite_percent(source).trim_end_matches(')'),
                rewritten.trim_end_matches(')'),
                "{source}"
            );
        }
    }

    #[test]
    fn what_is_no_part_of_an_expression_is_found() {
        for (source, said) in [
            ("a && b", "write `and`"),
            ("a & b", "write `and`"),
            ("a || b", "write `or`"),
            ("!a", "write `not`"),
            ("a and !b", "write `not`"),
            ("a = 'b'", "write `==`"),
            ("a === 'b'", "write `==`"),
            ("a =~ 'b'", "is search"),
            ("a == “b”", "not a quote"),
            ("a == 'b", "not closed"),
            ("a == 'b\\'", "not closed"),
            ("a ? b : c", "unexpected `?`"),
            ("$a", "unexpected `$`"),
            ("# a", "unexpected `#`"),
            ("{{ a && b }}", "write `and`"),
            ("{% if a @ b %}x{% endif %}", "unexpected `@`"),
        ] {
            let stray = stray(source).unwrap_or_default();
            assert!(stray.contains(said), "{source}: {stray}");
        }
        for source in [
            "a == 'b' # c",
            "a['x&y'] | d(e='f', g={'h': -1.5}) is not i",
            "a != b and c <= d ** 2 // 3 % 4 ~ 'é' + größe",
            "{% set a = 1 %}{{- a -}} & b = c && 'd {# e & f #}{% raw %}{{ a & b }}{% endraw %}",
            "'it\\'s' ~ \"\\\"\"",
            "''",
        ] {
            assert_eq!(stray(source), None, "{source}");
        }
    }

    #[test]
    fn names_of_filters_and_tests_are_found() {
        let source =
            "{{ a | b(x | c) is not d and e.is.f is g }}| h {# | i #}{% if x is j('| k') %}";
        assert_eq!(used_names(source), (vec!["b", "c"], vec!["d", "g", "j"]));
        assert_eq!(used_names("a | b is c"), (vec!["b"], vec!["c"]));
    }
}
