//! `receive`: an HTTP test endpoint. It shows requests, and fails on demand.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use rustls::pki_types::PrivateKeyDer;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{Notify, Semaphore};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::cli::{self, Receive};
use crate::console::stderr;
use crate::exit::Exit;
use crate::json::bulk;
use crate::net::authorization;
use crate::net::http::is_credential;
use crate::net::server::{self, Handler, Identity, Listener};
use crate::secret;
use crate::text;

/// Size limit of a body, and of all bodies being read together, in bytes.
const MAX_BODY: usize = 8 << 20;
const MAX_BODIES: usize = 12 << 20;

/// Runs `receive`: answers requests on a port and prints them.
pub async fn run(arguments: cli::Receive) -> Exit {
    match LocalSet::new().run_until(serve(arguments)).await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            stderr::say(format!("{error:#}"));
            // Nothing fails once it listens.
            Exit::Usage
        }
    }
}

/// State of the endpoint, shared by all requests.
struct Receiver {
    arguments: cli::Receive,
    /// Required value of the `Authorization` header.
    authorization: Option<String>,
    /// Requests answered so far.
    count: Cell<u64>,
    /// Notified when `--count` is reached.
    full: Notify,
    /// Bytes of bodies that may still be read.
    room: Arc<Semaphore>,
}

async fn serve(arguments: cli::Receive) -> Result<()> {
    let acceptor = tls(&arguments)?;
    let authorization = match (&arguments.username, &arguments.password_file) {
        (Some(username), Some(file)) => {
            let password = secret::Source::File(file.clone()).read()?;
            Some(authorization::basic(username, &password))
        }
        _ => None,
    };
    let receiver = Rc::new(Receiver {
        authorization,
        count: Cell::new(0),
        full: Notify::new(),
        room: Arc::new(Semaphore::new(MAX_BODIES)),
        arguments,
    });
    let Receive { listen, socket, .. } = &receiver.arguments;
    let listener = Listener::bind(listen, socket.as_deref(), false).await?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    stderr::say(format!("listening on {}", listener.name(scheme)?));
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        () = server::accept(&listener, &receiver, acceptor.as_ref()) => {}
        // The last response must still be sent.
        () = receiver.full.notified() => tokio::time::sleep(Duration::from_millis(50)).await,
        () = stop => {}
    }
    listener.clean_up();
    Ok(())
}

/// Error for a request dropped on purpose.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("dropped on demand")
    }
}

impl std::error::Error for Dropped {}

impl Handler for Receiver {
    const MAX_CONNECTIONS: usize = 128;
    type Body = Full<Bytes>;
    type Error = Dropped;

    async fn answer(
        &self,
        request: Request<Incoming>,
        _from: Option<SocketAddr>,
    ) -> Result<Response<Full<Bytes>>, Dropped> {
        let (head, body) = request.into_parts();
        // The body of an unauthorised client is not read.
        let read = match self.is_authorized(&head.headers) {
            true => server::read_body(body, MAX_BODY, &self.room)
                .await
                .map(|(body, _)| body),
            false => Err(StatusCode::UNAUTHORIZED),
        };
        let number = self.count.get() + 1;
        self.count.set(number);
        if self.arguments.count == Some(number) {
            self.full.notify_one();
        }
        let status = match &read {
            Ok(_) => self.status(number),
            Err(status) => *status,
        };
        self.show(&head, &read.unwrap_or_default(), status);
        tokio::time::sleep(self.arguments.delay).await;
        if self.arguments.drop {
            return Err(Dropped);
        }
        Ok(self.response(status))
    }
}

impl Receiver {
    fn is_authorized(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let expected = self.authorization.as_ref();
        expected.is_none_or(|expected| given == Some(expected.as_bytes()))
    }

    /// Returns the status for the request with this number.
    fn status(&self, number: u64) -> StatusCode {
        let code = match (self.arguments.fail_first, self.arguments.status) {
            (Some(first), _) if number > first => 200,
            (Some(_), 200) => 503,
            (_, status) => status,
        };
        StatusCode::from_u16(code).unwrap_or(StatusCode::OK)
    }

    fn response(&self, status: StatusCode) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status;
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"receive\""),
            );
        }
        let retry_after = self
            .arguments
            .retry_after
            .as_deref()
            .filter(|_| !status.is_success());
        if let Some(Ok(value)) = retry_after.map(HeaderValue::from_str) {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }

    fn show(&self, head: &hyper::http::request::Parts, body: &[u8], status: StatusCode) {
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let text = if self.arguments.json {
            let headers: serde_json::Map<String, Value> = head
                .headers
                .iter()
                .map(|(name, value)| {
                    // A signature is meant to be seen.
                    let hidden = is_credential(name) && !name.as_str().contains("signature");
                    let value = match hidden {
                        true => secret::MASK.into(),
                        false => String::from_utf8_lossy(value.as_bytes()),
                    };
                    (name.to_string(), Value::from(secret::redact(&value)))
                })
                .collect();
            let record = Record {
                time: crate::event::time_text(jiff::Timestamp::now()),
                method: head.method.as_str(),
                target: &secret::redact(target),
                headers,
                body: &json_of(body),
                status: status.as_u16(),
            };
            let mut line = serde_json::to_string(&record).unwrap_or_default();
            line.push('\n');
            line
        } else {
            let body = text_of(body);
            let id = head
                .headers
                .get("webhook-id")
                .and_then(|id| id.to_str().ok())
                .unwrap_or("-");
            let text = format!("{} {target}  {id}  -> {status}\n{body}\n\n", head.method);
            text::visible_lines(&secret::redact(&text))
        };
        let mut output = std::io::stdout().lock();
        // If the reader of the output is gone, requests are still answered.
        let _ = output
            .write_all(text.as_bytes())
            .and_then(|()| output.flush());
    }
}

/// A request in the form of `--json`.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    method: &'a str,
    target: &'a str,
    headers: serde_json::Map<String, Value>,
    body: &'a RawValue,
    status: u16,
}

/// Returns a JSON body on one line with its secrets masked, or any other body as a JSON string.
fn json_of(body: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(body);
    let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
    let shown = if is_json && bulk::is_large(&text) {
        RawValue::from_string(secret::redact(&bulk::compact(&text)))
    } else {
        let mut value = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(&*text));
        secret::redact_values(&mut value);
        to_raw_value(&value)
    };
    shown.unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// Returns a body for display: JSON indented unless it is too large, anything else unchanged.
fn text_of(body: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(body);
    if bulk::is_large(&text) {
        return text;
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::String(said)) => Cow::Owned(said),
        Ok(value) => Cow::Owned(format!("{value:#}")),
        Err(_) => text,
    }
}

/// Returns the TLS configuration, if TLS is requested.
fn tls(arguments: &cli::Receive) -> Result<Option<TlsAcceptor>> {
    let identity = match (&arguments.cert, &arguments.key) {
        (Some(certificate), Some(key)) => server::identity(certificate, key)?,
        _ if arguments.tls || arguments.client_ca.is_some() => {
            make_certificate(arguments.save_cert.as_deref())?
        }
        _ => return Ok(None),
    };
    server::tls(identity, arguments.client_ca.as_deref()).map(Some)
}

/// Creates a certificate for this machine's loopback names.
fn make_certificate(save: Option<&Path>) -> Result<Identity> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).context("cannot create a certificate")?;
    if let Some(path) = save {
        std::fs::write(path, made.cert.pem())
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let key =
        PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok((vec![made.cert.der().clone()], key))
}
