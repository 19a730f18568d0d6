//! A connection: what it waits for, and since when.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Limits,
    metrics::{CloseReason, Connections},
    work::ClientOrigin,
};

/// The client preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SECOND: Duration = Duration::from_secs(1);

/// A connection in the table.
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) peer: SocketAddr,
    /// Client that the limits count the connection for.
    pub(super) client: ClientOrigin,
    pub(super) counters: Arc<Connections>,
    silent: Arc<SilentConnections>,
    /// Maximum number of streams that the client may cancel per second.
    max_resets: usize,
    /// Cancelled when the server closes the connection.
    pub(super) closing: CancellationToken,
    state: Mutex<ConnectionState>,
}

/// The connections that have sent nothing yet, by age.
pub(super) type SilentConnections = Mutex<BTreeMap<u64, ClientOrigin>>;

/// A request of a connection.
pub(super) trait ActiveRequest: Send + Sync {
    /// Ends the response if its client has not read for `limit`. Returns whether the response has been ended for this
    /// reason.
    fn end_if_unread(&self, limit: Duration, now: Instant) -> bool;
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first byte of the client.
    Silent,
    /// The rest of a request's header.
    Header,
    /// The next request.
    Idle,
    /// The end of a running request.
    Busy,
}

struct ConnectionState {
    phase: Phase,
    since: Instant,
    /// Number of matched bytes of the HTTP/2 preface; `None` if the connection began with other bytes.
    preface: Option<usize>,
    /// Time since which the socket has accepted no bytes although some are waiting.
    blocked_since: Option<Instant>,
    calls: Vec<Arc<dyn ActiveRequest>>,
    /// Number of streams cancelled since `resets_since`, which restarts after a second.
    resets: usize,
    resets_since: Instant,
}

impl ConnectionState {
    fn is_http2(&self) -> bool {
        self.preface == Some(PREFACE.len())
    }

    fn set_phase(&mut self, phase: Phase, now: Instant) {
        (self.phase, self.since) = (phase, now);
    }
}

impl Connection {
    pub(super) fn new(
        id: u64,
        peer: SocketAddr,
        (counters, silent): (&Arc<Connections>, &Arc<SilentConnections>),
        max_resets: usize,
        now: Instant,
    ) -> Self {
        let state = ConnectionState {
            phase: Phase::Silent,
            since: now,
            preface: Some(0),
            blocked_since: None,
            calls: vec![],
            resets: 0,
            resets_since: now,
        };
        let client = ClientOrigin::of(peer.ip());
        silent.lock().insert(id, client);
        let (counters, silent) = (Arc::clone(counters), Arc::clone(silent));
        let (closing, state) = (CancellationToken::new(), Mutex::new(state));
        Self { id, peer, client, counters, silent, max_resets, closing, state }
    }

    /// Closes the connection, unless it is closing already.
    pub(super) fn close(&self, reason: CloseReason) {
        if !self.closing.is_cancelled() {
            self.counters.close(reason);
            tracing::debug!(peer = %self.peer, reason = reason.name(), "connection closed");
            self.closing.cancel();
        }
    }

    /// Returns what the connection waits for, and since when.
    pub(super) fn phase(&self) -> (Phase, Instant) {
        let state = self.state.lock();
        (state.phase, state.since)
    }

    /// Records that the client has sent a byte, which may belong to a TLS handshake.
    pub(super) fn record_first_byte(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Silent {
            // `since` stays the time of the accept: a client that sends a byte now and then gains no time.
            state.phase = Phase::Header;
            drop(state);
            self.silent.lock().remove(&self.id);
        }
    }

    fn read(&self, bytes: &[u8], now: Instant) {
        self.record_first_byte();
        let mut state = self.state.lock();
        if let Some(matched) = state.preface.filter(|matched| *matched < PREFACE.len()) {
            let rest = PREFACE.get(matched..).unwrap_or_default();
            let length = rest.len().min(bytes.len());
            state.preface = (rest.get(..length) == bytes.get(..length)).then_some(matched + length);
            if state.is_http2() {
                state.set_phase(Phase::Idle, now);
            }
        }
        // On HTTP/2, bytes between requests need not belong to a header: they may be pings or window updates.
        if state.phase == Phase::Idle && !state.is_http2() {
            state.set_phase(Phase::Header, now);
        }
    }

    fn wrote(&self, progress: bool, now: Instant) {
        let mut state = self.state.lock();
        state.blocked_since = if progress { None } else { state.blocked_since.or(Some(now)) };
    }

    /// Records the begin of a request.
    pub(super) fn begin(&self, call: Arc<dyn ActiveRequest>, now: Instant) {
        let mut state = self.state.lock();
        state.set_phase(Phase::Busy, now);
        state.calls.push(call);
    }

    /// Records the end of a request, and whether the client cancelled it.
    pub(super) fn end(&self, call: &Arc<dyn ActiveRequest>, cancelled: bool, now: Instant) {
        let mut state = self.state.lock();
        state.calls.retain(|other| !Arc::ptr_eq(other, call));
        if state.calls.is_empty() {
            state.set_phase(Phase::Idle, now);
        }
        if cancelled && state.is_http2() {
            if now.duration_since(state.resets_since) >= SECOND {
                (state.resets, state.resets_since) = (0, now);
            }
            state.resets += 1;
            if state.resets > self.max_resets {
                drop(state);
                self.close(CloseReason::Resets);
            }
        }
    }

    /// Ends responses that the client does not read, and closes the connection if it exceeds a limit.
    pub(super) fn enforce(&self, limits: &Limits, now: Instant) {
        let state = self.state.lock();
        let (phase, since, blocked) = (state.phase, state.since, state.blocked_since);
        let calls = state.calls.clone();
        drop(state);
        let is_over = |since: Instant, limit: Duration| now.duration_since(since) >= limit;
        let unread = calls.iter().filter(|call| call.end_if_unread(limits.write_timeout, now)).count();
        let exceeded = match phase {
            Phase::Silent | Phase::Header if is_over(since, limits.header_timeout) => Some(CloseReason::Header),
            Phase::Idle if is_over(since, limits.idle_timeout) => Some(CloseReason::Idle),
            // The connection stays open while other streams of it make progress.
            Phase::Busy if unread > 0 && unread == calls.len() => Some(CloseReason::Unread),
            Phase::Silent | Phase::Header | Phase::Idle | Phase::Busy => None,
        };
        let blocked = blocked.filter(|since| is_over(*since, limits.write_timeout)).map(|_| CloseReason::Unread);
        if let Some(reason) = exceeded.or(blocked) {
            self.close(reason);
        }
    }
}

/// A stream that reports its reads and writes to its connection.
pub(super) struct MonitoredStream<S> {
    stream: S,
    connection: Arc<Connection>,
}

impl<S> MonitoredStream<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self { stream, connection }
    }

    fn wrote<T>(&self, written: Poll<T>) -> Poll<T> {
        self.connection.wrote(written.is_ready(), Instant::now());
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MonitoredStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        match buffer.filled().get(before..) {
            Some(bytes) if !bytes.is_empty() => self.connection.read(bytes, Instant::now()),
            Some(_) | None => {}
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MonitoredStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Over TLS, bytes that were written earlier may still wait here.
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.wrote(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.wrote(ended)
    }
}
