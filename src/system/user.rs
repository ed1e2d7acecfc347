//! The user of this process.

use nix::unistd::{Uid, User};

/// Returns the name of the user who runs this process: as the environment has it, or as the system knows it.
pub fn name() -> Option<String> {
    let named = ["LOGNAME", "USER", "LNAME", "USERNAME"].into_iter();
    let named = named.filter_map(|name| std::env::var(name).ok());
    let mut named = named.filter(|name| !name.is_empty());
    named
        .next()
        .or_else(|| Some(User::from_uid(Uid::current()).ok()??.name))
}
