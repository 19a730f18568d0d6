//! The current call: its id, which the client's error and all log lines contain, and its tracing span. A SQL statement
//! has a span inside that of its call.
//!
//! The HTTP listener creates a [`Call`] for each request, and polls the handler and the response body inside it. Work
//! that moves to another thread takes [`Span::current`] with it, so that its log lines stay in the span.

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::{Instrument as _, Span, field::Empty};

tokio::task_local! {
    static CURRENT: Call;
}

/// A running request.
#[derive(Clone, Debug)]
pub struct Call {
    id: Arc<str>,
    peer: SocketAddr,
    span: Span,
    rows: Arc<AtomicU64>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The call succeeded.
    Ok,
    /// An HTTP status of 400 or above.
    Http(u16),
    /// A gRPC status other than 0.
    Grpc(u16),
    /// The client disconnected before the end of the response.
    Cancelled,
    /// The response broke off with an error.
    Broken,
    /// The client did not read the response.
    Unread,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok => f.write_str("ok"),
            Self::Http(status) => write!(f, "http {status}"),
            Self::Grpc(code) => write!(f, "grpc {code}"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Broken => f.write_str("broken"),
            Self::Unread => f.write_str("unread"),
        }
    }
}

impl Call {
    /// Returns a call of a client. `method` is the gRPC method, or the HTTP method and path.
    #[must_use]
    pub fn new(peer: SocketAddr, method: &str) -> Self {
        let id = new_id();
        let span = tracing::info_span!(
            "call",
            id = &*id,
            %peer,
            method,
            cluster = Empty,
            rows = Empty,
            duration_ms = Empty,
            outcome = Empty
        );
        Self { id, peer, span, rows: Arc::default() }
    }

    /// Returns the id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Polls a future inside the call.
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        CURRENT.scope(self.clone(), future.instrument(self.span.clone()))
    }

    /// Runs a function inside the call.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(|| CURRENT.sync_scope(self.clone(), work))
    }

    /// Records the end of the call in its span, and logs it at level debug.
    pub fn end(&self, duration: Duration, outcome: Outcome) {
        record(&self.span, self.rows.load(Ordering::Relaxed), duration, &outcome);
        self.span.in_scope(|| tracing::debug!("call ended"));
    }
}

fn record(span: &Span, rows: u64, duration: Duration, outcome: &dyn fmt::Display) {
    span.record("rows", rows);
    span.record("duration_ms", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    span.record("outcome", tracing::field::display(outcome));
}

/// Returns the span of a SQL statement of the current call. `name` is the beginning of its text.
#[must_use]
pub fn statement_span(name: &str) -> Span {
    let (id, peer) = (current_id(), current_peer().map(tracing::field::display));
    tracing::info_span!(
        "statement",
        id,
        peer,
        method = name,
        cluster = Empty,
        rows = Empty,
        duration_ms = Empty,
        outcome = Empty
    )
}

/// Records the end of a statement in its span, and logs it at level debug.
pub fn end_statement(span: &Span, rows: usize, duration: Duration, outcome: &dyn fmt::Display) {
    record(span, rows as u64, duration, outcome);
    span.in_scope(|| tracing::debug!("statement ended"));
}

/// Records the cluster that the current call names.
pub fn record_cluster(cluster: &str) {
    if !cluster.is_empty() {
        let _ = CURRENT.try_with(|call| {
            call.span.record("cluster", cluster);
        });
    }
}

/// Adds to the number of rows or entries that the current call has returned.
pub fn record_rows(rows: usize) {
    let _ = CURRENT.try_with(|call| call.rows.fetch_add(rows as u64, Ordering::Relaxed));
}

/// Returns the address of the current call's client.
#[must_use]
pub fn current_peer() -> Option<SocketAddr> {
    CURRENT.try_with(|call| call.peer).ok()
}

/// Returns the id of the current call; a new id outside of a call.
#[must_use]
pub fn current_id() -> String {
    CURRENT.try_with(|call| call.id().to_owned()).unwrap_or_else(|_| new_id().to_string())
}

/// Returns an id that is unique in this process and, with high probability, among the recent processes of this machine.
fn new_id() -> Arc<str> {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);
    #[expect(clippy::cast_possible_truncation, reason = "32 random bits are enough")]
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(()) as u32);
    format!("{process:08x}-{}", NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

#[cfg(test)]
mod tests;
