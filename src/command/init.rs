//! `init`: the callback plugin and a commented configuration, next to a playbook.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::cli;
use crate::exit::Exit;
use crate::output;
use crate::report;

const PLUGIN: &str = include_str!("../../callback_plugins/ansible_notify.py");
const CONFIG: &str = include_str!("../../examples/plugin_config.ini");

pub fn run(arguments: &cli::Init) -> Exit {
    let folder = arguments.directory.join("callback_plugins");
    if let Err(error) = std::fs::create_dir_all(&folder) {
        report::say(format!("cannot make `{}`: {error}", folder.display()));
        return Exit::NoInput;
    }
    let plugin = write(&folder.join("ansible_notify.py"), PLUGIN, 0o644);
    // It may come to hold a password.
    let config = write(&folder.join("plugin_config.ini"), CONFIG, 0o600);
    if plugin != Exit::Ok || config != Exit::Ok {
        return Exit::NoInput;
    }
    let next = "\nNow set `callback_url` in plugin_config.ini; playbooks beside callback_plugins use it. For other \
        playbooks and ad hoc runs, set in ansible.cfg:\n\n    [defaults]\n    callback_plugins = \
        callback_plugins:~/.ansible/plugins/callback:/usr/share/ansible/plugins/callback\n    \
        bin_ansible_callbacks = true\n";
    output::print(next);
    Exit::Ok
}

/// Writes a file that is not there yet.
fn write(path: &Path, content: &str, mode: u32) -> Exit {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    match file.and_then(|mut file| file.write_all(content.as_bytes())) {
        Ok(()) => {
            output::print(format!("wrote {}\n", path.display()));
            Exit::Ok
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            report::say(format!(
                "`{}` is there already and stays as it is",
                path.display()
            ));
            Exit::Ok
        }
        Err(error) => {
            report::say(format!("cannot write `{}`: {error}", path.display()));
            Exit::NoInput
        }
    }
}
