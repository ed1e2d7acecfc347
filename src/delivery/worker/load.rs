//! Reading from the spool: pending deliveries if this process delivers them, otherwise their outcomes.

use std::rc::Rc;
use std::time::Instant;

use jiff::Timestamp;

use super::{Worker, large};
use crate::console::stderr;
use crate::delivery::breaker::{Breaker, MAX_BACK_OFF, left_until};
use crate::delivery::lanes::Delivery;
use crate::event::Event;
use crate::message::Receipts;
use crate::spool::{self, DeliveryState, Mark, Pending, Spool, Urgency};

/// Number of deliveries pending at another process that are looked up each time.
const LOOKED_AT: usize = 1000;

impl Worker {
    /// Loads pending deliveries if this process delivers; otherwise follows the process that does.
    pub(super) async fn load_or_follow(&mut self) {
        if self.retired {
            if self.steps.is_empty() {
                self.leadership = None;
            }
            return;
        }
        if !self.shared.accepts_only.get() && self.is_leader().await {
            return self.load().await;
        }
        if self.holds_unspooled() {
            // Its pauses hold for deliveries without a place in the spool, too.
            let shared = self.shared.clone();
            self.read_breaker(shared.spool()).await;
        }
    }

    /// Returns true if this process delivers. Takes over if no process does.
    async fn is_leader(&mut self) -> bool {
        // If it cannot deliver, another process may.
        if self.leads() || !self.handle.is_able() {
            return self.leads();
        }
        let shared = self.shared.clone();
        let spool = shared.spool();
        self.leadership = spool.lead(self.handle.id).map(Rc::new);
        self.handle.leads.set(self.leads());
        if self.leads() {
            self.read_breaker(spool).await;
            self.try_suspects(spool).await;
            self.release(spool).await;
        }
        self.leads()
    }

    /// Loads pending deliveries, as far as there is room.
    async fn load(&mut self) {
        if let Some(first) = self.window.needs_back(Instant::now()) {
            let shared = self.shared.clone();
            let _turn = shared.turns.reading().await;
            self.reload(shared.spool(), first).await;
        }
        while let Some(after) = self.window.needs_more() {
            let shared = self.shared.clone();
            let _turn = shared.turns.reading().await;
            if !self.read_more(shared.spool(), after).await {
                break;
            }
        }
    }

    /// Loads the next deliveries after this number, as many as are read at a time. Returns true if the spool
    /// could be read.
    async fn read_more(&mut self, spool: &Spool, after: i64) -> bool {
        let Some((rows, complete)) = self.pending(spool, after).await else {
            return false;
        };
        // Newly accepted ones are here already and need not be parsed.
        self.read_requests();
        self.window.record_read(complete);
        for row in rows {
            let number = row.delivery;
            if number <= self.window.loaded() {
                continue;
            }
            let delivery = self.read_row(spool, row).await;
            self.window.push_next(number, delivery, Instant::now());
        }
        true
    }

    /// Reloads evicted deliveries, from this number on.
    async fn reload(&mut self, spool: &Spool, first: i64) {
        let loaded = self.window.loaded();
        let Some((rows, complete)) = self.pending(spool, first - 1).await else {
            return;
        };
        let last = rows.last().map_or(0, |row| row.delivery);
        let last = if complete { loaded } else { last.min(loaded) };
        let mut deliveries = Vec::new();
        for row in rows {
            deliveries.extend(self.read_row(spool, row).await);
        }
        let window = &mut self.window;
        window.reload(deliveries, (first, last), Instant::now());
        // There may be more to reload.
        self.handle.wake.notify_one();
    }

    /// Returns the next deliveries pending in the spool, as far as there is room, and whether those were all.
    async fn pending(&mut self, spool: &Spool, after: i64) -> Option<(Vec<Pending>, bool)> {
        let room = self.window.room()?;
        // If marks cannot be recorded, further deliveries would all be sent again.
        let read = match self.unrecorded.is_empty() {
            true => spool.pending(self.handle.id, after, room).await.ok(),
            false => None,
        };
        // If the spool cannot be read, the next check tries again.
        let unread = self.unread.unwrap_or_else(Instant::now);
        self.unread = read.is_none().then_some(unread);
        read
    }

    /// Takes over the breaker's state from another process, or from a user's reset.
    async fn read_breaker(&mut self, spool: &Spool) {
        let Ok(row) = spool.breaker(self.handle.id).await else {
            return;
        };
        if self.stored == row {
            return;
        }
        self.stored = row.clone();
        let fingerprint = || self.handle.destination.section.fingerprint();
        self.breaker = Breaker::restore(row, Instant::now(), fingerprint);
        if self.leads() {
            self.window.lanes.release();
            self.handle.wake.notify_one();
        }
    }

    /// Gives up a delivery that cannot be made, and reports it.
    pub(super) async fn mark_unreadable(&self, spool: &Spool, delivery: i64, error: &str) {
        stderr::say(format!("delivery {delivery}: {error}"));
        let mark = Mark {
            deliveries: vec![delivery],
            destination: self.handle.id,
            started: Timestamp::now().as_millisecond(),
            duration: 0,
            state: DeliveryState::Dead,
            next_at: 0,
            note: Some(error.to_owned()),
            keep_body: true,
            message: None,
            breaker: self.breaker.row(Instant::now()),
            reopened: false,
            threads: Vec::new(),
        };
        // If the spool cannot be written, the next check finds it again.
        let _ = spool.mark(vec![mark], Urgency::Now).await;
    }

    /// Returns the recipients that already have the message of a delivery.
    async fn reached(&self, spool: &Spool, row: &Pending) -> Receipts {
        if row.attempts == 0 {
            return Receipts::default();
        }
        let kept = spool.reached(self.handle.id, row.delivery).await;
        kept.unwrap_or_default()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Returns the delivery of a row; None if it cannot be read.
    pub(super) async fn read_row(&mut self, spool: &Spool, row: Pending) -> Option<Delivery> {
        let body = row.body.as_deref().map_err(|reason| *reason);
        let (event, in_spool) = match body.and_then(|body| large::read_event(&mut self.codec, body))
        {
            Ok(event) => large::outline(Event {
                held: row.hold > 0,
                held_back: row.held_back,
                ..event
            }),
            Err(reason) => {
                self.mark_unreadable(spool, row.delivery, reason).await;
                return None;
            }
        };
        let reached = self.reached(spool, &row).await;
        // No wait exceeds the longest back-off, even if the clock has changed.
        let wait = left_until(row.next_at).map(|wait| wait.min(MAX_BACK_OFF));
        let due = wait.map(|wait| Instant::now() + wait);
        Some(Delivery {
            attempts: row.attempts,
            hold: row.hold,
            due,
            reached,
            accepted: Timestamp::from_millisecond(row.created).unwrap_or_else(|_| Timestamp::now()),
            in_spool,
            ..Delivery::new(row.delivery, event)
        })
    }

    /// Looks for changes by other processes: additions if this one delivers, deliveries if another does.
    pub(super) async fn poll(&mut self) {
        // If the spool cannot be written, the next check tries again.
        let _ = self.catch_up().await;
        if self.leads() {
            let shared = self.shared.clone();
            self.release(shared.spool()).await;
            self.window.poll_again(Instant::now());
            // With nothing in progress, this process's own state is already stored.
            if self.handle.under_way.get() == 0 && self.breaker.is_troubled() {
                let shared = self.shared.clone();
                self.read_breaker(shared.spool()).await;
            }
            return;
        }
        while self.see_some().await {}
    }

    /// Looks up the results that another process has for some deliveries accepted here. Returns true if all of
    /// them are finished: then there may be more.
    async fn see_some(&mut self) -> bool {
        let open = self.handle.own.borrow_mut().next_open(LOOKED_AT);
        if open.is_empty() {
            return false;
        }
        let Ok(found) = self.shared.spool().finished(open).await else {
            return false;
        };
        let mut own = self.handle.own.borrow_mut();
        let mut all = true;
        for spool::Finished {
            delivery,
            state,
            error,
        } in found
        {
            own.last_error = error.or(own.last_error.take());
            let is_finished = state != DeliveryState::Pending;
            if is_finished && own.finish(delivery, state) {
                self.seen = Instant::now();
                self.shared.progress.notify_one();
            }
            all &= is_finished;
        }
        all
    }
}
