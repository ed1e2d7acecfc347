//! Counts of a destination's deliveries by state, as one process sees them.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringTreemap;

use crate::spool::{DeliveryState, DestinationStatus, HeldRange, Released};

/// Deliveries that this process accepted for a destination, and their outcome.
#[derive(Default)]
pub struct Tally {
    pub counts: Counts,
    open: RoaringTreemap,
    /// Numbers of events whose deliveries are held, by the time until which they are, in milliseconds since 1970.
    held: BTreeMap<i64, RoaringTreemap>,
    /// The last one that was looked up.
    looked_at: u64,
    pub last_error: Option<String>,
}

impl Tally {
    /// Adds an accepted delivery as pending.
    pub fn add(&mut self, delivery: i64) {
        self.open.insert(delivery.cast_unsigned());
    }

    /// Adds an event whose delivery is held until a time, in milliseconds since 1970.
    pub fn hold(&mut self, event: i64, until: i64) {
        let held = self.held.entry(until).or_default();
        held.insert(event.cast_unsigned());
        self.count_held();
    }

    /// Records that a held delivery was released, if it is one of this process's.
    pub fn release(&mut self, released: Released) {
        if self.end_hold(released.event) {
            self.add(released.delivery);
        }
    }

    /// Returns the events whose deliveries are held, as far as is known.
    pub fn held_events(&self) -> Vec<i64> {
        let held = self.held.values().flatten();
        held.map(u64::cast_signed).collect()
    }

    fn end_hold(&mut self, event: i64) -> bool {
        let mut held = self.held.values_mut();
        let was_held = held.any(|held| held.remove(event.cast_unsigned()));
        if was_held {
            self.held.retain(|_, held| !held.is_empty());
            self.count_held();
        }
        was_held
    }

    fn count_held(&mut self) {
        let held: u64 = self.held.values().map(RoaringTreemap::len).sum();
        self.counts.held = usize::try_from(held).unwrap_or(usize::MAX);
        let ends = self.held.keys().next().zip(self.held.keys().next_back());
        self.counts.held_until = ends.map(|(first, last)| HeldRange {
            first: *first,
            last: *last,
        });
    }

    /// Records that a delivery reached this state in the spool; returns true if it was one of the pending ones.
    pub fn finish(&mut self, delivery: i64, state: DeliveryState) -> bool {
        let waited = self.open.remove(delivery.cast_unsigned());
        if waited {
            self.counts = self.counts.and(state);
        }
        waited
    }

    /// Returns the number of pending deliveries.
    pub fn waiting(&self) -> usize {
        usize::try_from(self.open.len()).unwrap_or(usize::MAX)
    }

    /// Returns the number of pending deliveries in the spool.
    pub fn waiting_in_spool(&self) -> u64 {
        // Deliveries without a place there have negative numbers, which come last.
        self.open.rank(i64::MAX.cast_unsigned())
    }

    /// Returns some of those pending in the spool; successive calls cycle through all of them.
    pub fn next_open(&mut self, most: usize) -> Vec<i64> {
        let mut from = self.open.iter();
        from.advance_to(self.looked_at + 1);
        // Deliveries without a place in the spool have negative numbers, which come last.
        let written = |id: &i64| *id >= 0;
        let next = from.map(u64::cast_signed).take_while(written).take(most);
        let next: Vec<i64> = next.collect();
        self.looked_at = match next.last() {
            Some(last) if next.len() == most => last.cast_unsigned(),
            _ => 0,
        };
        next
    }
}

/// Numbers of deliveries by state. accepted = delivered + sent + waiting + held + dead + dropped + suppressed,
/// always; `flush` counts some of the waiting, held and dead ones as skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: usize,
    /// Delivered as far as anyone can know: their receiver has no answers.
    pub sent: usize,
    pub waiting: usize,
    pub dead: usize,
    /// Pending, but held until a certain time.
    pub held: usize,
    /// The times until which they are held.
    pub held_until: Option<HeldRange>,
    /// Not told, because the rules of its notifier say so.
    pub suppressed: usize,
    /// Discarded to make room, or by a person.
    pub dropped: usize,
    /// Not attempted by `flush`: no notifier claims them.
    pub skipped: usize,
}

impl Counts {
    /// Describes the state of all deliveries, in numbers that add up, and how the pending ones will be
    /// delivered: if every destination with pending ones needs variables, only `flush` with these does.
    pub fn told(&self, needs: &[Vec<String>]) -> String {
        let waiting = match needs.iter().all(|names| !names.is_empty()) && !needs.is_empty() {
            true => {
                let names: BTreeSet<&str> = needs.iter().flatten().map(String::as_str).collect();
                let names: Vec<&str> = names.into_iter().collect();
                format!("pending until `flush` runs with {} set", names.join(", "))
            }
            false => "pending until the next run, `flush` or the timer".to_owned(),
        };
        let all = self.delivered + self.sent + self.waiting + self.dead + self.dropped;
        let all = all + self.held + self.suppressed + self.skipped;
        let held = self.held_until.map(HeldRange::shown);
        let held = held.map_or("held".to_owned(), |until| format!("held {until}"));
        let deliveries = if all == 1 { "delivery" } else { "deliveries" };
        let parts = [
            (self.delivered, "delivered"),
            (self.sent, "sent"),
            (self.dead, "dead"),
            (self.dropped, "dropped"),
            (
                self.suppressed,
                "suppressed by `after`, `repeat` or `muted`",
            ),
            (self.held, held.as_str()),
            (self.skipped, "skipped"),
            (self.waiting, waiting.as_str()),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let fate = match all {
            0 => "nothing to deliver".to_owned(),
            1 if self.delivered == 1 => "delivered".to_owned(),
            _ if self.delivered == all => "all delivered".to_owned(),
            1 if self.sent == 1 => "sent".to_owned(),
            _ if self.sent == all => "all sent".to_owned(),
            _ => parts.join(", "),
        };
        format!("{all} {deliveries}: {fate}")
    }

    /// Returns the counts with what is pending for these destinations.
    pub fn with_pending(self, destinations: &[DestinationStatus]) -> Counts {
        let count = |number: i64| usize::try_from(number).unwrap_or(0);
        let all = destinations.iter();
        Counts {
            waiting: count(all.clone().map(DestinationStatus::owed).sum()),
            held: count(all.clone().map(|status| status.held).sum()),
            held_until: all
                .filter_map(DestinationStatus::held_range)
                .reduce(HeldRange::and),
            ..self
        }
    }

    /// Returns the counts of a destination whose receiver has no answers.
    pub fn unanswered(self) -> Counts {
        Counts {
            delivered: 0,
            sent: self.sent + self.delivered,
            ..self
        }
    }

    /// Adds the counts of another destination.
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            delivered: self.delivered + other.delivered,
            sent: self.sent + other.sent,
            waiting: self.waiting + other.waiting,
            dead: self.dead + other.dead,
            dropped: self.dropped + other.dropped,
            held: self.held + other.held,
            held_until: self
                .held_until
                .into_iter()
                .chain(other.held_until)
                .reduce(HeldRange::and),
            suppressed: self.suppressed + other.suppressed,
            skipped: self.skipped + other.skipped,
        }
    }

    /// Counts one more delivery that reached this state in the spool.
    pub fn and(mut self, state: DeliveryState) -> Counts {
        match state {
            DeliveryState::Delivered => self.delivered += 1,
            DeliveryState::Discarded => self.dropped += 1,
            DeliveryState::Dead => self.dead += 1,
            DeliveryState::Pending => self.waiting += 1,
            DeliveryState::Held => self.held += 1,
            DeliveryState::Suppressed => self.suppressed += 1,
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_add_up() {
        for ((delivered, waiting, dead, dropped), expected) in [
            ((0, 0, 0, 0), "0 deliveries: nothing to deliver"),
            ((1, 0, 0, 0), "1 delivery: delivered"),
            ((16, 0, 0, 0), "16 deliveries: all delivered"),
            ((0, 0, 1, 0), "1 delivery: 1 dead"),
            (
                (1, 2, 3, 4),
                "10 deliveries: 1 delivered, 3 dead, 4 dropped, 2 pending until the next run, `flush` or the timer",
            ),
        ] {
            let counts = Counts {
                delivered,
                waiting,
                dead,
                dropped,
                ..Counts::default()
            };
            assert_eq!(counts.told(&[]), expected);
        }
        let count = |delivered| Counts {
            delivered,
            ..Counts::default()
        };
        let told = |counts: Counts| counts.told(&[]);
        assert_eq!(told(count(1).unanswered()), "1 delivery: sent");
        assert_eq!(told(count(2).unanswered()), "2 deliveries: all sent");
        let both = count(2).plus(count(1).unanswered());
        assert_eq!(told(both), "3 deliveries: 2 delivered, 1 sent");
        let waits = Counts {
            waiting: 2,
            ..Counts::default()
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let told = waits.told(&[names(&["B", "A"]), names(&["A"])]);
        assert_eq!(
            told,
            "2 deliveries: 2 pending until `flush` runs with A, B set"
        );
        let told = waits.told(&[names(&["A"]), Vec::new()]);
        assert!(told.ends_with("the next run, `flush` or the timer"));
    }

    #[test]
    fn all_that_wait_in_the_spool_have_their_turn() {
        let mut own = Tally::default();
        for id in [-1, 1, 2, 3, 4, 5] {
            own.add(id);
        }
        assert_eq!(own.next_open(2), [1, 2]);
        assert!(own.finish(3, DeliveryState::Delivered));
        assert_eq!(own.next_open(2), [4, 5]);
        assert!(own.next_open(2).is_empty());
        assert_eq!(own.next_open(9), [1, 2, 4, 5]);
        assert_eq!(own.next_open(9), [1, 2, 4, 5]);
        assert_eq!(own.waiting(), 5);
    }
}
