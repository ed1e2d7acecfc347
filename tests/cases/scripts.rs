//! Scripts of `run`: what their playbooks did counts once the script has ended, and each script is one thing.

use serde_json::{Value, json};

use super::timing::run as records;
use crate::sandbox::{BINARY, Sandbox};
use crate::server::{OK, Server, pagerduty};

const ENDS: &str = "type = webhook\non = error, success, recovered\n\
    [outputs:ops]\nname = run_name\nplaybook = playbook\nstatus = status\nrecovered = recovered\nid = event.id\n";

/// A directory with a script, and a notifier for it.
struct Scripts {
    sandbox: Sandbox,
    server: Server,
    runs: std::cell::Cell<usize>,
}

impl Scripts {
    fn new() -> Scripts {
        let server = Server::start([OK]);
        let config = format!("[notifier:ops]\nurl = {}\n{ENDS}", server.url());
        Scripts {
            sandbox: Sandbox::with_config(&config),
            server,
            runs: std::cell::Cell::new(0),
        }
    }

    /// Runs a script: a playbook that ends so, and then a step with this exit code. Returns what was told: the
    /// playbook or the script, its status, and if it recovered.
    fn run(&self, playbook: &str, code: i32) -> Vec<(String, String, bool)> {
        self.runs.set(self.runs.get() + 1);
        let id = format!("r{}", self.runs.get());
        self.sandbox.file("records", records(&id, &[], playbook));
        let script = format!("{BINARY} stream < records || exit 1; exit {code}");
        let before = self.server.bodies().len();
        let arguments = ["run", "-q", "--name", "deploy", "sh", "-c", &script];
        let ended = self.sandbox.run_on_spool(&arguments);
        assert_eq!(ended.code, code, "{ended:?}");
        let bodies = self.server.bodies();
        let text = |body: &Value, key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let told = bodies[before..].iter();
        told.map(|body| {
            let is_recovery = body["recovered"] == json!(true);
            (text(body, "playbook"), text(body, "status"), is_recovery)
        })
        .collect()
    }
}

fn told(all: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
    let owned = |(of, status, recovered): &(&str, &str, bool)| {
        (of.to_string(), status.to_string(), *recovered)
    };
    all.iter().map(owned).collect()
}

#[test]
fn a_playbook_in_a_script_recovers_nothing_until_the_script_has_succeeded() {
    let success = ("site.yml", "success", false);
    let scripts = Scripts::new();
    let failed = told(&[success, ("", "error", false)]);
    assert_eq!(scripts.run("success", 3), failed);
    // It fails again after its playbook.
    assert_eq!(scripts.run("success", 3), failed);
    assert_eq!(
        scripts.run("success", 0),
        told(&[success, ("", "success", true)])
    );
    assert_eq!(scripts.run("success", 0), told(&[success]));
    // The playbook itself failed.
    assert_eq!(
        scripts.run("error", 0),
        told(&[("site.yml", "error", false)])
    );
    assert_eq!(scripts.run("success", 3), failed);
    assert_eq!(
        scripts.run("success", 0),
        told(&[success, ("", "success", true)])
    );
    let ids: Vec<Value> = scripts
        .server
        .bodies()
        .iter()
        .map(|body| body["id"].clone())
        .collect();
    let distinct: std::collections::BTreeSet<String> = ids.iter().map(Value::to_string).collect();
    assert_eq!(ids.len(), distinct.len());
}

#[test]
fn failures_of_a_command_are_one_incident_until_it_succeeds() {
    let (server, incidents) = pagerduty::start();
    let (api, key) = (server.at(""), pagerduty::ROUTING_KEY);
    let sandbox = Sandbox::with_config(&format!(
        "[notifier:pager]\ntype = pagerduty\napi_url = {api}\nrouting_key = {key}\n"
    ));
    let run = |arguments: &[&str]| sandbox.run_on_spool(&[&["run", "-q"], arguments].concat());
    let alerts = || {
        let incidents = incidents.lock().unwrap();
        incidents.values().copied().collect::<Vec<u32>>()
    };
    run(&["sh", "-c", "exit 3"]);
    run(&["sh", "-c", "exit 4"]);
    assert_eq!(alerts(), [2], "the same incident");
    run(&["--name", "nightly", "sh", "-c", "exit 3"]);
    assert_eq!(alerts(), [1, 2], "another command");
    // Its playbook succeeds, and the next step fails: the incident goes on.
    sandbox.file("records", records("r1", &[], "success"));
    let script = format!("{BINARY} stream < records; exit 3");
    run(&["--name", "nightly", "sh", "-c", &script]);
    assert_eq!(alerts(), [2, 2]);
    sandbox.file("records", records("r2", &[], "success"));
    let script = format!("{BINARY} stream < records");
    run(&["--name", "nightly", "sh", "-c", &script]);
    assert_eq!(alerts(), [2]);
    run(&["sh", "-c", "exit 0"]);
    assert_eq!(alerts(), [] as [u32; 0]);
}
