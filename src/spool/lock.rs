//! The lock that every process takes before it writes to the spool. Every wait for it is bounded.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::error::Error;
use super::folder::private_file;
use super::holder;

/// Time for which another process may hold the lock while it is running.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for which it may hold the lock while it is stopped.
const PATIENCE_STOPPED: Duration = Duration::from_secs(1);
/// Interval at which a waiting process does other work, and checks the state of the holder.
const LOOK: Duration = Duration::from_millis(20);
/// Time to wait for the lock right after a wait in vain.
const SHORT: Duration = Duration::from_millis(50);
/// Interval between tries during that time.
const POLL: Duration = Duration::from_millis(5);

/// Length of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Long,
    /// The last wait was in vain.
    Short,
}

/// The lock file.
pub struct Lock {
    path: PathBuf,
    file: File,
}

/// The lock, held until this is dropped.
pub enum Guard<'a> {
    Own(&'a File),
    /// A file that the kernel closes, and so unlocks, when it is dropped.
    Waited(#[expect(dead_code, reason = "the lock goes with the file")] File),
    /// The file system does not support such locks; SQLite has its own.
    Unlocked,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Guard::Own(file) = self {
            // The kernel unlocks it when the process ends, at the latest.
            let _ = file.unlock();
        }
    }
}

impl Lock {
    /// Opens or creates the file of a lock, without taking it.
    pub fn open(path: PathBuf) -> std::io::Result<Lock> {
        let file = private_file(&path)?;
        Ok(Lock { path, file })
    }

    /// Acquires the lock, or fails with the name of its holder. Calls `meanwhile` repeatedly as it waits.
    pub fn acquire(
        &self,
        patience: Patience,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Guard<'_>, Error> {
        match self.file.try_lock() {
            Ok(()) => return Ok(Guard::Own(&self.file)),
            Err(TryLockError::Error(_)) => return Ok(Guard::Unlocked),
            Err(TryLockError::WouldBlock) => {}
        }
        let guard = match patience {
            Patience::Long => self.queue(meanwhile),
            Patience::Short => self.poll(meanwhile),
        };
        guard.ok_or_else(|| {
            Error::Held(holder::of_lock(&self.path).map_or_else(
                || "another process holds the spool".to_owned(),
                |holder| format!("{holder} holds the spool"),
            ))
        })
    }

    /// Waits in the kernel's queue, which is fair and wakes at once; on a thread of its own, because that
    /// wait is unbounded. If the lock comes too late, the thread releases it at once.
    fn queue(&self, meanwhile: &mut dyn FnMut()) -> Option<Guard<'_>> {
        let file = private_file(&self.path).ok()?;
        let (sender, receiver) = mpsc::channel();
        let wait = move || {
            while let Err(error) = file.lock() {
                if error.kind() != std::io::ErrorKind::Interrupted {
                    return;
                }
            }
            let _ = sender.send(file);
        };
        std::thread::Builder::new().spawn(wait).ok()?;
        let began = Instant::now();
        loop {
            match receiver.recv_timeout(LOOK) {
                Ok(file) => return Some(Guard::Waited(file)),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.is_hopeless(began.elapsed()) => return None,
                Err(RecvTimeoutError::Timeout) => meanwhile(),
            }
        }
    }

    fn is_hopeless(&self, waited: Duration) -> bool {
        let is_stopped = || holder::of_lock(&self.path).is_some_and(|holder| holder.is_stopped);
        waited > PATIENCE || waited > PATIENCE_STOPPED && is_stopped()
    }

    fn poll(&self, meanwhile: &mut dyn FnMut()) -> Option<Guard<'_>> {
        let until = Instant::now() + SHORT;
        while Instant::now() < until {
            std::thread::sleep(POLL);
            meanwhile();
            if self.file.try_lock().is_ok() {
                return Some(Guard::Own(&self.file));
            }
        }
        None
    }
}
