//! Forges: the status of a commit and of a deployment, and the trigger of a pipeline.

use serde_json::json;

use super::rules::{Is, check, form, json_object, target};
use super::{Answer, Refusal, Request, need_bearer, need_header, need_request, refuse};

/// The last part of this path between two others.
fn between(request: &Request, before: &str, after: &str) -> Result<String, Refusal> {
    let (path, _) = target(request);
    let id = path.strip_prefix(before);
    match id.and_then(|rest| rest.strip_suffix(after)) {
        Some(id) if request.method == "POST" && !id.is_empty() && !id.contains('/') => {
            Ok(id.to_owned())
        }
        _ => refuse(404, "Not Found"),
    }
}

fn need_commit(id: &str) -> Result<(), Refusal> {
    match id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => Ok(()),
        false => refuse(422, "No commit found for SHA"),
    }
}

/// What GitHub needs of every request: it refuses one without a `User-Agent`.
fn need_github(request: &Request) -> Result<(), Refusal> {
    need_bearer(request, "canary-github-token")?;
    need_header(request, "accept", "application/vnd.github+json")?;
    need_header(request, "x-github-api-version", "2022-11-28")?;
    match request.header("user-agent") {
        Some(name) if !name.is_empty() => Ok(()),
        _ => refuse(403, "administrative rules"),
    }
}

/// GitHub, "Create a commit status".
pub fn github_status(request: &Request) -> Answer {
    need_github(request)?;
    need_commit(&between(request, "/repos/example/site/statuses/", "")?)?;
    let body = json_object(request)?;
    let known = [
        (
            "state",
            true,
            Is::OneOf(&["error", "failure", "pending", "success"]),
        ),
        ("target_url", false, Is::UrlOrNull),
        ("description", false, Is::Line(140)),
        ("context", false, Is::Line(255)),
    ];
    check(&body, &known)?;
    Ok((201, json!({"id": 1, "state": body["state"]})))
}

/// GitHub, "Create a deployment status".
pub fn github_deployment(request: &Request) -> Answer {
    need_github(request)?;
    let id = between(request, "/repos/example/site/deployments/", "/statuses")?;
    if id.parse::<u64>().is_err() {
        return refuse(404, "Not Found");
    }
    let body = json_object(request)?;
    let states = &[
        "error",
        "failure",
        "inactive",
        "in_progress",
        "queued",
        "pending",
        "success",
    ];
    let known = [
        ("state", true, Is::OneOf(states)),
        ("log_url", false, Is::Text(2000)),
        ("description", false, Is::Line(140)),
    ];
    check(&body, &known)?;
    Ok((201, json!({"id": 1, "state": body["state"]})))
}

/// GitLab, "Set commit pipeline status".
pub fn gitlab_status(request: &Request) -> Answer {
    need_header(request, "private-token", "canary-gitlab-token")?;
    need_commit(&between(request, "/api/v4/projects/42/statuses/", "")?)?;
    let body = json_object(request)?;
    let states = &[
        "pending", "running", "success", "failed", "canceled", "skipped",
    ];
    let known = [
        ("state", true, Is::OneOf(states)),
        ("name", false, Is::Line(255)),
        ("target_url", false, Is::UrlOrNull),
        ("description", false, Is::Line(255)),
    ];
    check(&body, &known)?;
    Ok((201, json!({"id": 1, "status": body["state"]})))
}

/// GitLab, "Trigger a pipeline with a token".
pub fn gitlab_pipeline(request: &Request) -> Answer {
    need_request(request, "POST", "/api/v4/projects/42/trigger/pipeline")?;
    let body = form(request)?;
    if body.get("token") != Some(&json!("canary-gitlab-trigger")) {
        return refuse(404, "404 Not Found");
    }
    let known = [
        ("token", true, Is::Line(100)),
        ("ref", true, Is::OneOf(&["main"])),
        ("variables[ANSIBLE_RUN]", false, Is::Line(1000)),
        ("variables[ANSIBLE_STATUS]", false, Is::Line(1000)),
    ];
    check(&body, &known)?;
    Ok((201, json!({"id": 1, "status": "created"})))
}
