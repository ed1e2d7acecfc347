//! The callback plugin: its location, its state, and the program that it starts.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::ansible::{Answer, Probe, is_executable, on_path};
use super::{Finding, process};
use crate::command::init::DestinationSummary;
use crate::exit::Exit;
use crate::protocol::{PROTOCOL, VERSION};

const NAME: &str = "ansible_notify.py";

/// Copies of the plugin.
pub struct Plugins {
    /// The copy that reports.
    pub used: Option<PathBuf>,
    how: String,
    /// A copy in a collection that is not enabled.
    unused: Option<(PathBuf, String)>,
    /// Setting that turns it off.
    off: Option<String>,
}

impl Plugins {
    /// Finds them as Ansible does, or next to the playbook if it cannot be asked.
    pub fn of(probe: &Probe, project: &Path) -> Plugins {
        let mut plugins = Plugins {
            used: None,
            how: String::new(),
            unused: None,
            off: None,
        };
        let beside = project.join("callback_plugins").join(NAME);
        match probe.answer() {
            Some(answer) => {
                plugins.off = switched_off(answer);
                plugins.search(answer, &beside);
            }
            None if beside.is_file() => {
                plugins.used = Some(beside);
                "next to the playbook".clone_into(&mut plugins.how);
            }
            None => {}
        }
        plugins
    }

    fn search(&mut self, answer: &Answer, beside: &Path) {
        if let Some(path) = &answer.plugin {
            self.used = Some(path.clone());
            self.how = match path == beside {
                true => "on by default, next to the playbook".to_owned(),
                false => "on by default, in a directory of `callback_plugins`".to_owned(),
            };
        }
        let (Some(path), Some(name)) = (&answer.collection, &answer.collection_name) else {
            return;
        };
        match answer.enabled.contains(name) {
            true if self.used.is_none() => {
                self.used = Some(path.clone());
                self.how = format!("by `{name}` in `callbacks_enabled`");
            }
            true => {}
            false => self.unused = Some((path.clone(), name.clone())),
        }
    }

    /// Returns the findings about the plugin and its program.
    pub fn findings(&self, probe: &Probe) -> Vec<Finding> {
        let Some(path) = &self.used else {
            return vec![self.missing(probe)];
        };
        let mut findings = vec![self.found(path, probe)];
        findings.push(version(path));
        if let Some(answer) = probe.answer() {
            findings.extend(program(answer, path));
        }
        findings
    }

    fn missing(&self, probe: &Probe) -> Finding {
        match (&self.unused, probe.answer()) {
            (Some((path, name)), _) => Finding::problem(
                "plugin",
                format!(
                    "{} is in a collection, which does not turn it on",
                    path.display()
                ),
                Exit::Config,
            )
            .advise(format!(
                "add `{name}` to `callbacks_enabled` in [defaults] of ansible.cfg"
            )),
            (None, Some(_)) => Finding::problem(
                "plugin",
                "Ansible does not find the plugin ansible_notify",
                Exit::Config,
            )
            .advise("run `ansible-notify init` to write it next to the playbook"),
            (None, None) => Finding::note("plugin", "not in ./callback_plugins")
                .advise("run `ansible-notify init` to write it"),
        }
    }

    fn found(&self, path: &Path, probe: &Probe) -> Finding {
        match &self.off {
            Some(off) => Finding::problem(
                "plugin",
                format!("{} is turned off by {off}", path.display()),
                Exit::Config,
            )
            .advise("remove that setting to turn it on"),
            None => {
                let reach = match probe.answer() {
                    Some(answer) if answer.adhoc => ", also for ad hoc commands",
                    _ => "",
                };
                Finding::ok(
                    "plugin",
                    format!("{} ({}{reach})", path.display(), self.how),
                )
            }
        }
    }
}

/// Returns the setting that turns the plugin off, if any.
fn switched_off(answer: &Answer) -> Option<String> {
    let is_off = |value: &str| {
        ["0", "n", "no", "f", "false", "off"].contains(&value.trim().to_ascii_lowercase().as_str())
    };
    // The environment wins.
    if let Ok(value) = std::env::var("ANSIBLE_NOTIFY_ENABLED") {
        return is_off(&value).then(|| format!("ANSIBLE_NOTIFY_ENABLED={value}"));
    }
    let value = answer
        .options
        .get("enabled")
        .filter(|value| is_off(value))?;
    let file = answer.config_file.as_ref()?.display();
    Some(format!(
        "`enabled = {value}` in [callback_ansible_notify] of {file}"
    ))
}

/// Compares the versions of the plugin and of this program.
fn version(path: &Path) -> Finding {
    let check = "versions";
    let upgrade = "`ansible-notify init --upgrade` replaces the plugin next to a playbook";
    let there = match DestinationSummary::read(path) {
        Ok(there) => there,
        Err(error) => {
            let text = format!("cannot read {}: {error}", path.display());
            return Finding::problem(check, text, Exit::Config).advise("make it readable");
        }
    };
    if there.is_ours {
        return Finding::ok(check, format!("plugin and program are {VERSION}"));
    }
    let text = format!("the plugin is {}", there.describe());
    match there.protocol {
        Some(PROTOCOL) => Finding::note(check, format!("{text}; the two are compatible")),
        Some(protocol) => {
            let text = format!("{text}; it speaks protocol {protocol}, this program {PROTOCOL}");
            Finding::problem(check, text, Exit::Config)
        }
        None => Finding::problem(check, text, Exit::Config),
    }
    .advise(upgrade)
}

/// Returns the program that this plugin's collection contains.
fn bundled(plugin: &Path) -> Option<PathBuf> {
    let root = plugin
        .parent()?
        .to_str()?
        .strip_suffix("/plugins/callback")?;
    let system = rustix::system::uname();
    let (name, machine) = (
        system.sysname().to_str().ok()?,
        system.machine().to_str().ok()?,
    );
    let name = name.to_lowercase();
    let path = PathBuf::from(format!("{root}/bin/{name}-{machine}/ansible-notify"));
    is_executable(&path).then_some(path)
}

/// Returns the finding about the program that the plugin starts.
fn program(answer: &Answer, plugin: &Path) -> Option<Finding> {
    let check = "plugin's program";
    let variable = std::env::var_os("ANSIBLE_NOTIFY_BINARY").filter(|value| !value.is_empty());
    let option = answer
        .options
        .get("binary")
        .filter(|value| !value.is_empty());
    let bundled = bundled(plugin);
    let (found, set_by) = match (variable, option) {
        (Some(path), _) => (
            Some(expanded(Path::new(&path))),
            Some("ANSIBLE_NOTIFY_BINARY"),
        ),
        (None, Some(path)) => (
            Some(expanded(Path::new(path))),
            Some("`binary` in ansible.cfg"),
        ),
        (None, None) => (
            answer
                .program
                .clone()
                .or_else(|| bundled.clone())
                .or_else(|| on_path("ansible-notify")),
            None,
        ),
    };
    let advice = "install it with `pip install ansible-notify`, put it on PATH, or set `binary` in [callback_ansible_notify] of ansible.cfg";
    let Some(path) = found else {
        let text = "the plugin finds no ansible-notify next to Ansible's Python, in its collection or on PATH";
        return Some(Finding::problem(check, text, Exit::Config).advise(advice));
    };
    if !is_executable(&path) {
        let text = format!(
            "{}, set by {}, is not an executable file",
            path.display(),
            set_by.unwrap_or("PATH")
        );
        return Some(Finding::problem(check, text, Exit::Config).advise(advice));
    }
    let same =
        |one: &Path, other: &Path| Some(one.canonicalize().ok()? == other.canonicalize().ok()?);
    let this = std::env::current_exe().ok();
    if this.is_some_and(|this| same(&this, &path) == Some(true)) {
        return Some(Finding::ok(check, format!("{} (this one)", path.display())));
    }
    let is_from_file = set_by == Some("`binary` in ansible.cfg") || bundled.as_ref() == Some(&path);
    Some(other_program(&path, is_from_file))
}

/// Describes a program other than this one that the plugin would start. If an ansible.cfg or a collection names
/// it, it is not run to ask for its version.
fn other_program(path: &Path, is_from_file: bool) -> Finding {
    let check = "plugin's program";
    let text = format!("{}, a different program", path.display());
    let said = (!is_from_file).then(|| version_of(path)).flatten();
    match said {
        Some(version) if version == VERSION => {
            Finding::ok(check, format!("{text} of the same version"))
        }
        Some(version) => Finding::note(check, format!("{text} of version {version}"))
            .advise("remove one of the two, or run `doctor` with that program"),
        None => Finding::note(check, text).advise("run `doctor` with that program to check it"),
    }
}

/// Returns the version that a program reports.
fn version_of(path: &Path) -> Option<String> {
    let (text, _) = process::output(Command::new(path).arg("--version")).ok()?;
    text.trim()
        .strip_prefix("ansible-notify ")
        .map(str::to_owned)
}

/// Replaces a leading `~`, as the plugin does.
pub fn expanded(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), crate::system::home::directory()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}
