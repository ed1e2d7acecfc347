//! One notifier's worker: claims deliveries, makes attempts, records what became of them, backs off.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::breaker::{Breaker, MAX_BACK_OFF};
use crate::counts::{Counts, Own};
use crate::deliver::Deliverer;
use crate::destination::Destination;
use crate::event::Event;
use crate::failpoint;
use crate::http::Http;
use crate::lanes::{Delivery, Lanes};
use crate::notifier::{Failure, Notifier};
use crate::reader::Reader;
use crate::report;
use crate::shorten::shortened;
use crate::spool::{self, Accepted, BreakerRow, Leadership, Mark, MarkOutcome, Pending, Spool};
use crate::thread;
use crate::verdict::Verdict;

/// Refused credentials that are not mended for so long end a delivery.
const MAX_DENIED: Duration = Duration::from_secs(24 * 3600);
/// How many deliveries of a notifier are in memory, apart from groups; the others wait in the spool.
const WINDOW: usize = 512;
/// A delivery that is due so soon is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often a worker looks for what other processes did.
pub const LOOK: Duration = Duration::from_millis(100);

/// One destination and how it fares.
pub struct Worker {
    /// Its number in the spool.
    pub id: i64,
    pub destination: Destination,
    notifier: RefCell<Rc<dyn Notifier>>,
    lanes: RefCell<Lanes>,
    /// This process delivers to the destination; any other one only accepts.
    leadership: RefCell<Option<Leadership>>,
    /// The highest delivery that was taken into memory.
    loaded: Cell<i64>,
    /// Nothing beyond it waits in the spool, as far as is known.
    complete: Cell<bool>,
    pub under_way: Cell<usize>,
    /// What happened and the spool did not take.
    unrecorded: RefCell<Vec<Mark>>,
    /// It has looked at least once whether it is the one to deliver.
    began: Cell<bool>,
    /// There may be something to claim.
    wake: Notify,
    breaker: RefCell<Breaker>,
    /// The breaker as it stands in the spool, as far as is known.
    stored: RefCell<BreakerRow>,
    /// When the secrets were read anew, since the credentials were last good.
    renewed: Cell<Option<Instant>>,
    pub own: RefCell<Own>,
    /// What this worker finished, whoever accepted it.
    pub done: Cell<Counts>,
}

/// The life of a worker; it ends with the program.
pub async fn run(deliverer: Rc<Deliverer>, worker: Rc<Worker>) {
    let mut under_way: JoinSet<()> = JoinSet::new();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        worker.load(deliverer.spool()).await;
        let now = Instant::now();
        let paused = worker.breaker.borrow().pause();
        while paused.is_none()
            && !deliverer.stopping.get()
            && worker.leads()
            && under_way.len() < worker.limit()
        {
            let Some(claimed) = worker.lanes.borrow_mut().claim(now) else {
                break;
            };
            worker.under_way.set(worker.under_way.get() + 1);
            under_way.spawn_local(attempt(deliverer.clone(), worker.clone(), claimed));
        }
        worker.began.set(true);
        let next = paused.or_else(|| worker.lanes.borrow().next_due());
        tokio::select! {
            Some(_) = under_way.join_next() => deliverer.progress.notify_one(),
            () = worker.wake.notified() => {}
            () = sleep_until(next), if next.is_some() => {}
            _ = look.tick() => worker.look(&deliverer).await,
        }
    }
}

/// One attempt, recorded: only then is its lane open again, so that order and numbers hold.
async fn attempt(deliverer: Rc<Deliverer>, worker: Rc<Worker>, mut claimed: Vec<Delivery>) {
    let (started, begun) = (Timestamp::now(), Instant::now());
    let mut marks = Marks::default();
    let result = if worker.breaker.borrow().is_off() {
        Err(Failure::Gone("it answered 410 Gone before".to_owned()))
    } else {
        failpoint::pass("before_send");
        worker.tell(&deliverer, &claimed, &mut marks).await
    };
    failpoint::pass("after_send");
    let verdict = worker.judge(deliverer.http(), &claimed, begun, result);
    let verdict = verdict.unless_too_old(claimed[0].accepted);
    for delivery in &mut claimed {
        delivery.attempts += 1;
    }
    let mark = worker.mark(&claimed, started, &verdict, marks);
    if !mark.deliveries.is_empty() {
        worker.record(&deliverer, mark).await;
    }
    if !matches!(verdict, Verdict::Retry { .. }) {
        claimed.iter().for_each(|one| deliverer.forget(one.id));
    }
    failpoint::pass("after_mark");
    worker.settle(claimed, verdict);
    worker.under_way.set(worker.under_way.get() - 1);
}

/// What an attempt leaves behind beside its verdict.
#[derive(Default)]
struct Marks {
    /// A template that failed.
    note: Option<String>,
    threads: Vec<(String, String)>,
}

async fn write_mark(spool: &Spool, mark: &Mark) -> anyhow::Result<()> {
    let mark = mark.clone();
    spool
        .write(move |connection| spool::mark(connection, &mark))
        .await
}

async fn sleep_until(time: Option<Instant>) {
    if let Some(time) = time {
        tokio::time::sleep_until(time.into()).await;
    }
}

impl Worker {
    pub fn new(destination: Destination, id: i64) -> Worker {
        Worker {
            id,
            notifier: RefCell::new(destination.notifier.clone()),
            lanes: RefCell::new(Lanes::new(destination.grouping)),
            destination,
            leadership: RefCell::default(),
            loaded: Cell::new(0),
            complete: Cell::new(false),
            under_way: Cell::new(0),
            unrecorded: RefCell::default(),
            began: Cell::new(false),
            wake: Notify::new(),
            breaker: RefCell::default(),
            stored: RefCell::default(),
            renewed: Cell::new(None),
            own: RefCell::default(),
            done: Cell::default(),
        }
    }

    /// How many attempts may be under way at once.
    fn limit(&self) -> usize {
        self.breaker.borrow().limit(self.destination.concurrency)
    }

    /// How many deliveries are in memory at the most: a group must find room, and one behind it.
    fn window(&self) -> usize {
        WINDOW.max(2 * self.destination.grouping.most)
    }

    /// Groups are gathered no more.
    pub fn gather_no_more(&self) {
        self.lanes.borrow_mut().gather_no_more();
        self.wake.notify_one();
    }

    /// This process is the one that delivers.
    pub fn leads(&self) -> bool {
        self.leadership.borrow().is_some()
    }

    /// Something is being delivered, or could be now.
    pub fn is_busy(&self) -> bool {
        let paused = self.breaker.borrow().pause().is_some();
        let ready = self.lanes.borrow().is_ready(Instant::now() + PATIENCE) && !paused;
        !self.began.get()
            || self.leads() && (self.under_way.get() > 0 || ready || !self.complete.get())
    }

    /// Takes what waits in the spool into memory, where this process is the one to deliver it.
    async fn load(&self, spool: &Spool) {
        if !self.leads() {
            let leadership = spool.lead(self.id);
            if leadership.is_none() {
                return;
            }
            *self.leadership.borrow_mut() = leadership;
            self.read_breaker(spool).await;
        }
        if self.complete.get() || self.lanes.borrow().len() >= self.window() {
            return;
        }
        let (id, after) = (self.id, self.loaded.get());
        let window = self.window();
        // Where the spool cannot be read, the next look tries again.
        let rows = spool
            .write(move |connection| spool::pending(connection, id, after, window))
            .await;
        let Ok(rows) = rows else { return };
        self.complete.set(rows.len() < window);
        let mut reader = Reader::new();
        for row in rows {
            if let Err(broken) = self.take_row(&mut reader, row) {
                self.bury(spool, broken).await;
            }
        }
    }

    /// Takes over what another process learnt of the destination, or what a person asks for.
    async fn read_breaker(&self, spool: &Spool) {
        let id = self.id;
        let read = spool
            .write(move |connection| spool::breaker(connection, id))
            .await;
        let Ok(row) = read else { return };
        if self.stored.replace(row.clone()) == row {
            return;
        }
        let fingerprint = || self.destination.section.fingerprint();
        self.breaker.replace(Breaker::restore(row, fingerprint));
        self.lanes.borrow_mut().release();
        self.wake.notify_one();
    }

    /// An event that cannot be read any more is dead, and said to be.
    async fn bury(&self, spool: &Spool, delivery: i64) {
        let error = "the event in the spool cannot be read".to_owned();
        report::say(format!("delivery {delivery}: {error}"));
        let mark = Mark {
            deliveries: vec![delivery],
            destination: self.id,
            started: Timestamp::now().as_millisecond(),
            duration: 0,
            outcome: MarkOutcome::Dead(error),
            keep_body: true,
            breaker: self.breaker.borrow().row(),
            reopened: false,
            threads: Vec::new(),
        };
        // Where the spool takes nothing, the next look finds it again.
        let _ = spool
            .write(move |connection| spool::mark(connection, &mark))
            .await;
    }

    /// Takes a row into its lane; gives its number where it cannot be read.
    fn take_row(&self, reader: &mut Reader, row: Pending) -> Result<(), i64> {
        if row.delivery <= self.loaded.get() {
            return Ok(());
        }
        self.loaded.set(row.delivery);
        let Ok(mut event) = reader.read(row.body.as_bytes()) else {
            return Err(row.delivery);
        };
        event.repaired = false;
        let wait = row.next_at - Timestamp::now().as_millisecond();
        // After a jump of the clock a time may lie far ahead; no wait is longer than the longest back-off.
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0)).min(MAX_BACK_OFF);
        let due = (!wait.is_zero()).then(|| Instant::now() + wait);
        let delivery = Delivery {
            attempts: row.attempts,
            due,
            accepted: Timestamp::from_millisecond(row.created).unwrap_or_else(|_| Timestamp::now()),
            ..Delivery::new(row.delivery, Arc::new(event))
        };
        self.lanes.borrow_mut().push(delivery);
        Ok(())
    }

    /// An event was accepted for this destination.
    pub fn take(&self, accepted: &Accepted, event: &Arc<Event>) {
        let mut own = self.own.borrow_mut();
        match accepted.state {
            0 => {
                own.open.insert(accepted.delivery);
            }
            state => own.counts = own.counts.and(state),
        }
        // Straight into memory, if all that comes before it is there, and it is not there itself.
        let loaded = self.loaded.get();
        let next = accepted.previous.is_some_and(|previous| previous <= loaded);
        if accepted.state != 0 || accepted.delivery <= loaded {
            return;
        }
        if self.leads() && self.complete.get() && next && self.lanes.borrow().len() < self.window()
        {
            self.loaded.set(accepted.delivery);
            let delivery = Delivery::new(accepted.delivery, event.clone());
            self.lanes.borrow_mut().push(delivery);
        } else {
            self.complete.set(false);
        }
        self.wake.notify_one();
    }

    /// A delivery was dropped to make room.
    pub fn drop_own(&self, delivery: i64) {
        let mut own = self.own.borrow_mut();
        if own.open.remove(&delivery) {
            own.counts = own.counts.and(spool::DISCARDED);
            own.last_error = Some("dropped, the spool was full".to_owned());
        }
    }

    pub fn take_homeless(&self, id: i64, event: &Arc<Event>) {
        self.own.borrow_mut().open.insert(id);
        let delivery = Delivery::new(id, event.clone());
        self.lanes.borrow_mut().push(delivery);
        self.wake.notify_one();
    }

    /// Looks what other processes did: put in, where this one delivers; delivered, where another does.
    async fn look(&self, deliverer: &Deliverer) {
        self.catch_up(deliverer.spool()).await;
        if self.leads() {
            self.complete.set(false);
            // With nothing under way, what it learnt itself is stored already.
            if self.under_way.get() == 0 && self.breaker.borrow().is_troubled() {
                self.read_breaker(deliverer.spool()).await;
            }
            return;
        }
        let open: Vec<i64> = self.own.borrow().open.iter().copied().collect();
        if open.is_empty() {
            return;
        }
        let found = deliverer
            .spool()
            .write(move |connection| spool::finished(connection, &open))
            .await;
        let Ok(found) = found else { return };
        let mut own = self.own.borrow_mut();
        for (id, state, error) in found {
            own.last_error = error.or(own.last_error.take());
            if state == 0 || !own.open.remove(&id) {
                continue;
            }
            own.counts = own.counts.and(state);
            deliverer.progress.notify_one();
        }
    }

    /// Decides what an attempt's result means for the delivery and for the notifier.
    fn judge(
        &self,
        http: &Http,
        claimed: &[Delivery],
        begun: Instant,
        result: Result<(), Failure>,
    ) -> Verdict {
        let mut breaker = self.breaker.borrow_mut();
        let failure = match result {
            Ok(()) => {
                self.renewed.set(None);
                let reopened = breaker.succeeded();
                return Verdict::Delivered { reopened };
            }
            Err(failure) => failure,
        };
        let mut error = failure.error().to_owned();
        let mut most = self.destination.max_age;
        let mut together = claimed.len();
        let wait = match failure {
            Failure::Permanent(_) => None,
            Failure::TooLarge(_) if self.sends_batch(claimed) => {
                error.push_str("; the batch is halved");
                together = claimed.len() / 2;
                Some(Duration::ZERO)
            }
            Failure::TooLarge(_) => {
                error.push_str("; cut, it is still too large");
                None
            }
            Failure::Gone(_) => {
                breaker.turn_off(|| self.destination.section.fingerprint());
                error.push_str("; off until its configuration changes");
                None
            }
            Failure::Denied(_) => {
                most = most.min(MAX_DENIED);
                if self.renew(http, begun) {
                    breaker.denied();
                    Some(Duration::ZERO)
                } else {
                    Some(breaker.denied_again())
                }
            }
            Failure::Retry { after, .. } => Some(breaker.failed(claimed[0].attempts, after)),
        };
        self.own.borrow_mut().last_error = Some(error.clone());
        match wait {
            Some(wait) => Verdict::Retry {
                due: Instant::now() + wait,
                error,
                most,
                together,
            },
            None => Verdict::Dead(error),
        }
    }

    fn sends_batch(&self, claimed: &[Delivery]) -> bool {
        self.destination.grouping.is_batch() && claimed.len() > 1
    }

    /// Makes one attempt at what was claimed; with an event that is too large, one more after it was cut.
    async fn tell(
        &self,
        deliverer: &Deliverer,
        claimed: &[Delivery],
        marks: &mut Marks,
    ) -> Result<(), Failure> {
        let events = claimed.iter().map(|one| one.event.clone());
        let sent = self.send(deliverer, claimed, events.collect(), marks).await;
        if self.sends_batch(claimed) || !matches!(sent, Err(Failure::TooLarge(_))) {
            return sent;
        }
        let short = claimed.iter().map(|one| Arc::new(shortened(&one.event)));
        self.send(deliverer, claimed, short.collect(), marks).await
    }

    async fn send(
        &self,
        deliverer: &Deliverer,
        claimed: &[Delivery],
        events: Vec<Arc<Event>>,
        marks: &mut Marks,
    ) -> Result<(), Failure> {
        let notifier = self.notifier.borrow().clone();
        // Rendered at delivery: a template mended meanwhile mends what waits.
        let mut message = self.destination.message(events);
        message.reached = claimed[0].reached.clone();
        let threads = notifier.keeps_threads();
        if threads {
            let (id, event) = (self.id, &claimed[0].event);
            let keys = thread::keys(event);
            let kept = deliverer
                .spool()
                .write(move |connection| spool::threads(connection, id, &keys))
                .await;
            // Where the spool cannot be read, the message begins a thread of its own.
            message.threads = thread::recall(event, kept.unwrap_or_default());
        }
        notifier.send(&message).await?;
        if threads {
            marks.threads = thread::keep(&message);
        }
        marks.note = message.note;
        Ok(())
    }

    /// Stores what an attempt means for the deliveries and for the destination.
    async fn record(&self, deliverer: &Deliverer, mark: Mark) {
        failpoint::pass("before_mark");
        let mut recorded = write_mark(deliverer.spool(), &mark).await;
        if recorded.is_err() {
            // The first failure may have made room.
            recorded = write_mark(deliverer.spool(), &mark).await;
        }
        match recorded {
            Ok(()) => {
                self.stored.replace(mark.breaker);
            }
            Err(error) => {
                deliverer.complain(&format!(
                    "what was delivered cannot be recorded now, and may be sent again: {error:#}"
                ));
                self.unrecorded.borrow_mut().push(mark);
            }
        }
    }

    /// Records what the spool did not take when it happened.
    pub async fn catch_up(&self, spool: &Spool) {
        let mut marks = self.unrecorded.take();
        if marks.is_empty() {
            return;
        }
        for mark in &mut marks {
            // How the destination fared then is no more of interest.
            (mark.breaker, mark.reopened) = (self.breaker.borrow().row(), false);
        }
        let kept = marks.clone();
        let recorded = spool
            .write(move |connection| {
                marks
                    .iter()
                    .try_for_each(|mark| spool::mark(connection, mark))
            })
            .await;
        if recorded.is_err() {
            self.unrecorded.borrow_mut().splice(0..0, kept);
        }
    }

    fn mark(
        &self,
        claimed: &[Delivery],
        started: Timestamp,
        verdict: &Verdict,
        marks: Marks,
    ) -> Mark {
        let now = Timestamp::now().as_millisecond();
        let ids = claimed.iter().map(|delivery| delivery.id);
        Mark {
            // What has no place in the spool has nothing to be marked there.
            deliveries: ids.filter(|id| *id > 0).collect(),
            destination: self.id,
            started: started.as_millisecond(),
            duration: (now - started.as_millisecond()).max(0),
            outcome: verdict.outcome(marks.note),
            keep_body: self.destination.keep_bodies,
            breaker: self.breaker.borrow().row(),
            reopened: matches!(verdict, Verdict::Delivered { reopened: true }),
            threads: marks.threads,
        }
    }

    /// The attempt is recorded: the lane goes on.
    fn settle(&self, mut claimed: Vec<Delivery>, verdict: Verdict) {
        let mut lanes = self.lanes.borrow_mut();
        if let Verdict::Retry { due, together, .. } = verdict {
            claimed[0].due = Some(due);
            return lanes.put_back(claimed, together);
        }
        lanes.finish(&claimed);
        let delivered = matches!(verdict, Verdict::Delivered { .. });
        if matches!(verdict, Verdict::Delivered { reopened: true }) {
            lanes.release();
        }
        let state = if delivered {
            spool::DELIVERED
        } else {
            spool::DEAD
        };
        let mut own = self.own.borrow_mut();
        for delivery in &claimed {
            self.done.set(self.done.get().and(state));
            // What another process accepted is that one's to count.
            if own.open.remove(&delivery.id) {
                own.counts = own.counts.and(state);
            }
        }
    }

    /// Builds the notifier again, once, so that a secret changed meanwhile is found. Whether it is worth
    /// another attempt: one begun before that was made with the old secret.
    fn renew(&self, http: &Http, begun: Instant) -> bool {
        if let Some(renewed) = self.renewed.get() {
            return begun < renewed;
        }
        self.renewed.set(Some(Instant::now()));
        let built = (self.destination.kind.build)(&self.destination.section, http);
        built
            .map(|notifier| self.notifier.replace(notifier))
            .is_some()
    }
}
