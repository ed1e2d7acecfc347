//! The end of the program that started this one, which goes on to deliver: whoever reads that program's
//! output must not wait for this one, too.

use std::time::Duration;

use rustix::process::getppid;

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);

/// Gives up standard error when the parent is gone. On a thread of its own: the others may wait for a disk.
pub fn watch() {
    let parent = getppid();
    let watch = move || {
        while getppid() == parent {
            std::thread::sleep(LOOK);
        }
        if let Ok(nowhere) = std::fs::File::options().write(true).open("/dev/null") {
            // Where it stays open, the other one waits until this process has ended.
            let _ = rustix::stdio::dup2_stderr(&nowhere);
        }
    };
    // Without a thread it is the same.
    let _ = std::thread::Builder::new().spawn(watch);
}
