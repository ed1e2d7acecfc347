//! Deliveries at which the process that led before ended, by a fault that nothing can catch: the stack or the
//! memory were used up, or a library in C failed.

use super::Worker;
use crate::delivery::lanes::Delivery;
use crate::failpoint;
use crate::spool::Room;
use crate::spool::{self, MAX_CRASHES, Pending, Spool};

impl Worker {
    /// Runs an attempt, and keeps in the lock's file that it is this one as long as it works without a pause
    /// at the beginning, which is when its message is made. Not while it waits for an endpoint: a process that
    /// is killed then has no fault.
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

    /// Makes the messages of deliveries at which an earlier process ended, one by one and before anything else is
    /// under way; what has ended too many is dead.
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
                        "given up: the process ended {crashes} times while it made the message"
                    );
                    self.bury(spool, delivery, &error).await;
                    self.clear(delivery);
                }
                // It is finished already.
                None => self.clear(delivery),
            }
        }
    }

    fn clear(&self, delivery: i64) {
        if let Some(leadership) = &mut *self.leadership.borrow_mut() {
            leadership.end(&[delivery]);
        }
    }

    /// Makes the message of a delivery, for the case that this ends the process; nothing is sent.
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
        // A fault that can be caught is the attempt's to tell.
        let _ = crate::panics::caught(|| {
            let message = self.destination.message(vec![event]);
            self.notifier.borrow().preview(&message)
        });
        // The count stays until the attempt itself has got so far.
        if let Some(leadership) = &*self.leadership.borrow() {
            leadership.pause();
        }
    }

    /// The row of a delivery, if it still waits in the spool.
    pub(super) async fn pending_row(&self, spool: &Spool, delivery: i64) -> Option<Pending> {
        let id = self.id;
        let room = Room {
            deliveries: 1,
            bytes: usize::MAX,
        };
        let read = move |connection: &rusqlite::Connection| {
            spool::pending(connection, id, delivery - 1, room)
        };
        let (rows, _) = spool.write(read).await.ok()?;
        rows.into_iter().find(|row| row.delivery == delivery)
    }
}
