//! Arguments of the commands about recorded runs.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{Place, since};
use crate::spool::record::runs::RunState;

/// Arguments of `runs`.
#[derive(Args)]
pub struct Runs {
    /// Show this run: its id, the beginning of its id, or `last`
    #[arg(value_name = "ID", conflicts_with_all = ["state", "playbook", "host", "since", "limit"])]
    pub id: Option<String>,
    /// Only runs in this state
    #[arg(long, value_name = "STATE", value_parser = run_state())]
    pub state: Option<RunState>,
    /// Only runs of this playbook: its name or path, or the name of the run
    #[arg(long, value_name = "NAME")]
    pub playbook: Option<String>,
    /// Only runs that include this host
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,
    /// Only since this date, time or age: 2026-11-27, 2026-11-27T10:00, 19:00 (today), 5min, 2h, 3d (local time
    /// unless a time zone is given)
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    pub since: Option<i64>,
    /// Show at most N runs
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub place: Place,
}

/// Arguments of `report`.
#[derive(Args)]
pub struct Report {
    /// Run to write: its id, the beginning of its id, or `last`
    #[arg(value_name = "RUN", default_value = "last")]
    pub run: String,
    /// Write to this file instead of standard output, replacing an existing one
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub place: Place,
}

/// Returns the parser of states of a run.
fn run_state() -> impl TypedValueParser<Value = RunState> {
    let names = RunState::ALL.map(RunState::name);
    PossibleValuesParser::new(names).try_map(|name| RunState::named(&name).ok_or("no state"))
}
