//! A connection that limits the bytes read from its peer: a peer that sends endlessly harms only itself.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A byte stream of any kind: TCP, TLS or a unix socket.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// After this many bytes without a pause, other tasks get a turn.
const MAX_STREAK: usize = 32 << 10;

/// Limit of the bytes that a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// This many bytes over the life of the connection.
    Connection(usize),
    /// This many bytes after each write to the peer.
    Request(usize),
}

/// Reads at most this many bytes of a body.
pub async fn read_body(
    mut incoming: Incoming,
    most: usize,
) -> std::result::Result<Vec<u8>, hyper::Error> {
    let mut body = Vec::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(chunk) = frame?.into_data() else {
            continue;
        };
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == most {
            break;
        }
    }
    Ok(body)
}

/// Connects to a host, with TLS if there is a configuration for it.
pub async fn dial(
    host: &str,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    allowance: Allowance,
) -> Result<Wire> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(Wire::new(stream, allowance));
    };
    let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(Wire::new(stream, allowance))
}

/// Limit of the bytes that a peer may send; a change applies from the next request.
#[derive(Clone)]
pub struct Limit(Arc<AtomicUsize>);

impl Limit {
    /// Sets it, in bytes.
    pub fn set(&self, most: usize) {
        self.0.store(most, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that fails once its peer has exceeded the limit.
pub struct Wire {
    stream: Box<dyn Stream>,
    /// True if the allowance is renewed with each request.
    by_request: bool,
    most: Limit,
    /// Remaining bytes of the allowance.
    left: usize,
    /// Bytes read since the stream last had to wait.
    streak: usize,
    /// True if it leads to a proxy, which expects absolute URLs.
    is_proxied: bool,
}

impl Wire {
    /// Wraps a connected stream.
    pub fn new(stream: impl Stream + 'static, allowance: Allowance) -> Wire {
        let (Allowance::Connection(most) | Allowance::Request(most)) = allowance;
        Wire {
            stream: Box::new(stream),
            by_request: matches!(allowance, Allowance::Request(_)),
            most: Limit(Arc::new(AtomicUsize::new(most))),
            left: most,
            streak: 0,
            is_proxied: false,
        }
    }

    /// Marks the connection as one to a proxy that forwards requests.
    pub fn proxied(self) -> Wire {
        Wire {
            is_proxied: true,
            ..self
        }
    }

    /// Returns a handle to change the limit, wherever the connection has been moved.
    pub fn limit(&self) -> Limit {
        self.most.clone()
    }

    /// Resets the peer's allowance.
    pub fn renew(&mut self) {
        self.left = self.most.get();
    }

    fn wrote(&mut self) {
        if self.by_request {
            self.renew();
        }
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        if self.left == 0 {
            let most = self.most.get() >> 10;
            let text = format!("the peer sent too much (more than {most} KiB)");
            return Poll::Ready(Err(Error::new(ErrorKind::InvalidData, text)));
        }
        if self.streak >= MAX_STREAK {
            self.streak = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = if buffer.remaining() <= self.left {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        } else {
            let left = self.left;
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(left));
            let polled = Pin::new(&mut self.stream).poll_read(context, &mut part);
            let said = part.filled().len();
            buffer.advance(said);
            polled
        };
        let Poll::Ready(read) = polled else {
            self.streak = 0;
            return Poll::Pending;
        };
        let said = buffer.filled().len() - before;
        self.left = self.left.saturating_sub(said);
        self.streak += said;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        self.wrote();
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.wrote();
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxied)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Returns the bytes accepted from a peer that sends `said` bytes for each of three requests, or the
    /// error.
    fn heard(said: usize, allowance: Allowance) -> Result<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime?.block_on(async {
            let (near, mut far) = duplex(8 * said);
            let mut wire = Wire::new(near, allowance);
            let mut heard = 0;
            for _ in 0..3 {
                wire.write_all(b"?").await?;
                far.write_all(&vec![b'x'; said]).await?;
                let mut buffer = vec![0; said];
                heard += wire.read_exact(&mut buffer).await?;
            }
            Ok(heard)
        })
    }

    #[test]
    fn a_peer_says_no_more_than_it_may() {
        assert_eq!(heard(1000, Allowance::Request(1500)).unwrap(), 3000);
        assert_eq!(heard(1000, Allowance::Connection(3000)).unwrap(), 3000);
        let error = heard(1000, Allowance::Connection(2000)).unwrap_err();
        assert!(error.to_string().contains("sent too much"), "{error}");
    }
}
