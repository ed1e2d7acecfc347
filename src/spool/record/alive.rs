//! Processes of runs: each holds the lock of a file as long as it lives, so that a killed run is noticed
//! immediately, without a timeout.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::super::Spool;
use super::super::folder::private_file;

/// Process of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The process that gets its events.
    Stream,
    /// The surrounding `ansible-notify run`.
    Command,
}

impl Part {
    const ALL: [Part; 2] = [Part::Stream, Part::Command];

    fn ending(self) -> &'static str {
        match self {
            Part::Stream => "lock",
            Part::Command => "command.lock",
        }
    }
}

/// Beginning of the names of the files.
const PREFIX: &str = "run-";
/// Number of attempts to lock a file that another process checks or removes, and the pause between them.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_millis(2);

/// Shows that a process of a run is alive. The kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub struct Alive {
    _file: File,
    path: PathBuf,
}

impl Drop for Alive {
    fn drop(&mut self) {
        // While it is locked, no other process uses it. If this fails, it is removed with the old ones.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Spool {
    /// Shows that this process, a part of a run, is alive; None if another process has this part, or if the
    /// directory cannot be used.
    pub fn live(&self, run_id: &str, part: Part) -> Option<Alive> {
        if self.work.is_err() {
            return None;
        }
        let path = path(&self.folder, run_id, part);
        for _ in 0..TRIES {
            let file = open(&path, private_file)?;
            if file.try_lock().is_ok() && is_at(&file, &path) {
                return Some(Alive { _file: file, path });
            }
            // Processes that check it hold it for a moment.
            std::thread::sleep(PAUSE);
        }
        None
    }
}

/// Returns the file of a part of a run. Ids are not valid file names.
fn path(folder: &Path, run_id: &str, part: Part) -> PathBuf {
    let hash = digest(&SHA256, run_id.as_bytes());
    let hash = hash.as_ref()[..12].iter();
    let name: String = hash.map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{PREFIX}{name}.{}", part.ending()))
}

/// Opens a file, unless something else is at its path, such as a FIFO, which would block.
fn open(path: &Path, open: impl Fn(&Path) -> std::io::Result<File>) -> Option<File> {
    let is_other = path.metadata().is_ok_and(|found| !found.is_file());
    (!is_other).then(|| open(path).ok()).flatten()
}

/// Returns true if the file was not replaced or removed since it was opened.
fn is_at(file: &File, path: &Path) -> bool {
    let opened = file.metadata().map(|found| found.ino()).ok();
    opened.is_some() && opened == path.metadata().map(|found| found.ino()).ok()
}

/// Returns true if a process of this run is alive.
pub fn is_alive(folder: &Path, run_id: &str) -> bool {
    let mut parts = Part::ALL.into_iter();
    parts.any(|part| is_held(&path(folder, run_id, part)))
}

/// Returns true if a process holds the lock of a file. Several processes may check at the same time.
fn is_held(path: &Path) -> bool {
    let file = open(path, |path| File::open(path));
    file.is_some_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Removes the files of processes that are gone.
pub fn remove_free(folder: &Path) {
    let Ok(entries) = folder.read_dir() else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(PREFIX) || !name.ends_with(".lock") {
            continue;
        }
        if let Some(file) = open(&entry.path(), |path| File::open(path))
            && file.try_lock().is_ok()
            && is_at(&file, &entry.path())
        {
            // A process that has opened it meanwhile sees that it is gone.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Limits, Spool};
    use super::*;

    #[test]
    fn a_run_lives_as_long_as_one_of_its_processes() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), &Limits::default()).unwrap();
        let files = || {
            let entries = folder.path().read_dir().unwrap().flatten();
            let names = entries.map(|entry| entry.file_name().into_string().unwrap());
            names.filter(|name| name.starts_with(PREFIX)).count()
        };
        let is_alive = |run: &str| is_alive(folder.path(), run);
        assert!(!is_alive("../r"));
        let stream = spool.live("../r", Part::Stream).unwrap();
        let command = spool.live("../r", Part::Command).unwrap();
        remove_free(folder.path());
        assert_eq!((is_alive("../r"), is_alive("r"), files()), (true, false, 2));
        drop(stream);
        assert!(is_alive("../r"));
        // As if it had been killed.
        command._file.unlock().unwrap();
        assert_eq!((is_alive("../r"), files()), (false, 1));
        remove_free(folder.path());
        assert_eq!(files(), 0);
        assert!(spool.live("../r", Part::Command).is_some());
    }
}
