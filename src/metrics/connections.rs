//! Metrics of connections, and of requests and connections that a limit ended.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{page::Page, server::count};

/// The reason why the server closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client did not send a complete request header in time.
    Header,
    /// The request header is longer than allowed.
    HeaderBytes,
    /// The client sent no request for too long.
    Idle,
    /// The client did not read the response.
    Unread,
    /// The client did not answer an HTTP/2 ping.
    Ping,
    /// The client cancelled too many streams.
    Resets,
    /// The connection was the oldest idle one, and room was needed for a new one.
    MadeRoom,
    /// The connection limit was reached, and no connection was idle.
    Refused,
    /// The TLS handshake failed.
    Handshake,
    /// The request is not HTTP.
    Protocol,
}

impl CloseReason {
    const ALL: [Self; 10] = [
        Self::Header,
        Self::HeaderBytes,
        Self::Idle,
        Self::Unread,
        Self::Ping,
        Self::Resets,
        Self::MadeRoom,
        Self::Refused,
        Self::Handshake,
        Self::Protocol,
    ];

    /// Returns the reason as a label value.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header_timeout",
            Self::HeaderBytes => "header_bytes",
            Self::Idle => "idle_timeout",
            Self::Unread => "write_timeout",
            Self::Ping => "ping_timeout",
            Self::Resets => "resets",
            Self::MadeRoom => "made_room",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
        }
    }
}

/// The reason why the server ended a request early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestCut {
    /// The body did not arrive in time.
    Body,
    /// The client did not read the response.
    Unread,
}

impl RequestCut {
    const ALL: [Self; 2] = [Self::Body, Self::Unread];

    /// Returns the reason as a label value.
    fn name(self) -> &'static str {
        match self {
            Self::Body => "body_timeout",
            Self::Unread => "write_timeout",
        }
    }
}

/// Metrics of connections.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    accepted: AtomicU64,
    closed: [AtomicU64; CloseReason::ALL.len()],
    cut: [AtomicU64; RequestCut::ALL.len()],
    shortages: AtomicU64,
}

impl Connections {
    /// Counts an accepted connection.
    pub fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the number of open connections.
    pub fn set_open(&self, open: usize) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Counts a connection that the server closed.
    pub fn close(&self, reason: CloseReason) {
        self.closed.get(reason as usize).map(|total| total.fetch_add(1, Ordering::Relaxed));
    }

    /// Counts a request that the server ended.
    pub fn cut(&self, reason: RequestCut) {
        self.cut.get(reason as usize).map(|total| total.fetch_add(1, Ordering::Relaxed));
    }

    /// Counts a connection that arrived while file descriptors were short.
    pub fn shortage(&self) {
        self.shortages.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes the metrics.
    pub(super) fn write(&self, page: &mut Page<'_>) {
        let load = |counter: &AtomicU64| count(counter.load(Ordering::Relaxed));
        let open = count(self.open.load(Ordering::Relaxed) as u64);
        page.single("offsetd_connections", "gauge", "Open connections.", open);
        page.single("offsetd_connections_accepted_total", "counter", "Connections accepted.", load(&self.accepted));
        let shortages = "Connections that arrived with less than `server.limits.reserved_descriptors` free.";
        page.single("offsetd_descriptor_shortages_total", "counter", shortages, load(&self.shortages));
        let closed = "offsetd_connections_closed_total";
        page.family(closed, "counter", "Connections that the server closed, by reason.");
        for (reason, total) in CloseReason::ALL.iter().zip(&self.closed) {
            page.sample(closed, &[("reason", reason.name())], load(total));
        }
        let cut = "offsetd_requests_cut_total";
        page.family(cut, "counter", "Requests that the server ended early, by reason.");
        for (reason, total) in RequestCut::ALL.iter().zip(&self.cut) {
            page.sample(cut, &[("reason", reason.name())], load(total));
        }
    }
}
