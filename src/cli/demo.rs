//! The command line of `demo`.

use clap::Args;

/// Arguments of `demo`.
#[derive(Args)]
pub struct Demo {
    /// Show the page at the end, until Ctrl-C; on a terminal, this is the default
    #[arg(long)]
    pub serve: bool,
    /// Keep the folder of the demo, with its configuration and its spool
    #[arg(long)]
    pub keep: bool,
}
