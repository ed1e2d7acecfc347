//! What the system says of a user and of files: home directories, owners and modes.

pub mod home;
pub mod trusted;
