//! Progress line on the terminal; none if standard error is not a terminal.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Number of deliveries below which no line is shown.
const MANY: usize = 100;
/// Interval at which the line is redrawn.
const PERIOD: Duration = Duration::from_millis(100);

thread_local! {
    static BAR: RefCell<Option<ProgressBar>> = const { RefCell::new(None) };
}

/// Shows the progress that `count` returns: how many are finished, of how many. Needs a `LocalSet`.
pub fn show(count: impl Fn() -> (usize, usize) + 'static) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    tokio::task::spawn_local(async move {
        while count().1 < MANY {
            tokio::time::sleep(PERIOD).await;
        }
        let style =
            ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len}, {per_sec}");
        let bar = ProgressBar::new(0).with_style(style.expect("the template is one"));
        BAR.set(Some(bar.clone()));
        while !bar.is_finished() {
            let (finished, all) = count();
            bar.set_length(all as u64);
            bar.set_position(finished as u64);
            tokio::time::sleep(PERIOD).await;
        }
    });
}

/// Removes the line for good.
pub fn hide() {
    if let Some(bar) = BAR.take() {
        bar.finish_and_clear();
    }
}

/// Writes to the terminal without disturbing the line.
pub fn beside(write: impl FnOnce()) {
    match BAR.with_borrow(Clone::clone) {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}
