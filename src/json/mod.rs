//! JSON texts: splitting a stream into values, their depth, lookup of parts, repair, and too many values.

pub mod bulk;
pub mod chunks;
pub mod depth;
pub mod lookup;
pub mod repair;
pub mod splitter;
pub mod tokens;

/// Describes a JSON error and its position, without quoting the content.
pub fn syntax(error: &serde_json::Error) -> String {
    // A syntax error only names what was expected; only data errors quote the input.
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => text,
        _ => format!("unexpected value at column {}", error.column()),
    }
}
