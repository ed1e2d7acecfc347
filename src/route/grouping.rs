//! Which deliveries of a notifier go together: `group_by` makes one message of many events, `batch` one
//! request of many messages.

use std::borrow::Cow;
use std::time::Duration;

use crate::config::section::Section;
use crate::event::Event;

/// The most events that one message is about.
const LARGEST: usize = 1000;
/// How long a group is gathered, where `group_wait` does not say it.
const WAIT: Duration = Duration::from_secs(5);

/// How a notifier's deliveries go together.
#[derive(Clone, Copy, Debug)]
pub struct Grouping {
    by: By,
    /// How long after its first event a group is still gathered.
    pub wait: Duration,
    /// The most deliveries that go together.
    pub most: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Each event is a message of its own.
    Event,
    /// The same, and those of a run go one after the other, whatever their hosts are.
    InOrder,
    /// Whatever comes next goes together, each a message of its own.
    Batch,
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
        }
    }
}

impl Grouping {
    /// Reads `group_by`, `group_wait` and `order`, and `batch` where the kind can send one.
    pub fn new(section: &Section, batches: bool) -> Grouping {
        let wait = section.duration("group_wait", WAIT);
        let batch = if batches {
            section.count("batch", 1, LARGEST)
        } else {
            1
        };
        let by = section.choice("group_by", By::Event, &NAMES);
        if by != By::Event && batch > 1 {
            section.problem("batch", "`batch` and `group_by` are set; keep one of them");
        }
        let in_order = section.choice("order", false, &[("host", false), ("run", true)]);
        if by != By::Event && in_order {
            section.problem("order", "`order` and `group_by` are set; keep one of them");
        }
        match (by, batch) {
            (By::Event, 1) if in_order => Grouping {
                by: By::InOrder,
                ..Grouping::default()
            },
            (By::Event, 1) => Grouping::default(),
            (By::Event, most) => Grouping {
                by: By::Batch,
                wait: Duration::ZERO,
                most,
            },
            (by, _) => Grouping {
                by,
                wait,
                most: LARGEST,
            },
        }
    }

    /// Each of those that go together is a message of its own.
    pub fn is_batch(&self) -> bool {
        self.by == By::Batch
    }

    /// Tells whether lanes of one run go side by side.
    pub fn is_parallel(&self) -> bool {
        !matches!(self.by, By::InOrder | By::Batch)
    }

    /// Whether an event can share its message with others: a result can, a step of the run cannot.
    pub fn gathers(&self, event: &Event) -> bool {
        match self.by {
            By::Event | By::InOrder => false,
            By::Batch => true,
            By::Host | By::Task | By::Play | By::Run => event.state.is_some(),
        }
    }

    /// The lane of an event: those of a lane go in order, and together as far as they may.
    pub fn lane<'a>(&self, event: &'a Event) -> Cow<'a, str> {
        let run = &event.run.id;
        let of_run =
            |part: Option<&str>| Cow::Owned(format!("{run}\n{}", part.unwrap_or_default()));
        match self.by {
            By::Event => Cow::Borrowed(event.host_name()),
            By::InOrder => Cow::Borrowed(event.run.ident.as_ref().unwrap_or(run)),
            By::Batch => Cow::Borrowed(""),
            _ if !self.gathers(event) => Cow::Borrowed(run),
            By::Host => of_run(Some(event.host_name())),
            By::Task => of_run(event.task.as_ref().map(|task| match task.id.as_str() {
                "" => task.name.as_str(),
                id => id,
            })),
            By::Play => of_run(event.play.as_ref().map(|play| play.id.as_str())),
            By::Run => of_run(None),
        }
    }

    /// Whether a lane gathers results of this run.
    pub fn is_group_of(run: &str, lane: &str) -> bool {
        lane.strip_prefix(run)
            .is_some_and(|part| part.starts_with('\n'))
    }
}
