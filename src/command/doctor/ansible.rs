//! The Ansible on `PATH`, and the plugins that it finds.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use super::{Finding, process};
use crate::exit::Exit;

/// Program that asks Ansible.
const QUESTION: &str = include_str!("probe.py");

/// Result of the search for Ansible.
pub enum Probe {
    /// No Ansible is on `PATH`.
    Missing,
    /// Found at this path, but it does not answer.
    Silent(PathBuf, String),
    Found(PathBuf, Box<Answer>),
}

/// Answer of Ansible.
#[derive(Deserialize)]
pub struct Answer {
    pub version: String,
    /// The ansible.cfg in use.
    pub config_file: Option<PathBuf>,
    /// Plugins in `callbacks_enabled`.
    pub enabled: Vec<String>,
    /// True if callbacks are loaded for ad hoc commands, too.
    pub adhoc: bool,
    /// The section of the plugin in ansible.cfg.
    pub options: HashMap<String, String>,
    /// The program next to its Python.
    pub program: Option<PathBuf>,
    /// The plugin in a directory that it reads.
    pub plugin: Option<PathBuf>,
    /// The plugin in a collection.
    pub collection: Option<PathBuf>,
    pub collection_name: Option<String>,
}

impl Probe {
    /// Asks the Ansible on `PATH` about playbooks in `project`.
    pub fn make(project: &Path) -> Probe {
        let found = on_path("ansible-playbook").or_else(|| on_path("ansible"));
        let Some(found) = found else {
            return Probe::Missing;
        };
        match interpreter(&found).and_then(|python| ask(python, project)) {
            Ok(answer) => Probe::Found(found, Box::new(answer)),
            Err(reason) => Probe::Silent(found, reason),
        }
    }

    /// Returns its answer, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Probe::Found(_, answer) => Some(answer),
            Probe::Missing | Probe::Silent(..) => None,
        }
    }
}

/// Returns an executable file on `PATH`. Ignores relative directories, which may be someone else's.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let places = std::env::split_paths(&path).filter(|place| place.is_absolute());
    let mut candidates = places.map(|place| place.join(name));
    candidates.find(|candidate| is_executable(candidate))
}

/// Returns true for an executable file.
pub fn is_executable(path: &Path) -> bool {
    let metadata = path.metadata();
    metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Returns the command of the Python that a script runs with, from its first lines.
fn interpreter(script: &Path) -> Result<Vec<String>, String> {
    let unknown = || {
        format!(
            "`{}` does not name its Python in its first line",
            script.display()
        )
    };
    let file = std::fs::File::open(script).map_err(|error| error.to_string())?;
    let lines = BufReader::new(file.take(4096)).lines();
    let lines: Vec<String> = lines.take(2).map_while(Result::ok).collect();
    let first = lines.first().and_then(|line| line.strip_prefix("#!"));
    let words = |text: &str| shlex::split(text).unwrap_or_default();
    let mut command = words(first.ok_or_else(unknown)?);
    // A long path is written as `#!/bin/sh` and `'''exec' "/long/path/python" "$0" "$@"`.
    if let Some(rest) = lines.get(1).and_then(|line| line.strip_prefix("'''exec' ")) {
        command = words(rest).into_iter().take(1).collect();
    }
    let is_python = |word: &String| {
        let name = Path::new(word).file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("python")
    };
    match command.iter().any(is_python) {
        true => Ok(command),
        false => Err(unknown()),
    }
}

/// Runs the probe with Ansible's Python. It leaves no files behind.
fn ask(python: Vec<String>, project: &Path) -> Result<Answer, String> {
    let (program, arguments) = python.split_first().ok_or("it names no Python")?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .args(["-B", "-c", QUESTION])
        .arg(project)
        // Ansible creates a directory in it and removes it again.
        .env("ANSIBLE_LOCAL_TEMP", std::env::temp_dir())
        .env("ANSIBLE_NOCOLOR", "1");
    let (output, errors) = process::output(&mut command)?;
    let answer = output
        .lines()
        .rev()
        .find_map(|line| serde_json::from_str(line).ok());
    answer.ok_or_else(|| {
        let last = errors.lines().last().unwrap_or("no error message");
        format!("its Python cannot load Ansible: {last}")
    })
}

/// Returns the findings about Ansible itself.
pub fn findings(probe: &Probe) -> Vec<Finding> {
    match probe {
        Probe::Missing => vec![
            Finding::note("ansible", "no ansible-playbook on PATH")
                .advise("activate Ansible's environment to check the plugin, too"),
        ],
        Probe::Silent(path, reason) => vec![
            Finding::problem(
                "ansible",
                format!("{}: {reason}", path.display()),
                Exit::Unexpected,
            )
            .advise("check that `ansible-playbook --version` works"),
        ],
        Probe::Found(path, answer) => vec![
            Finding::ok(
                "ansible",
                format!("{} ({})", answer.version, path.display()),
            ),
            config_file(answer),
        ],
    }
}

fn config_file(answer: &Answer) -> Finding {
    let here = std::env::current_dir().map(|here| here.join("ansible.cfg"));
    let is_ignored =
        here.is_ok_and(|here| here.exists() && answer.config_file.as_ref() != Some(&here));
    match &answer.config_file {
        Some(file) => Finding::ok("ansible.cfg", file.display().to_string()),
        None if is_ignored => Finding::note("ansible.cfg", "Ansible ignores ./ansible.cfg")
            .advise("everyone can write to this directory; run `chmod o-w .`"),
        None => Finding::ok("ansible.cfg", "none in use"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_python_of_a_script_is_found_in_its_first_lines() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("ansible-playbook");
        for (text, expected) in [
            (
                "#!/venv/bin/python3.12\nimport re\n",
                Some("/venv/bin/python3.12"),
            ),
            ("#! /usr/bin/env python3\n", Some("/usr/bin/env python3")),
            (
                "#!/bin/sh\n'''exec' \"/a long/python\" \"$0\" \"$@\"\n' '''\n",
                Some("/a long/python"),
            ),
            ("#!/bin/bash\nexec python3 -m ansible\n", None),
            ("\u{7f}ELF", None),
            ("", None),
        ] {
            std::fs::write(&script, text).unwrap();
            let found = interpreter(&script).ok().map(|command| command.join(" "));
            assert_eq!(found.as_deref(), expected, "{text:?}");
        }
    }
}
