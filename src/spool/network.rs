//! Detection of network file systems, where locks and syncs cannot be trusted.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Types of such file systems, by the kernel's names.
const TYPES: [&str; 20] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "davfs",
    "fuse.davfs",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.juicefs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "gfs2",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
];

/// Returns the type of the network file system that a directory is on, if any.
pub fn network_type(folder: &Path) -> Option<String> {
    let device = folder.metadata().ok()?.dev();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    type_of(&mounts, &device).filter(|name| TYPES.contains(&name.as_str()))
}

/// Returns the file system type of a device. Format of the text: proc_pid_mountinfo(5).
fn type_of(mounts: &str, device: &str) -> Option<String> {
    let mount = mounts
        .lines()
        .find(|line| line.split(' ').nth(2) == Some(device))?;
    let (_, rest) = mount.split_once(" - ")?;
    rest.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_found_by_its_device() {
        let mounts = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
41 22 0:36 / /home rw,relatime shared:20 master:3 - nfs4 files:/home rw,vers=4.2
43 22 0:38 / /mnt/a\\040b rw - fuse.sshfs anna@host: rw";
        for (device, expected) in [
            ("254:0", Some("ext4")),
            ("0:36", Some("nfs4")),
            ("0:38", Some("fuse.sshfs")),
            ("0:3", None),
        ] {
            assert_eq!(type_of(mounts, device).as_deref(), expected, "{device}");
        }
    }

    #[test]
    fn the_directory_of_this_test_is_not_far() {
        assert_eq!(network_type(Path::new("/proc/self")), None);
        assert_eq!(network_type(&std::env::temp_dir()), None);
    }
}
