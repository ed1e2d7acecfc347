//! The process that holds a lock, as reported by Linux, so that messages can name it.

use std::fmt::{self, Display, Formatter};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Byte of SQLite's shared memory that a process locks while it writes.
const WRITING: &str = "120";

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    pid: u32,
    name: String,
    /// True if it was stopped, for example by Ctrl-Z.
    pub is_stopped: bool,
}

impl Display for Holder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Holder { pid, name, .. } = self;
        if self.is_stopped {
            // SIGTERM would stay pending until it continues.
            write!(
                f,
                "process {pid} ({name}), which is stopped (`kill -CONT {pid}` resumes it, `kill -KILL {pid}` ends it),"
            )
        } else {
            write!(f, "process {pid} ({name})")
        }
    }
}

/// Returns the process that holds the lock on a whole file.
pub fn of_lock(path: &Path) -> Option<Holder> {
    find(path, "FLOCK", "0")
}

/// Returns the process that is in the middle of a transaction, according to SQLite's shared memory.
pub fn of_transaction(database: &Path) -> Option<Holder> {
    let mut memory = database.as_os_str().to_owned();
    memory.push("-shm");
    find(Path::new(&memory), "POSIX", WRITING)
}

fn find(path: &Path, kind: &str, start: &str) -> Option<Holder> {
    let metadata = path.metadata().ok()?;
    let device = (
        rustix::fs::major(metadata.dev()),
        rustix::fs::minor(metadata.dev()),
    );
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = holder_in(&locks, kind, device, metadata.ino(), start)?;
    // The third field; the second is a name in parentheses that may contain anything.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (start, rest) = stat.rsplit_once(')')?;
    Some(Holder {
        pid,
        name: start.split_once('(')?.1.to_owned(),
        is_stopped: matches!(rest.split_whitespace().next(), Some("T" | "t")),
    })
}

/// Finds the process that holds a write lock. Format of the text: proc_locks(5).
fn holder_in(locks: &str, kind: &str, device: (u32, u32), inode: u64, start: &str) -> Option<u32> {
    let (major, minor) = device;
    let exact = format!("{major:02x}:{minor:02x}:{inode}");
    // Some file systems, such as btrfs, show a different device here than stat(2) does.
    let elsewhere = format!(":{inode}");
    let held = locks.lines().filter_map(|line| {
        // A waiting process has `->` in the second field.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, found, _, "WRITE", pid, file, from, ..] = fields[..] else {
            return None;
        };
        let fits = found == kind && from == start && file.ends_with(&elsewhere);
        fits.then_some((
            file == exact,
            pid.parse::<u32>().ok().filter(|pid| *pid > 0)?,
        ))
    });
    held.max().map(|(_, pid)| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
1: POSIX  ADVISORY  WRITE 711 08:02:4212 120 120
2: POSIX  ADVISORY  READ 712 08:02:4212 123 123
3: FLOCK  ADVISORY  WRITE 713 08:02:4211 0 EOF
3: -> FLOCK  ADVISORY  WRITE 714 08:02:4211 0 EOF
4: FLOCK  ADVISORY  WRITE 715 00:2a:4211 0 EOF
5: FLOCK  ADVISORY  READ 716 00:2b:99 0 EOF
";

    #[test]
    fn who_holds_a_lock_is_found_by_its_file() {
        let holder = |kind, device, inode, start| holder_in(LOCKS, kind, device, inode, start);
        assert_eq!(holder("FLOCK", (8, 2), 4211, "0"), Some(713));
        assert_eq!(holder("FLOCK", (0, 0x2a), 4211, "0"), Some(715));
        assert_eq!(holder("POSIX", (8, 2), 4212, "120"), Some(711));
        assert_eq!(holder("POSIX", (1, 1), 4212, "120"), Some(711));
        assert_eq!(holder("POSIX", (8, 2), 4212, "123"), None, "it only reads");
        assert_eq!(holder("FLOCK", (0, 0x2b), 99, "0"), None);
        assert_eq!(holder("FLOCK", (8, 2), 11, "0"), None);
    }
}
