//! Exit of the parent process while this one continues to deliver: a program that reads the parent's output
//! must not wait for this process too.

use std::time::Duration;

use rustix::process::getppid;

/// Polling interval.
const LOOK: Duration = Duration::from_millis(200);

/// Closes standard error when the parent is gone. Runs on its own thread, because others may block on a disk.
pub fn watch() {
    let parent = getppid();
    let watch = move || {
        while getppid() == parent {
            std::thread::sleep(LOOK);
        }
        if let Ok(nowhere) = std::fs::File::options().write(true).open("/dev/null") {
            // If this fails, the reader waits until this process ends.
            let _ = rustix::stdio::dup2_stderr(&nowhere);
        }
    };
    // The same applies without a thread.
    let _ = std::thread::Builder::new().spawn(watch);
}
