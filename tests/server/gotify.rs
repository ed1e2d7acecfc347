//! A Gotify server, which refuses what Gotify refuses.

use serde_json::{Value, json};

use super::{Request, Server};

pub const TOKEN: &str = "canary-gotify";

type Refusal = (u16, &'static str, &'static str);

pub fn start() -> Server {
    Server::answering(|request| match answer(request) {
        Ok(said) => super::json(200, &said),
        Err((status, error, description)) => {
            let said =
                json!({"error": error, "errorCode": status, "errorDescription": description});
            super::json(status, &said)
        }
    })
}

fn answer(request: &Request) -> Result<Value, Refusal> {
    if request.header("x-gotify-key") != Some(TOKEN) {
        let need =
            "you need to provide a valid access token or user credentials to access this api";
        return Err((401, "Unauthorized", need));
    }
    if (request.method.as_str(), request.target.as_str()) != ("POST", "/message") {
        return Err((404, "Not Found", "page not found"));
    }
    let bad = |description| Err((400, "Bad Request", description));
    let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let is = |name: &str, fits: fn(&Value) -> bool| body[name].is_null() || fits(&body[name]);
    if !is("title", Value::is_string) || !is("message", Value::is_string) {
        return bad("json: cannot unmarshal into Go struct field of type string");
    }
    if !is("priority", Value::is_i64) {
        return bad(
            "json: cannot unmarshal string into Go struct field Message.priority of type int",
        );
    }
    if !is("extras", Value::is_object) {
        return bad("json: cannot unmarshal into Go struct field of type map[string]interface {}");
    }
    match body["message"].as_str().unwrap_or_default() {
        "" => bad("Field 'message' is required"),
        _ => Ok(json!({"id": 25, "appid": 5, "message": body["message"]})),
    }
}
