//! Points at which a test can end the process, as a crash would. Without the feature `failpoints` they are
//! not compiled in.
//!
//! `ANSIBLE_NOTIFY_FAILPOINTS=before_mark=abort@3` aborts the process the third time it reaches that point;
//! `terminate` sends SIGTERM instead, `stop` SIGSTOP, and `panic` panics. Several are separated by commas.

/// Does nothing; with `failpoints`, acts if a test chose this place.
#[cfg(not(feature = "failpoints"))]
pub fn pass(_place: &str) {}

/// Does nothing; with `failpoints`, acts if a test chose this place and subject.
#[cfg(not(feature = "failpoints"))]
pub fn pass_for(_place: &str, _subject: &str) {}

#[cfg(feature = "failpoints")]
pub use armed::{pass, pass_for};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Failpoint {
        place: String,
        action: String,
        /// Passes left before it acts, this one included.
        left: AtomicU32,
    }

    static FAILPOINTS: LazyLock<Vec<Failpoint>> = LazyLock::new(|| {
        let text = std::env::var("ANSIBLE_NOTIFY_FAILPOINTS").unwrap_or_default();
        text.split(',').filter_map(read).collect()
    });

    fn read(text: &str) -> Option<Failpoint> {
        let (place, rest) = text.split_once('=')?;
        let (action, times) = rest.split_once('@').unwrap_or((rest, "1"));
        Some(Failpoint {
            place: place.to_owned(),
            action: action.to_owned(),
            left: AtomicU32::new(times.parse().ok()?),
        })
    }

    /// Marks a place that the process reaches with a subject: `place/subject` is where it can end.
    pub fn pass_for(place: &str, subject: &str) {
        pass(&format!("{place}/{subject}"));
    }

    /// Marks a place that the process has reached.
    pub fn pass(place: &str) {
        let here = FAILPOINTS.iter().filter(|point| point.place == place);
        for point in here {
            if point.left.fetch_sub(1, Ordering::Relaxed) != 1 {
                continue;
            }
            let signal = match point.action.as_str() {
                "terminate" => rustix::process::Signal::TERM,
                "stop" => rustix::process::Signal::STOP,
                "panic" => panic!("failpoint: {place}"),
                _ => std::process::abort(),
            };
            let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
            // Another thread may be the one that receives it.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}
