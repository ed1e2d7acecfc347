//! Incidents and issues: Jira, Opsgenie, ServiceNow.

use serde_json::{Map, Value, json};

use super::rules::{Is, check, json_object, target};
use super::{Answer, Request, need_basic, need_header, need_request, refuse};

/// Atlassian, "Create issue" of the REST API, version 2.
pub fn jira(request: &Request) -> Answer {
    need_basic(request, "ansible@example.com", "canary-jira-token")?;
    need_request(request, "POST", "/rest/api/2/issue")?;
    let body = json_object(request)?;
    check(&body, &[("fields", true, Is::Object)])?;
    let fields = body["fields"].as_object().cloned().unwrap_or_default();
    let known = [
        ("project", true, Is::Object),
        ("issuetype", true, Is::Object),
        ("summary", true, Is::Line(255)),
        ("description", false, Is::Text(32_767)),
        ("labels", false, Is::List),
    ];
    check(&fields, &known)?;
    if fields["project"]["key"] != "OPS" || fields["issuetype"]["name"] != "Task" {
        return refuse(400, "valid project is required");
    }
    let labels = fields["labels"].as_array().into_iter().flatten();
    let mut labels = labels.filter_map(Value::as_str);
    if labels.any(|label| label.contains(' ')) {
        return refuse(400, "a label contains spaces, which is invalid");
    }
    Ok((201, json!({"id": "10000", "key": "OPS-1"})))
}

/// Opsgenie, "Create Alert" and "Close Alert".
pub fn opsgenie(request: &Request) -> Answer {
    need_header(request, "authorization", "GenieKey canary-opsgenie")?;
    let (path, query) = target(request);
    let body = json_object(request)?;
    if request.method != "POST" {
        return refuse(405, "method not allowed");
    }
    if path == "/v2/alerts" {
        let known = [
            ("message", true, Is::Text(130)),
            ("alias", false, Is::Text(512)),
            ("description", false, Is::Text(15_000)),
            ("entity", false, Is::Text(512)),
            ("source", false, Is::Text(100)),
            (
                "priority",
                false,
                Is::OneOf(&["P1", "P2", "P3", "P4", "P5"]),
            ),
        ];
        check(&body, &known)?;
        return Ok(accepted());
    }
    let alias = path.strip_prefix("/v2/alerts/");
    let alias = alias.and_then(|rest| rest.strip_suffix("/close"));
    if alias.is_none_or(|alias| alias.is_empty() || alias.contains('/')) {
        return refuse(404, "no such resource");
    }
    if query != [("identifierType".to_owned(), "alias".to_owned())] {
        return refuse(422, "identifier is not an id");
    }
    check(
        &body,
        &[
            ("source", false, Is::Text(100)),
            ("note", false, Is::Text(25_000)),
        ],
    )?;
    Ok(accepted())
}

fn accepted() -> (u16, Value) {
    (
        202,
        json!({"result": "Request will be processed", "took": 0.3, "requestId": "1"}),
    )
}

/// ServiceNow, "Table API", with the columns of an incident.
pub fn servicenow(request: &Request) -> Answer {
    need_basic(request, "ansible", "canary-servicenow-password")?;
    need_request(request, "POST", "/api/now/table/incident")?;
    if request.header("accept") != Some("application/json") {
        return refuse(406, "not acceptable");
    }
    let body: Map<String, Value> = json_object(request)?;
    let known = [
        ("short_description", true, Is::Line(160)),
        ("description", false, Is::Text(4000)),
        ("urgency", false, Is::OneOf(&["1", "2", "3"])),
        ("impact", false, Is::OneOf(&["1", "2", "3"])),
        ("correlation_id", false, Is::Line(100)),
        ("correlation_display", false, Is::Line(100)),
    ];
    check(&body, &known)?;
    Ok((201, json!({"result": {"number": "INC0010001"}})))
}
