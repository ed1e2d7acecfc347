//! Stores: places where the events of a segment are safe before the segment is answered.

use anyhow::Result;
use async_trait::async_trait;

use super::segment::Rejected;
use super::tenant::Tenant;

/// A place where events are safe.
#[async_trait(?Send)]
pub trait Store {
    /// Stores a tenant's segment, and returns the number of its events: they are safe then, even if the process is
    /// killed. After an error, their sender keeps them.
    async fn put(&self, tenant: &Tenant, packed: &[u8]) -> Result<usize, Rejected>;

    /// Returns the reason why nothing can be stored now.
    fn trouble(&self) -> Option<String>;

    /// Does what has to be done from time to time. Never ends.
    async fn tidy(&self);

    /// Finishes what has begun; nothing is stored after this.
    async fn stop(&self) -> Result<()>;
}
