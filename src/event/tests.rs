//! Tests of reading results.

use super::*;

#[test]
fn what_is_nested_too_deeply_costs_nothing_else() {
    for levels in [99, 100, 101, 900] {
        let text = format!("{}\"]\\\"[\"{}", "[".repeat(levels), "]".repeat(levels));
        let text = format!("{{\"a\":{text},\"b\":1}}");
        let raw = RawValue::from_string(text).unwrap();
        assert_eq!(parse_result(&raw, usize::MAX)["b"], 1);
    }
}
