//! Turn-taking among notifiers, so that their large events together do not exhaust memory.

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

/// Limit in bytes on large events being sent at once by all notifiers.
const UNDER_WAY: usize = 4 << 20;

/// Locks shared by all notifiers, so that their large events together do not exhaust memory.
pub struct Turns {
    reading: Mutex<()>,
    under_way: Semaphore,
}

impl Default for Turns {
    fn default() -> Turns {
        Turns {
            reading: Mutex::default(),
            under_way: Semaphore::new(UNDER_WAY),
        }
    }
}

impl Turns {
    /// Waits until no other notifier is reading events from the spool.
    pub async fn reading(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    /// Waits until this many more bytes may be sent at once.
    pub async fn under_way(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes.min(UNDER_WAY)).unwrap_or(u32::MAX);
        self.under_way.acquire_many(bytes).await.ok()
    }
}
