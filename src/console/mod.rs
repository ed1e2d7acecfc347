//! What people see: standard error, standard output, and the line that says how far it is.

pub mod progress;
pub mod stderr;
pub mod stdout;
