//! Turns of the notifiers, so that their large events do not fill the memory together.

use tokio::sync::{Mutex, MutexGuard, Semaphore, SemaphorePermit};

/// Bytes of the large events that are under way at once, of all notifiers.
const UNDER_WAY: usize = 4 << 20;
/// What the notifiers share so that their large events do not fill the memory together.
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
    /// Waits until no other notifier reads events from the spool.
    pub async fn reading(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    /// Waits until so many bytes may be under way.
    pub async fn under_way(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let bytes = u32::try_from(bytes.min(UNDER_WAY)).unwrap_or(u32::MAX);
        self.under_way.acquire_many(bytes).await.ok()
    }
}
