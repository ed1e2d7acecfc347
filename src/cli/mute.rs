//! The command line of `mute` and `unmute`.

use clap::Args;

use super::Place;
use super::by::By;
use super::since;

/// Arguments of `mute`.
#[derive(Args)]
pub struct Mute {
    #[command(flatten)]
    pub whom: Muted,
    /// End of the mute: 1h, 8h, 3d, a time such as 18:00 (today) or 2026-11-30T06:00, or a date (local time
    /// unless a time zone is given)
    #[arg(long, value_name = "TIME", value_parser = since::parse_end)]
    pub until: i64,
    /// Reason, which is shown to others
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    #[command(flatten)]
    pub by: By,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `unmute`.
#[derive(Args)]
pub struct Unmute {
    #[command(flatten)]
    pub whom: Muted,
    #[command(flatten)]
    pub by: By,
    #[command(flatten)]
    pub place: Place,
}

/// Notifiers to mute.
#[derive(Args)]
#[group(required = true, multiple = true)]
pub struct Muted {
    /// Notifiers, by name
    #[arg(value_name = "NOTIFIER")]
    pub notifiers: Vec<String>,
    /// One notifier, by its number on the page
    #[arg(
        long,
        value_name = "ID",
        conflicts_with = "notifiers",
        hide = true,
        allow_negative_numbers = true
    )]
    pub id: Option<i64>,
}
