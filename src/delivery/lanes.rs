//! Deliveries of one notifier that are in memory, by lane: each lane is in order, one at a time.

mod aside;
mod ends;
mod lane;
mod opening;
#[cfg(test)]
mod order_tests;
mod size;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::delivery::breaker::MAX_BACK_OFF;
use crate::notifier::Thread;
use crate::route::grouping::{Grouping, STEPS};
use crate::spool::Room;
use aside::Aside;
use ends::{Ends, others};
pub use lane::Delivery;
use lane::Lane;
use opening::Opening;

/// Number of deliveries of a notifier kept in memory, not counting groups; the others wait in the spool.
pub const WINDOW: usize = 512;
/// Size limit in bytes of their events, not counting groups: a few large ones are enough to work on.
pub const WINDOW_BYTES: usize = 4 << 20;

/// Number of quick attempts at the end of a run while other deliveries of the run fail as well.
const FIRST_TURNS: u32 = 3;

/// Deliveries by lane: a host or a group.
#[derive(Debug)]
pub struct Lanes {
    grouping: Grouping,
    lanes: HashMap<Rc<str>, Lane>,
    /// Lanes whose first delivery can be made now.
    ready: VecDeque<Rc<str>>,
    /// Lanes whose first delivery is not due yet.
    resting: BinaryHeap<Reverse<(Instant, Rc<str>)>>,
    ends: Ends,
    opening: Opening,
    /// Lanes with deliveries in the spool that are not in memory although later ones are.
    aside: Aside,
    /// Lanes whose first delivery waits for an earlier one of another lane.
    behind: Vec<Rc<str>>,
    /// Number and approximate size in memory of the deliveries that have a place in the spool.
    length: usize,
    bytes: usize,
    /// Number of deliveries that may be made as one at present.
    batch: usize,
}

impl Lanes {
    /// Creates lanes for a notifier for which the end of a play waits at most `drain`.
    pub fn new(grouping: Grouping, thread: Thread, drain: Duration) -> Lanes {
        Lanes {
            grouping,
            lanes: HashMap::new(),
            ready: VecDeque::new(),
            resting: BinaryHeap::new(),
            ends: Ends::new(drain),
            opening: Opening::new(thread),
            aside: Aside::default(),
            behind: Vec::new(),
            length: 0,
            bytes: 0,
            batch: usize::MAX,
        }
    }

    /// Returns true if it has no delivery at all.
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty() && self.ends.is_empty()
    }

    /// Adds a delivery at the end of its lane.
    pub fn push(&mut self, mut delivery: Delivery, now: Instant) {
        let lane = delivery.lane(&self.grouping);
        if delivery.id > 0 && self.aside.leave_new(&lane, &delivery.event) {
            return;
        }
        if delivery.id > 0 {
            self.length += 1;
            self.bytes += delivery.size();
        }
        let was_held = delivery.is_sent_together(&self.grouping);
        if delivery.event.end.is_some() && !was_held {
            self.complete_groups(Some(&delivery.event.run.id));
            if delivery.ends_run(&self.grouping) {
                self.ends.hold(delivery, now);
                return self.open_ends(now);
            }
        }
        if delivery.due.is_none() && !was_held && delivery.gathers(&self.grouping) {
            delivery.due = self.gathered_until(&delivery, now);
        }
        self.enlist(delivery);
    }

    fn enlist(&mut self, delivery: Delivery) {
        let name: Rc<str> = Rc::from(&*delivery.lane(&self.grouping));
        if let Some(lane) = self.lanes.get_mut(&name) {
            lane.waiting.push_back(delivery);
            if lane.waiting.len() == self.grouping.most && lane.is_full(self.grouping.most) {
                self.close_group(&name);
            }
            return;
        }
        let lane = Lane {
            waiting: VecDeque::from([delivery]),
            ..Lane::default()
        };
        self.lanes.insert(name.clone(), lane);
        self.open(name);
    }

    /// Stops gathering for a group that is full.
    fn close_group(&mut self, name: &Rc<str>) {
        let resting = self.resting.len();
        self.resting.retain(|Reverse((_, other))| other != name);
        if self.resting.len() < resting {
            self.ready.push_back(name.clone());
        }
    }

    /// Returns the time at which the group that a delivery begins is complete.
    fn gathered_until(&self, delivery: &Delivery, now: Instant) -> Option<Instant> {
        let age = jiff::Timestamp::now().duration_since(delivery.accepted);
        let left = self.grouping.wait.checked_sub(age.unsigned_abs())?;
        (!left.is_zero()).then(|| now + left)
    }

    /// Releases the ends of runs that have nothing else to wait for.
    fn open_ends(&mut self, now: Instant) {
        if self.ends.is_empty() {
            return;
        }
        let gone = self.ends.go(others(&self.lanes, &self.aside), now);
        gone.into_iter().for_each(|end| self.enlist(end));
    }

    /// Claims deliveries that can be made now, as one; their lane stays closed until they are finished.
    pub fn claim(&mut self, now: Instant) -> Option<Vec<Delivery>> {
        self.open_ends(now);
        while self.next_resting().is_some_and(|due| due <= now) {
            let lane = self.resting.pop().map(|entry| entry.0.1);
            self.ready.extend(lane);
        }
        loop {
            let name = self.ready.pop_front()?;
            if self.hold_again(&name, now) {
                continue;
            }
            if self.waits_behind(&name) {
                self.behind.push(name);
                continue;
            }
            let lane = self.lanes.get_mut(&name)?;
            let first = lane.waiting.front()?;
            let was_held = first.is_sent_together(&self.grouping);
            if !was_held && !self.opening.admits(&first.event.run.id, &name) {
                continue;
            }
            lane.under_way = Some((first.event.run.clone(), first.id));
            lane.sends_held = was_held;
            let most = lane.together(&self.grouping).min(self.batch);
            let count = lane.fitting(most, self.grouping.bytes);
            return Some(lane.waiting.drain(..count).collect());
        }
    }

    /// Returns true if the first delivery of a lane comes after one in another lane: after those about its host
    /// that are sent together, or, if runs are in order, after the end of an earlier run of the same playbook.
    fn waits_behind(&self, name: &Rc<str>) -> bool {
        let (grouping, lanes) = (&self.grouping, &self.lanes);
        let first = lanes.get(name).and_then(|lane| lane.waiting.front());
        let Some(first) = first else { return false };
        let told = || lanes.get(STEPS).filter(|_| **name != *STEPS);
        if grouping.sends_together()
            && told().is_some_and(|told| told.sends_before(first, grouping))
        {
            return true;
        }
        let others = || lanes.iter().filter(|(other, _)| *other != name);
        first.event.end.is_some()
            && !grouping.is_parallel()
            && others().any(|(_, lane)| lane.ends_before(first))
    }

    /// Holds back again the end of a run at the head of this lane, if a delivery that had failed when it
    /// was released can proceed now, or an earlier end was held back.
    fn hold_again(&mut self, name: &Rc<str>, now: Instant) -> bool {
        let first = self.lanes.get(name).and_then(|lane| lane.waiting.front());
        let end = first.filter(|first| first.ends_run(&self.grouping));
        let behind = || others(&self.lanes, &self.aside);
        if !end.is_some_and(|end| self.ends.waits(end, behind(), now)) {
            return false;
        }
        let lane = self.lanes.get_mut(name);
        let end = lane.and_then(|lane| lane.waiting.pop_front());
        end.into_iter()
            .for_each(|end| self.ends.hold_again(end, now));
        self.reopen(name.clone());
        true
    }

    /// Puts claimed deliveries back at the head of their lane, to be retried in a group of `together` when
    /// the first is due.
    pub fn put_back(&mut self, mut claimed: Vec<Delivery>, together: usize, now: Instant) {
        // They were gathered before.
        claimed
            .iter_mut()
            .skip(1)
            .for_each(|other| other.due = None);
        let Some(first) = claimed.first_mut() else {
            return;
        };
        first.together = together;
        let (event, ends_run) = (first.event.clone(), first.ends_run(&self.grouping));
        let name: Rc<str> = Rc::from(&*first.lane(&self.grouping));
        let lane = self.lanes.entry(name.clone()).or_default();
        // The first one of the attempt may be finished.
        let under_way = lane.under_way.take();
        let run = under_way.map_or_else(|| event.run.clone(), |(run, _)| run);
        if ends_run && self.is_preceded(&event.run.id) {
            for end in claimed {
                // If it fails repeatedly, the others go first.
                let until = end.due.filter(|_| end.attempts < FIRST_TURNS);
                let until = until.unwrap_or(now + MAX_BACK_OFF);
                self.ends.hold_again(end, until);
            }
        } else if let Some(lane) = self.lanes.get_mut(&name) {
            lane.failed = true;
            let behind = std::mem::replace(&mut lane.waiting, claimed.into());
            lane.waiting.extend(behind);
        }
        self.go_on(name, &run.id, now);
    }

    /// Returns true if anything is still to be delivered before the end of a run.
    fn is_preceded(&self, run: &str) -> bool {
        others(&self.lanes, &self.aside).any(|(of, ..)| of == run)
    }

    /// Removes claimed deliveries that are finished; their lane continues.
    pub fn finish(&mut self, claimed: &[Delivery], now: Instant) {
        self.retire(claimed, now);
        let Some(first) = claimed.first() else { return };
        let name: Rc<str> = Rc::from(&*first.lane(&self.grouping));
        if let Some(lane) = self.lanes.get_mut(&name) {
            (lane.under_way, lane.failed) = (None, false);
        }
        let run = first.event.run.id.as_str();
        if first.event.end.is_some() {
            self.opening.close(run);
        }
        self.go_on(name, run, now);
    }

    /// Removes those of claimed deliveries that are finished; their lane continues once the others are put back.
    pub fn retire(&mut self, finished: &[Delivery], now: Instant) {
        for delivery in finished {
            self.make_room_of(delivery);
        }
        self.ends.moved(now);
    }

    fn make_room_of(&mut self, delivery: &Delivery) {
        if delivery.id > 0 {
            self.length -= 1;
            self.bytes -= delivery.size();
        }
    }

    /// Continues after an attempt at deliveries of this lane and this run.
    fn go_on(&mut self, lane: Rc<str>, run: &str, now: Instant) {
        self.reopen(lane);
        self.ready.extend(self.behind.drain(..));
        for lane in self.opening.done(run).into_iter().rev() {
            self.ready.push_front(lane);
        }
        self.open_ends(now);
    }

    /// Schedules a lane again if it has more deliveries.
    fn reopen(&mut self, lane: Rc<str>) {
        let known = self.lanes.get(&lane);
        match known.map(|known| known.waiting.is_empty()) {
            Some(true) => drop(self.lanes.remove(&lane)),
            Some(false) => self.open(lane),
            None => {}
        }
    }

    /// Records that a message of the run was delivered and can be replied to.
    pub fn opened(&mut self, run: &str) {
        self.opening.open(run);
    }

    /// Makes room when lanes with a failed first delivery take it up: first only tried deliveries stay in
    /// memory; if that is not enough, not even those.
    pub fn evict(&mut self) {
        if self.grouping.has_one_lane() {
            return;
        }
        let resting = self.resting.iter();
        let mut resting: Vec<_> = resting.map(|entry| entry.0.clone()).collect();
        // The lane due last has the most time to be reloaded.
        resting.sort_unstable_by(|one, other| other.cmp(one));
        for (_, name) in &resting {
            let tried = self.lanes.get(name).map_or(0, Lane::tried);
            self.leave(name, tried.max(1));
        }
        for (_, name) in &resting {
            if self.has_much_room() || self.aside.len() >= aside::MOST {
                break;
            }
            self.leave(name, 0);
        }
        let lanes = &self.lanes;
        self.resting
            .retain(|Reverse((_, name))| lanes.contains_key(name));
        self.ready.extend(self.behind.drain(..));
    }

    /// Leaves the deliveries of a resting lane to the spool, except the first `kept`.
    fn leave(&mut self, name: &Rc<str>, kept: usize) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let Some(first) = lane.waiting.front() else {
            return;
        };
        let gathers = first.gathers(&self.grouping);
        // A group stays as it is; one of an earlier process has to be gathered again.
        let is_bound = gathers && (kept == 0 || first.together == 0);
        // Deliveries without a place in the spool stay in memory.
        let is_written = lane.waiting.iter().all(|delivery| delivery.id > 0);
        if first.attempts == 0 || is_bound || !is_written || lane.waiting.len() <= kept {
            return;
        }
        let left: Vec<Delivery> = lane.waiting.drain(kept..).collect();
        if kept == 0 {
            self.lanes.remove(name);
        }
        let due = left[0].due.filter(|_| kept == 0);
        let events = left.iter().map(|delivery| &*delivery.event);
        self.aside.leave(name, left[0].id, due, events);
        for delivery in &left {
            self.make_room_of(delivery);
        }
    }

    /// Returns the first number to reload for evicted lanes that can proceed.
    pub fn needed(&self, now: Instant) -> Option<i64> {
        self.aside.needed(now, |name| self.lanes.contains_key(name))
    }

    /// Reloads evicted deliveries of lanes that can proceed: everything that waited from `first` to `last`.
    /// Others among them are here already, or stay evicted. More of them may wait from `rest` on.
    pub fn reload(
        &mut self,
        deliveries: Vec<Delivery>,
        (first, last): (i64, i64),
        rest: Option<i64>,
        now: Instant,
    ) {
        let lanes = &self.lanes;
        let back = self
            .aside
            .take_out(first, now, |name| lanes.contains_key(name));
        for delivery in deliveries {
            let lane = delivery.lane(&self.grouping);
            let is_needed = delivery.id <= last && back.needs(&lane, delivery.id);
            if is_needed && !self.ends.holds(delivery.id) {
                self.push(delivery, now);
            }
        }
        if let Some(rest) = rest {
            self.aside.put_back(back, rest);
        }
    }

    /// Ends the back-off of all lanes: the notifier works again.
    pub fn release(&mut self) {
        self.ready
            .extend(self.resting.drain().map(|entry| entry.0.1));
        self.lanes.values_mut().for_each(|lane| lane.failed = false);
        self.aside.release();
    }

    /// Records that nothing can be tried now: the lack of progress is not the deliveries' fault.
    pub fn stand_still(&mut self, now: Instant) {
        self.ends.moved(now);
    }

    /// Stops gathering groups: this process is about to end.
    pub fn gather_no_more(&mut self) {
        self.complete_groups(None);
        self.grouping.wait = Duration::ZERO;
    }

    /// Stops waiting for failed deliveries: only those that can be made now matter.
    pub fn hurry(&mut self) {
        self.gather_no_more();
        self.ends.hurry = true;
    }

    /// Treats groups that are still being gathered as complete, for one run or all. Failed ones keep
    /// backing off.
    fn complete_groups(&mut self, run: Option<&str>) {
        if self.grouping.wait.is_zero() {
            return;
        }
        for (name, lane) in &mut self.lanes {
            if run.is_none_or(|run| self.grouping.is_group_of(run, name)) {
                let untried = lane.waiting.iter_mut().filter(|one| one.attempts == 0);
                untried.for_each(|one| one.due = None);
            }
        }
        for Reverse((due, name)) in std::mem::take(&mut self.resting) {
            let first = self.lanes.get(&name).and_then(|lane| lane.waiting.front());
            if first.is_some_and(|first| first.due.is_none()) {
                self.ready.push_back(name);
            } else {
                self.resting.push(Reverse((due, name)));
            }
        }
    }

    /// Schedules a lane by when its first delivery is due.
    fn open(&mut self, name: Rc<str>) {
        let lane = self.lanes.get(&name);
        let gathers = |lane: &&Lane| !lane.is_full(self.grouping.most);
        let first = lane.filter(gathers).and_then(|lane| lane.waiting.front());
        match first.and_then(|delivery| delivery.due) {
            Some(due) => self.resting.push(Reverse((due, name))),
            None => self.ready.push_back(name),
        }
    }

    fn next_resting(&self) -> Option<Instant> {
        self.resting.peek().map(|entry| entry.0.0)
    }

    /// Returns the time at which the next resting delivery is due.
    pub fn next_due(&self) -> Option<Instant> {
        let aside = || self.aside.next_due(|name| self.lanes.contains_key(name));
        let aside = (self.aside.len() > 0).then(aside).flatten();
        self.next_resting().into_iter().chain(aside).min()
    }

    /// Returns the limits of the window: a group must fit, however large, and one behind it.
    fn window(&self) -> Room {
        let most = self.grouping.most.max(self.grouping.held);
        let whole_groups = !self.grouping.is_batch() && most > 1;
        Room {
            deliveries: WINDOW.max((1 + self.grouping.lanes()) * most),
            bytes: if whole_groups {
                usize::MAX
            } else {
                WINDOW_BYTES
            },
        }
    }

    /// Returns how much more may be loaded, counting claimed deliveries as loaded.
    pub fn room(&self) -> Room {
        let window = self.window();
        Room {
            deliveries: window.deliveries.saturating_sub(self.length),
            bytes: window.bytes.saturating_sub(self.bytes),
        }
    }

    /// Returns true if there is room for many small deliveries or a large one, so that reading the spool is
    /// worthwhile.
    pub fn has_much_room(&self) -> bool {
        let (window, room) = (self.window(), self.room());
        room.deliveries >= window.deliveries / 2 && room.bytes >= window.bytes / 8
    }

    /// Returns true if a delivery can be claimed at this time, or waits only for one in progress.
    pub fn is_ready(&self, now: Instant) -> bool {
        !self.ready.is_empty()
            || self.next_resting().is_some_and(|due| due <= now)
            || !self.ends.is_empty() && self.next_end().is_some_and(|at| at <= now)
    }

    /// Returns true if others can only be sent once these are finished.
    pub fn wait_for(&self, claimed: &[Delivery]) -> bool {
        let name = claimed[0].lane(&self.grouping);
        let lane = self.lanes.get(&*name);
        let is_next = lane.is_some_and(|lane| !lane.waiting.is_empty());
        let are_next = !self.ready.is_empty() || !self.behind.is_empty() || !self.ends.is_empty();
        is_next || are_next || self.aside.len() > 0
    }

    /// Returns the time at which the next end of a run can be released, as things stand.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.next(others(&self.lanes, &self.aside))
    }
}
