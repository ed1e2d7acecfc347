//! Answers to requests that hyper cannot read. It refuses those itself, without asking the handler; here the headers
//! of all other answers are added.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Size limit of such an answer, in bytes.
const MAX_ANSWER: usize = 256;

/// A connection that adds headers to these answers as they are written.
pub struct Completed<S> {
    stream: S,
    /// Header lines, each with its line end.
    headers: &'static str,
    /// Unwritten rest of a completed answer.
    rest: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Completed<S> {
    /// Creates a connection that adds these headers.
    pub fn new(stream: S, headers: &'static str) -> Completed<S> {
        let rest = Vec::new();
        Completed {
            stream,
            headers,
            rest,
        }
    }

    /// Writes the rest of a completed answer.
    fn write_rest(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.rest.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// Returns an answer with these headers added if it came from hyper: a refusal without a body and a content type.
fn completed(answer: &[u8], headers: &str) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(answer).ok()?;
    let is_whole = text.len() <= MAX_ANSWER && text.ends_with("\r\n\r\n");
    let is_refusal = text.starts_with("HTTP/1.") && text.get(8..10) == Some(" 4");
    let is_empty = text.contains("\r\ncontent-length: 0\r\n") && !text.contains("content-type");
    let (status, rest) = text.split_once("\r\n")?;
    let is_own = is_whole && is_refusal && is_empty;
    is_own.then(|| format!("{status}\r\n{headers}{rest}").into_bytes())
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Completed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.write_rest(context))?;
        match completed(bytes, self.headers) {
            Some(completed) => {
                self.rest = completed;
                Poll::Ready(Ok(bytes.len()))
            }
            None => Pin::new(&mut self.stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [bytes] => self.poll_write(context, bytes),
            slices => {
                ready!(self.write_rest(context))?;
                Pin::new(&mut self.stream).poll_write_vectored(context, slices)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_rest(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.write_rest(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Completed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_refusals_of_no_handler_are_completed() {
        let completed = |answer: &str| completed(answer.as_bytes(), "x: y\r\n");
        let refusal = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let expected =
            "HTTP/1.1 400 Bad Request\r\nx: y\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(completed(refusal).unwrap(), expected.as_bytes());
        for other in [
            "",
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nsome text",
            "HTTP/1.1 400 Bad Request",
        ] {
            assert_eq!(completed(other), None, "{other}");
        }
    }
}
