//! Configurations of other programs: the converted ones are valid and send the same.

mod ansible_cfg;
mod hostile;
mod input;
mod kinds;
mod secrets;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::sandbox::{Outcome, Sandbox};

/// The variables that a configuration names, with a value for each.
fn variables(config: &str) -> BTreeMap<String, String> {
    let names = config.lines().filter_map(|line| {
        let (key, name) = line.split_once(" = ")?;
        let is_named = key.ends_with("_env") && !key.starts_with('#');
        is_named.then(|| name.to_owned())
    });
    let with_value = |name: String| {
        let value = match name.ends_with("_URL") {
            true => format!("https://chat.example.com/canary/{name}"),
            false => format!("canary-{name}"),
        };
        (name, value)
    };
    names.map(with_value).collect()
}

/// Runs the binary with these variables.
fn run_with(
    sandbox: &Sandbox,
    arguments: &[&str],
    variables: &BTreeMap<String, String>,
) -> Outcome {
    let child = sandbox.command(arguments).envs(variables).spawn();
    crate::sandbox::outcome(child.unwrap())
}

/// Imports an export; returns the outcome and the written configuration.
fn import(sandbox: &Sandbox, export: &Value) -> (Outcome, String) {
    let file = sandbox.file("export.json", export.to_string());
    let outcome = sandbox.run(&["import", "awx", file.to_str().unwrap()]);
    let config = outcome.stdout.clone();
    (outcome, config)
}

/// Asserts that the configuration passes `check-config` once its variables are set; returns its output.
#[track_caller]
fn checked(sandbox: &Sandbox, config: &str) -> Value {
    sandbox.file("imported.ini", config);
    let arguments = ["check-config", "--json", "--config", "imported.ini"];
    let outcome = run_with(sandbox, &arguments, &variables(config));
    assert_eq!(outcome.code, 0, "{outcome:?}\n{config}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Asserts that standard error contains each of these.
#[track_caller]
fn expect_said(outcome: &Outcome, expected: &[&str]) {
    for said in expected {
        assert!(outcome.stderr.contains(said), "no {said} in {outcome:?}");
    }
}

/// Neither the configuration, which is standard output, nor standard error has a secret.
#[track_caller]
fn expect_no_canary(outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        assert!(!text.contains("canary"), "{text}");
    }
}

fn template(name: &str, kind: &str, configuration: Value) -> Value {
    json!({
        "name": name, "notification_type": kind, "notification_configuration": configuration,
        "organization": {"name": "Default", "type": "organization"},
    })
}

/// The fields of a form.
fn form(body: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect()
}
