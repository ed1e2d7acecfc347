//! Limit of a tenant: a number of events per second, on average over a minute.

use std::cell::Cell;
use std::time::Instant;

use hyper::StatusCode;

use super::segment::Rejected;

/// Time for which unused events count, in seconds.
const SAVED: f64 = 60.0;

/// Events that a tenant may send now.
pub struct Quota {
    rate: f64,
    /// Below 0 after a segment that was larger than what was left.
    left: Cell<f64>,
    since: Cell<Instant>,
}

impl Quota {
    /// Creates a quota of this many events per second, all of which is left.
    pub fn new(rate: u32) -> Quota {
        let rate = f64::from(rate);
        Quota {
            rate,
            left: Cell::new(rate * SAVED),
            since: Cell::new(Instant::now()),
        }
    }

    /// Takes this many events off the quota, if anything is left of it.
    pub fn take(&self, count: usize) -> Result<(), Rejected> {
        self.take_at(count, Instant::now())
    }

    fn take_at(&self, count: usize, now: Instant) -> Result<(), Rejected> {
        let passed = now.duration_since(self.since.replace(now)).as_secs_f64();
        let left = (self.left.get() + passed * self.rate).min(self.rate * SAVED);
        self.left.set(left);
        if left <= 0.0 {
            let text = format!("more than {} events per second", self.rate);
            return Err(Rejected {
                after: Some((1.0 - left / self.rate).ceil() as u64),
                ..Rejected::new(StatusCode::TOO_MANY_REQUESTS, text)
            });
        }
        self.left.set(left - count as f64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_unused_is_saved_for_a_minute() {
        let quota = Quota::new(10);
        let start = quota.since.get();
        let after = |count: usize, seconds: u64| {
            let taken = quota.take_at(count, start + Duration::from_secs(seconds));
            taken.map_err(|rejected| rejected.after).err()
        };
        assert_eq!(after(500, 0), None);
        assert_eq!(after(500, 0), None);
        assert_eq!(after(1, 0), Some(Some(41)));
        assert_eq!(after(1, 30), Some(Some(11)));
        assert_eq!(after(1, 41), None);
        assert_eq!(after(700, 4100), None);
        assert_eq!(after(1, 4100), Some(Some(11)));
    }
}
