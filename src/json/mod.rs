//! JSON texts: values out of a stream, their depth, parts of them, and those of too many values.

pub mod bulk;
pub mod chunks;
pub mod depth;
pub mod lookup;
pub mod repair;
pub mod splitter;

/// What is wrong with a JSON text and where, without any of its content.
pub fn syntax(error: &serde_json::Error) -> String {
    // The text of a syntax error names what was expected; only data errors quote the input.
    let text = error.to_string();
    match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => text,
        _ => format!("unexpected value at column {}", error.column()),
    }
}
