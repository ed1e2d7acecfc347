//! Text filters of Jinja and Ansible: `truncate`, `wordwrap`, `center`, `comment`, `quote`, parts of paths.

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State};

use super::arguments::{Arguments, Given};
use super::{error, text_of};
use crate::template::limits::ensure_bytes;

/// Adds these filters.
pub fn add_to(environment: &mut Environment) {
    environment.add_filter("truncate", truncate);
    environment.add_filter("wordwrap", wordwrap);
    environment.add_filter("wordcount", |text: &Value| {
        let is_word = |character: char| character.is_alphanumeric() || character == '_';
        let text = text_of(text)?;
        let words = text.split(|character| !is_word(character));
        Ok::<usize, Error>(words.filter(|word| !word.is_empty()).count())
    });
    environment.add_filter("center", center);
    environment.add_filter("comment", comment);
    environment.add_filter("format", format);
    environment.add_filter("quote", |text: &Value| {
        if text.is_none() {
            return Ok::<String, Error>("''".to_owned());
        }
        Ok(quote(&text_of(text)?))
    });
    environment.add_filter("basename", |path: &Value| {
        let path = text_of(path)?;
        Ok::<String, Error>(split_path(&path).1.to_owned())
    });
    environment.add_filter("dirname", |path: &Value| {
        let path = text_of(path)?;
        Ok::<String, Error>(split_path(&path).0.to_owned())
    });
    environment.add_filter("win_basename", |path: &Value| {
        let path = text_of(path)?;
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        Ok::<String, Error>(name.to_owned())
    });
    environment.add_filter("splitext", |path: &Value| {
        let path = text_of(path)?;
        let (root, extension) = split_extension(&path);
        Ok::<Value, Error>(Value::from_iter([root, extension]))
    });
}

/// Cuts a text at the end of a word, unless it only slightly exceeds the limit.
fn truncate(text: &Value, given: Given) -> Result<Value, Error> {
    let given = Arguments::new(given, ["length", "killwords", "end", "leeway"])?;
    let length = given.size(0, 255)?;
    let end = given.text(2, "...")?;
    let leeway = match given.get(3) {
        Some(leeway) if !leeway.is_none() => given.size(3, 5)?,
        _ => 5,
    };
    let whole = text_of(text)?;
    let end_length = end.chars().count();
    if length < end_length {
        return Err(error(format!(
            "`length` must be at least {end_length}, the length of `end`"
        )));
    }
    if whole.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.clone());
    }
    let cut: String = whole.chars().take(length - end_length).collect();
    let cut = match cut.rfind(' ') {
        Some(space) if !given.flag(1) => &cut[..space],
        _ => &cut,
    };
    Ok(Value::from(format!("{cut}{end}")))
}

/// Wraps a text at spaces to lines of a maximum width.
fn wordwrap(state: &State, text: &Value, given: Given) -> Result<String, Error> {
    let names = [
        "width",
        "break_long_words",
        "wrapstring",
        "break_on_hyphens",
    ];
    let given = Arguments::new(given, names)?;
    let width = given.size(0, 79)?;
    let wrap_string = match given.get(2) {
        Some(text) if !text.is_none() => text_of(text)?,
        _ => "\n".to_owned(),
    };
    if width == 0 {
        return Err(error("`width` must be at least 1"));
    }
    let hyphens = given.get(3).is_none_or(Value::is_true);
    let splitter = if hyphens {
        textwrap::WordSplitter::HyphenSplitter
    } else {
        textwrap::WordSplitter::NoHyphenation
    };
    let options = textwrap::Options::new(width)
        .break_words(given.get(1).is_none_or(Value::is_true))
        .wrap_algorithm(textwrap::WrapAlgorithm::FirstFit)
        .word_splitter(splitter);
    let text = text_of(text)?;
    ensure_bytes(state, text.len() * (1 + wrap_string.len()))?;
    let wrapped: Vec<String> = text
        .lines()
        .map(|line| textwrap::wrap(line, &options).join(&wrap_string))
        .collect();
    Ok(wrapped.join(&wrap_string))
}

/// Centres a text in a line of the given width.
fn center(state: &State, text: &Value, given: Given) -> Result<String, Error> {
    let given = Arguments::new(given, ["width"])?;
    let (text, width) = (text_of(text)?, given.size(0, 80)?);
    ensure_bytes(state, width)?;
    let space = width.saturating_sub(text.chars().count());
    // Python's `str.center` puts an odd space on the left if the width is odd.
    let left = space / 2 + (space & width & 1);
    Ok(format!(
        "{:left$}{text}{:right$}",
        "",
        "",
        right = space - left
    ))
}

/// Returns the text with each line as a comment.
fn comment(state: &State, text: &Value, given: Given) -> Result<String, Error> {
    let names = [
        "style",
        "decoration",
        "beginning",
        "prefix",
        "prefix_count",
        "postfix",
        "postfix_count",
        "end",
        "newline",
    ];
    let given = Arguments::new(given, names)?;
    let (decoration, beginning, end) = match given.text(0, "plain")?.as_str() {
        "plain" => ("# ", "", ""),
        "erlang" => ("% ", "", ""),
        "c" => ("// ", "", ""),
        "cblock" => (" * ", "/*", " */"),
        "xml" => (" - ", "<!--", "-->"),
        other => {
            return Err(error(format!(
                "the style must be plain, erlang, c, cblock or xml, not `{other}`"
            )));
        }
    };
    let decoration = given.text(1, decoration)?;
    let beginning = given.text(2, beginning)?;
    let prefix = given.text(3, decoration.trim_end())?;
    let postfix = given.text(5, decoration.trim_end())?;
    let end = given.text(7, end)?;
    let newline = given.text(8, "\n")?;
    let (before, after) = (given.size(4, 1)?, given.size(6, 1)?);
    let text = text_of(text)?;
    let lines = 1 + text.matches(&newline).count();
    let around = (prefix.len() + newline.len()).saturating_mul(before);
    let around = around.saturating_add((postfix.len() + newline.len()).saturating_mul(after));
    ensure_bytes(
        state,
        around.saturating_add(text.len() + lines * decoration.len()),
    )?;

    let mut out = String::new();
    if !beginning.is_empty() {
        out.push_str(&format!("{beginning}{newline}"));
    }
    if prefix == newline {
        out.push_str(&newline.repeat(before));
    } else if !prefix.is_empty() {
        out.push_str(&format!("{prefix}{newline}").repeat(before));
    }
    let body = text.replace(&newline, &format!("{newline}{decoration}"));
    let body = format!("{decoration}{body}");
    let bare = format!("{}{newline}", decoration.trim_end());
    out.push_str(&body.replace(&format!("{decoration}{newline}"), &bare));
    out.push_str(&format!("{newline}{postfix}").repeat(after));
    if !end.is_empty() {
        out.push_str(&format!("{newline}{end}"));
    }
    Ok(out)
}

/// Python's `%`; as in Python, `%d` truncates a number with a fraction.
pub fn format(
    state: &mut State,
    pattern: &Value,
    given: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let text = text_of(pattern)?;
    let mut given = given.into_values();
    for (at, conversion) in conversions(&text).enumerate() {
        let Some(value) = given.get_mut(at) else {
            break;
        };
        if "diuxXo".contains(conversion) && value.kind() == ValueKind::Number && !value.is_integer()
        {
            let whole = f64::try_from(value.clone()).map_or(0.0, f64::trunc);
            *value = Value::from(whole as i128);
        }
    }
    let given: Vec<ValueOrKwargs> = given
        .iter()
        .map(|value| {
            minijinja::value::from_args::<(ValueOrKwargs,)>(std::slice::from_ref(value))
                .map(|(value,)| value)
        })
        .collect::<Result<_, _>>()?;
    minijinja::filters::format(state, pattern, Rest(given))
}

/// Returns the conversion letters of a printf-style text that take a value.
fn conversions(text: &str) -> impl Iterator<Item = char> {
    let mut rest = text.chars();
    std::iter::from_fn(move || {
        loop {
            rest.by_ref().find(|one| *one == '%')?;
            let letter = rest
                .by_ref()
                .find(|one| !"#0- +.123456789".contains(*one))?;
            if letter != '%' {
                return Some(letter);
            }
        }
    })
}

/// Quotes a text as one word of a POSIX shell.
fn quote(text: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "_@%+=:,./-".contains(one);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\"'\"'"))
    }
}

/// Splits a path into directory and name, like Python's `os.path.split`.
fn split_path(path: &str) -> (&str, &str) {
    let (directory, name) = path.split_at(path.rfind('/').map_or(0, |at| at + 1));
    let trimmed = directory.trim_end_matches('/');
    (
        if trimmed.is_empty() {
            directory
        } else {
            trimmed
        },
        name,
    )
}

/// Splits off the extension of a path; leading dots of a name do not start one.
fn split_extension(path: &str) -> (&str, &str) {
    let name = split_path(path).1;
    let start = path.len() - name.len();
    let stem = name.trim_start_matches('.');
    match stem.rfind('.') {
        Some(dot) => path.split_at(start + name.len() - stem.len() + dot),
        None => (path, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_as_in_python() {
        for (path, root, extension) in [
            ("/a/b.tar.gz", "/a/b.tar", ".gz"),
            ("/a.d/.bashrc", "/a.d/.bashrc", ""),
            ("...", "...", ""),
            ("..a.b", "..a", ".b"),
            ("", "", ""),
        ] {
            assert_eq!(split_extension(path), (root, extension), "{path}");
        }
        assert_eq!(split_path("/a//b"), ("/a", "b"));
        assert_eq!(split_path("/a"), ("/", "a"));
        assert_eq!(split_path("a/"), ("a", ""));
    }

    #[test]
    fn conversions_are_those_that_take_a_value() {
        let found: String = conversions("%s %% %05.1f %-3d%").collect();
        assert_eq!(found, "sfd");
    }
}
