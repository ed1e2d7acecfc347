//! Output of a command, through a terminal or a pipe in place of the original, to which it is copied.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::copier::{Copier, Then};
use super::tail::Tail;

/// Copies of the command's output, and its last lines.
pub struct Output {
    tail: Arc<Tail>,
    copiers: Vec<Copier>,
    screens: Vec<Screen>,
}

/// A terminal created for the command, and the real one that it replaces.
struct Screen {
    made: OwnedFd,
    real: File,
}

/// Standard output and standard error of the command.
pub type Streams = [Stdio; 2];

impl Output {
    /// Gives both streams to the command unchanged.
    pub fn untouched() -> (Output, Streams) {
        let output = Output {
            tail: Arc::new(Tail::new(0)),
            copiers: Vec::new(),
            screens: Vec::new(),
        };
        (output, [Stdio::inherit(), Stdio::inherit()])
    }

    /// Replaces each stream by a terminal or a pipe. Both streams get the same one if they are the same, to
    /// keep the order of their lines. A device is left to the command, which knows how to handle it.
    pub fn captured(lines: usize) -> std::io::Result<(Output, Streams)> {
        let (mut output, _) = Output::untouched();
        output.tail = Arc::new(Tail::new(lines));
        let stdout = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
        if is_same(&stdout, &stderr) && !is_device(&stdout) {
            let both = output.capture(stdout)?;
            return Ok((output, [both.try_clone()?.into(), both.into()]));
        }
        let mut streams = [Stdio::inherit(), Stdio::inherit()];
        for (stream, target) in streams.iter_mut().zip([stdout, stderr]) {
            if !is_device(&target) {
                *stream = output.capture(target)?.into();
            }
        }
        Ok((output, streams))
    }

    /// Returns the end of a terminal or a pipe that is copied to `target`.
    fn capture(&mut self, target: File) -> std::io::Result<OwnedFd> {
        let (source, end) = if isatty(&target) {
            let (made, line) = terminal_like(&target)?;
            self.screens.push(Screen {
                made: made.try_clone()?,
                real: target.try_clone()?,
            });
            (made, line)
        } else {
            let (reader, writer) = std::io::pipe()?;
            (reader.into(), writer.into())
        };
        let copier = Copier::start(source, target, self.tail.clone())?;
        self.copiers.push(copier);
        Ok(end)
    }

    /// Gives the command's terminals the size of the real ones.
    pub fn resize(&self) {
        for screen in &self.screens {
            // A closed terminal has no size.
            let _ = tcgetwinsize(&screen.real).and_then(|size| tcsetwinsize(&screen.made, size));
        }
    }

    /// Waits until everything printed so far is copied, each stream at most `limit`, and returns the last lines.
    pub fn text(&self, limit: Duration) -> Option<String> {
        self.settle(Then::Continue, limit);
        self.tail.text()
    }

    /// Returns all output kept so far, to find the reason of a failure.
    pub fn whole(&self) -> Option<String> {
        self.tail.whole()
    }

    /// Returns the reason why some of the output could not be written, if any.
    pub fn failure(&self) -> Option<String> {
        self.copiers.iter().find_map(Copier::failure)
    }

    /// Copies the available output and stops: a background process of the command may keep it open.
    pub fn finish(&self, limit: Duration) {
        self.settle(Then::Stop, limit);
    }

    fn settle(&self, then: Then, limit: Duration) {
        for copier in &self.copiers {
            copier.settle(then, limit);
        }
    }
}

/// Returns true if both are the same terminal, pipe or file.
fn is_same(one: &File, other: &File) -> bool {
    let id = |file: &File| {
        let metadata = file.metadata().ok()?;
        Some((metadata.dev(), metadata.ino(), metadata.rdev()))
    };
    id(one).is_some() && id(one) == id(other)
}

/// Returns true for a device other than a terminal, such as `/dev/full`, which may fail in its own way.
/// `/dev/null` never fails.
fn is_device(file: &File) -> bool {
    let null = std::fs::metadata("/dev/null").map(|null| null.rdev()).ok();
    let is_other =
        |file: std::fs::Metadata| file.file_type().is_char_device() && Some(file.rdev()) != null;
    !isatty(file) && file.metadata().is_ok_and(is_other)
}

/// Creates a terminal with the size and the modes of another one, and returns both ends of it. It is not a
/// controlling terminal.
fn terminal_like(real: &File) -> std::io::Result<(OwnedFd, OwnedFd)> {
    let made = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    rustix::io::fcntl_setfd(&made, FdFlags::CLOEXEC)?;
    grantpt(&made)?;
    unlockpt(&made)?;
    let name = ptsname(&made, Vec::new())?;
    let name = name.to_str().map_err(std::io::Error::other)?;
    let line = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits() as i32)
        .open(name)?;
    tcsetattr(&line, OptionalActions::Now, &tcgetattr(real)?)?;
    if let Ok(size) = tcgetwinsize(real) {
        tcsetwinsize(&line, size)?;
    }
    Ok((made, line.into()))
}
