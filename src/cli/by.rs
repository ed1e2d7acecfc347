//! Hidden options by which `serve` names the user of a command that it runs.

use std::path::PathBuf;

use clap::Args;

use crate::spool::Actor;
use crate::system::user;

/// User who acts.
#[derive(Args)]
pub struct By {
    /// User of the page who asked for it
    #[arg(long, value_name = "NAME", hide = true)]
    by: Option<String>,
}

impl By {
    /// Returns the user of the page; None in a terminal.
    pub fn page_user(&self) -> Option<Actor> {
        let who = self.by.clone()?;
        Some(Actor { who, on_page: true })
    }

    /// Returns the user who acts.
    pub fn actor(&self) -> Actor {
        self.page_user().unwrap_or_else(|| Actor {
            who: user::name().unwrap_or_default(),
            on_page: false,
        })
    }
}

/// User who acts, and the spool in which that is recorded.
#[derive(Args)]
pub struct NotedIn {
    /// Spool in which the page's user is recorded
    #[arg(long = "noted-in", value_name = "DIR", requires = "by", hide = true)]
    pub spool: Option<PathBuf>,
    #[command(flatten)]
    pub by: By,
}
