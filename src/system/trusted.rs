//! Files that determine where events and secrets go: read only if nobody else could have written them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::OFlags;

/// Content of a file, with its metadata.
pub struct Trusted {
    pub bytes: Vec<u8>,
    pub metadata: Metadata,
}

/// Reads a file of at most `most` bytes that only the user or root can have written.
pub fn read(path: &Path, most: u64) -> Result<Trusted> {
    let shown = path.display();
    let unreadable = || format!("cannot read `{shown}`");
    let mut file = open(path, OFlags::empty()).with_context(unreadable)?;
    // The checks use the open file, so that the file checked is the file read.
    let metadata = file.metadata().with_context(unreadable)?;
    ensure!(metadata.is_file(), "`{shown}` is not a file");
    if let Some(reason) = distrusted(&metadata) {
        bail!("`{shown}` {reason}");
    }
    let mut bytes = Vec::new();
    let read = file.by_ref().take(most + 1).read_to_end(&mut bytes);
    read.with_context(unreadable)?;
    let fits = bytes.len() as u64 <= most;
    ensure!(fits, "`{shown}` is longer than {} KiB", most >> 10);
    Ok(Trusted { bytes, metadata })
}

/// Opens a file without blocking, as opening a pipe would.
pub fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits() as i32)
        .open(path)
}

/// Returns why a file must not be trusted, if so.
pub fn distrusted(metadata: &Metadata) -> Option<String> {
    let everyone = metadata.permissions().mode() & 0o002 != 0;
    let writable = everyone.then(|| "can be written by everyone; chmod o-w it".to_owned());
    owned_by_other(metadata).or(writable)
}

/// Returns why a file must not hold a secret, if so: others may read it, or somebody else owns it.
pub fn exposed(metadata: &Metadata) -> Option<String> {
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Some(format!(
            "can be read by others (mode {mode:04o}); chmod 600 it"
        ));
    }
    owned_by_other(metadata)
}

/// Returns why a file's owner must not be trusted, if so.
pub fn owned_by_other(metadata: &Metadata) -> Option<String> {
    let user = rustix::process::geteuid().as_raw();
    let trusted = metadata.uid() == user || metadata.uid() == 0;
    (!trusted).then(|| format!("belongs to another user (uid {})", metadata.uid()))
}

/// Returns why a stored path may by now lead to another file, if so: somebody else could have replaced a
/// directory above it.
pub fn replaceable(path: &Path) -> Option<String> {
    let real = path.canonicalize().ok();
    let paths = [Some(path), real.as_deref()].into_iter().flatten();
    paths
        .flat_map(|path| path.ancestors().skip(1))
        .filter(|folder| !folder.as_os_str().is_empty())
        .find_map(|folder| {
            let metadata = folder.symlink_metadata().ok()?;
            let mode = metadata.permissions().mode();
            // In a sticky directory such as /tmp, users can only replace their own files.
            let open = metadata.is_dir() && mode & 0o1002 == 0o002;
            let open = open.then(|| "can be written by everyone".to_owned());
            let reason = owned_by_other(&metadata).or(open)?;
            Some(format!("`{}` {reason}", folder.display()))
        })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_read_where_only_its_owner_writes() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        let reason = |most| match read(&file, most) {
            Ok(read) => String::from_utf8(read.bytes).unwrap(),
            Err(error) => format!("{error:#}").replace(file.to_str().unwrap(), "f"),
        };
        for (bits, expected) in [
            (0o644, "text"),
            (0o664, "text"),
            (0o666, "`f` can be written by everyone; chmod o-w it"),
        ] {
            mode(&file, bits);
            assert_eq!(reason(4), expected, "{bits:o}");
        }
        mode(&file, 0o600);
        assert_eq!(reason(3), "`f` is longer than 0 KiB");
        std::fs::remove_file(&file).unwrap();
        assert!(reason(4).starts_with("cannot read `f`: No such file"));
        std::fs::create_dir(&file).unwrap();
        assert_eq!(reason(4), "`f` is not a file");
        let device = read(Path::new("/dev/zero"), 4).err().unwrap();
        assert_eq!(device.to_string(), "`/dev/zero` is not a file");
    }

    #[test]
    fn a_directory_above_that_everyone_can_write_to_leads_anywhere() {
        let folder = tempfile::tempdir().unwrap();
        let (open, below) = (folder.path().join("open"), folder.path().join("open/below"));
        std::fs::create_dir_all(&below).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&below, &link).unwrap();
        for (bits, good) in [(0o755, true), (0o777, false), (0o1777, true)] {
            mode(&open, bits);
            for path in [below.join("file"), link.join("file")] {
                // If the file exists, the target of a link counts.
                std::fs::write(below.join("file"), "").unwrap();
                let reason = replaceable(&path);
                assert_eq!(reason.is_none(), good, "{bits:o} {reason:?}");
            }
        }
    }
}
