//! Accepts connections within limits, with or without TLS, and serves their requests.
//!
//! One task accepts. Each connection is a task of its own and an entry in the `table`, which records what the
//! connection waits for and since when; at each interval all entries are compared with the time limits. When there is
//! no room for a new connection, the least valuable one is closed. A request runs inside its [`Call`].
//!
//! hyper enforces the limits of HTTP itself: bytes of a header, streams and resets of HTTP/2, pings.

use std::{
    convert::Infallible, error::Error as StdError, io, net::SocketAddr, os::fd::AsRawFd as _, pin::pin, sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, http::header::CONTENT_TYPE, response::Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

mod connection;
mod handshakes;
mod request;
mod response;
mod table;

use crate::{
    access::Access,
    call::Call,
    config::Limits,
    metrics::{CloseReason, Connections},
};
use connection::{Connection, MonitoredStream};
use handshakes::Handshakes;
use request::RequestBody;
use response::{RequestGuard, ResponseBody};
use table::ConnectionTable;

/// Minimum that hyper accepts as the limit of header bytes.
const LEAST_HEADER_BYTES: usize = 8 * 1024;
/// Pause after a failed `accept`.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// Minimum interval between two log lines about a shortage.
const SHORTAGE_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Maximum number of characters of a method or path in the log.
const METHOD_CHARS: usize = 200;

/// The server of one port.
pub struct Server {
    tcp: TcpListener,
    shared: Arc<Shared>,
}

struct Shared {
    access: Access,
    router: Router,
    table: Arc<ConnectionTable>,
    handshakes: Handshakes,
    http: Builder<TokioExecutor>,
    descriptors: Descriptors,
    shortage_logged_at: Mutex<Option<Instant>>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl Server {
    /// Creates a server for a bound port. Once `stop` is cancelled, it accepts no more connections and lets the open
    /// ones finish.
    #[must_use]
    pub fn new(
        tcp: TcpListener,
        access: Access,
        router: Router,
        limits: Limits,
        counters: Arc<Connections>,
        stop: CancellationToken,
    ) -> Self {
        let shared = Shared {
            http: http(&limits),
            handshakes: Handshakes::new(limits.max_handshakes),
            descriptors: Descriptors::new(limits.reserved_descriptors),
            table: Arc::new(ConnectionTable::new(limits, counters)),
            access,
            router,
            shortage_logged_at: Mutex::default(),
            stop,
        };
        Self { tcp, shared: Arc::new(shared) }
    }

    /// Serves until it is stopped and the open connections have ended. Dropping the future closes them.
    pub async fn run(self) {
        let Self { tcp, shared } = self;
        let mut connections = JoinSet::new();
        let mut sweep = interval(sweep_interval(&shared.table.limits));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shared.stop.cancelled() => break,
                now = sweep.tick() => shared.table.sweep(now),
                Some(_) = connections.join_next() => {}
                accepted = tcp.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(connection) = shared.admit(&stream, peer) {
                            connections.spawn(serve(Arc::clone(&shared), stream, connection));
                        }
                    }
                    Err(error) => shared.cannot_accept(&error).await,
                },
            }
        }
        drop(tcp);
        while !connections.is_empty() {
            tokio::select! {
                now = sweep.tick() => shared.table.sweep(now),
                _ = connections.join_next() => {}
            }
        }
    }
}

/// Returns hyper's connection builder with the configured limits.
fn http(limits: &Limits) -> Builder<TokioExecutor> {
    let header_bytes = limits.max_header_bytes.max(LEAST_HEADER_BYTES);
    let mut builder = Builder::new(TokioExecutor::new());
    // The table enforces the time limit of headers, because hyper has none for HTTP/2 and TLS.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(u32::try_from(limits.http2_max_streams).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.http2_max_resets)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.http2_ping_interval)
        .keep_alive_timeout(limits.http2_ping_timeout);
    builder
}

/// Returns the interval between two checks of the time limits: a fraction of the shortest limit.
fn sweep_interval(limits: &Limits) -> Duration {
    let shortest = limits.header_timeout.min(limits.idle_timeout).min(limits.write_timeout);
    (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(1))
}

impl Shared {
    fn admit(&self, stream: &TcpStream, peer: SocketAddr) -> Option<Arc<Connection>> {
        self.table.counters.accept();
        let has_few_descriptors = self.descriptors.is_scarce(stream);
        if has_few_descriptors {
            self.table.counters.shortage();
            self.log_shortage("few file descriptors are free");
        }
        let connection = self.table.admit(peer, has_few_descriptors, Instant::now());
        if connection.is_none() {
            tracing::debug!(%peer, "connection refused");
            if !has_few_descriptors {
                self.log_shortage("all allowed connections are busy");
            }
        }
        connection
    }

    async fn cannot_accept(&self, error: &io::Error) {
        match error.kind() {
            // These errors concern one connection, which is gone already.
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused => {}
            _ => {
                self.table.counters.shortage();
                self.log_shortage(&format!("cannot accept a connection: {error}"));
                self.table.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// Logs a shortage, at most once per [`SHORTAGE_LOG_INTERVAL`].
    fn log_shortage(&self, what: &str) {
        let now = Instant::now();
        let mut shortage_logged_at = self.shortage_logged_at.lock();
        if shortage_logged_at.is_some_and(|at| now.duration_since(at) < SHORTAGE_LOG_INTERVAL) {
            return;
        }
        *shortage_logged_at = Some(now);
        drop(shortage_logged_at);
        tracing::warn!(
            what,
            open_files_limit = self.descriptors.limit,
            "no room for a new connection; closing the oldest idle one (section `server.limits`, `ulimit -n`)"
        );
    }
}

/// Serves a connection until it ends or a limit closes it.
async fn serve(shared: Arc<Shared>, stream: TcpStream, connection: Arc<Connection>) {
    let _entry = TableEntry(Arc::clone(&shared.table), connection.id);
    // Responses are small: Nagle's algorithm would delay them.
    drop(stream.set_nodelay(true));
    let closing = connection.closing.clone();
    let served = async {
        match shared.access.tls() {
            None => serve_http(&shared, stream, &connection).await,
            Some(tls) => {
                let handshake = async {
                    // A client that sends nothing must not occupy a handshake slot. `readable` returns immediately for
                    // a new connection, so the first byte is peeked.
                    if stream.peek(&mut [0]).await? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    connection.record_first_byte();
                    let slot = shared.handshakes.acquire(connection.client).await;
                    let accepted = tls.accept(stream).await;
                    drop(slot);
                    accepted
                };
                let accepted = tokio::select! {
                    accepted = handshake => accepted,
                    () = shared.stop.cancelled() => return,
                };
                match accepted {
                    Ok(stream) => serve_http(&shared, stream, &connection).await,
                    Err(error) => {
                        tracing::debug!(peer = %connection.peer, %error, "TLS handshake failed");
                        shared.table.counters.close(CloseReason::Handshake);
                    }
                }
            }
        }
    };
    tokio::select! {
        () = closing.cancelled() => {}
        () = served => {}
    }
}

/// Removes the connection from the table when dropped.
struct TableEntry(Arc<ConnectionTable>, u64);

impl Drop for TableEntry {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

/// Serves HTTP on a connection until it ends.
async fn serve_http<S>(shared: &Arc<Shared>, stream: S, connection: &Arc<Connection>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let (shared, connection) = (Arc::clone(shared), Arc::clone(connection));
        async move { Ok::<_, Infallible>(respond(&shared, &connection, request).await) }
    });
    let io = TokioIo::new(MonitoredStream::new(stream, Arc::clone(connection)));
    let mut http = pin!(shared.http.serve_connection(io, service));
    let mut is_ending = false;
    let ended = loop {
        tokio::select! {
            ended = http.as_mut() => break ended,
            () = shared.stop.cancelled(), if !is_ending => {
                is_ending = true;
                http.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %connection.peer, error = &*error, "connection failed");
        if let Some(reason) = reason(&*error) {
            shared.table.counters.close(reason);
        }
    }
}

/// Returns the limit that ended a connection, if any.
fn reason(error: &(dyn StdError + Send + Sync + 'static)) -> Option<CloseReason> {
    let error = error.downcast_ref::<hyper::Error>()?;
    if error.is_timeout() {
        Some(CloseReason::Ping)
    } else if error.is_parse_too_large() {
        Some(CloseReason::HeaderBytes)
    } else if error.is_parse() {
        Some(CloseReason::Protocol)
    } else {
        None
    }
}

/// Responds to a request, inside its call.
async fn respond(
    shared: &Shared,
    connection: &Arc<Connection>,
    request: hyper::Request<Incoming>,
) -> Response<ResponseBody> {
    let method = request.method().clone();
    let is_call =
        request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let call = Call::new(connection.peer, &request_name(&request, is_call));
    let guard = RequestGuard::begin(call.clone(), connection);
    let request: Request = request.map(|inner| {
        Body::new(RequestBody {
            inner,
            limit: shared.table.limits.body_timeout,
            is_per_frame: is_call,
            deadline: None,
            counters: Arc::clone(&shared.table.counters),
        })
    });
    let mut router = shared.router.clone();
    let response = call.scope(async move { router.call(request).await }).await.unwrap_or_else(|never| match never {});
    guard.respond(&method, response)
}

/// Returns the name of a request: the gRPC method, or HTTP method and path.
fn request_name(request: &hyper::Request<Incoming>, is_call: bool) -> String {
    let path = request.uri().path();
    let name = if is_call { path.trim_start_matches('/').to_owned() } else { format!("{} {path}", request.method()) };
    if name.len() <= METHOD_CHARS { name } else { name.chars().take(METHOD_CHARS).collect() }
}

/// The limit of file descriptors of the process.
struct Descriptors {
    /// `None` if `/proc/self/limits` cannot be read, as on systems other than Linux.
    limit: Option<u64>,
    reserved: u64,
}

impl Descriptors {
    fn new(reserved: usize) -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let limit = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        // Half of the descriptors stay available for connections, however low the limit is.
        let reserved = limit.map_or(reserved as u64, |limit: u64| (reserved as u64).min(limit / 2));
        Self { limit, reserved }
    }

    /// Returns whether fewer descriptors are free than are reserved. The kernel always assigns the lowest free number,
    /// so all lower numbers are in use.
    fn is_scarce(&self, stream: &TcpStream) -> bool {
        let number = u64::try_from(stream.as_raw_fd()).unwrap_or(0);
        self.limit.is_some_and(|limit| number + self.reserved >= limit)
    }
}

#[cfg(test)]
mod tests;
