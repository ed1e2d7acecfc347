//! Amazon SNS, as far as `Publish`; signatures are made again from what arrived.

use std::collections::BTreeMap;

use ring::{digest, hmac};

use super::{Reply, Request, Server};

pub const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:runs";
pub const FIFO: &str = "arn:aws:sns:eu-central-1:123456789012:runs.fifo";
pub const KEY: (&str, &str) = ("AKIDCANARY", "canary/sns+secret");
pub const SESSION: &str = "canary-session-token";

pub fn start() -> Server {
    Server::answering(|request| match answer(request) {
        Ok(()) => {
            let body = "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult>\
                <MessageId>567910cd-659e-55d4-8ccb-5aaf14679dc0</MessageId></PublishResult></PublishResponse>";
            Reply::Made(200, "Content-Type: text/xml\r\n".into(), body.into())
        }
        Err((status, code, text)) => refusal(status, code, &text),
    })
}

/// The reply of an error, as SNS makes it.
pub fn refusal(status: u16, code: &str, text: &str) -> Reply {
    let body = format!(
        "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\n  <Error>\n    <Type>Sender</Type>\n    \
         <Code>{code}</Code>\n    <Message>{text}</Message>\n  </Error>\n  <RequestId>9dd01905</RequestId>\n</ErrorResponse>"
    );
    Reply::Made(status, "Content-Type: text/xml\r\n".into(), body)
}

pub fn parameters(request: &Request) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(request.body.as_bytes())
        .into_owned()
        .collect()
}

fn answer(request: &Request) -> Result<(), (u16, &'static str, String)> {
    check_signature(request)?;
    let parameters = parameters(request);
    let get = |name: &str| parameters.get(name).map(String::as_str).unwrap_or_default();
    let invalid = |text: &str| {
        Err((
            400,
            "InvalidParameter",
            format!("Invalid parameter: {text}"),
        ))
    };
    if get("Action") != "Publish" || get("Version") != "2010-03-31" {
        return Err((400, "InvalidAction", "no such action".into()));
    }
    if ![TOPIC, FIFO].contains(&get("TopicArn")) {
        return Err((404, "NotFound", "Topic does not exist".into()));
    }
    let subject = get("Subject");
    let good = |byte: u8| (b' '..=b'~').contains(&byte);
    if parameters.contains_key("Subject")
        && (subject.is_empty() || subject.len() >= 100 || !subject.bytes().all(good))
    {
        return invalid("Subject");
    }
    let attributes = parameters
        .iter()
        .filter(|(name, _)| name.starts_with("MessageAttributes"));
    let attributes: Vec<&str> = attributes.map(|(_, value)| value.as_str()).collect();
    let size = get("Message").len() + attributes.iter().map(|value| value.len()).sum::<usize>();
    if get("Message").is_empty() || size > 262_144 {
        return invalid("Message too long or empty");
    }
    if attributes.iter().any(|value| value.is_empty()) {
        return Err((400, "ParameterValueInvalid", "an attribute is empty".into()));
    }
    let ids = ["MessageGroupId", "MessageDeduplicationId"].map(get);
    let good = |id: &str| id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic());
    match get("TopicArn") == FIFO {
        true if ids.iter().any(|id| id.is_empty() || !good(id)) => invalid("MessageGroupId"),
        false if ids.iter().any(|id| !id.is_empty()) => invalid("MessageGroupId"),
        _ => Ok(()),
    }
}

fn check_signature(request: &Request) -> Result<(), (u16, &'static str, String)> {
    let denied = |code, text: &str| Err((403, code, text.to_owned()));
    let Some(authorization) = request.header("authorization") else {
        return denied(
            "MissingAuthenticationToken",
            "Request is missing Authentication Token",
        );
    };
    let part = |name: &str| {
        let (_, rest) = authorization.split_once(&format!("{name}=")).unwrap();
        rest.split(',').next().unwrap().to_owned()
    };
    let (credential, names) = (part("Credential"), part("SignedHeaders"));
    let (id, scope) = credential.split_once('/').unwrap();
    if id != KEY.0 {
        return denied(
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        );
    }
    let time = request.header("x-amz-date").unwrap_or_default();
    if scope != format!("{}/eu-central-1/sns/aws4_request", &time[..8]) {
        return denied(
            "SignatureDoesNotMatch",
            "Credential should be scoped to a valid region.",
        );
    }
    for name in ["host", "x-amz-date"] {
        assert!(names.split(';').any(|signed| signed == name), "{names}");
    }
    if request
        .header("x-amz-security-token")
        .is_some_and(|token| token != SESSION)
    {
        return denied(
            "ExpiredToken",
            "The security token included in the request is expired",
        );
    }
    let hash = |text: &str| hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    let mut canonical = format!("{}\n{}\n\n", request.method, request.target);
    for name in names.split(';') {
        canonical += &format!("{name}:{}\n", request.header(name).unwrap());
    }
    canonical += &format!("\n{names}\n{}", hash(&request.body));
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hash(&canonical));
    let sign = |key: &[u8], text: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
    };
    let mut key = format!("AWS4{}", KEY.1).into_bytes();
    for part in scope.split('/') {
        key = sign(&key, part);
    }
    if part("Signature") != hex(&sign(&key, &text)) {
        let text = "The request signature we calculated does not match the signature you provided.";
        return denied("SignatureDoesNotMatch", text);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
