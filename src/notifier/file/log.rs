//! A file to which several processes append whole lines, and which is rotated by its size.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Error, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{FlockOperation, OFlags, flock};

/// Time between attempts to get the lock.
const PAUSE: Duration = Duration::from_millis(2);
/// Ending of a compressed file.
const GZIP: &str = ".gz";

/// A file to which lines are appended, and its settings.
pub struct Log {
    pub path: PathBuf,
    pub mode: u32,
    /// True if a line counts as written only once it is on the disk.
    pub sync: bool,
    pub rotation: Option<Rotation>,
    /// Maximum time to wait for the lock.
    pub timeout: Duration,
}

/// When a file is set aside, and what becomes of it.
#[derive(Clone, Copy)]
pub struct Rotation {
    pub max_size: u64,
    /// Number of files set aside.
    pub keep: usize,
    pub compress: bool,
}

impl Log {
    /// Appends lines: all of them, or none.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let (mut file, mut size) = self.locked()?;
        if let Some(rotation) = self.rotation
            && size > 0
            && size + lines.len() as u64 > rotation.max_size
        {
            self.rotate(rotation)?;
            // The lock on the old file ends only now: nobody else rotates meanwhile.
            let next = self.locked()?;
            drop(std::mem::replace(&mut file, next.0));
            size = next.1;
        }
        let written = self.write(&mut file, size, lines);
        if written.is_err() {
            // Nothing remains of a line that did not fit on the disk.
            let _ = file.set_len(size);
        }
        written
    }

    fn write(&self, file: &mut File, size: u64, lines: &[u8]) -> io::Result<()> {
        let mut all = Vec::new();
        let lines = match is_torn(file, size)? {
            false => lines,
            true => {
                all.push(b'\n');
                all.extend_from_slice(lines);
                &all
            }
        };
        let count = loop {
            match file.write(lines) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        if count < lines.len() {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        match self.sync {
            true => file.sync_data(),
            false => Ok(()),
        }
    }

    /// Opens the file and locks it; returns its size, too.
    fn locked(&self) -> io::Result<(File, u64)> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let file = self.open()?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let (own, there) = (file.metadata()?, fs::symlink_metadata(&self.path));
                    // Another process may have set it aside meanwhile.
                    if there.is_ok_and(|there| there.ino() == own.ino() && there.dev() == own.dev())
                    {
                        return Ok((file, own.len()));
                    }
                }
                Err(error) if error == rustix::io::Errno::WOULDBLOCK => {}
                Err(error) => return Err(error.into()),
            }
            if Instant::now() > deadline {
                let text = format!("locked by another process for {:?}", self.timeout);
                return Err(Error::new(ErrorKind::WouldBlock, text));
            }
            sleep(PAUSE);
        }
    }

    fn open(&self) -> io::Result<File> {
        // Not through a link that somebody has put there, and without waiting for a reader of a pipe.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(self.mode)
            .custom_flags(flags.bits() as i32)
            .open(&self.path)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(Error::new(ErrorKind::InvalidInput, "it is not a file")),
        }
    }

    /// Sets the file aside as `PATH.1`, and those before it as `PATH.2` and so on.
    fn rotate(&self, rotation: Rotation) -> io::Result<()> {
        for number in (1..=rotation.keep).rev() {
            for ending in ["", GZIP] {
                let from = self.aside(number, ending);
                let moved = match number == rotation.keep {
                    true => fs::remove_file(from),
                    false => fs::rename(from, self.aside(number + 1, ending)),
                };
                match moved {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        let first = self.aside(1, "");
        fs::rename(&self.path, &first)?;
        if rotation.compress {
            let packed = self.aside(1, GZIP);
            // Without room for it, the file stays as it is.
            match pack(&first, &packed, self.mode) {
                Ok(()) => fs::remove_file(&first)?,
                Err(_) => drop(fs::remove_file(&packed)),
            }
        }
        if let (true, Some(folder)) = (self.sync, self.path.parent()) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }

    fn aside(&self, number: usize, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}{ending}"));
        path.into()
    }
}

/// Returns true if the last line has no end: its writer was killed, or the machine lost its power.
fn is_torn(file: &mut File, size: u64) -> io::Result<bool> {
    if size == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::Start(size - 1))?;
    file.read_exact(&mut last)?;
    Ok(last != [b'\n'])
}

fn pack(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let target = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(to)?;
    let mut packed = GzEncoder::new(target, Compression::fast());
    io::copy(&mut File::open(from)?, &mut packed)?;
    packed.finish()?.sync_all()
}
