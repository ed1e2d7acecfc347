//! The first connection to a store, which may be starting at the same time.

use std::mem;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use crate::console::stderr;

/// Time for which the first connection is tried.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause before another try.
pub const AGAIN: Duration = Duration::from_millis(500);

/// Reason why there is no connection.
pub struct Refused {
    pub error: anyhow::Error,
    /// True if another try would end the same way.
    pub is_final: bool,
}

/// Connects to a store; says once that it is waited for.
pub async fn connect<T>(mut attempt: impl AsyncFnMut() -> Result<T, Refused>) -> Result<T> {
    let until = Instant::now() + PATIENCE;
    let mut said = false;
    loop {
        let Refused { error, is_final } = match attempt().await {
            Ok(connected) => return Ok(connected),
            Err(refused) => refused,
        };
        if is_final || Instant::now() > until {
            return Err(error);
        }
        if !mem::replace(&mut said, true) {
            stderr::say(format!("{error}; trying again for {PATIENCE:?}"));
        }
        sleep(AGAIN).await;
    }
}
