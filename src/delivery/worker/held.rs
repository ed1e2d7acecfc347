//! Deliveries that are held until a certain time: the process that delivers releases them.

use std::time::{Duration, Instant};

use super::Worker;
use super::handle::WorkerHandle;
use crate::route::timing::{Timing, Treatment};
use crate::spool::{DeliveryState, HeldRange, Spool};
use crate::system::clock;

/// Interval at which the ends of mutes are looked for.
const MUTES: Duration = Duration::from_secs(2);
/// Number of deliveries that are looked up at once.
const LOOKED_AT: usize = 1000;

impl Worker {
    /// Makes held deliveries pending. Where its rules hold none, it is looked now and then: it may have been muted.
    pub(super) async fn release(&mut self, spool: &Spool) {
        let is_due = |looked: Instant| looked.elapsed() >= MUTES;
        if self.handle.holds() || self.looked_for_held.is_none_or(is_due) {
            self.handle.release(spool).await;
            self.looked_for_held = Some(Instant::now());
        }
    }
}

impl WorkerHandle {
    /// Returns true if its rules may hold deliveries.
    pub fn holds(&self) -> bool {
        let timing = self.destination.timing.as_deref();
        timing.is_some_and(Timing::holds)
    }

    /// Makes held deliveries pending once their time has come, or the rules no longer hold them. They are read
    /// like any others that were added.
    pub async fn release(&self, spool: &Spool) {
        let id = self.id;
        let timing = self.destination.timing.as_deref();
        // If the spool cannot be read or written, the next look tries again.
        let Ok(Some(HeldRange { first, last })) = spool.held(id).await else {
            return;
        };
        let Ok(muted) = spool.muted_until(id).await else {
            return;
        };
        let now = clock::now();
        let time = now.as_millisecond();
        let held = match timing.map(|timing| (timing.muted_until(now), timing.treatment(now))) {
            Some((Some(until), _)) => Some((until.as_millisecond(), i64::MAX)),
            Some((None, Treatment::Hold(until))) => Some((0, until.as_millisecond())),
            _ => None,
        };
        let held = match (muted, held) {
            (Some(until), held) => Some((
                until.max(held.map_or(0, |(earliest, _)| earliest)),
                i64::MAX,
            )),
            (None, held) => held,
        };
        let due = match held {
            None => i64::MAX,
            Some((earliest, latest)) => {
                // The rules, or the clock, may have changed since.
                if (first < earliest || last > latest)
                    && spool.limit_held(id, (earliest, latest)).await.is_err()
                {
                    return;
                }
                time
            }
        };
        if held.is_some_and(|(earliest, _)| earliest > time) || first > due {
            return;
        }
        while let Ok(released) = spool.release(id, due).await {
            if released.is_empty() {
                return;
            }
            let mut own = self.own.borrow_mut();
            for one in released {
                own.release(one);
            }
        }
    }

    /// Looks up what became of deliveries that this process accepted, and another one released.
    pub async fn find_released(&self, spool: &Spool) {
        let held = self.own.borrow().held_events();
        for held in held.chunks(LOOKED_AT) {
            // If the spool cannot be read, they count as held.
            let Ok(released) = spool.released(self.id, held.to_vec()).await else {
                return;
            };
            let numbers = released.iter().map(|one| one.delivery).collect();
            for one in released {
                self.own.borrow_mut().release(one);
            }
            let finished = spool.finished(numbers).await.unwrap_or_default();
            for one in finished {
                if one.state != DeliveryState::Pending {
                    self.own.borrow_mut().finish(one.delivery, one.state);
                }
            }
        }
    }
}
