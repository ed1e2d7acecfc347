//! Tests of reading results.

use super::*;

#[test]
fn too_deep_nesting_affects_only_its_own_value() {
    for levels in [99, 100, 101, 900] {
        let text = format!("{}\"]\\\"[\"{}", "[".repeat(levels), "]".repeat(levels));
        let text = format!("{{\"a\":{text},\"b\":1}}");
        let raw = RawValue::from_string(text).unwrap();
        assert_eq!(parse_result(&raw, usize::MAX)["b"], 1);
    }
}
