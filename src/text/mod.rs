//! Escaping and cutting of event values in messages, so that they are shown literally and have no other effect.

pub mod sequences;

use std::borrow::Cow;
use std::fmt::Write as _;

/// Markup of a service's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// No markup: only characters that control a terminal or a protocol are removed.
    Plain,
    /// HTML, as mail and Telegram accept it.
    Html,
    /// Slack's mrkdwn: `&`, `<` and `>` (Slack, "Formatting text for app surfaces").
    Mrkdwn,
    /// Markdown as Mattermost, Rocket.Chat, Discord and Teams accept it; nobody is mentioned.
    Markdown,
    /// Markdown without backslashes, as Zulip has it: characters with a meaning become entities.
    Entities,
    /// A segment of a URL's path or a value of its query (RFC 3986, section 2).
    Url,
    /// An item of a list: its commas and line breaks become [`INNER`], so that they do not separate items.
    Item,
    /// A choice: an undefined value in it becomes [`UNDEFINED`], so that it differs from an empty text.
    Choice,
}

/// Placeholder for a separator inside an item of a list: a noncharacter, which no text contains.
pub const INNER: char = '\u{fdd0}';

/// Mark of an undefined value in a choice.
pub const UNDEFINED: &str = "\u{fdd1}";

impl Escape {
    /// Every markup.
    pub const ALL: [Escape; 8] = [
        Escape::Plain,
        Escape::Html,
        Escape::Mrkdwn,
        Escape::Markdown,
        Escape::Entities,
        Escape::Url,
        Escape::Item,
        Escape::Choice,
    ];

    /// Returns the name of this markup in templates.
    pub fn name(self) -> &'static str {
        match self {
            Escape::Plain => "plain",
            Escape::Html => "html",
            Escape::Mrkdwn => "mrkdwn",
            Escape::Markdown => "markdown",
            Escape::Entities => "entities",
            Escape::Url => "url",
            Escape::Item => "item",
            Escape::Choice => "choice",
        }
    }

    /// Returns the markup of a name; None for any other word.
    pub fn named(name: &str) -> Option<Escape> {
        Escape::ALL.into_iter().find(|escape| escape.name() == name)
    }

    /// Escapes `text` for a message of this markup.
    pub fn apply(self, text: &str) -> String {
        let text = printable(text);
        let mut escaped = String::with_capacity(text.len());
        for character in text.chars() {
            match (self, character) {
                (Escape::Html | Escape::Mrkdwn | Escape::Entities, '&') => {
                    escaped.push_str("&amp;")
                }
                (Escape::Html | Escape::Mrkdwn | Escape::Entities, '<') => escaped.push_str("&lt;"),
                (Escape::Html | Escape::Mrkdwn | Escape::Entities, '>') => escaped.push_str("&gt;"),
                (Escape::Html, '"') => escaped.push_str("&quot;"),
                (Escape::Url, _) if !is_unreserved(character) => {
                    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(escaped, "%{byte:02X}");
                    }
                }
                (Escape::Item, ',' | '\n') => escaped.push(INNER),
                (Escape::Markdown, '@') => escaped.push_str("@\u{200b}"),
                (Escape::Entities, _) if character != '\\' && MARKDOWN.contains(character) => {
                    let _ = write!(escaped, "&#{};", u32::from(character));
                }
                (Escape::Markdown, _) if MARKDOWN.contains(character) => {
                    let _ = write!(escaped, "\\{character}");
                }
                _ => escaped.push(character),
            }
        }
        escaped
    }
}

fn is_unreserved(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-._~".contains(character)
}

/// Characters with a meaning in the middle of a line of Markdown.
const MARKDOWN: &str = "\\`*_~[]<>|#";

/// Removes escape sequences, characters that reorder a line, and control characters other than line breaks
/// and tabs.
pub fn printable(text: &str) -> Cow<'_, str> {
    let bad = |character: char| !matches!(character, '\n' | '\t') && steers_terminal(character);
    if text.contains(bad) {
        let text = sequences::removed(text);
        Cow::Owned(text.replace("\r\n", "\n").replace(bad, ""))
    } else {
        Cow::Borrowed(text)
    }
}

/// Joins `text` into one line.
pub fn one_line(text: &str) -> String {
    let text = printable(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ")
}

/// Mark of a text that was cut.
const CUT: &str = " […]";

/// Cuts `text` to at most `most`, as counted by `measure`, between two characters and never inside an
/// entity such as `&amp;` or an escape, and marks the cut.
pub fn cut(text: &str, most: usize, measure: fn(char) -> usize) -> Cow<'_, str> {
    let size = |text: &str| text.chars().map(measure).sum::<usize>();
    if size(text) <= most {
        return Cow::Borrowed(text);
    }
    let mut room = most.saturating_sub(size(CUT));
    let fits = |(_, character): &(usize, char)| {
        let fits = measure(*character) <= room;
        room = room.saturating_sub(measure(*character));
        fits
    };
    let end = text
        .char_indices()
        .take_while(fits)
        .last()
        .map_or(0, |(index, character)| index + character.len_utf8());
    let mut kept = &text[..end];
    if let Some(start) = kept.rfind('&').filter(|start| end - start < 7)
        && !kept[start..].contains(';')
    {
        kept = &kept[..start];
    }
    Cow::Owned(format!("{}{CUT}", kept.trim_end_matches(['\\', ' ', '\n'])))
}

/// Returns the end of `text`, at most `most` bytes: whole lines, or as much of the last one as fits.
pub fn last_part(text: &str, most: usize) -> &str {
    let Some(excess) = text.len().checked_sub(most).filter(|excess| *excess > 0) else {
        return text;
    };
    let mut boundaries = (excess..text.len()).filter(|index| text.is_char_boundary(*index));
    let start = boundaries.next().unwrap_or(text.len());
    let rest = &text[start..];
    let is_line = text[..start].ends_with('\n');
    let line = rest.find('\n').filter(|_| !is_line).map(|end| end + 1);
    &rest[line.filter(|line| *line < rest.len()).unwrap_or(0)..]
}

/// Cuts HTML to at most `most`, as counted by `measure`. A cut would leave tags open, so cut HTML has none.
pub fn cut_html(html: &str, most: usize, measure: fn(char) -> usize) -> Cow<'_, str> {
    if html.chars().map(measure).sum::<usize>() <= most {
        return Cow::Borrowed(html);
    }
    let text = Escape::Html.apply(&without_markup(html));
    Cow::Owned(cut(&text, most, measure).into_owned())
}

/// Returns the text of HTML, limited to the tags and entities used in messages.
pub fn without_markup(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut pieces = html.split('<');
    text.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        match piece.split_once('>') {
            Some((tag, rest)) if is_tag(tag) => {
                if tag.trim_end_matches([' ', '/']) == "br" {
                    text.push('\n');
                }
                text.push_str(rest);
            }
            // The user's own text, where it is not markup.
            _ => {
                text.push('<');
                text.push_str(piece);
            }
        }
    }
    [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&amp;", "&"),
    ]
    .iter()
    .fold(text, |text, (entity, character)| {
        text.replace(entity, character)
    })
}

/// Tags that services accept.
const TAGS: [&str; 31] = [
    "a",
    "b",
    "blockquote",
    "br",
    "code",
    "del",
    "div",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "hr",
    "i",
    "img",
    "ins",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "span",
    "strike",
    "strong",
    "table",
    "td",
    "tg-emoji",
    "tg-spoiler",
    "tr",
    "u",
    "ul",
];

/// Returns true if the text between `<` and `>` is one of them.
fn is_tag(inner: &str) -> bool {
    let name = inner.strip_prefix('/').unwrap_or(inner);
    let name = name.split([' ', '\n', '/']).next().unwrap_or_default();
    TAGS.contains(&name.to_ascii_lowercase().as_str())
}

/// Counts characters, as Slack, Discord, PagerDuty and most others do.
pub fn characters(_: char) -> usize {
    1
}

/// Counts UTF-8 bytes, as IRC and Amazon SNS do.
pub fn bytes(character: char) -> usize {
    character.len_utf8()
}

/// Counts UTF-16 units, as Telegram and Twilio do.
pub fn utf16(character: char) -> usize {
    character.len_utf16()
}

/// Counts the bytes of a character in JSON.
pub fn json_bytes(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\t' => 2,
        _ => character.len_utf8(),
    }
}

/// Escapes everything in `text` that could control a terminal, including line breaks.
pub fn visible(text: &str) -> String {
    escaped(text, |_| false, as_text)
}

/// Like [`visible`], for text of several lines: line breaks and tabs stay.
pub fn visible_lines(text: &str) -> String {
    escaped(text, |character| matches!(character, '\n' | '\t'), as_text)
}

/// Like [`visible`], for JSON, which stays valid.
pub fn visible_json(text: &str) -> String {
    escaped(text, |character| character == '\n', as_json)
}

fn escaped(text: &str, keep: fn(char) -> bool, written: fn(u32) -> String) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if keep(character) || !steers_terminal(character) {
            shown.push(character);
        } else {
            shown.push_str(&written(character.into()));
        }
    }
    shown
}

fn as_text(code: u32) -> String {
    format!("\\u{{{code:x}}}")
}

fn as_json(code: u32) -> String {
    format!("\\u{code:04x}")
}

/// Returns true for C0 and C1 controls, and for bidirectional controls that can reorder a line.
pub fn steers_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns `; did you mean …?` if one of the known words is close enough.
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}

/// Returns the known word that is close enough to `word` to be meant by it.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(word, known), known))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    near.map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_markup_is_disarmed() {
        let text = "<b> & \"*x*\" @all\u{1b}[2J\u{202e}";
        let html = "&lt;b&gt; &amp; &quot;*x*&quot; @all";
        for (escape, expected) in [
            (Escape::Plain, "<b> & \"*x*\" @all"),
            (Escape::Html, html),
            (Escape::Mrkdwn, "&lt;b&gt; &amp; \"*x*\" @all"),
            (Escape::Url, "%3Cb%3E%20%26%20%22%2Ax%2A%22%20%40all"),
            (Escape::Entities, "&lt;b&gt; &amp; \"&#42;x&#42;\" @all"),
            (Escape::Markdown, "\\<b\\> & \"\\*x\\*\" @\u{200b}all"),
        ] {
            assert_eq!(escape.apply(text), expected);
            assert_eq!(Escape::named(escape.name()), Some(escape));
        }
    }

    #[test]
    fn a_text_is_cut_between_characters_and_marked() {
        assert_eq!(cut("short", 5, characters), "short");
        assert_eq!(cut("longer text", 8, characters), "long […]");
        // The mark itself takes 4 characters, 6 bytes.
        assert_eq!(cut("ééééé", 9, bytes), "é […]");
        assert_eq!(cut("😀😀😀😀", 7, utf16), "😀 […]");
        assert_eq!(cut("a &amp; b and more", 9, characters), "a […]");
        assert_eq!(cut("a\\*b, c, d", 6, characters), "a […]");
        assert_eq!(cut("x", 0, characters), " […]");
    }

    #[test]
    fn html_that_is_cut_has_no_open_tag() {
        let own = "<b>x < y</b> and <web1> <a href=\"u\">z</a> <";
        assert_eq!(without_markup(own), "x < y and <web1> z <");
        let html = "<b>a &lt;&amp;lt;</b><br/>c <i>and more</i>";
        assert_eq!(without_markup(html), "a <&lt;\nc and more");
        assert_eq!(cut_html(html, 100, characters), html);
        assert_eq!(cut_html(html, 17, characters), "a &lt;&amp;lt […]");
    }

    #[test]
    fn one_line_holds_no_other() {
        assert_eq!(one_line(" a\r\nPRIVMSG\tb \u{7}"), "a PRIVMSG b");
    }

    #[test]
    fn escape_sequences_and_bidi_controls_are_made_visible() {
        assert_eq!(visible("\u{1b}]0;x\u{7}"), "\\u{1b}]0;x\\u{7}");
        assert_eq!(visible("a\u{202e}b\nc\u{9b}"), "a\\u{202e}b\\u{a}c\\u{9b}");
        assert_eq!(visible_lines("a\tb\nc\r"), "a\tb\nc\\u{d}");
    }
}
