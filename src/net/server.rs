//! HTTP servers: their sockets, TLS, and limits for clients.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::RootCertStore;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::unasked::Completed;
use crate::console::stderr;
use crate::panics;
use crate::system::trusted;

/// Size limit of a request's headers, in bytes.
const MAX_HEAD: usize = 32 << 10;
/// Size limit of a file of a key or certificates, in bytes.
const MAX_PEM: u64 = 1 << 20;
/// Timeout of a TLS handshake, of the headers, and of each further piece of a body.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Timeout of a whole body.
const MAX_READ: Duration = Duration::from_secs(60);
/// Pause after a connection could not be accepted, for example because too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that accepts connections.
pub enum Listener {
    Tcp(TcpListener),
    /// A unix socket and its path.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens on a unix socket if there is a path, else on an address. With `private`, only the user can
    /// connect to the socket.
    pub async fn bind(listen: &str, socket: Option<&Path>, private: bool) -> Result<Listener> {
        let Some(path) = socket else {
            let listener = TcpListener::bind(listen).await;
            let listener = listener.with_context(|| format!("cannot listen on {listen}"))?;
            return Ok(Listener::Tcp(listener));
        };
        let shown = path.display();
        ensure!(
            path.as_os_str().len() <= 107,
            "the path `{shown}` is too long for a socket; the limit is 107 bytes"
        );
        if private && is_left_behind(path) {
            // If that fails, the check below reports it.
            let _ = std::fs::remove_file(path);
        }
        ensure!(
            path.symlink_metadata().is_err(),
            "`{shown}` already exists; remove it or choose another path"
        );
        let mask = private.then(|| rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177)));
        let listener = UnixListener::bind(path);
        // The socket was created with the strict mask, so nobody else could ever connect.
        mask.map(rustix::process::umask);
        let listener = listener.with_context(|| format!("cannot listen on `{shown}`"))?;
        Ok(Listener::Unix(listener, path.to_owned()))
    }

    /// Returns the URL or the path of the socket that it listens on.
    pub fn name(&self, scheme: &str) -> Result<String> {
        Ok(match self {
            Listener::Tcp(listener) => format!("{scheme}://{}", listener.local_addr()?),
            Listener::Unix(_, path) => path.display().to_string(),
        })
    }

    /// Returns the address that it listens on; None for a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(..) => None,
        }
    }

    /// Removes the unix socket.
    pub fn clean_up(&self) {
        if let Listener::Unix(_, path) = self {
            // It may already be gone, which is fine.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Returns true for a socket of this user that no process listens on, such as that of a killed process.
fn is_left_behind(path: &Path) -> bool {
    let found = path.symlink_metadata();
    let is_own = found.is_ok_and(|found| {
        found.file_type().is_socket() && trusted::owned_by_other(&found).is_none()
    });
    let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
    is_own && UnixStream::connect(path).is_err_and(refused)
}

/// The part of a server that answers requests.
pub trait Handler: 'static {
    /// Maximum number of concurrent connections; further ones wait.
    const MAX_CONNECTIONS: usize;
    /// Type of an answer's body.
    type Body: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + 'static;
    /// Error that closes the connection without an answer.
    type Error: std::error::Error + Send + Sync + 'static;

    /// True to answer clients that have already closed their side of the connection.
    const ANSWERS_LATE: bool = true;

    /// Returns header lines, each with its line end, for the answers to unreadable requests.
    fn headers() -> &'static str {
        ""
    }

    /// Answers a request. Clients of a unix socket have no address.
    fn answer(
        &self,
        request: Request<Incoming>,
        from: Option<SocketAddr>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Self::Error>>;
}

/// Accepts connections, whose requests the handler answers. Never ends; needs a `LocalSet`.
pub async fn accept<H: Handler>(
    listener: &Listener,
    handler: &Rc<H>,
    acceptor: Option<&TlsAcceptor>,
) {
    let places = Arc::new(Semaphore::new(H::MAX_CONNECTIONS));
    let mut complained = false;
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let handler = handler.clone();
        let taken = match listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, from)| {
                // Without it, answers are only slower.
                let _ = stream.set_nodelay(true);
                let connection = connection(stream, Some(from), handler, acceptor.cloned());
                tokio::task::spawn_local(while_in(place, connection));
            }),
            Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                let connection = connection(stream, None, handler, acceptor.cloned());
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

/// Runs `work` and keeps `place` until it ends.
async fn while_in(place: OwnedSemaphorePermit, work: impl Future<Output = ()>) {
    work.await;
    drop(place);
}

async fn connection<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    from: Option<SocketAddr>,
    handler: Rc<H>,
    acceptor: Option<TlsAcceptor>,
) {
    let served = panics::caught_async(async {
        let Some(acceptor) = acceptor else {
            return exchange(stream, from, handler).await;
        };
        match timeout(PATIENCE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => exchange(stream, from, handler).await,
            Ok(Err(error)) => stderr::say(format!("TLS handshake failed: {error}")),
            Err(_) => stderr::say(format!("no TLS handshake within {PATIENCE:?}")),
        }
    });
    if let Err(fault) = served.await {
        stderr::say(format!("a connection failed: {fault}"));
    }
}

async fn exchange<H: Handler>(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    from: Option<SocketAddr>,
    handler: Rc<H>,
) {
    let service = hyper::service::service_fn(move |request| {
        let handler = handler.clone();
        async move { handler.answer(request, from).await }
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(MAX_HEAD)
        .half_close(H::ANSWERS_LATE);
    let stream = Completed::new(stream, H::headers());
    // The client has disconnected, or the handler drops it.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// Reads a body of at most `limit` bytes, or returns the status that rejects it. All bodies share `room`, in bytes, each
/// until its permit is dropped.
pub async fn read_body(
    mut body: Incoming,
    limit: usize,
    room: &Arc<Semaphore>,
) -> Result<(Vec<u8>, OwnedSemaphorePermit), StatusCode> {
    let most = body.size_hint().upper().unwrap_or(limit as u64);
    let most = u32::try_from(most)
        .ok()
        .filter(|most| *most as usize <= limit);
    let most = most.ok_or(StatusCode::PAYLOAD_TOO_LARGE)?;
    let until = Instant::now() + MAX_READ;
    let room = timeout_at(until, room.clone().acquire_many_owned(most)).await;
    let Ok(Ok(room)) = room else {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    };
    let mut read = Vec::new();
    loop {
        let patience = until.min(Instant::now() + PATIENCE);
        let frame = timeout_at(patience, body.frame()).await;
        let Some(frame) = frame.map_err(|_| StatusCode::REQUEST_TIMEOUT)? else {
            return Ok((read, room));
        };
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let data = frame.into_data().unwrap_or_default();
        if read.len() + data.len() > limit {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        read.extend_from_slice(&data);
    }
}

/// Certificate chain of a server, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Reads a server's certificates and its key, in PEM form.
pub fn identity(certificate: &Path, key: &Path) -> Result<Identity> {
    let certificates = certificates(certificate)?;
    let read = PrivateKeyDer::from_pem_slice(&pem(key)?);
    let key = read.with_context(|| format!("`{}` contains no key in PEM format", key.display()))?;
    Ok((certificates, key))
}

/// Returns the TLS configuration of a server; with `client_ca`, clients need a certificate that it signed.
pub fn tls(identity: Identity, client_ca: Option<&Path>) -> Result<TlsAcceptor> {
    let (certificates, key) = identity;
    let builder = match client_ca {
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
    Ok(TlsAcceptor::from(Arc::new(config)))
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
