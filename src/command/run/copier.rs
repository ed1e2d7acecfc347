//! Copies the output of a command to its original target, on one thread per terminal or pipe.

use std::borrow::Cow;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcsetattr};

use super::tail::Tail;

/// Size of a piece of output, in bytes.
const PIECE: usize = 64 << 10;
/// Maximum number of bytes that are copied after the command has ended: more than any pipe or terminal holds,
/// but finite if a background process keeps writing.
const REST: usize = 2 << 20;
/// Timeout of a wait that only checks for output.
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Called once everything printed so far is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Continue,
    Stop,
}

/// Progress that the copying thread and the others share.
#[derive(Default)]
struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Number of requests to copy all available output, and number of those done.
    asked: usize,
    settled: usize,
    /// True if nothing will be read after that.
    is_last: bool,
    /// True once it has ended.
    is_over: bool,
    /// Reason why the rest of the output could not be written to a file.
    failure: Option<String>,
}

/// A thread that copies output.
pub struct Copier {
    progress: Arc<Progress>,
    waker: OwnedFd,
}

impl Copier {
    /// Copies everything from `source` to `target`, and its end to `tail`.
    pub fn start(source: OwnedFd, target: File, tail: Arc<Tail>) -> std::io::Result<Copier> {
        let (wakened, waker) = std::io::pipe()?;
        rustix::io::ioctl_fionbio(&wakened, true)?;
        rustix::io::ioctl_fionbio(&waker, true)?;
        let progress = Arc::new(Progress::default());
        let mut copying = Copying {
            source: source.into(),
            target,
            wakened: OwnedFd::from(wakened).into(),
            tail,
            progress: progress.clone(),
            rest: REST,
        };
        std::thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || {
                copying.run();
                // Closing the source tells the command that its output is no longer read.
                let progress = copying.progress.clone();
                drop(copying);
                progress.lock().is_over = true;
                progress.changed.notify_all();
            })?;
        Ok(Copier {
            progress,
            waker: waker.into(),
        })
    }

    /// Waits at most `limit` until everything printed before has been copied.
    pub fn settle(&self, then: Then, limit: Duration) {
        let mut state = self.progress.lock();
        state.asked += 1;
        state.is_last |= then == Then::Stop;
        let asked = state.asked;
        // If the pipe is full, a wake-up is already pending.
        let _ = rustix::io::write(&self.waker, b"x");
        let is_busy = |state: &mut State| !state.is_over && state.settled < asked;
        let waited = self
            .progress
            .changed
            .wait_timeout_while(state, limit, is_busy);
        drop(waited);
    }

    /// Returns the reason why the rest of the output could not be written to a file, if any.
    pub fn failure(&self) -> Option<String> {
        self.progress.lock().failure.clone()
    }
}

impl Progress {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// State of the thread.
struct Copying {
    source: File,
    target: File,
    wakened: File,
    tail: Arc<Tail>,
    progress: Arc<Progress>,
    /// Bytes that may still be copied once it was asked to settle.
    rest: usize,
}

impl Copying {
    fn run(&mut self) {
        let mut piece = vec![0; PIECE];
        loop {
            let (asked, is_last) = {
                let state = self.progress.lock();
                (
                    (state.asked > state.settled).then_some(state.asked),
                    state.is_last,
                )
            };
            let Some(ready) = self.wait(asked.map(|_| &AT_ONCE)) else {
                return;
            };
            if ready.is_woken {
                let _ = self.wakened.read(&mut [0; 64]);
            }
            let is_spent = asked.is_some() && self.rest == 0;
            if ready.has_output && !is_spent {
                match self.source.read(&mut piece) {
                    // EIO: no process has the terminal open.
                    Ok(0) => return,
                    Err(error) if !is_passing(&error) => return,
                    Err(_) => {}
                    Ok(length) => {
                        let length = self.complete(&mut piece, length);
                        self.tail.push(&piece[..length]);
                        let piece = untranslated([&self.source, &self.target], &piece[..length]);
                        let written = self.write(&piece);
                        let is_untranslated =
                            matches!(&piece, Cow::Owned(piece) if piece.ends_with(b"\n"));
                        let written = written.and_then(|()| self.end_line(is_untranslated));
                        if let Err(error) = written {
                            return self.fail(&error);
                        }
                        follow(&self.source, &self.target);
                        if asked.is_some() {
                            self.rest = self.rest.saturating_sub(length);
                        }
                    }
                }
            } else if let Some(asked) = asked
                && (is_spent || !ready.is_woken)
            {
                self.progress.lock().settled = asked;
                self.progress.changed.notify_all();
                self.rest = REST;
                if is_last {
                    return;
                }
            }
        }
    }

    /// Records that a file cannot be written any further. Without this program, the command would have seen
    /// that error. If a reader leaves, the command gets a signal, as it would without this program.
    fn fail(&self, error: &std::io::Error) {
        if self.target.metadata().is_ok_and(|file| file.is_file()) {
            self.progress.lock().failure = Some(plain(error));
        }
    }

    /// Waits for output, at most `limit`; None if the target is no longer read.
    fn wait(&self, limit: Option<&Timespec>) -> Option<Ready> {
        let mut ends = [
            PollFd::new(&self.source, PollFlags::IN),
            PollFd::new(&self.wakened, PollFlags::IN),
            PollFd::new(&self.target, PollFlags::empty()),
        ];
        let polled = poll(&mut ends, limit);
        let [source, wakened, target] = ends.map(|end| end.revents());
        match polled {
            Ok(_) if target.intersects(PollFlags::ERR | PollFlags::HUP) => None,
            Ok(_) => Some(Ready {
                has_output: !source.is_empty(),
                is_woken: !wakened.is_empty(),
            }),
            Err(rustix::io::Errno::INTR) => Some(Ready {
                has_output: false,
                is_woken: true,
            }),
            Err(_) => None,
        }
    }

    /// Reads the second half of a line end, if it is there; returns the new length of the piece.
    fn complete(&mut self, piece: &mut [u8], length: usize) -> usize {
        let is_cut = piece[..length].ends_with(b"\r") && length < piece.len();
        let has_more = || {
            self.wait(Some(&AT_ONCE))
                .is_some_and(|ready| ready.has_output)
        };
        match is_cut && has_more() {
            true => length + self.source.read(&mut piece[length..]).unwrap_or(0),
            false => length,
        }
    }

    /// Returns to the beginning of the line if the command has changed the modes just before a line end without `\r`
    /// was written: the target no longer converted it.
    fn end_line(&mut self, is_untranslated: bool) -> std::io::Result<()> {
        match is_untranslated && !translates(&self.target) {
            true => self.write(b"\r"),
            false => Ok(()),
        }
    }

    /// Writes all of it, even to a non-blocking target.
    fn write(&mut self, mut piece: &[u8]) -> std::io::Result<()> {
        while !piece.is_empty() {
            match self.target.write(piece) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => piece = &piece[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut ends = [PollFd::new(&self.target, PollFlags::OUT)];
                    let _ = poll(&mut ends, None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the output with the command's own line ends if both ends are terminals that convert them: the second
/// one would convert them again. The first one converted them when they were written, and the command may have
/// changed the modes since.
fn untranslated<'a>(ends: [&File; 2], piece: &'a [u8]) -> Cow<'a, [u8]> {
    if !ends.into_iter().all(translates) || !piece.windows(2).any(|pair| pair == b"\r\n") {
        return Cow::Borrowed(piece);
    }
    let is_kept =
        |(index, byte): &(usize, &u8)| **byte != b'\r' || piece.get(index + 1) != Some(&b'\n');
    let kept = piece.iter().enumerate().filter(is_kept);
    Cow::Owned(kept.map(|(_, byte)| *byte).collect())
}

/// Returns true for a terminal that converts line ends.
fn translates(end: &File) -> bool {
    let both = OutputModes::OPOST | OutputModes::ONLCR;
    tcgetattr(end).is_ok_and(|modes| modes.output_modes.contains(both))
}

/// Copies the real terminal's output modes to the command's terminal: the command may have changed them through
/// its standard input, which is the real terminal.
fn follow(made: &File, real: &File) {
    if let (Ok(mut modes), Ok(other)) = (tcgetattr(made), tcgetattr(real))
        && modes.output_modes != other.output_modes
    {
        modes.output_modes = other.output_modes;
        // A closed terminal has no modes.
        let _ = tcsetattr(made, OptionalActions::Now, &modes);
    }
}

struct Ready {
    has_output: bool,
    is_woken: bool,
}

/// Returns an error of the system without its number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next();
    plain.unwrap_or_default().to_owned()
}

fn is_passing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
