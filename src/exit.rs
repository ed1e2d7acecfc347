//! Exit status of `ansible-notify`. The numbers follow BSD's sysexits where one fits.

use std::process::ExitCode;

/// Exit codes, as the README documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Delivered, or accepted for delivery.
    Ok = 0,
    /// An unexpected error.
    Unexpected = 1,
    /// The command line is wrong, or names an address at which `serve` or `receive` cannot listen; clap uses the same
    /// number.
    Usage = 2,
    /// An event was not valid; the others were still handled.
    InvalidEvent = 65,
    /// A file named on the command line cannot be read.
    NoInput = 66,
    /// A notifier permanently rejected an event.
    Refused = 69,
    /// The spool cannot be read or written, or standard output cannot be written.
    Io = 74,
    /// Not delivered yet: the endpoint did not answer in time.
    Undelivered = 75,
    /// The configuration has a problem.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
