//! A disk that can be made to fail, and mended, while the program runs.

use std::path::PathBuf;
use std::process::Command;

use crate::sandbox::Sandbox;
use crate::sandbox::spooled::Spooled;

pub struct Disk {
    library: PathBuf,
    folder: PathBuf,
    fault: PathBuf,
}

impl Disk {
    /// The disk on which a spool is.
    pub fn of(spooled: &Spooled) -> Disk {
        let folder = spooled.file().parent().unwrap().to_owned();
        Disk::at(&spooled.sandbox, folder)
    }

    /// The disk on which a folder is.
    pub fn at(sandbox: &Sandbox, folder: PathBuf) -> Disk {
        let library = sandbox.path("disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disk/disk.c");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        assert!(made.unwrap().success());
        Disk {
            library,
            folder,
            fault: sandbox.path("fault"),
        }
    }

    /// Puts a command on this disk.
    pub fn under(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("DISK_FOLDER", &self.folder)
            .env("DISK_FAULT", &self.fault);
        command
    }

    /// What is wrong from now on, as disk.c knows it.
    pub fn fail(&self, fault: &str) {
        // Whoever looks sees the one or the other, and nothing between.
        let new = self.fault.with_extension("new");
        std::fs::write(&new, fault).unwrap();
        std::fs::rename(new, &self.fault).unwrap();
    }

    pub fn mend(&self) {
        std::fs::remove_file(&self.fault).unwrap();
    }

    pub fn bytes_in_use(&self) -> u64 {
        let files = std::fs::read_dir(&self.folder).unwrap();
        files
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum()
    }
}
