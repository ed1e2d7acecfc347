//! Deliveries during which the previous delivering process ended, by a fault that cannot be caught: out of
//! stack or memory, or a crash in a C library.

use super::attempt::Attempt;
use super::{Worker, large};
use crate::failpoint;
use crate::panics;
use crate::spool::{MAX_CRASHES, Pending, Spool};

impl Attempt {
    /// Runs an attempt, and notes it in the lock file while it works without a pause at the beginning,
    /// which is when its message is made. Not while it waits for an endpoint: a process killed then is not
    /// at fault.
    pub(super) async fn noting<T>(&self, attempt: impl Future<Output = T>) -> T {
        let ids: Vec<i64> = self.claimed.iter().map(|one| one.id).collect();
        let mut attempt = std::pin::pin!(attempt);
        let mut began = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut began, true) {
                return attempt.as_mut().poll(context);
            }
            if let Some(leadership) = &self.leadership {
                leadership.begin(&ids);
            }
            let poll = attempt.as_mut().poll(context);
            if let Some(leadership) = &self.leadership {
                leadership.end(&ids);
            }
            poll
        })
        .await
    }
}

impl Worker {
    /// Makes the messages of deliveries during which an earlier process ended, one by one and before
    /// anything else is started; after too many crashes a delivery is given up.
    pub(super) async fn try_suspects(&mut self, spool: &Spool) {
        let leadership = self.leadership.as_ref();
        let suspects = leadership.map(|leadership| leadership.crashes());
        for (delivery, crashes) in suspects.unwrap_or_default() {
            let row = spool.still_pending(self.handle.id, delivery).await;
            match row.ok().flatten() {
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
        if let Some(leadership) = &self.leadership {
            leadership.end(&[delivery]);
        }
    }

    /// Makes the message of a delivery, in case that ends the process; sends nothing.
    async fn rehearse(&mut self, spool: &Spool, row: Pending) {
        let id = row.delivery;
        let Some(delivery) = self.read_row(spool, row).await else {
            return self.clear(id);
        };
        if let Some(leadership) = &self.leadership {
            leadership.begin(&[id]);
        }
        let destination = (self.handle.id, &*self.handle.destination);
        let Ok(event) = large::whole(spool, destination, &delivery).await else {
            return self.clear(id);
        };
        failpoint::pass_for("make_message", event.host_name());
        // A fault that can be caught is reported by the attempt.
        let _ = panics::caught(|| {
            let message = self.handle.destination.message(vec![event]);
            self.notifier.preview(&message)
        });
        // The count stays until the attempt itself has got this far.
        if let Some(leadership) = &self.leadership {
            leadership.pause();
        }
    }
}
