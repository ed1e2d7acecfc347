//! Detection of file systems that end with the container or the machine: what is in a spool there may be lost.

use std::path::Path;

use rustix::fs::statfs;

/// Types of such file systems, from statfs(2): ramfs, tmpfs, and the writable layer of a container.
const TYPES: [i128; 3] = [0x8584_58f6, 0x0102_1994, 0x794c_7630];

/// Returns true if a directory, which may not exist yet, is on a file system that will vanish.
pub fn vanishes(folder: &Path) -> bool {
    let mut existing = folder.ancestors().filter(|path| path.is_dir());
    let found = existing.next().and_then(|path| statfs(path).ok());
    found.is_some_and(|found| TYPES.contains(&i128::from(found.f_type)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_vanishes_and_the_kernel_s_tables_are_no_disk() {
        assert!(vanishes(Path::new("/dev/shm/no/such/folder")));
        assert!(!vanishes(Path::new("/proc/self")));
    }
}
