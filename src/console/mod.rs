//! Terminal output: standard error, standard output, tables and the progress line.

pub mod progress;
pub mod stderr;
pub mod stdout;
pub mod table;
