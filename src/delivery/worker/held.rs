//! Deliveries that are held until a certain time: the process that delivers releases them.

use super::Worker;
use crate::route::timing::Treatment;
use crate::spool::{HeldRange, Spool};
use crate::system::clock;

impl Worker {
    /// Makes held deliveries pending once their time has come, or the rules no longer hold them. They are read
    /// like any others that were added.
    pub(super) async fn release(&mut self, spool: &Spool) {
        let (id, destination) = (self.handle.id, self.handle.destination.clone());
        let timing = destination.timing.as_deref();
        let may_hold = timing.is_some_and(|timing| timing.holds());
        if !may_hold && std::mem::replace(&mut self.holds_nothing, true) {
            return;
        }
        // If the spool cannot be read or written, the next look tries again.
        let Ok(Some(HeldRange { first, last })) = spool.held(id).await else {
            return;
        };
        let now = clock::now();
        let time = now.as_millisecond();
        let held = match timing.map(|timing| (timing.muted_until(now), timing.treatment(now))) {
            Some((Some(until), _)) => Some((until.as_millisecond(), i64::MAX)),
            Some((None, Treatment::Hold(until))) => Some((0, until.as_millisecond())),
            _ => None,
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
            let mut own = self.handle.own.borrow_mut();
            for one in released {
                own.release(one.before, one.now);
            }
        }
    }
}
