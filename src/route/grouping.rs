//! Grouping of a notifier's deliveries: `group_by` makes one message of many events, `batch` one request of
//! many messages.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use crate::config::section::Section;
use crate::event::{Event, Task};

/// Maximum number of events in one message.
const LARGEST: usize = 1000;
/// Default of `group_wait`, the time for which a group is gathered.
const WAIT: Duration = Duration::from_secs(5);

/// Lane of the steps of runs, which have no host.
pub const STEPS: &str = "";

/// Rules for combining a notifier's deliveries.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    by: By,
    /// Time after its first event for which a group is gathered.
    pub wait: Duration,
    /// Maximum number of deliveries that are combined.
    pub most: usize,
    /// The same for deliveries that were held, for example until the end of a mute.
    pub held: usize,
    /// Maximum approximate size in bytes of the events that are combined.
    pub bytes: usize,
}

/// Limits of the requests of a kind that sends in bulk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Number of events in a request, unless `batch` sets it.
    pub events: usize,
    /// Size of the body in bytes, before compression.
    pub bytes: usize,
    /// Size of the data of one event in bytes; a larger one is shortened.
    pub event_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Each event is a message of its own.
    Event,
    /// Each event is a message of its own, and those of a run are sent one after the other, across hosts.
    InOrder,
    /// Whatever is next is combined in one request, each event a message of its own.
    Batch,
    /// The same for the events of one run.
    BatchOfRun,
    /// The same in this many lanes in parallel, each with hosts of its own.
    BatchOfHosts(usize),
    Host,
    Task,
    Play,
    Run,
}

const NAMES: [(&str, By); 4] = [
    ("task", By::Task),
    ("play", By::Play),
    ("host", By::Host),
    ("run", By::Run),
];

impl Default for Grouping {
    fn default() -> Grouping {
        Grouping {
            by: By::Event,
            wait: Duration::ZERO,
            most: 1,
            held: 1,
            bytes: usize::MAX,
        }
    }
}

/// Ways of a kind to send several messages as one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    Possible,
    Impossible,
    /// Always, and only events of one run; by default this many.
    OfRun(usize),
    /// Always, within these limits, in this many requests at a time.
    InBulk(Limits, usize),
}

impl Grouping {
    /// Reads `group_by`, `group_wait` and `order`, and `batch` if the kind supports it.
    pub fn new(section: &Section, batching: Batching) -> Grouping {
        match batching {
            Batching::OfRun(default) => {
                let most = section.count("batch", default, LARGEST);
                return Grouping::batch(By::BatchOfRun, most);
            }
            Batching::InBulk(limits, lanes) => return Grouping::in_bulk(section, limits, lanes),
            Batching::Possible | Batching::Impossible => {}
        }
        let wait = section.duration("group_wait", WAIT);
        let (batch, batch_wait) = match batching {
            Batching::Possible => (
                section.count("batch", 1, LARGEST),
                section.duration("batch_wait", Duration::ZERO),
            ),
            _ => (1, Duration::ZERO),
        };
        if batching == Batching::Possible && section.is_given("batch_wait") {
            section.needs("batch_wait", "batch");
        }
        let by = section.choice("group_by", By::Event, &NAMES);
        if by != By::Event && batch > 1 {
            section.problem("batch", "`batch` and `group_by` are set; keep one of them");
        }
        let orders = [("host", By::Event), ("run", By::InOrder)];
        let order = section.choice("order", By::Event, &orders);
        if by != By::Event && order == By::InOrder {
            section.problem("order", "`order` and `group_by` are set; keep one of them");
        }
        match (by, batch) {
            (By::Event, 1) => Grouping {
                by: order,
                ..Grouping::default()
            },
            (By::Event, most) => Grouping {
                wait: batch_wait,
                ..Grouping::batch(By::Batch, most)
            },
            (by, _) => Grouping {
                wait,
                ..Grouping::batch(by, LARGEST)
            },
        }
    }

    /// Reads the keys of a kind that sends in bulk: `batch`, `batch_wait` and `order`.
    fn in_bulk(section: &Section, limits: Limits, lanes: usize) -> Grouping {
        let most = section.count("batch", limits.events, LARGEST);
        let orders = [("host", By::BatchOfHosts(lanes)), ("run", By::Batch)];
        let by = section.choice("order", By::BatchOfHosts(lanes), &orders);
        Grouping {
            wait: section.duration("batch_wait", Duration::ZERO),
            bytes: limits.bytes,
            ..Grouping::batch(by, most)
        }
    }

    fn batch(by: By, most: usize) -> Grouping {
        Grouping {
            by,
            most,
            held: most,
            ..Grouping::default()
        }
    }

    /// Returns true if combined deliveries remain separate messages.
    pub fn is_batch(&self) -> bool {
        matches!(self.by, By::Batch | By::BatchOfRun | By::BatchOfHosts(_))
    }

    /// Returns true if there is a single lane, for all deliveries.
    pub fn has_one_lane(&self) -> bool {
        self.by == By::Batch
    }

    /// Returns these rules for a notifier that combines held events into one message.
    pub fn sending_together(self) -> Grouping {
        Grouping {
            held: LARGEST,
            ..self
        }
    }

    /// Returns true if what was held is sent in one message.
    pub fn sends_together(&self) -> bool {
        self.held > 1 && !self.is_batch()
    }

    /// Returns true if lanes of one run are delivered in parallel.
    pub fn is_parallel(&self) -> bool {
        self.by != By::InOrder && !self.is_batch()
    }

    /// Returns true if an event can share its message with others: a result can, a step of the run cannot.
    pub fn gathers(&self, event: &Event) -> bool {
        match self.by {
            By::Event | By::InOrder => false,
            By::Batch | By::BatchOfRun | By::BatchOfHosts(_) => true,
            By::Host | By::Task | By::Play | By::Run => event.state.is_some(),
        }
    }

    /// Returns the lane of an event: deliveries of a lane are sent in order, and combined as far as allowed.
    pub fn lane<'a>(&self, event: &'a Event) -> Cow<'a, str> {
        let run = &event.run.id;
        let of_run =
            |part: Option<&str>| Cow::Owned(format!("{run}\n{}", part.unwrap_or_default()));
        match self.by {
            By::Event => Cow::Borrowed(event.host_name()),
            By::InOrder => Cow::Borrowed(event.run.ident.as_ref().unwrap_or(run)),
            By::BatchOfRun => Cow::Borrowed(run),
            By::Batch => Cow::Borrowed(STEPS),
            By::BatchOfHosts(lanes) => {
                let mut hasher = DefaultHasher::new();
                event.host_name().hash(&mut hasher);
                Cow::Owned((hasher.finish() % lanes.max(1) as u64).to_string())
            }
            // As without groups, the ends of all runs are in order.
            _ if !self.gathers(event) => Cow::Borrowed(STEPS),
            By::Host => of_run(Some(event.host_name())),
            By::Task => of_run(event.task.as_ref().map(|task| match task.id.as_str() {
                "" => task.name.as_str(),
                id => id,
            })),
            By::Play => of_run(event.play.as_ref().map(|play| play.id.as_str())),
            By::Run => of_run(None),
        }
    }

    /// Returns the group of a result, by a name that is the same in every run; None if results are not grouped.
    pub fn part(&self, event: &Event) -> Option<String> {
        let play = || event.play.as_ref().map_or("", |play| &play.name);
        match self.by {
            By::Event | By::InOrder | By::Batch | By::BatchOfRun | By::BatchOfHosts(_) => None,
            By::Host => Some(event.host_name().to_owned()),
            By::Task => {
                let task = event.task.as_deref().map(task_key);
                Some(format!("{}\n{}", play(), task.unwrap_or_default()))
            }
            By::Play => Some(play().to_owned()),
            By::Run => Some(String::new()),
        }
    }

    /// Returns how many lanes may combine deliveries at the same time, as far as that is limited.
    pub fn lanes(&self) -> usize {
        match self.by {
            By::BatchOfHosts(lanes) => lanes,
            _ => 1,
        }
    }

    /// Returns true if a lane may be gathering results of this run.
    pub fn is_group_of(&self, run: &str, lane: &str) -> bool {
        self.is_batch()
            || lane
                .strip_prefix(run)
                .is_some_and(|part| part.starts_with('\n'))
    }
}

/// Returns the identity of a task across runs: its file and its name, or its place in the file if it has no
/// name.
pub fn task_key(task: &Task) -> String {
    let path = task.path.as_deref().unwrap_or("");
    let action = task.action.as_deref().unwrap_or("");
    let short = action.rsplit('.').next().unwrap_or("");
    let last = task.name.rsplit(" : ").next().unwrap_or("");
    let is_named = !last.is_empty() && last != action && last != short;
    match (is_named, path.rsplit_once(':')) {
        (true, Some((file, _))) => format!("{file}\t{}", task.name),
        _ => format!("{path}\t{}", task.name),
    }
}
