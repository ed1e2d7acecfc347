//! The user's home directory.

use std::path::PathBuf;

use nix::unistd::{Uid, User};

/// Returns `$HOME`, or the directory in the password database if the variable is unset or empty, as in a
/// system service.
pub fn directory() -> Option<PathBuf> {
    variable("HOME").or_else(|| Some(User::from_uid(Uid::current()).ok()??.dir))
}

/// Returns the path in an environment variable, if it is set and not empty.
pub fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
