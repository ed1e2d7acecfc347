//! Deliveries during which the previous delivering process ended, by a fault that cannot be caught: out of
//! stack or memory, or a crash in a C library.

use super::Worker;
use crate::delivery::lanes::Delivery;
use crate::failpoint;
use crate::spool::{MAX_CRASHES, Pending, Spool};

impl Worker {
    /// Runs an attempt, and notes it in the lock file while it works without a pause at the beginning,
    /// which is when its message is made. Not while it waits for an endpoint: a process killed then is not
    /// at fault.
    pub(super) async fn noting<T>(
        &self,
        claimed: &[Delivery],
        attempt: impl Future<Output = T>,
    ) -> T {
        let ids: Vec<i64> = claimed.iter().map(|one| one.id).collect();
        let mut attempt = std::pin::pin!(attempt);
        let mut began = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut began, true) {
                return attempt.as_mut().poll(context);
            }
            if let Some(leadership) = &*self.leadership.borrow() {
                leadership.begin(&ids);
            }
            let poll = attempt.as_mut().poll(context);
            if let Some(leadership) = &mut *self.leadership.borrow_mut() {
                leadership.end(&ids);
            }
            poll
        })
        .await
    }

    /// Makes the messages of deliveries during which an earlier process ended, one by one and before
    /// anything else is started; after too many crashes a delivery is given up.
    pub(super) async fn try_suspects(&self, spool: &Spool) {
        let suspects = self
            .leadership
            .borrow()
            .as_ref()
            .map(|one| one.crashes().clone());
        for (delivery, crashes) in suspects.unwrap_or_default() {
            match self.pending_row(spool, delivery).await {
                Some(row) if crashes < MAX_CRASHES => self.rehearse(spool, row).await,
                Some(_) => {
                    let error = format!(
                        "given up: the process ended {crashes} times while it built the message"
                    );
                    self.mark_unreadable(spool, delivery, &error).await;
                    self.clear(delivery);
                }
                // It is already finished.
                None => self.clear(delivery),
            }
        }
    }

    fn clear(&self, delivery: i64) {
        if let Some(leadership) = &mut *self.leadership.borrow_mut() {
            leadership.end(&[delivery]);
        }
    }

    /// Makes the message of a delivery, in case that ends the process; sends nothing.
    async fn rehearse(&self, spool: &Spool, row: Pending) {
        let id = row.delivery;
        let Some(delivery) = self.read_row(spool, row).await else {
            return self.clear(id);
        };
        if let Some(leadership) = &*self.leadership.borrow() {
            leadership.begin(&[id]);
        }
        let Ok(event) = self.whole(spool, &delivery).await else {
            return self.clear(id);
        };
        failpoint::pass_for("make_message", event.host_name());
        // A fault that can be caught is reported by the attempt.
        let _ = crate::panics::caught(|| {
            let message = self.destination.message(vec![event]);
            self.notifier.borrow().preview(&message)
        });
        // The count stays until the attempt itself has got this far.
        if let Some(leadership) = &*self.leadership.borrow() {
            leadership.pause();
        }
    }

    /// Returns the row of a delivery, if it is still pending in the spool.
    pub(super) async fn pending_row(&self, spool: &Spool, delivery: i64) -> Option<Pending> {
        spool.still_pending(self.id, delivery).await.ok()?
    }
}
