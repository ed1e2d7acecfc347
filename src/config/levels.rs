//! The files that make up the configuration, nearest last, and whether each may be trusted.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::system::home;
use crate::system::trusted;

/// Name of the file on every level.
pub const FILE_NAME: &str = "plugin_config.ini";

/// Size limit of a configuration file, in bytes.
const MAX_SIZE: u64 = 1 << 20;

/// One level of the configuration, and the file that it is read from.
#[derive(Clone, Debug)]
pub struct Level {
    pub name: &'static str,
    pub path: PathBuf,
    /// Problem to report if the user named the file and it does not exist.
    pub missing: Option<&'static str>,
}

impl Level {
    /// Returns true for the file next to the play, and for a file named as the only one.
    pub fn is_own(&self) -> bool {
        ["project", "named"].contains(&self.name)
    }
}

/// Locations to search for configuration files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// `--config` or ANSIBLE_NOTIFY_CONFIG: use only this file.
    #[serde(default, with = "any_path")]
    pub config: Option<PathBuf>,
    /// `--project`: directory of the project's file.
    #[serde(default, with = "any_path")]
    pub project: Option<PathBuf>,
    /// True if a user runs the search: the project's directory must exist, and its file may be in its
    /// `callback_plugins`; without `project`, it is the current directory.
    #[serde(default)]
    pub here: bool,
    /// ansible-runner's `env/settings`, which replaces all levels; empty if the settings have no file.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "any_path")]
    pub runner: Option<PathBuf>,
    /// True if the search comes from the spool: it refers to the same files, whatever the environment is now.
    #[serde(skip)]
    pub stored: bool,
}

/// Serialisation of a path in the spool: text, or bytes if it is not valid text.
mod any_path {
    use std::ffi::OsString;
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Text(String),
        Bytes(OsString),
    }

    /// Writes a path as text, or as bytes where it is not UTF-8.
    pub fn serialize<S: Serializer>(
        path: &Option<PathBuf>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let stored = path
            .clone()
            .map(|path| match path.into_os_string().into_string() {
                Ok(text) => Stored::Text(text),
                Err(bytes) => Stored::Bytes(bytes),
            });
        stored.serialize(serializer)
    }

    /// Reads a path from either form.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PathBuf>, D::Error> {
        let stored = Option::<Stored>::deserialize(deserializer)?;
        Ok(stored.map(|stored| match stored {
            Stored::Text(text) => text.into(),
            Stored::Bytes(bytes) => bytes.into(),
        }))
    }
}

impl Search {
    /// Parses the search stored for a destination in the spool.
    pub fn stored(text: &str) -> Search {
        let search = serde_json::from_str(text).unwrap_or_default();
        Search {
            stored: true,
            ..search
        }
    }

    /// Returns the levels, farthest first, and why files were skipped.
    pub fn levels(&self) -> (Vec<Level>, Vec<String>) {
        if let Some(path) = self.named() {
            return (
                vec![Level {
                    name: "named",
                    path,
                    missing: Some("no such file"),
                }],
                Vec::new(),
            );
        }
        let mut levels = vec![Level {
            name: "organization",
            path: Path::new("/etc/ansible-notify").join(FILE_NAME),
            missing: None,
        }];
        let user = home::variable("XDG_CONFIG_HOME")
            .or_else(|| home::directory().map(|home| home.join(".config")));
        if let Some(folder) = user {
            let path = folder.join("ansible-notify").join(FILE_NAME);
            levels.push(Level {
                name: "user",
                path,
                missing: None,
            });
        }
        let (project, passed_over) = self.project_file();
        // Deliveries pending in the spool no longer need their project.
        let lost = self
            .project
            .as_ref()
            .filter(|folder| self.here && !folder.exists());
        if let Some(path) = lost.or(project.as_ref()) {
            levels.push(Level {
                name: "project",
                path: path.clone(),
                missing: lost.map(|_| "no such directory"),
            });
        }
        (levels, passed_over)
    }

    /// Returns the same search with absolute paths and no discovery, so that it is independent of the
    /// current directory.
    pub fn fixed(&self) -> Search {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        if let Some(settings) = &self.runner {
            return Search {
                runner: Some(settings.clone()),
                ..Search::default()
            };
        }
        if let Some(path) = self.named() {
            return Search {
                config: Some(whole(path)),
                ..Search::default()
            };
        }
        let (file, _) = self.project_file();
        let project = file
            .filter(|file| file.exists())
            .and_then(|file| file.parent().map(Path::to_owned));
        Search {
            project: project.map(whole),
            ..Search::default()
        }
    }

    /// Returns the single file that a fixed search names, if any.
    pub fn file(&self) -> Option<PathBuf> {
        let project = self.project.as_ref().map(|folder| folder.join(FILE_NAME));
        let named = self.config.clone().or(project).or(self.runner.clone());
        named.filter(|path| !path.as_os_str().is_empty())
    }

    fn named(&self) -> Option<PathBuf> {
        let elsewhere = || home::variable("ANSIBLE_NOTIFY_CONFIG").filter(|_| !self.stored);
        self.config.clone().or_else(elsewhere)
    }

    /// Finds the file of the named project, else the one in the current directory.
    fn project_file(&self) -> (Option<PathBuf>, Vec<String>) {
        let mut passed_over = Vec::new();
        if let Some(folder) = &self.project {
            let file = folder.join(FILE_NAME);
            let below = folder.join("callback_plugins").join(FILE_NAME);
            let is_there = |file: &PathBuf| file.symlink_metadata().is_ok();
            let is_below = self.here && !is_there(&file) && is_there(&below);
            if self.here && is_there(&file) && is_there(&below) {
                passed_over.push(not_read(&below, &file));
            }
            return (Some(if is_below { below } else { file }), passed_over);
        }
        if !self.here {
            return (None, passed_over);
        }
        let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
        for folder in [here.join("callback_plugins"), here.clone()] {
            let path = folder.join(FILE_NAME);
            if path.symlink_metadata().is_err() {
                continue;
            }
            // Ansible does the same with its ansible.cfg: anyone who can write there could redirect the
            // events.
            if writable_by_all(&folder) {
                passed_over.push(format!(
                    "{} is ignored: everyone can write to its directory; to use it, select it with --config",
                    path.display()
                ));
                continue;
            }
            let other = here.join(FILE_NAME);
            if other != path && other.symlink_metadata().is_ok() {
                passed_over.push(not_read(&other, &path));
            }
            return (Some(path), passed_over);
        }
        (
            Some(here.join("callback_plugins").join(FILE_NAME)),
            passed_over,
        )
    }
}

/// Returns the warning that another file takes precedence over this one.
fn not_read(other: &Path, used: &Path) -> String {
    let (other, used) = (other.display(), used.display());
    format!("{other} is ignored: {used} is used; keep one of them, or select it with --config")
}

fn writable_by_all(folder: &Path) -> bool {
    folder
        .metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

/// A file's bytes, and the reason why it must not hold a secret, if so.
pub struct Content {
    pub bytes: Vec<u8>,
    pub exposed: Option<String>,
}

/// Reads a configuration file; None if it does not exist.
pub fn read(path: &Path) -> Result<Option<Content>, String> {
    use std::io::Read as _;
    let link = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    if link.is_symlink() {
        return Err("is a symbolic link; select the file itself with --config".to_owned());
    }
    if !link.is_file() {
        return Err("is not a file".to_owned());
    }
    // The checks below look at the open file, so that the file checked is the file read.
    let file = trusted::open(path, rustix::fs::OFlags::NOFOLLOW)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if let Some(reason) = trusted::owned_by_other(&metadata) {
        return Err(format!(
            "{reason}; its owner could read everything that is sent"
        ));
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err("can be written by everyone; chmod 600 it".to_owned());
    }
    if metadata.len() > MAX_SIZE {
        return Err(format!(
            "is {} bytes long; the limit is 1 MiB",
            metadata.len()
        ));
    }
    let mut bytes = Vec::new();
    file.take(MAX_SIZE)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(Some(Content {
        bytes,
        exposed: trusted::exposed(&metadata),
    }))
}
