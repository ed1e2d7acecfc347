//! Form of a message: RFC 5424, with the fields of `[outputs]` as structured data.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::Record;
use crate::event::time_text;
use crate::text::{bytes, cut};

/// Limits of the header's fields, in bytes (RFC 5424, section 6).
const HOSTNAME: usize = 255;
const APP_NAME: usize = 48;
const PROCID: usize = 128;
const MSGID: usize = 32;
/// Limit of the name of a parameter or an element, in bytes (RFC 5424, section 6).
const SD_NAME: usize = 32;
/// Limit of the value of a parameter, in bytes before it is escaped.
const SD_VALUE: usize = 1024;
/// Mark of a text that is not ASCII (RFC 5424, section 6.4).
const BOM: &str = "\u{feff}";

/// Settings of messages, the same for every event.
pub struct Layout {
    pub facility: u8,
    pub app_name: String,
    /// Name of this machine, where the messages come from.
    pub hostname: String,
    /// SD-ID of the structured data; None leaves it out.
    pub element: Option<String>,
    /// Size limit of a message, in bytes; in the journal, that of each field.
    pub max_size: usize,
}

impl Layout {
    /// Returns the message about an event.
    pub fn line(&self, record: &Record) -> Vec<u8> {
        let event = record.message.context.event();
        let mut line = format!(
            "<{}>1 {} {} {} {} {} ",
            self.facility * 8 + record.severity,
            time_text(event.time),
            token(&self.hostname, HOSTNAME),
            token(&self.app_name, APP_NAME),
            token(&event.run.id, PROCID),
            token(event.event.name(), MSGID),
        );
        let room = (self.max_size / 2).saturating_sub(line.len());
        line.push_str(&self.structured(record, room));
        line.push(' ');
        if !record.text.is_ascii() {
            line.push_str(BOM);
        }
        let room = self.max_size.saturating_sub(line.len());
        line.push_str(&cut(&record.text, room, bytes));
        line.into_bytes()
    }

    /// Returns the structured data: the fields that fit into `room`, in bytes.
    fn structured(&self, record: &Record, room: usize) -> String {
        let Some(element) = &self.element else {
            return "-".to_owned();
        };
        let mut data = format!("[{element}");
        for (name, value) in &record.fields {
            let value = escaped(&cut(value, SD_VALUE, bytes));
            let parameter = format!(" {}=\"{value}\"", sd_name(name));
            if data.len() + parameter.len() < room {
                data.push_str(&parameter);
            }
        }
        data.push(']');
        data
    }
}

/// Reads an APP-NAME.
pub fn app_name(text: &str) -> Result<String, String> {
    match text.len() <= APP_NAME && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`app_name` must have at most {APP_NAME} ASCII characters, and no spaces"
        )),
    }
}

/// Reads an SD-ID, such as `ansible@32473`; `false` stands for none. A name without a number is reserved for the IANA.
pub fn element(text: &str) -> Result<Option<String>, String> {
    if text == "false" {
        return Ok(None);
    }
    let is_number = |number: &str| {
        let mut parts = number.split('.');
        parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let is_own = text
        .split_once('@')
        .is_some_and(|(name, number)| !name.is_empty() && is_number(number));
    match is_own && text.len() <= SD_NAME && sd_name(text) == text {
        true => Ok(Some(text.to_owned())),
        false => Err(format!(
            "`structured_data` must be `false` or a name with your enterprise number, such as ansible@32473, of at most {SD_NAME} characters"
        )),
    }
}

/// Returns a field of the header: printable ASCII without spaces, `-` if it is empty.
fn token(text: &str, most: usize) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    match text.len() {
        0 => Cow::Borrowed("-"),
        length if is_plain && length <= most => Cow::Borrowed(text),
        _ => Cow::Owned(graphic(text).take(most).collect()),
    }
}

/// Returns the name of an element or a parameter (RFC 5424, section 6.3.3).
fn sd_name(text: &str) -> String {
    let allowed = |one| match one {
        '=' | ']' | '"' => '_',
        one => one,
    };
    graphic(text).map(allowed).take(SD_NAME).collect()
}

fn graphic(text: &str) -> impl Iterator<Item = char> {
    let shown = |one: char| if one.is_ascii_graphic() { one } else { '_' };
    text.chars().map(shown)
}

/// Escapes the value of a parameter (RFC 5424, section 6.3.3).
fn escaped(value: &str) -> String {
    value.chars().fold(String::new(), |mut text, one| {
        if matches!(one, '"' | '\\' | ']') {
            text.push('\\');
        }
        let _ = text.write_char(one);
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_field_ends_it() {
        assert_eq!(escaped(r#"a"b]c\d"#), r#"a\"b\]c\\d"#);
        assert_eq!(sd_name("a b]c=ü"), "a_b_c__");
        assert_eq!(sd_name(&"x".repeat(40)).len(), 32);
        assert_eq!(token("", 5), "-");
        assert_eq!(token("web 1.example", 5), "web_1");
    }

    #[test]
    fn an_element_has_an_enterprise_number() {
        assert_eq!(element("false"), Ok(None));
        for right in ["ansible@32473", "a@1.2"] {
            assert_eq!(element(right), Ok(Some(right.to_owned())));
        }
        for wrong in ["ansible", "@1", "a@", "a@x", "a b@1", "a@1.", "a]@1"] {
            assert!(element(wrong).is_err(), "{wrong}");
        }
    }
}
