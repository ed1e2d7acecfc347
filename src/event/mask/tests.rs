//! Tests of the mask.

use super::*;

fn mask(keys: &[&str], patterns: &[&str]) -> Mask {
    let patterns = patterns.iter().map(|text| pattern(text).unwrap());
    Mask::new(keys, patterns.collect())
}

#[test]
fn values_of_keys_are_hidden_at_any_depth() {
    let mask = mask(&["*pass*", "token?"], &[]);
    for (text, masked) in [
        (
            r#"{"a":[{"DB_Password":{"x":[1]},"b":2}]}"#,
            r#"{"a":[{"DB_Password":"[redacted]","b":2}]}"#,
        ),
        (r#"{"\u0070ass" : null}"#, r#"{"\u0070ass" : "[redacted]"}"#),
        (
            r#"{"token1":true,"token":1,"token12":1}"#,
            r#"{"token1":"[redacted]","token":1,"token12":1}"#,
        ),
    ] {
        assert_eq!(mask.json(text).as_deref(), Some(masked), "{text}");
    }
    assert_eq!(mask.json(r#"{"a":"pass","ansible_loop_var":"pass"}"#), None);
}

#[test]
fn values_of_keys_in_a_text_are_hidden() {
    let mask = mask(&["*pass*"], &[]);
    for (text, masked) in [
        (
            r#"x {"a": 1, "db_pass" : "a\"b", "c": 2}"#,
            r#"x {"a": 1, "db_pass" : "[redacted]", "c": 2}"#,
        ),
        ("{'pass': 'it', 'a': 1}", "{'pass': '[redacted]', 'a': 1}"),
        (r#"{"pass": 12}"#, r#"{"pass": "[redacted]"}"#),
        (r#"{"pass": {"a": ["}"]}}"#, r#"{"pass": "[redacted]"}"#),
        (r#""pass": "cut off"#, r#""pass": "[redacted]"#),
    ] {
        assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
        assert_eq!(mask.text(masked), None, "{masked}");
    }
    for text in ["pass: x", "\"pass\"", "\"pass\":", "\"a\": \"pass\""] {
        assert_eq!(mask.text(text), None, "{text}");
    }
}

#[test]
fn keys_are_found_in_json_within_json_at_any_level() {
    let mask = mask(&["*password*"], &[]);
    let values = ["x", "a\"b", "c\\", "\\\"", "", "l\n'm'"].map(serde_json::Value::from);
    let others = ["12", "null", "[\"a]\", {\"b\": \"}'\"}]", "{\"a\": [1]}"];
    let others = others.map(|text| serde_json::from_str(text).unwrap());
    for value in values.into_iter().chain(others) {
        let object = serde_json::json!({"a": "b", "my password": value, "z": {"y": "kept"}});
        for text in [object.to_string(), format!("{object:#}")] {
            let mut text = format!("got {text}, done");
            for level in 0..5 {
                let masked = mask.text(&text).unwrap_or_else(|| text.clone());
                let mut inner = masked.clone();
                for _ in 0..level {
                    inner = serde_json::from_str(&inner).unwrap();
                }
                let inner = inner.strip_prefix("got ").unwrap();
                let inner = inner.strip_suffix(", done").unwrap();
                let read: serde_json::Value = serde_json::from_str(inner).unwrap();
                let expected = match value.as_str() {
                    Some("") => "",
                    _ => MASK,
                };
                let rest =
                    serde_json::json!({"a": "b", "my password": expected, "z": {"y": "kept"}});
                assert_eq!(read, rest, "{text}");
                assert_eq!(mask.text(&masked), None, "{masked}");
                text = serde_json::Value::from(text).to_string();
            }
        }
    }
    for (text, masked) in [
        (
            r#"{"pass\u0077ord": "x"}"#,
            r#"{"pass\u0077ord": "[redacted]"}"#,
        ),
        (
            r#""{\"pass\\u0077ord\": \"x\"}""#,
            r#""{\"pass\\u0077ord\": \"[redacted]\"}""#,
        ),
        (
            r"{'password': {'a': '}b'}, 'c': 'd'}",
            r#"{'password': "[redacted]", 'c': 'd'}"#,
        ),
        (
            r#"sh -c "{\"password\": \"cut" && x"#,
            r#"sh -c "{\"password\": \"[redacted]" && x"#,
        ),
        (r#"echo "\"password\":" 'x'"#, r#"echo "\"password\":" 'x'"#),
    ] {
        assert_eq!(mask.text(text).as_deref().unwrap_or(text), masked);
    }
}

/// Returns a text as the content of a JSON string whose quotes are escapes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\u0022")
}

/// Returns a text as the content of an ordinary JSON string.
fn quoted(text: &str) -> String {
    let json = serde_json::Value::from(text).to_string();
    json[1..json.len() - 1].to_owned()
}

#[test]
fn quotes_may_be_escapes_at_any_level() {
    let mask = mask(&["*password*"], &[]);
    for value in ["x", "a\"b", "c\\", "\\\"", "l\n'm'", ", \"q\": \"r\""] {
        let object = serde_json::json!({"a": "b", "my password": value, "z": {"y": "kept"}});
        let expected = serde_json::json!({"a": "b", "my password": MASK, "z": {"y": "kept"}});
        // Each way to nest up to four levels of both.
        for way in 0..64_usize {
            let levels = 1 + way % 4;
            let mut text = object.to_string();
            for level in 0..levels {
                text = match (way >> (2 + level)) % 2 {
                    0 => escaped(&text),
                    _ => quoted(&text),
                };
            }
            let masked = mask.text(&text).unwrap_or_else(|| text.clone());
            let mut read = masked.clone();
            for _ in 0..levels {
                read = serde_json::from_str(&format!("\"{read}\""))
                    .unwrap_or_else(|_| panic!("{text} {masked}"));
            }
            let read: serde_json::Value =
                serde_json::from_str(&read).unwrap_or_else(|_| panic!("{text} {masked}"));
            assert_eq!(read, expected, "{text} {masked}");
        }
    }
    for (text, masked) in [
        (
            r"{\u0022password\u0022: 12}",
            r"{\u0022password\u0022: \u0022[redacted]\u0022}",
        ),
        (
            r"{\x27password\x27: \x27y\x27, \x27u\x27: 1}",
            r"{\x27password\x27: \x27[redacted]\x27, \x27u\x27: 1}",
        ),
        (
            r"{\\u0022password\\u0022: {\\u0022a\\u0022: \\u0022}\\u0022}, x",
            r"{\\u0022password\\u0022: \\u0022[redacted]\\u0022, x",
        ),
        (
            r"{\u0022name\u0022: \u0022db_password\u0022, \u0022value\u0022: \u0022y\u0022}",
            r"{\u0022name\u0022: \u0022db_password\u0022, \u0022value\u0022: \u0022[redacted]\u0022}",
        ),
    ] {
        assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
    }
}

#[test]
fn quotes_may_be_doubled_as_in_csv() {
    let mask = mask(&["*password*"], &[]);
    for value in ["x", "a\"b", "c\\", ",\n", "q\": \"r"] {
        let object = serde_json::json!({"a": "", "my password": value, "z": {"y": "kept"}});
        let expected = serde_json::json!({"a": "", "my password": MASK, "z": {"y": "kept"}});
        let text = format!("1,\"{}\",2", object.to_string().replace('"', "\"\""));
        let masked = mask.text(&text).unwrap_or_else(|| text.clone());
        let field = masked.strip_prefix("1,\"").unwrap();
        let field = field.strip_suffix("\",2").unwrap().replace("\"\"", "\"");
        let read: serde_json::Value = serde_json::from_str(&field).unwrap();
        assert_eq!(read, expected, "{text} {masked}");
    }
    for (text, masked) in [
        (
            r#""{""db_password"": 12}""#,
            r#""{""db_password"": ""[redacted]""}""#,
        ),
        (
            r#"a,"""password"": ""x""",b"#,
            r#"a,"""password"": ""[redacted]""",b"#,
        ),
        (
            r#""{""password"": {""a"": ""}""}}""#,
            r#""{""password"": ""[redacted]""}""#,
        ),
        (
            r#""{""key"": ""password"", ""value"": ""x""}""#,
            r#""{""key"": ""password"", ""value"": ""[redacted]""}""#,
        ),
        (
            "'{''password'': ''it''}'",
            "'{''password'': ''[redacted]''}'",
        ),
    ] {
        assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
    }
    for text in [
        r#""{""password"": """"}""#,
        r#"{"a": "", "b": ""}"#,
        "''''",
        "it''s: x",
    ] {
        assert_eq!(mask.text(text), None, "{text}");
    }
}

#[test]
fn the_value_of_a_named_pair_is_hidden() {
    let mask = mask(&["*password*"], &["canary"]);
    for (text, masked) in [
        (
            r#"{"key":"db_password","value":{"canary":["canary"]}}"#,
            r#"{"key":"db_password","value":"[redacted]"}"#,
        ),
        (
            r#"[{ "value" : "x" , "name" : "DB_PASSWORD" }, {"name":"a","value":"b"}]"#,
            r#"[{ "value" : "[redacted]" , "name" : "DB_PASSWORD" }, {"name":"a","value":"b"}]"#,
        ),
        (
            r#"{"Key":"pass\u0077ord","Value":1}"#,
            r#"{"Key":"pass\u0077ord","Value":"[redacted]"}"#,
        ),
    ] {
        assert_eq!(mask.json(text).as_deref(), Some(masked), "{text}");
        assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
        let texts = serde_json::json!({ "stdout": text }).to_string();
        let expected = serde_json::json!({ "stdout": masked }).to_string();
        assert_eq!(mask.json(&texts), Some(expected.clone()));
        let expected = serde_json::Value::from(expected).to_string();
        let texts = serde_json::Value::from(texts).to_string();
        assert_eq!(mask.text(&texts), Some(expected), "{texts}");
    }
    assert_eq!(
        mask.text("{'key': 'password', 'value': 'x'}").as_deref(),
        Some("{'key': 'password', 'value': '[redacted]'}")
    );
    for text in [
        r#"{"key":"password","value":"x","more":1}"#,
        r#"{"a":1,"key":"password","value":"x"}"#,
        r#"{"key":"password","other":"x"}"#,
        r#"{"key":["password"],"value":"x"}"#,
        r#"{"key":"password"}, {"value":"x"}"#,
    ] {
        assert_eq!(mask.json(text), None, "{text}");
    }
    for text in [
        r#"{"a":1,"key":"password","value":"x"}"#,
        r#"{"key":"password"}, {"value":"x"}"#,
        r#"{"key":"a","value":{"key":"b"}}"#,
    ] {
        assert_eq!(mask.text(text), None, "{text}");
    }
}

#[test]
fn colours_hide_nothing_from_a_mask() {
    let mask = mask(&["password"], &["geheim-\\w+"]);
    for (text, masked) in [
        (
            "\u{1b}[0;31mgehe\u{1b}[0mim-PW62x\u{1b}[0m.",
            "\u{1b}[0;31m[redacted]\u{1b}[0m.",
        ),
        ("geheim-a\u{1b}[1mb c", "[redacted] c"),
        (
            "\u{1b}[34;1m\"password\"\u{1b}[0m:\u{1b}[0;32m\"x\"\u{1b}[0m",
            "\u{1b}[34;1m\"password\"\u{1b}[0m:\u{1b}[0;32m\"[redacted]\"\u{1b}[0m",
        ),
    ] {
        assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
    }
    assert_eq!(mask.text("\u{1b}[1mplain\u{1b}[0m"), None);
    let lines = serde_json::json!({"stdout_lines": ["\u{1b}[1mgeh\u{1b}[0meim-1", "x"]});
    assert!(
        mask.json(&lines.to_string())
            .unwrap()
            .contains("[redacted]")
    );
}

#[test]
fn a_pattern_hides_its_groups_or_all_of_it() {
    let mask = mask(&[], &["key=([a-z]+)|id=(\\d+)|all", "^pin: .*$"]);
    for (text, masked) in [
        (
            "key=abc1 id=77 all",
            "key=[redacted]1 id=[redacted] [redacted]",
        ),
        ("x\npin: 1\ny", "x\n[redacted]\ny"),
    ] {
        assert_eq!(mask.text(text).as_deref(), Some(masked), "{text}");
        assert_eq!(mask.text(&format!("key={MASK}")), None);
    }
}

#[test]
fn escapes_numbers_keys_and_lines_are_texts_too() {
    let mask = mask(&[], &["(?s)BEGIN.*?END", "s3cret/\u{e9}", "\\d{6}"]);
    for (text, masked) in [
        (r#"["s3cr\u0065t\/\u00e9!"]"#, r#"["[redacted]!"]"#),
        (
            r#"{"s3cret/é":[1234567,12345]}"#,
            r#"{"[redacted]":["[redacted]",12345]}"#,
        ),
        (
            r#"{"l":["a","x BEGIN","","b","END y"],"o":"a\nBEGIN\nEND"}"#,
            r#"{"l":["a","x [redacted]","","[redacted]","[redacted] y"],"o":"a\n[redacted]"}"#,
        ),
    ] {
        assert_eq!(mask.json(text).as_deref(), Some(masked), "{text}");
        assert_eq!(mask.json(masked), None, "{masked}");
    }
    assert_eq!(mask.json(r#"["\ud800 \n",true]"#), None);
}

#[test]
fn the_time_grows_with_the_text_only() {
    let mask = mask(&["*pass*"], &["canary", "a+"]);
    let lines = serde_json::to_string(&vec!["canary aa"; 50_000]).unwrap();
    for text in [
        "\"pass\":[".repeat(50_000),
        "'pass': '".repeat(50_000),
        format!("{MASK} canary ").repeat(50_000),
        format!("{} canary", "{\"value\":".repeat(50_000)),
        "{\"key\":\"pass\",\"value\":".repeat(50_000),
        "\u{1b}[1mcanary'pass':".repeat(50_000),
        (0..1000)
            .map(|level| format!("{}\":canary", "\\".repeat(level)))
            .collect(),
        (0..1000)
            .rev()
            .map(|level| format!("{}\"pass", "\\".repeat(level)))
            .collect::<String>()
            + "\":1",
        format!("\"{}\":canary", "\\u005c".repeat(50_000)),
        format!("{}canary", "\\u0022pass\\u0022:[".repeat(50_000)),
        format!("{}canary", "\"\"pass\"\":[".repeat(50_000)),
        format!("{}canary", "''".repeat(50_000)),
        format!("{}canary", "\"pass\":u".repeat(50_000)),
        (0..1000)
            .map(|level| format!("{}u0022:canary", "\\".repeat(level)))
            .collect(),
        lines,
    ] {
        let begun = std::time::Instant::now();
        let _ = mask.json(&text);
        assert!(mask.text(&text).is_some());
        // With quadratic time, it would take hours.
        assert!(begun.elapsed().as_secs() < 60);
    }
}

#[test]
fn a_wrong_pattern_is_reported_on_one_line() {
    let problem = pattern("(a").unwrap_err();
    assert_eq!(problem, "unclosed group");
    assert_eq!(pattern("a{9999}{9999}").unwrap_err(), "it is too large");
    assert!(pattern("(?<=a)b").unwrap_err().contains("look-around"));
}
