//! `receive`: an HTTP endpoint to try things against. It shows what comes, and fails on demand.

use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;

use crate::cli;
use crate::exit::Exit;
use crate::http::is_credential;
use crate::{credentials, panics, report, secret};

/// The largest body that is taken, in bytes.
const MAX_BODY: usize = 64 << 20;

pub async fn run(arguments: cli::Receive) -> Exit {
    match LocalSet::new().run_until(serve(arguments)).await {
        Ok(()) => Exit::Ok,
        Err(error) => {
            report::say(format!("{error:#}"));
            Exit::Unexpected
        }
    }
}

/// What the endpoint does with a request.
struct Receiver {
    arguments: cli::Receive,
    /// The value that the Authorization header must have.
    authorization: Option<String>,
    /// Requests answered so far.
    count: Cell<u64>,
    /// `--count` is reached.
    full: Notify,
}

async fn serve(arguments: cli::Receive) -> Result<()> {
    let acceptor = tls(&arguments)?.map(TlsAcceptor::from);
    let authorization = match (&arguments.username, &arguments.password_file) {
        (Some(username), Some(file)) => {
            let password = secret::Source::File(file.clone()).read()?;
            Some(credentials::basic(username, &password))
        }
        _ => None,
    };
    let receiver = Rc::new(Receiver {
        authorization,
        count: Cell::new(0),
        full: Notify::new(),
        arguments,
    });
    let listener = Listener::bind(&receiver.arguments).await?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    report::say(format!("listening on {}", listener.name(scheme)?));
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::select! {
        result = accept(&listener, &receiver, acceptor.as_ref()) => result?,
        // The last answer must still go out.
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
            "the path `{shown}` is too long for a socket; at most 107 bytes"
        );
        ensure!(
            path.symlink_metadata().is_err(),
            "`{shown}` is there already; remove it or choose another path"
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
            // Somebody else may have removed it; there is nothing more to do.
            let _ = std::fs::remove_file(path);
        }
    }
}

async fn accept(
    listener: &Listener,
    receiver: &Rc<Receiver>,
    acceptor: Option<&TlsAcceptor>,
) -> Result<()> {
    loop {
        match listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                tokio::task::spawn_local(connection(stream, receiver.clone(), acceptor.cloned()));
            }
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                tokio::task::spawn_local(connection(stream, receiver.clone(), acceptor.cloned()));
            }
        }
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    receiver: Rc<Receiver>,
    acceptor: Option<TlsAcceptor>,
) {
    let served = panics::caught_async(async {
        match acceptor {
            None => exchange(stream, receiver).await,
            Some(acceptor) => match acceptor.accept(stream).await {
                Ok(stream) => exchange(stream, receiver).await,
                Err(error) => report::say(format!("no TLS connection: {error}")),
            },
        }
    });
    if let Err(fault) = served.await {
        report::say(format!("a connection ended by {fault}"));
    }
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, receiver: Rc<Receiver>) {
    let service = hyper::service::service_fn(move |request| {
        let receiver = receiver.clone();
        async move { receiver.answer(request).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server.timer(TokioTimer::new()).half_close(true);
    // An error here is a client that went away, or --drop: both are part of the rehearsal.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// A request that was dropped on purpose.
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
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map(http_body_util::Collected::to_bytes);
        let number = self.count.get() + 1;
        self.count.set(number);
        if self.arguments.count == Some(number) {
            self.full.notify_one();
        }
        let status = match &body {
            Ok(_) => self.status(&head.headers, number),
            Err(_) => StatusCode::BAD_REQUEST,
        };
        self.show(&head, &body.unwrap_or_default(), status);
        tokio::time::sleep(self.arguments.delay).await;
        if self.arguments.drop {
            return Err(Dropped);
        }
        Ok(self.response(status))
    }

    /// The status for the request with this number.
    fn status(&self, headers: &HeaderMap, number: u64) -> StatusCode {
        if let Some(expected) = &self.authorization
            && headers.get(AUTHORIZATION).map(HeaderValue::as_bytes) != Some(expected.as_bytes())
        {
            return StatusCode::UNAUTHORIZED;
        }
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
        let content: Value = serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(body).into_owned()));
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let text = if self.arguments.json {
            let headers: serde_json::Map<String, Value> = head
                .headers
                .iter()
                .map(|(name, value)| {
                    // A signature is there to be looked at.
                    let hidden = is_credential(name) && !name.as_str().contains("signature");
                    let value = match hidden {
                        true => secret::MASK.into(),
                        false => String::from_utf8_lossy(value.as_bytes()),
                    };
                    (name.to_string(), Value::from(value))
                })
                .collect();
            let mut record = json!({
                "time": crate::event::time_text(jiff::Timestamp::now()),
                "method": head.method.as_str(),
                "target": target,
                "headers": headers,
                "body": content,
                "status": status.as_u16(),
            });
            secret::redact_values(&mut record);
            format!("{record}\n")
        } else {
            let body = match &content {
                Value::String(text) => text.clone(),
                other => format!("{other:#}"),
            };
            let id = head
                .headers
                .get("webhook-id")
                .and_then(|id| id.to_str().ok())
                .unwrap_or("-");
            let text = format!("{} {target}  {id}  -> {status}\n{body}\n\n", head.method);
            report::visible_lines(&secret::redact(&text))
        };
        let mut output = std::io::stdout().lock();
        // A reader that has gone away is no reason to stop answering.
        let _ = output
            .write_all(text.as_bytes())
            .and_then(|()| output.flush());
    }
}

/// The TLS side, if any is asked for.
fn tls(arguments: &cli::Receive) -> Result<Option<Arc<ServerConfig>>> {
    let (certificates, key) = match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => (
            certificates(cert)?,
            PrivateKeyDer::from_pem_file(key)
                .with_context(|| format!("`{}` holds no key in PEM form", key.display()))?,
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
                    .context("an authority's certificate cannot be used")?;
            }
            ServerConfig::builder()
                .with_client_cert_verifier(WebPkiClientVerifier::builder(Arc::new(roots)).build()?)
        }
    };
    let config = builder
        .with_single_cert(certificates, key)
        .context("the certificate and the key do not fit")?;
    Ok(Some(Arc::new(config)))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let shown = file.display();
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("cannot read `{shown}`"))?
        .collect();
    let read = read.with_context(|| format!("`{shown}` holds no certificate in PEM form"))?;
    ensure!(
        !read.is_empty(),
        "`{shown}` holds no certificate in PEM form"
    );
    Ok(read)
}

/// A certificate for this machine's loopback names.
fn make_certificate(
    save: Option<&Path>,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    if let Some(path) = save {
        std::fs::write(path, made.cert.pem())
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    let key =
        PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok((vec![made.cert.der().clone()], key))
}
