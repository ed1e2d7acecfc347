//! Properties of the system: the time of day, home directories, owners and modes of files.

pub mod clock;
pub mod home;
pub mod trusted;
pub mod user;

/// Prevents a core file of this process, which would contain passwords.
pub fn forbid_core_file() {
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}
