//! Lookup of a part of a JSON text without parsing the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::json::depth::is_shallow;

/// Returns the keys of an expression that only selects a part of the result: `result.ansible_facts.packages`.
pub fn keys_of(expression: &str) -> Option<Vec<String>> {
    let is_name = |key: &str| {
        let rest = |character: char| character.is_ascii_alphanumeric() || character == '_';
        key.starts_with(|first: char| rest(first) && !first.is_ascii_digit())
            && key.chars().all(rest)
    };
    let keys = expression.trim().strip_prefix("result.")?.split('.');
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    keys.iter().all(|key| is_name(key)).then_some(keys)
}

/// Returns the raw JSON at `keys`; None if it is absent, or a number or otherwise in a form that only a
/// full parse handles safely.
pub fn part<'a>(whole: &'a RawValue, keys: &[String]) -> Option<&'a RawValue> {
    let mut part = whole;
    for key in keys {
        let mut deserializer = serde_json::Deserializer::from_str(part.get());
        part = Under(key).deserialize(&mut deserializer).ok()??;
    }
    let text = part.get();
    let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
    let surrogates = || text.contains("\\ud") || text.contains("\\uD");
    (!is_number && !surrogates() && is_shallow(text)).then_some(part)
}

/// Returns the raw value of a key of an object, in any form.
pub fn member<'a>(object: &'a str, key: &str) -> Option<&'a RawValue> {
    let mut deserializer = serde_json::Deserializer::from_str(object);
    Under(key).deserialize(&mut deserializer).ok()?
}

/// Returns true if an object has exactly one member.
pub fn is_single(object: &str) -> bool {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = usize;

        fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
            formatter.write_str("an object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<usize, M::Error> {
            let mut count = 0;
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                count += 1;
            }
            Ok(count)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(object);
    deserializer
        .deserialize_map(Members)
        .is_ok_and(|count| count == 1)
}

/// Finds the value of a key; the last one, if it occurs more than once.
struct Under<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Under<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Under<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<str>>()? {
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, expression: &str) -> Option<String> {
        let whole = RawValue::from_string(text.to_owned()).unwrap();
        let keys = keys_of(expression)?;
        part(&whole, &keys).map(|part| part.get().to_owned())
    }

    #[test]
    fn a_part_is_found_as_it_is() {
        let text =
            r#"{"b":{"a":1},"a":{"x\u0079":[1e400, {"c":"é"}]},"a":{"xy":"z"},"rc":2,"n":null}"#;
        assert_eq!(found(text, "result.a.xy").unwrap(), "\"z\"");
        assert_eq!(found(text, " result.b ").unwrap(), r#"{"a":1}"#);
        assert_eq!(found(text, "result.n").unwrap(), "null");
        for missing in ["result.c", "result.rc.x", "result.a.xy.z", "result.rc"] {
            assert_eq!(found(text, missing), None, "{missing}");
        }
    }

    #[test]
    fn what_is_to_be_read_with_care_is_left_to_those_who_do() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(found(&deep, "result.a"), None);
        assert_eq!(found(r#"{"a":["\ud800"]}"#, "result.a"), None);
        assert_eq!(found("[]", "result.a"), None);
    }

    #[test]
    fn only_names_after_the_result_are_keys() {
        assert_eq!(keys_of("result.a_1.B").unwrap(), ["a_1", "B"]);
        for other in [
            "result",
            "result.",
            "result.a[0]",
            "result.a | length",
            "result.a.0",
            "host.a",
            "result.items()",
        ] {
            assert_eq!(keys_of(other), None, "{other}");
        }
    }
}
