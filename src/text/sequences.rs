//! Terminal escape sequences (ECMA-48), which colour text, move the cursor or set a title.

use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

type Rest<'a> = Peekable<CharIndices<'a>>;

/// A text without its escape sequences, and the original places of its parts.
#[derive(Default)]
pub struct Plain {
    pub text: String,
    /// Start of each part in this text, and in the original.
    parts: Vec<(usize, usize)>,
}

impl Plain {
    /// Returns the original place of a nonempty part of this text, including sequences inside it.
    pub fn within(&self, range: &Range<usize>) -> Range<usize> {
        let before = |at: usize| {
            let behind = self.parts.partition_point(|(start, _)| *start <= at);
            let part = behind.checked_sub(1).map(|part| self.parts[part]);
            let (start, was) = part.unwrap_or_default();
            was + at - start
        };
        before(range.start)..before(range.end - 1) + 1
    }
}

/// Returns a text without its escape sequences, and the places of its parts; None if it has no sequence.
pub fn without(text: &str) -> Option<Plain> {
    text.contains(['\u{1b}', '\u{9b}']).then(|| parts(text))
}

/// Returns `text` without its escape sequences, complete or cut off. A control character that begins none
/// stays.
pub fn removed(text: &str) -> String {
    parts(text).text
}

fn parts(text: &str) -> Plain {
    let mut plain = Plain::default();
    let mut rest = text.char_indices().peekable();
    let mut is_new = true;
    while let Some((at, character)) = rest.next() {
        match character {
            '\u{1b}' => escape(&mut rest),
            '\u{9b}' => control(&mut rest),
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => string(&mut rest),
            _ => {
                if std::mem::take(&mut is_new) {
                    plain.parts.push((plain.text.len(), at));
                }
                plain.text.push(character);
                continue;
            }
        }
        is_new = true;
    }
    plain
}

/// Consumes the rest of a sequence after ESC: one of its own, or one that also has an 8-bit C1 control.
fn escape(rest: &mut Rest) {
    while rest
        .next_if(|(_, next)| matches!(next, ' '..='/'))
        .is_some()
    {}
    match rest.next_if(|(_, next)| matches!(next, '0'..='~')) {
        Some((_, '[')) => control(rest),
        Some((_, 'P' | 'X' | ']' | '^' | '_')) => string(rest),
        _ => {}
    }
}

/// Consumes the parameters and the end of a control sequence. A character that cannot belong to it ends it,
/// and stays.
fn control(rest: &mut Rest) {
    while rest
        .next_if(|(_, next)| matches!(next, ' '..='?'))
        .is_some()
    {}
    rest.next_if(|(_, next)| matches!(next, '@'..='~'));
}

/// Consumes a control string (DCS, SOS, OSC, PM, APC) and its terminator. An unterminated one ends with its
/// line, so that it hides no more than that.
fn string(rest: &mut Rest) {
    while let Some((_, next)) = rest.next_if(|(_, next)| !matches!(next, '\n' | '\r' | '\u{1b}')) {
        // BEL, CAN, SUB and ST.
        if matches!(next, '\u{7}' | '\u{18}' | '\u{1a}' | '\u{9c}') {
            return;
        }
    }
    let mut ahead = rest.clone();
    let mut next = || ahead.next().map(|(_, next)| next);
    if next() == Some('\u{1b}') && next() == Some('\\') {
        *rest = ahead;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_as_a_whole() {
        for (text, expected) in [
            (
                "\u{1b}[0;31mfatal\u{1b}[0m: \u{1b}[1mno script\u{1b}[22m",
                "fatal: no script",
            ),
            (
                "\u{9b}38;5;196mred\u{9b}m, \u{1b}[?25lhidden",
                "red, hidden",
            ),
            ("\u{1b}[4:3mcurly\u{1b}[ q \u{1b}[>4;2m\u{1b}[!p", "curly "),
            // Titles and links, with every terminator.
            (
                "\u{1b}]0;title\u{7}a\u{1b}]2;title\u{1b}\\b\u{9d}0;title\u{9c}c",
                "abc",
            ),
            (
                "\u{1b}]8;;https://x.example\u{1b}\\link\u{1b}]8;;\u{1b}\\",
                "link",
            ),
            (
                "\u{1b}Pq#0;2;0~~\u{1b}\\a\u{90}1$r0m\u{9c}b\u{1b}_x\u{1b}\\c\u{1b}^x\u{9c}d\u{98}x\u{9c}e",
                "abcde",
            ),
            // Character sets, saved cursors, a reset; a C1 control in both forms.
            (
                "\u{1b}(Ba\u{1b}7b\u{1b}8\u{1b}cc\u{1b}#8d\u{1b}=e\u{1b}Mf",
                "abcdef",
            ),
            // Cut off by the end, by a line break, by another sequence.
            ("a\u{1b}", "a"),
            ("a\u{1b}[", "a"),
            ("a\u{1b}[31", "a"),
            ("a\u{9b}1;", "a"),
            ("a\u{1b}]0;title", "a"),
            ("a\u{1b}]0;title\nb", "a\nb"),
            ("a\u{1b}P1\r\nb", "a\r\nb"),
            ("a\u{1b}]0;t\u{1b}[1mb", "ab"),
            ("a\u{1b}[3\nb", "a\nb"),
            ("a\u{1b}\u{1b}[1mb\u{1b}\u{e9}", "ab\u{e9}"),
            (
                "[0m is a text; so is \u{e9}[1m",
                "[0m is a text; so is \u{e9}[1m",
            ),
        ] {
            assert_eq!(removed(text), expected, "{text:?}");
        }
    }
}
