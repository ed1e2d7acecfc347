//! Secrets with some of their characters escaped as in JSON, HTML, URLs and programming languages. Each
//! format may choose different characters, and formats may be nested.

use super::Case;

/// Limit of nested escapes.
const MAX_LAYERS: usize = 3;

/// Non-letters for which HTML has a name.
const ENTITIES: [(char, &str); 6] = [
    ('&', "amp;"),
    ('<', "lt;"),
    ('>', "gt;"),
    ('"', "quot;"),
    ('\'', "apos;"),
    ('\u{a0}', "nbsp;"),
];

/// Replaces `value` wherever it occurs in `text`, escaped or not; None if it does not occur.
pub fn replace(text: &str, value: &str, case: Case, by: &str) -> Option<String> {
    let is_plain = !text.contains(['\\', '%', '&', '+']);
    if is_plain && (case == Case::Exact || value.is_ascii()) {
        // An unescaped occurrence has already been found.
        return None;
    }
    let first = value.chars().next()?;
    let matcher = Matcher { text, case };
    let mut replaced = String::new();
    let (mut copied, mut next) = (0, 0);
    while let Some(character) = text[next..].chars().next() {
        let start = next;
        next += character.len_utf8();
        let may_be = match character {
            '%' => matcher.may_be_bytes(first, next),
            '\\' | '&' | '+' => true,
            other => matcher.is_same(other, first),
        } || matcher.is_same(character, first);
        if may_be && let Some(end) = matcher.end_of(value, start) {
            replaced.push_str(&text[copied..start]);
            replaced.push_str(by);
            (copied, next) = (end, end);
        }
    }
    (copied > 0).then(|| replaced + &text[copied..])
}

struct Matcher<'a> {
    text: &'a str,
    case: Case,
}

impl Matcher<'_> {
    /// Returns the end of `value` if it begins at `start`.
    fn end_of(&self, value: &str, start: usize) -> Option<usize> {
        let mut places = vec![start];
        for character in value.chars() {
            let mut ends = Vec::new();
            for place in places {
                self.escaped(character, place, MAX_LAYERS, &mut ends);
            }
            ends.sort_unstable();
            ends.dedup();
            places = ends;
            if places.is_empty() {
                return None;
            }
        }
        places.last().copied()
    }

    /// Returns true if the two digits after a `%` may begin the character, or another mark. Long texts in URLs and
    /// forms have many that cannot.
    fn may_be_bytes(&self, character: char, place: usize) -> bool {
        let Some(code) = self.hex(place, 2) else {
            return false;
        };
        let is_mark = b"%&\\".iter().any(|mark| u32::from(*mark) == code);
        is_mark || code >= 0x80 && !character.is_ascii() || self.is_code(code, character)
    }

    /// Adds each possible end of `character` if it begins at `start`: unescaped, or as an escape whose
    /// first character may itself be escaped.
    fn escaped(&self, character: char, start: usize, layers: usize, ends: &mut Vec<usize>) {
        let Some(first) = self.text[start..].chars().next() else {
            return;
        };
        if self.is_same(first, character) || (first == '+' && character == ' ') {
            ends.push(start + first.len_utf8());
        }
        if layers == 0 || !matches!(first, '\\' | '%' | '&') {
            return;
        }
        let after = |mark| {
            let mut places = Vec::new();
            self.escaped(mark, start, layers - 1, &mut places);
            places
        };
        for place in after('%') {
            ends.extend(self.bytes(character, place, "%"));
        }
        for place in after('&') {
            ends.extend(self.entity(character, place));
        }
        for place in after('\\') {
            ends.extend(self.backslashed(character, place));
        }
    }

    fn is_same(&self, one: char, other: char) -> bool {
        if one == other || self.case == Case::Exact {
            return one == other;
        }
        match (one.is_ascii(), other.is_ascii()) {
            (true, true) => one.eq_ignore_ascii_case(&other),
            (false, false) => one.to_lowercase().eq(other.to_lowercase()),
            // Only the Kelvin sign has a lower case in ASCII.
            _ => [one, other].contains(&'\u{212a}') && one.to_lowercase().eq(other.to_lowercase()),
        }
    }

    /// Parses this many hexadecimal digits at a position.
    fn hex(&self, place: usize, digits: usize) -> Option<u32> {
        let digits = self.text.get(place..place + digits)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_hex.then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn is_code(&self, code: u32, character: char) -> bool {
        char::from_u32(code).is_some_and(|code| self.is_same(code, character))
    }

    /// Matches what follows the first `mark`: the bytes of a character as two digits each, with the mark
    /// between them; a single byte for Latin-1.
    fn bytes(&self, character: char, place: usize, mark: &str) -> Option<usize> {
        if self.is_code(self.hex(place, 2)?, character) {
            return Some(place + 2);
        }
        let mut end = place;
        for (index, byte) in character.encode_utf8(&mut [0; 4]).bytes().enumerate() {
            let is_byte = |start: &usize| self.hex(*start, 2) == Some(byte.into());
            let rest = &self.text[end..];
            // In a text that is escaped twice, each mark is escaped too.
            let after = |nested| rest.strip_prefix(mark)?.strip_prefix(nested);
            let start_of = |rest: &str| self.text.len() - rest.len();
            end = 2 + match index {
                0 => Some(end).filter(is_byte),
                _ => ["", "25", "2525"]
                    .into_iter()
                    .filter_map(after)
                    .map(start_of)
                    .find(is_byte),
            }?;
        }
        Some(end)
    }

    /// Matches what follows a `&`: a name or a number, up to a semicolon.
    fn entity(&self, character: char, place: usize) -> Option<usize> {
        let rest = &self.text[place..];
        let is_named = |(known, name): &&(char, &str)| {
            let there = rest.as_bytes().get(..name.len());
            *known == character && there.is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
        };
        if let Some((_, name)) = ENTITIES.iter().find(is_named) {
            return Some(place + name.len());
        }
        let number = rest.strip_prefix('#')?;
        let end = number.bytes().take(9).position(|byte| byte == b';')?;
        let number = &number[..end];
        let code = match number.strip_prefix(['x', 'X']) {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => number.parse(),
        };
        self.is_code(code.ok()?, character)
            .then_some(place + end + 2)
    }

    /// Matches what follows a backslash: the character itself, a letter that stands for it, or its number.
    fn backslashed(&self, character: char, place: usize) -> Option<usize> {
        let first = self.text[place..].chars().next()?;
        let letter = match character {
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            other => other,
        };
        if first == letter && !(first.is_alphanumeric() && letter == character) {
            return Some(place + first.len_utf8());
        }
        match first {
            'x' => self.bytes(character, place + 1, "\\x"),
            'u' => self.units(character, place + 1),
            _ => None,
        }
    }

    /// Matches what follows a `\u`: the one or two UTF-16 units of a character.
    fn units(&self, character: char, place: usize) -> Option<usize> {
        let code = self.hex(place, 4)?;
        if self.is_code(code, character) {
            return Some(place + 4);
        }
        let mut units = [0; 2];
        let &mut [high, low] = character.encode_utf16(&mut units) else {
            return None;
        };
        let rest = self.text[place + 4..].trim_start_matches('\\');
        let low_place = self.text.len() - rest.len() + 1;
        let is_pair = code == u32::from(high)
            && rest.starts_with('u')
            && self.hex(low_place, 4) == Some(low.into());
        is_pair.then_some(low_place + 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "p&s <w>'\"/+\u{e9}!\u{1f600}\\~";

    #[track_caller]
    fn masked(text: &str) {
        let around = format!("it's {text}; \u{e9}");
        let expected = Some("it's -; \u{e9}".to_owned());
        assert_eq!(replace(&around, SECRET, Case::Any, "-"), expected, "{text}");
    }

    #[test]
    fn each_escapes_as_it_likes() {
        for text in [
            // JSON of Python, Go and PHP, and nested in another JSON text.
            r#"p&s <w>'\"/+\u00e9!\ud83d\ude00\\~"#,
            r#"p\u0026s \u003cw\u003e'\"/+é!😀\\~"#,
            r#"p\u0026s \u003Cw\u003E\u0027\u0022\/+\u00E9!\uD83D\uDE00\u005C~"#,
            r#"p&s <w>'\\\"/+\\u00e9!\\ud83d\\ude00\\\\~"#,
            // Parts of a URL.
            "p%26s%20%3Cw%3E'%22/%2B%C3%A9!%F0%9F%98%80%5C~",
            "p%26s+%3cw%3e%27%22%2f%2b%c3%a9%21%f0%9f%98%80%5c%7e",
            "p%2526s%2520%253Cw%253E%2527%2522%252F%252B%25C3%25A9%2521%25F0%259F%2598%2580%255C~",
            // HTML, nested in JSON, and escaped twice.
            "p&amp;s &lt;w&gt;'\"/+é!😀\\~",
            "p&#38;s &#x3C;w&#62;&apos;&quot;&#x2f;&#43;&#233;!&#128512;&#92;~",
            r#"p\u0026amp;s \u0026lt;w\u0026gt;\u0026#39;\"\/+é!😀\\~"#,
            "p&amp;amp;s &amp;lt;w&amp;gt;&amp;#39;&amp;quot;/+é!😀\\~",
            // A string literal in Python or C.
            r#"p&s <w>\'"/+\xe9!😀\\~"#,
            r#"p\x26s\x20<w>\'\"/+\xc3\xa9!\xf0\x9f\x98\x80\\~"#,
            "P&S <W>'\"/+É!😀\\~",
        ] {
            masked(text);
        }
    }

    #[test]
    fn text_without_secrets_is_unchanged() {
        for text in [
            "",
            "p&s",
            "p%26s%20%3Cw",
            "\\u00",
            "&#;&#x;&amp",
            "%%%2",
            "\\",
        ] {
            assert_eq!(replace(text, SECRET, Case::Any, "-"), None, "{text}");
        }
        assert_eq!(
            replace("a+b A+B", "a b", Case::Exact, "-").unwrap(),
            "- A+B"
        );
        assert_eq!(
            replace(
                "+ \u{212a}elvin Kelvin \u{e9}elvin",
                "kelvin",
                Case::Any,
                "-"
            )
            .unwrap(),
            "+ - - \u{e9}elvin"
        );
        for (text, masked) in [
            ("%zz%6Belvin%4Belvin", "%zz--"),
            ("%2525%256belvin", "%2525-"),
            ("%5C%5cx6belvin", "%5C-"),
            ("%26#107;elvin%", "-%"),
        ] {
            let found = replace(text, "kelvin", Case::Any, "-");
            assert_eq!(found.as_deref(), Some(masked), "{text}");
        }
        assert_eq!(
            replace("%C3%A9t%C3%A9 %e9t\u{e9}", "\u{e9}t\u{e9}", Case::Any, "-").unwrap(),
            "- -"
        );
        let marks = "%25&amp;\\\\u005c".repeat(1000);
        assert_eq!(replace(&marks, SECRET, Case::Any, "-"), None);
    }
}
