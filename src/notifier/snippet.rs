//! Slack's upload of a file to a bot's message: request a URL, send the content to it, and attach the file
//! (Slack, "Working with files").

use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use url::Url;

use crate::failure::Failure;
use crate::message::Message;
use crate::net::http::{Reply, Request};
use crate::notifier::over_http::{self, join_path};

/// Name of the file.
const FILE: &str = "output.txt";

/// Uploads of a bot.
pub struct Uploads<'a> {
    /// Address of the API.
    pub api: &'a Url,
    pub authorization: &'a HeaderValue,
}

impl Uploads<'_> {
    /// Returns the next request that attaches the command's output to a delivered message, whose name is
    /// `CHANNEL/TIME`.
    pub fn next(
        &self,
        message: &Message,
        name: Option<&str>,
        replies: &[Reply],
    ) -> Result<Option<Request>, Failure> {
        let end = message.context.event().end.as_ref();
        let Some(output) = end.and_then(|end| end.output.as_deref()) else {
            return Ok(None);
        };
        let place = name.and_then(|name| name.split_once('/'));
        let Some((channel, thread)) = place else {
            return Err(missing("Slack did not say where the message is"));
        };
        match replies {
            [] => Ok(Some(self.place(output))),
            [place] => Ok(Some(self.content(&said(place)?, output)?)),
            [place, content] => {
                content
                    .check_status()
                    .map_err(|failure| missing(failure.error()))?;
                Ok(Some(self.completion(&said(place)?, channel, thread)))
            }
            [.., completion] => said(completion).map(|_| None),
        }
    }

    /// Requests an address for the content. This method does not accept JSON.
    fn place(&self, output: &str) -> Request {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("filename", FILE);
        form.append_pair("length", &output.len().to_string());
        form.append_pair("snippet_type", "text");
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        self.request(
            "files.getUploadURLExternal",
            form_type,
            form.finish().into(),
        )
    }

    /// Sends the content to the address from Slack, without the token.
    fn content(&self, place: &serde_json::Value, output: &str) -> Result<Request, Failure> {
        let url = place["upload_url"]
            .as_str()
            .and_then(|url| Url::parse(url).ok());
        let is_safe = |url: &Url| url.scheme() == "https" || url.origin() == self.api.origin();
        let url = url.filter(is_safe);
        let bytes = HeaderValue::from_static("application/octet-stream");
        Ok(Request {
            method: Method::POST,
            url: url.ok_or_else(|| missing("Slack gave no address for it"))?,
            secret_url: true,
            headers: HeaderMap::from_iter([(CONTENT_TYPE, bytes)]),
            body: output.to_owned().into(),
        })
    }

    /// Adds the file to the message's thread.
    fn completion(&self, place: &serde_json::Value, channel: &str, thread: &str) -> Request {
        let body = json!({
            "files": [{"id": place["file_id"], "title": FILE}],
            "channel_id": channel,
            "thread_ts": thread,
        });
        let json_type = HeaderValue::from_static("application/json; charset=utf-8");
        self.request(
            "files.completeUploadExternal",
            json_type,
            over_http::json(&body),
        )
    }

    fn request(&self, method: &str, content_type: HeaderValue, body: Bytes) -> Request {
        let headers = [
            (CONTENT_TYPE, content_type),
            (AUTHORIZATION, self.authorization.clone()),
        ];
        Request {
            method: Method::POST,
            url: join_path(self.api, &[method]),
            secret_url: false,
            headers: HeaderMap::from_iter(headers),
            body,
        }
    }
}

/// Returns Slack's answer if it is a success.
fn said(reply: &Reply) -> Result<serde_json::Value, Failure> {
    let said = reply.json();
    if said["ok"] == true {
        return Ok(said);
    }
    reply
        .from("Slack", said["ok"].is_boolean())
        .map_err(|failure| missing(failure.error()))?;
    let error = said["error"].as_str().unwrap_or("without a reason");
    Err(match error {
        "missing_scope" => missing("missing_scope: give the bot the scope `files:write`"),
        error => missing(error),
    })
}

fn missing(reason: &str) -> Failure {
    Failure::permanent(reason.to_owned())
}
