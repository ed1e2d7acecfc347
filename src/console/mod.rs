//! Terminal output: standard error, standard output and the progress line.

pub mod progress;
pub mod stderr;
pub mod stdout;
