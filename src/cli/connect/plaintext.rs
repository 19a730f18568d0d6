//! Connections without TLS that detect a server that speaks TLS, so that the error can say so.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The start of the error texts below. [`super::connection_failed`] finds them by it.
pub(super) const HINT: &str = "the server ";

/// The first byte of a TLS alert (RFC 8446 §5.1). The first byte of an HTTP/2 connection is 0, since it is the length
/// of a frame of at most 16 KiB.
const TLS_ALERT: u8 = 0x15;

/// A TCP connection that is inspected until the server has sent its first byte.
pub(super) struct PlaintextStream {
    stream: TcpStream,
    /// The https URL of the same address, for the hint.
    https: String,
    has_responded: bool,
}

/// Connects without TLS.
///
/// # Errors
/// Returns the error of the TCP connection.
pub(super) async fn connect(uri: Uri) -> io::Result<TokioIo<PlaintextStream>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let https = format!("https://{}:{port}", uri.host().unwrap_or_default());
    Ok(TokioIo::new(PlaintextStream { stream, https, has_responded: false }))
}

impl PlaintextStream {
    fn tls_detected(&self) -> io::Error {
        io::Error::other(format!("{HINT}speaks TLS: use {}", self.https))
    }

    /// Returns the error for a connection that failed before the first byte of the server. A TLS server closes
    /// connections that do not begin with a TLS handshake, and the alert that it sent may be lost.
    fn closed_early(&self, error: &io::Error) -> io::Error {
        let text =
            format!("{HINT}closed the connection before it answered ({error}); if it speaks TLS, use {}", self.https);
        io::Error::new(error.kind(), text)
    }

    /// Hides a write error before the first byte of the server, so that the caller gets the error of the next read,
    /// which contains the hint.
    fn hide_early_error(&self, polled: Poll<io::Result<usize>>, bytes: usize) -> Poll<io::Result<usize>> {
        match polled {
            Poll::Ready(Err(_)) if !self.has_responded => Poll::Ready(Ok(bytes)),
            polled => polled,
        }
    }
}

impl AsyncRead for PlaintextStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if self.has_responded || polled.is_pending() {
            return polled;
        }
        let first = buf.filled().get(before).copied();
        Poll::Ready(match (polled, first) {
            (Poll::Ready(Err(error)), _) => Err(self.closed_early(&error)),
            (_, Some(TLS_ALERT)) => Err(self.tls_detected()),
            (_, None) => Err(self.closed_early(&io::ErrorKind::UnexpectedEof.into())),
            (_, Some(_)) => {
                self.has_responded = true;
                Ok(())
            }
        })
    }
}

impl AsyncWrite for PlaintextStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.hide_early_error(polled, buf.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.hide_early_error(polled, bufs.iter().map(|buf| buf.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
