//! Syslog without answers: datagrams (RFC 5426), and frames with octet counting over TCP (RFC 6587) or TLS (RFC 5425).

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustls::ClientConfig;
use tokio::io::{AsyncRead as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::Mutex;

use super::address::Address;
use crate::net::wire::{Allowance, Wire, dial};

/// Limit of what a receiver that never answers may send, in bytes.
const MAX_TALK: usize = 64 << 10;

/// Sender of datagrams.
pub struct Datagrams {
    host: String,
    port: u16,
    socket: Mutex<Option<UdpSocket>>,
}

impl Datagrams {
    /// Creates a sender that is not connected yet.
    pub fn new(address: &Address) -> Datagrams {
        Datagrams {
            host: address.host.clone(),
            port: address.port,
            socket: Mutex::default(),
        }
    }

    /// Sends a message. If the last one reached a machine where nothing listens, the system says so now.
    pub async fn send(&self, message: &[u8]) -> Result<()> {
        let mut slot = self.socket.lock().await;
        let socket = match slot.take() {
            Some(socket) => socket,
            None => self.connect().await?,
        };
        socket.send(message).await?;
        *slot = Some(socket);
        Ok(())
    }

    /// Looks up the receiver.
    pub async fn reach(&self) -> Result<()> {
        self.connect().await.map(drop)
    }

    async fn connect(&self) -> Result<UdpSocket> {
        let mut addresses = lookup_host((self.host.as_str(), self.port)).await?;
        let address = addresses.next();
        let address = address.ok_or_else(|| Error::from(ErrorKind::AddrNotAvailable))?;
        let own = match address {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        };
        let socket = UdpSocket::bind(own).await?;
        socket.connect(address).await?;
        Ok(socket)
    }
}

/// Sender of frames.
pub struct Frames {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    connection: Mutex<Option<Connection>>,
}

/// A connection that is closed properly: receivers log any other end as an error.
struct Connection(Wire);

impl Frames {
    /// Creates a sender that is not connected yet.
    pub fn new(address: &Address, tls: Option<Arc<ClientConfig>>) -> Frames {
        Frames {
            host: address.host.clone(),
            port: address.port,
            tls,
            connection: Mutex::default(),
        }
    }

    /// Writes a message to the connection. A receiver that has gone away since the last one is connected again.
    pub async fn send(&self, message: &[u8]) -> Result<()> {
        let frame = [format!("{} ", message.len()).as_bytes(), message].concat();
        let mut slot = self.connection.lock().await;
        if let Some(mut known) = slot.take()
            && known.is_open().await
            && known.write(&frame).await.is_ok()
        {
            *slot = Some(known);
            return Ok(());
        }
        let mut connection = self.connect().await?;
        connection.write(&frame).await?;
        *slot = Some(connection);
        Ok(())
    }

    /// Connects to the receiver, and closes the connection again.
    pub async fn reach(&self) -> Result<()> {
        self.connect().await.map(drop)
    }

    async fn connect(&self) -> Result<Connection> {
        let allowance = Allowance::Connection(MAX_TALK);
        let wire = dial(&self.host, self.port, self.tls.clone(), allowance).await?;
        Ok(Connection(wire))
    }
}

impl Connection {
    /// Returns false if the receiver has closed the connection, as far as is known here.
    async fn is_open(&mut self) -> bool {
        let mut piece = [0; 512];
        loop {
            let mut buffer = ReadBuf::new(&mut piece);
            let polled = std::future::poll_fn(|context| {
                Poll::Ready(Pin::new(&mut self.0).poll_read(context, &mut buffer))
            });
            match polled.await {
                Poll::Pending => return true,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return false,
            }
        }
    }

    async fn write(&mut self, frame: &[u8]) -> Result<()> {
        self.0.write_all(frame).await?;
        self.0.flush().await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        part(&mut self.0);
    }
}

/// Ends a connection as its protocol wants it, as far as that takes no waiting.
pub fn part(stream: &mut (impl AsyncWrite + Unpin)) {
    let mut context = Context::from_waker(Waker::noop());
    let _ = Pin::new(stream).poll_shutdown(&mut context);
}
