//! `init`: writes the callback plugin and a commented configuration next to a playbook.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use crate::cli;
use crate::console::stderr;
use crate::console::stdout;
use crate::exit::Exit;
use crate::net::digest::sha256_hex;
use crate::protocol::VERSION;
use crate::system::trusted;

const PLUGIN: &str = include_str!("../../callback_plugins/ansible_notify.py");
/// Size limit when a plugin is read, in bytes.
const LONGEST: u64 = 1 << 20;
/// Start of the last line of a written plugin. The hash of everything above it shows later changes.
const STAMP: &str = "# Written by `ansible-notify init`; sha256 of the lines above: ";
const CONFIG: &str = include_str!("../../examples/plugin_config.ini");

/// Runs `init`: installs the plugin and a configuration to start with.
pub fn run(arguments: &cli::Init) -> Exit {
    let folder = arguments.directory.join("callback_plugins");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        stderr::say(format!("cannot create `{}`: {error}", folder.display()));
        return Exit::NoInput;
    }
    let plugin = install(&folder.join("ansible_notify.py"), arguments.upgrade);
    // It may later contain a password.
    let config = write(&folder.join("plugin_config.ini"), CONFIG, 0o600);
    if plugin != Exit::Ok || config != Exit::Ok {
        return Exit::NoInput;
    }
    let next = "\nNext, set `callback_url` in plugin_config.ini, for playbooks next to callback_plugins. For other \
        playbooks and ad hoc commands, add this to ansible.cfg:\n\n    [defaults]\n    callback_plugins = \
        callback_plugins:~/.ansible/plugins/callback:/usr/share/ansible/plugins/callback\n    \
        bin_ansible_callbacks = true\n";
    stdout::print(next);
    Exit::Ok
}

/// Returns the plugin with its last line.
fn stamped() -> String {
    format!("{PLUGIN}{STAMP}{}\n", sha256_hex(PLUGIN.as_bytes()))
}

/// Writes the plugin; an existing one is replaced only with `--upgrade`, and only if nobody changed it.
fn install(path: &Path, upgrade: bool) -> Exit {
    if path.symlink_metadata().is_err() {
        return write(path, &stamped(), 0o644);
    }
    let there = match DestinationSummary::read(path) {
        Ok(there) => there,
        Err(error) => {
            stderr::say(format!("cannot read `{}`: {error}", path.display()));
            return Exit::NoInput;
        }
    };
    if there.is_ours {
        let path = path.display();
        stderr::say(format!(
            "`{path}` already exists: version {VERSION}, as in this program"
        ));
        return Exit::Ok;
    }
    if !upgrade || there.is_changed {
        let advice = match there.is_changed {
            true => {
                ", not as `init` wrote it; to replace it, delete it and run `ansible-notify init`"
            }
            false => "; `--upgrade` replaces it",
        };
        stderr::say(format!(
            "`{}` already exists, left unchanged: {}{advice}",
            path.display(),
            there.describe()
        ));
        return Exit::Ok;
    }
    match replace(path) {
        Ok(()) => {
            let (path, was) = (path.display(), there.describe());
            stdout::print(format!(
                "replaced {path} with version {VERSION}; it was {was}\n"
            ));
            Exit::Ok
        }
        Err(error) => {
            stderr::say(format!("cannot replace `{}`: {error}", path.display()));
            Exit::NoInput
        }
    }
}

/// An existing plugin where `init` would write one.
pub(super) struct DestinationSummary {
    /// True if its text is identical to this program's plugin.
    pub(super) is_ours: bool,
    /// True unless its text is one that `init` wrote.
    is_changed: bool,
    version: Option<String>,
    /// Version of the protocol that it speaks.
    pub(super) protocol: Option<u32>,
}

impl DestinationSummary {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> io::Result<DestinationSummary> {
        let file = trusted::open(path, OFlags::empty())?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a file"));
        }
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let (body, is_changed) = match text.rsplit_once(STAMP) {
            Some((body, hash)) => (body, hash.trim_end() != sha256_hex(body.as_bytes())),
            None => (&*text, true),
        };
        let mut versions = text
            .lines()
            .filter_map(|line| line.strip_prefix("VERSION = \""));
        let version = versions.next().and_then(|rest| rest.split_once('"'));
        let mut protocols = text
            .lines()
            .filter_map(|line| line.strip_prefix("PROTOCOL = "));
        Ok(DestinationSummary {
            is_ours: body == PLUGIN && (!is_changed || text == PLUGIN),
            is_changed,
            protocol: protocols.next().and_then(|number| number.parse().ok()),
            version: version
                .filter(|(version, _)| version.len() < 64)
                .map(|(version, _)| version.to_owned()),
        })
    }

    /// Describes its version in relation to this program's.
    pub(super) fn describe(&self) -> String {
        let Some(version) = &self.version else {
            return format!("a version before {VERSION}, or a file of your own");
        };
        let read = |version: &str| semver::Version::parse(version).ok();
        match (read(version), read(VERSION)) {
            (Some(its), Some(ours)) if its < ours => {
                format!("version {version}, older than {VERSION} of this program")
            }
            (Some(its), Some(ours)) if its > ours => {
                format!("version {version}, newer than {VERSION} of this program")
            }
            (Some(_), _) => format!("version {version} as in this program, with another text"),
            (None, _) => format!("version `{version}`"),
        }
    }
}

/// Replaces the plugin atomically, keeping its mode and a symbolic link to it.
fn replace(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    let new = path.with_extension(format!("py.{}.new", std::process::id()));
    let mode = path.metadata()?.permissions();
    let written = std::fs::write(&new, stamped())
        .and_then(|()| std::fs::set_permissions(&new, mode))
        .and_then(|()| std::fs::rename(&new, &path));
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// Writes a file, unless it exists already.
fn write(path: &Path, content: &str, mode: u32) -> Exit {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    match file.and_then(|mut file| file.write_all(content.as_bytes())) {
        Ok(()) => {
            stdout::print(format!("wrote {}\n", path.display()));
            Exit::Ok
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            stderr::say(format!(
                "`{}` already exists, left unchanged",
                path.display()
            ));
            Exit::Ok
        }
        Err(error) => {
            stderr::say(format!("cannot write `{}`: {error}", path.display()));
            Exit::NoInput
        }
    }
}
