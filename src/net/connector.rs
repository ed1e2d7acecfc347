//! Connections of the HTTP client: direct, over a unix socket, or through a proxy; with TLS if the URL
//! requires it. The amount of data read from a peer is limited.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::Uri;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV4, SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::net::wire::{Allowance, Stream, Wire};

/// Limit of bytes that an endpoint may send per request: informational responses, the headers, and as much
/// of the body as is ever read.
const MAX_ANSWER: usize = 256 << 10;
/// Limit of the headers of a response, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// HTTP client whose connections are ours, and so are their limits.
pub type Client = hyper_util::client::legacy::Client<Connector, Full<Bytes>>;
type Failed = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, Failed>> + Send>>;

/// Opens connections to endpoints.
#[derive(Clone)]
pub struct Connector {
    dial: Dial,
    proxies: Option<Arc<Matcher>>,
    timeout: Duration,
}

/// Opens connections to hosts: endpoints and proxies.
#[derive(Clone)]
struct Dial {
    http: HttpConnector,
    /// None if no URL needs TLS.
    tls: Option<Arc<ClientConfig>>,
    /// Unix socket to use instead of any host.
    socket: Option<PathBuf>,
}

impl Connector {
    /// Creates a connector that takes at most `timeout` for a connection.
    pub fn new(timeout: Duration, tls: Option<ClientConfig>, socket: Option<PathBuf>) -> Connector {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        Connector {
            dial: Dial {
                http,
                tls: tls.map(Arc::new),
                socket,
            },
            proxies: None,
            timeout,
        }
    }

    /// Uses the proxies that the matcher selects.
    pub fn through(self, proxies: Matcher) -> Connector {
        let proxies = Some(Arc::new(proxies));
        Connector { proxies, ..self }
    }

    /// Builds a client that connects with this connector.
    pub fn client(self) -> Client {
        hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(MAX_HEAD)
            .build(self)
    }

    /// Returns the credentials for the proxy, to be sent with each request it forwards.
    pub fn proxy_authorization(&self, destination: &Uri) -> Option<HeaderValue> {
        let passes_on = destination.scheme_str() == Some("http");
        let proxy = self.proxy(destination).filter(|_| passes_on)?;
        proxy.basic_auth().cloned()
    }

    fn proxy(&self, destination: &Uri) -> Option<Intercept> {
        // A socket has only one destination.
        let proxies = self.proxies.as_ref().filter(|_| self.dial.socket.is_none());
        proxies?.intercept(destination)
    }

    async fn connect(self, destination: Uri) -> Result<Wire, Failed> {
        let Some(proxy) = self.proxy(&destination) else {
            return self.dial.open(destination).await;
        };
        match proxy.uri().scheme_str() {
            Some("http" | "https") => {}
            Some(socks) if PROXIES.contains(&socks) => {
                return self.connect_by_socks(&proxy, &destination).await;
            }
            _ => {
                let text = format!(
                    "the scheme of the proxy must be one of: {}",
                    PROXIES.join(", ")
                );
                return Err(io::Error::new(ErrorKind::Unsupported, text).into());
            }
        }
        if destination.scheme_str() == Some("http") {
            return Ok(self.dial.open(proxy.uri().clone()).await?.proxied());
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.dial.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let wire = tunnel.call(destination.clone()).await?.into_inner();
        self.dial.encrypt(&destination, wire).await
    }

    /// Connects through a SOCKS proxy. The proxy resolves the host name, because a lookup here would block
    /// all other deliveries.
    async fn connect_by_socks(&self, proxy: &Intercept, destination: &Uri) -> Result<Wire, Failed> {
        let encrypted = destination.scheme_str() == Some("https");
        let target = with_port(destination, if encrypted { 443 } else { 80 })?;
        let address = with_port(proxy.uri(), 1080)?;
        let wire = if proxy.uri().scheme_str() == Some("socks4a") {
            SocksV4::new(address, self.dial.clone()).call(target).await
        } else {
            let mut socks = SocksV5::new(address, self.dial.clone());
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            socks.call(target).await
        };
        let wire = wire?.into_inner();
        if encrypted {
            return self.dial.encrypt(destination, wire).await;
        }
        Ok(wire)
    }
}

/// Schemes of supported proxies.
pub const PROXIES: [&str; 5] = ["http", "https", "socks4a", "socks5", "socks5h"];

/// Adds this port to an address that has none.
fn with_port(address: &Uri, port: u16) -> Result<Uri, Failed> {
    let host = address.host().unwrap_or_default();
    let port = address.port_u16().unwrap_or(port);
    let scheme = address.scheme_str().unwrap_or_default();
    let built = Uri::builder()
        .scheme(scheme)
        .authority(format!("{host}:{port}"))
        .path_and_query("/");
    Ok(built.build()?)
}

impl Dial {
    async fn open(mut self, destination: Uri) -> Result<Wire, Failed> {
        let encrypted = destination.scheme_str() == Some("https");
        if let Some(path) = &self.socket {
            let stream = UnixStream::connect(path).await?;
            return self.secure(encrypted, &destination, stream).await;
        }
        let stream = self.http.call(destination.clone()).await?.into_inner();
        self.secure(encrypted, &destination, stream).await
    }

    async fn secure(
        &self,
        encrypted: bool,
        destination: &Uri,
        stream: impl Stream + 'static,
    ) -> Result<Wire, Failed> {
        if encrypted {
            self.encrypt(destination, stream).await
        } else {
            Ok(Wire::new(stream, Allowance::Request(MAX_ANSWER)))
        }
    }

    async fn encrypt(
        &self,
        destination: &Uri,
        stream: impl Stream + 'static,
    ) -> Result<Wire, Failed> {
        let config = self.tls.clone().ok_or("TLS is not set up")?;
        let host = destination.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())?;
        let stream = TlsConnector::from(config).connect(name, stream).await?;
        Ok(Wire::new(stream, Allowance::Request(MAX_ANSWER)))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = Failed;
    type Future = Connecting<TokioIo<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let (connector, timeout) = (self.clone(), self.timeout);
        Box::pin(async move {
            let connected = tokio::time::timeout(timeout, connector.connect(destination)).await;
            let text = || format!("no connection within {timeout:?}");
            let wire = connected.map_err(|_| io::Error::new(ErrorKind::TimedOut, text()))??;
            Ok(TokioIo::new(wire))
        })
    }
}

impl Service<Uri> for Dial {
    type Response = TokioIo<Wire>;
    type Error = Failed;
    type Future = Connecting<TokioIo<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let dial = self.clone();
        Box::pin(async move { Ok(TokioIo::new(dial.open(destination).await?)) })
    }
}
