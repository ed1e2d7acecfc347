//! Cutting of JSON texts with too many values, which would take too much memory once parsed.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::json::lookup;

/// Limit on the values parsed from one text, keys included. Each takes up to a hundred bytes.
pub const MAX_VALUES: usize = 200_000;

/// Limit on the values of a loop's item, which every event of it carries along.
pub const MAX_ITEM: usize = 10_000;

/// Returns a text without the values that exceed the limit; None if all of it stays. Each list and object
/// keeps at most half of the remaining limit, so that a large one takes nothing from those after it.
pub fn cut(text: &str, most: usize) -> Option<String> {
    // A value and its separator take at least two bytes.
    if text.len() / 2 <= most {
        return None;
    }
    let mut cutter = Cutter {
        limits: vec![most],
        ..Cutter::default()
    };
    let kept: Vec<u8> = text.bytes().filter(|byte| cutter.keeps(*byte)).collect();
    cutter
        .has_cut
        .then(|| String::from_utf8(kept).expect("whole values are left out"))
}

/// Returns true if a result has more values than are parsed.
pub fn is_large(result: &str) -> bool {
    cut(result, MAX_VALUES / 2).is_some()
}

/// Size of the node of a value in memory, in bytes.
const ENTRY: usize = 32;

/// Returns the approximate size of a value in memory, in bytes.
pub fn footprint(value: &Value) -> usize {
    let inner = match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(_) => ENTRY,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(footprint).sum(),
        Value::Object(members) => return footprint_of(members),
    };
    size_of::<Value>() + inner
}

/// Returns the same for the members of an object.
pub fn footprint_of(members: &Map<String, Value>) -> usize {
    let each = members
        .iter()
        .map(|(key, value)| 2 * ENTRY + key.len() + footprint(value));
    size_of::<Value>() + each.sum::<usize>()
}

/// Returns a text without the white space between its values.
pub fn compact(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keeps = |character: &char| {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        in_string || !character.is_ascii_whitespace()
    };
    text.chars().filter(keeps).collect()
}

/// Scans a text, and decides for each byte if it stays.
#[derive(Default)]
struct Cutter {
    /// For each open list and object, the value count at which it is cut.
    limits: Vec<usize>,
    seen: usize,
    in_string: bool,
    escaped: bool,
    /// Number of brackets open inside the one whose rest is skipped.
    skipped: Option<usize>,
    has_cut: bool,
}

impl Cutter {
    fn keeps(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = self.in_string,
            b'"' => self.in_string = !self.in_string,
            _ if self.in_string => {}
            b'{' | b'[' => self.open(),
            b'}' | b']' => self.close(),
            b',' | b':' if self.skipped.is_none() => {
                self.seen += 1;
                let limit = self.limits.last().copied().unwrap_or_default();
                if byte == b',' && self.seen > limit {
                    self.skipped = Some(0);
                    self.has_cut = true;
                }
            }
            _ => {}
        }
        self.skipped.is_none()
    }

    fn open(&mut self) {
        if let Some(depth) = &mut self.skipped {
            *depth += 1;
            return;
        }
        self.seen += 1;
        let limit = self.limits.last().copied().unwrap_or_default();
        let left = limit.saturating_sub(self.seen);
        self.limits.push(self.seen + left / 2);
    }

    fn close(&mut self) {
        match self.skipped {
            Some(depth) if depth > 0 => self.skipped = Some(depth - 1),
            _ => {
                self.skipped = None;
                if self.limits.len() > 1 {
                    self.limits.pop();
                }
            }
        }
    }
}

/// Text of an event that is small enough to parse, and the part that stays text.
pub struct Light<'a> {
    pub text: Cow<'a, str>,
    /// The whole result, if the text holds only a part of it.
    pub result: Option<Box<RawValue>>,
    /// True if something else was cut.
    pub truncated: bool,
}

/// Cuts a text to a size that may be parsed.
pub fn lighten(text: &str) -> Light<'_> {
    let mut light = Light {
        text: Cow::Borrowed(text),
        result: None,
        truncated: false,
    };
    if text.len() / 2 <= MAX_VALUES {
        return light;
    }
    if let Some(result) = lookup::member(text, "result")
        && let Some(short) = cut(result.get(), MAX_VALUES / 2)
    {
        // Both are slices of the same text.
        let begin = result.get().as_ptr() as usize - text.as_ptr() as usize;
        let end = begin + result.get().len();
        light.text = Cow::Owned([&text[..begin], &short, &text[end..]].concat());
        light.result = RawValue::from_string(compact(result.get())).ok();
    }
    if let Some(short) = cut(&light.text, MAX_VALUES) {
        light.text = Cow::Owned(short);
        light.truncated = true;
    }
    light
}

/// Parses a value, cut if it is too large.
pub fn value(text: &str) -> serde_json::Result<Value> {
    match cut(text, MAX_VALUES / 2) {
        Some(short) => serde_json::from_str(&short),
        None => serde_json::from_str(text),
    }
}

/// Deserialises a value of any type.
pub fn deserialize<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    let raw: Option<&RawValue> = serde::Deserialize::deserialize(deserializer)?;
    let value = raw.map(|raw| value(raw.get())).transpose();
    value.map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(count: usize) -> String {
        format!("[{}1]", "1,".repeat(count - 1))
    }

    #[test]
    fn what_is_too_much_is_left_out_and_the_rest_stays() {
        let text = format!(
            r#"{{"a":{},"b":{{"c":{},"d":[{{"e":"],"}}]}},"f":2}}"#,
            list(1000),
            list(1000)
        );
        assert_eq!(cut(&text, text.len()), None);
        let short: Value = serde_json::from_str(&cut(&text, 400).unwrap()).unwrap();
        let length = |value: &Value| value.as_array().unwrap().len();
        assert!((90..=200).contains(&length(&short["a"])), "{short}");
        assert!((10..=100).contains(&length(&short["b"]["c"])), "{short}");
        assert_eq!(
            (&short["b"]["d"][0]["e"], &short["f"]),
            (&"],".into(), &2.into())
        );
    }

    #[test]
    fn only_what_stands_in_texts_keeps_its_blanks() {
        let text = "{ \"a b\" :\n [ 1, \"\\\" \\\\\", 2 ] }";
        assert_eq!(compact(text), "{\"a b\":[1,\"\\\" \\\\\",2]}");
    }

    #[test]
    fn however_the_values_stand_few_are_left() {
        let objects = |count| format!("[{}{{}}]", r#"{"a":[]},"#.repeat(count));
        let nested = format!("{}2{}", "[1,".repeat(3000), "]".repeat(3000));
        for text in [list(5000), objects(2000), nested] {
            let short = cut(&text, 1000).unwrap();
            assert!(serde_json::from_str::<serde::de::IgnoredAny>(&short).is_ok());
            assert!(
                short.matches([',', '[', '{']).count() <= 1000 + 3000,
                "{}",
                short.len()
            );
        }
    }

    #[test]
    fn a_large_result_stays_whole_beside_what_is_read() {
        let result = list(MAX_VALUES);
        let text = format!(r#"{{"state":"ok","result":{result},"item":1}}"#);
        let light = lighten(&text);
        assert_eq!(light.result.unwrap().get(), result);
        assert!(!light.truncated && light.text.ends_with(r#"],"item":1}"#));
        let text = text.replace("result", "other");
        let light = lighten(&text);
        assert!(light.truncated && light.result.is_none());
        assert!(serde_json::from_str::<Value>(&light.text).is_ok());
    }
}
