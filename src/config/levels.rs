//! Which files make up the configuration, nearest last, and whether each may be trusted.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::system::home;
use crate::system::trusted;

/// The name of the file on every level.
pub const FILE_NAME: &str = "plugin_config.ini";

/// More is no configuration.
const MAX_SIZE: u64 = 1 << 20;

/// One level of the configuration and the file that it would be read from.
#[derive(Clone, Debug)]
pub struct Level {
    pub name: &'static str,
    pub path: PathBuf,
    /// What is wrong where it is not there, if the user named it.
    pub missing: Option<&'static str>,
}

impl Level {
    /// It is the one beside the play, or the only one.
    pub fn is_own(&self) -> bool {
        ["project", "named"].contains(&self.name)
    }
}

/// What tells where to look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Search {
    /// `--config` or ANSIBLE_NOTIFY_CONFIG: this file and no other.
    #[serde(default, with = "any_path")]
    pub config: Option<PathBuf>,
    /// `--project`: the directory whose file is the project's.
    #[serde(default, with = "any_path")]
    pub project: Option<PathBuf>,
    /// It is the user who asks: the project's directory must be there, and its file may be in its
    /// `callback_plugins`; without `project` it is the directory where the user stands.
    #[serde(default)]
    pub here: bool,
    /// ansible-runner's `env/settings`, to be used in place of all levels; empty where the settings have
    /// no file.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "any_path")]
    pub runner: Option<PathBuf>,
    /// It comes from the spool, and means the same files whatever the environment says by now.
    #[serde(skip)]
    pub stored: bool,
}

/// A path in the spool: a text, or its bytes where it is none.
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
    /// The search that a destination in the spool stands for.
    pub fn stored(text: &str) -> Search {
        let search = serde_json::from_str(text).unwrap_or_default();
        Search {
            stored: true,
            ..search
        }
    }

    /// The levels, the farthest first, and why a file was passed over.
    pub fn levels(&self) -> (Vec<Level>, Vec<String>) {
        if let Some(path) = self.named() {
            return (
                vec![Level {
                    name: "named",
                    path,
                    missing: Some("there is no such file"),
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
        // What waits in the spool does not need its project any more.
        let lost = self
            .project
            .as_ref()
            .filter(|folder| self.here && !folder.exists());
        if let Some(path) = lost.or(project.as_ref()) {
            levels.push(Level {
                name: "project",
                path: path.clone(),
                missing: lost.map(|_| "there is no such directory"),
            });
        }
        (levels, passed_over)
    }

    /// The same search from wherever it is made: with whole paths, and no look around.
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

    /// The one file that a fixed search names, if any.
    pub fn file(&self) -> Option<PathBuf> {
        let project = self.project.as_ref().map(|folder| folder.join(FILE_NAME));
        let named = self.config.clone().or(project).or(self.runner.clone());
        named.filter(|path| !path.as_os_str().is_empty())
    }

    fn named(&self) -> Option<PathBuf> {
        let elsewhere = || home::variable("ANSIBLE_NOTIFY_CONFIG").filter(|_| !self.stored);
        self.config.clone().or_else(elsewhere)
    }

    /// The file of the named project, else the one where the user stands.
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
            // As Ansible does with its ansible.cfg: whoever can write there could redirect the events.
            if writable_by_all(&folder) {
                passed_over.push(format!(
                    "{} is passed over: everyone can write to its directory; name it with --config",
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

/// Warning of a file that another one takes the place of.
fn not_read(other: &Path, used: &Path) -> String {
    let (other, used) = (other.display(), used.display());
    format!("{other} is not read: {used} is used; keep one of them, or name it with --config")
}

fn writable_by_all(folder: &Path) -> bool {
    folder
        .metadata()
        .is_ok_and(|metadata| metadata.permissions().mode() & 0o002 != 0)
}

/// A file's bytes, and why it must not hold a secret, if so.
pub struct Content {
    pub bytes: Vec<u8>,
    pub exposed: Option<String>,
}

/// Reads a configuration file; nothing where there is none.
pub fn read(path: &Path) -> Result<Option<Content>, String> {
    use std::io::Read as _;
    let link = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
    };
    if link.is_symlink() {
        return Err("is a symbolic link; name the file itself with --config".to_owned());
    }
    if !link.is_file() {
        return Err("is not a file".to_owned());
    }
    // What is opened is what is judged: the checks below look at the open file.
    let file = trusted::open(path, rustix::fs::OFlags::NOFOLLOW)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let metadata = file
        .metadata()
        .map_err(|error| format!("cannot be read: {error}"))?;
    if let Some(reason) = trusted::owned_by_other(&metadata) {
        return Err(format!("{reason}; whoever owns it could read what is sent"));
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        return Err("can be written by everyone; chmod 600 it".to_owned());
    }
    if metadata.len() > MAX_SIZE {
        return Err(format!(
            "is {} bytes long; a configuration has at most 1 MiB",
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
