//! Properties of users and files: home directories, owners and modes.

pub mod home;
pub mod trusted;
