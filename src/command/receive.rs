//! `receive`: an HTTP test endpoint. It shows requests, and fails on demand.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::LocalSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::cli;
use crate::console::stderr;
use crate::exit::Exit;
use crate::json::bulk;
use crate::net::authorization;
use crate::net::http::is_credential;
use crate::panics;
use crate::secret;
use crate::system::trusted;
use crate::text;

/// Size limit of a body, and of all bodies being read together, in bytes.
const MAX_BODY: usize = 8 << 20;
const MAX_BODIES: usize = 12 << 20;
/// Size limit of a request's headers, in bytes.
const MAX_HEAD: usize = 32 << 10;
/// Size limit of a file of a key or certificates, in bytes.
const MAX_PEM: u64 = 1 << 20;
/// Limit of concurrent connections; further ones wait until one ends.
const MAX_CONNECTIONS: usize = 128;
/// Timeout of a TLS handshake, of the headers, and of each further piece of a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// Timeout of a whole body.
const MAX_READ: Duration = Duration::from_secs(60);
/// Pause after a connection could not be accepted, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs `receive`: answers requests on a port and prints them.
pub async fn run(arguments: cli::Receive) -> Exit {
    match LocalSet::new().run_until(serve(arguments)).await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            stderr::say(format!("{error:#}"));
            Exit::Unexpected
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
    room: Semaphore,
    connections: Arc<Semaphore>,
}

async fn serve(arguments: cli::Receive) -> Result<()> {
    let acceptor = tls(&arguments)?.map(TlsAcceptor::from);
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
        room: Semaphore::new(MAX_BODIES),
        connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        arguments,
    });
    let listener = Listener::bind(&receiver.arguments).await?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    stderr::say(format!("listening on {}", listener.name(scheme)?));
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        () = accept(&listener, &receiver, acceptor.as_ref()) => {}
        // The last response must still be sent.
        () = receiver.full.notified() => tokio::time::sleep(Duration::from_millis(50)).await,
        () = stop => {}
    }
    listener.clean_up();
    Ok(())
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, std::path::PathBuf),
}

impl Listener {
    async fn bind(arguments: &cli::Receive) -> Result<Listener> {
        let Some(path) = &arguments.socket else {
            let listener = TcpListener::bind(&arguments.listen).await;
            return Ok(Listener::Tcp(listener.with_context(|| {
                format!("cannot listen on {}", arguments.listen)
            })?));
        };
        let shown = path.display();
        ensure!(
            path.as_os_str().len() <= 107,
            "the path `{shown}` is too long for a socket; the limit is 107 bytes"
        );
        ensure!(
            path.symlink_metadata().is_err(),
            "`{shown}` already exists; remove it or choose another path"
        );
        let listener =
            UnixListener::bind(path).with_context(|| format!("cannot listen on `{shown}`"))?;
        Ok(Listener::Unix(listener, path.clone()))
    }

    fn name(&self, scheme: &str) -> Result<String> {
        Ok(match self {
            Listener::Tcp(listener) => format!("{scheme}://{}", listener.local_addr()?),
            Listener::Unix(_, path) => path.display().to_string(),
        })
    }

    fn clean_up(&self) {
        if let Listener::Unix(_, path) = self {
            // Somebody else may have removed it; nothing else remains to be done.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn accept(listener: &Listener, receiver: &Rc<Receiver>, acceptor: Option<&TlsAcceptor>) {
    let mut complained = false;
    loop {
        let Ok(place) = receiver.connections.clone().acquire_owned().await else {
            return;
        };
        let receiver = receiver.clone();
        let taken = match listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                // A failure only makes it slower.
                let _ = stream.set_nodelay(true);
                let connection = connection(stream, receiver, acceptor.cloned());
                tokio::task::spawn_local(while_in(place, connection));
            }),
            Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                let connection = connection(stream, receiver, acceptor.cloned());
                tokio::task::spawn_local(while_in(place, connection));
            }),
        };
        if let Err(error) = taken {
            if !std::mem::replace(&mut complained, true) {
                stderr::say(format!("cannot accept a connection: {error}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Runs `work`, and holds `place` until it ends.
async fn while_in(place: OwnedSemaphorePermit, work: impl Future<Output = ()>) {
    work.await;
    drop(place);
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    receiver: Rc<Receiver>,
    acceptor: Option<TlsAcceptor>,
) {
    let served = panics::caught_async(async {
        let Some(acceptor) = acceptor else {
            return exchange(stream, receiver).await;
        };
        match timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => exchange(stream, receiver).await,
            Ok(Err(error)) => stderr::say(format!("TLS handshake failed: {error}")),
            Err(_) => stderr::say(format!("no TLS handshake within {PATIENCE:?}")),
        }
    });
    if let Err(fault) = served.await {
        stderr::say(format!("a connection failed: {fault}"));
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, receiver: Rc<Receiver>) {
    let service = hyper::service::service_fn(move |request| {
        let receiver = receiver.clone();
        async move { receiver.answer(request).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .half_close(true);
    // An error here is a disconnected client or --drop: both are part of the test.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
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

impl Receiver {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Dropped> {
        let (head, body) = request.into_parts();
        // The body of an unauthorised client is not read.
        let read = match self.is_authorized(&head.headers) {
            true => self.read(body).await,
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

    /// Reads the body, or returns the status that rejects it.
    async fn read(&self, mut body: Incoming) -> Result<Vec<u8>, StatusCode> {
        let most = body.size_hint().upper().unwrap_or(MAX_BODY as u64);
        let most = u32::try_from(most)
            .ok()
            .filter(|most| *most as usize <= MAX_BODY);
        let most = most.ok_or(StatusCode::PAYLOAD_TOO_LARGE)?;
        let until = Instant::now() + MAX_READ;
        let room = timeout_at(until, self.room.acquire_many(most)).await;
        let Ok(Ok(_room)) = room else {
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        };
        let mut read = Vec::new();
        loop {
            let patience = until.min(Instant::now() + PATIENCE);
            let frame = timeout_at(patience, body.frame()).await;
            let Some(frame) = frame.map_err(|_| StatusCode::REQUEST_TIMEOUT)? else {
                return Ok(read);
            };
            let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
            let data = frame.into_data().unwrap_or_default();
            if read.len() + data.len() > MAX_BODY {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            read.extend_from_slice(&data);
        }
    }

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
fn tls(arguments: &cli::Receive) -> Result<Option<Arc<ServerConfig>>> {
    let (certificates, key) = match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => (
            certificates(cert)?,
            PrivateKeyDer::from_pem_slice(&pem(key)?)
                .with_context(|| format!("`{}` contains no key in PEM format", key.display()))?,
        ),
        _ if arguments.tls || arguments.client_ca.is_some() => {
            make_certificate(arguments.save_cert.as_deref())?
        }
        _ => return Ok(None),
    };
    let builder = match &arguments.client_ca {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(file)? {
                roots
                    .add(certificate)
                    .context("cannot use a CA certificate")?;
            }
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
        }
    };
    let config = builder
        .with_single_cert(certificates, key)
        .context("the certificate and the key do not match")?;
    Ok(Some(Arc::new(config)))
}

fn pem(file: &Path) -> Result<Vec<u8>> {
    Ok(trusted::read(file, MAX_PEM)?.bytes)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let content = pem(file)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let read = read.with_context(|| format!("`{shown}` contains no certificate in PEM format"))?;
    ensure!(
        !read.is_empty(),
        "`{shown}` contains no certificate in PEM format"
    );
    Ok(read)
}

/// Creates a certificate for this machine's loopback names.
fn make_certificate(
    save: Option<&Path>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
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
