//! JSON texts: values out of a stream, their depth, parts of them, and those of too many values.

pub mod bulk;
pub mod chunks;
pub mod depth;
pub mod lookup;
pub mod splitter;
