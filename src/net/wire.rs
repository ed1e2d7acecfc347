//! A connection to a peer that may say only so much: one that talks without end costs itself, not its neighbours.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A byte stream of any kind: TCP, TLS or a unix socket.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// After this many bytes at a stretch everybody else has a turn.
const MAX_STREAK: usize = 32 << 10;

/// How much a peer may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// This many bytes as long as the connection lives.
    Connection(usize),
    /// This many bytes for each time that something is written to it.
    Request(usize),
}

/// Connects to a host, with TLS where there is a configuration for it.
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

/// How many bytes a peer may say; counts from the next request on.
#[derive(Clone)]
pub struct Limit(Arc<AtomicUsize>);

impl Limit {
    pub fn set(&self, most: usize) {
        self.0.store(most, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream that fails once its peer has said more than it may.
pub struct Wire {
    stream: Box<dyn Stream>,
    /// The allowance is renewed with each request.
    by_request: bool,
    most: Limit,
    /// Bytes that are left of the allowance.
    left: usize,
    /// Bytes that were there without waiting for them.
    streak: usize,
    /// It leads to a proxy, which wants to see whole URLs.
    is_proxied: bool,
}

impl Wire {
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

    /// The same connection, to a proxy that passes requests on.
    pub fn proxied(self) -> Wire {
        Wire {
            is_proxied: true,
            ..self
        }
    }

    /// What the allowance can be changed by, wherever the connection is then.
    pub fn limit(&self) -> Limit {
        self.most.clone()
    }

    /// Gives the peer its whole allowance again.
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
            let text = format!("the peer talks without end (more than {most} KiB)");
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

    /// How much a peer that says `said` bytes for each of three requests gets in, and how it ends.
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
        assert!(error.to_string().contains("without end"), "{error}");
    }
}
