//! Counters of connections and of what their limits end.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{own::count, page::Page};

/// Why the server closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// No complete header in time.
    Header,
    /// A header longer than allowed.
    HeaderBytes,
    /// No request for too long.
    Idle,
    /// The client does not read.
    Unread,
    /// A ping of HTTP/2 was not answered.
    Ping,
    /// Too many cancelled streams.
    Resets,
    /// The oldest idle connection, in favour of a new one.
    MadeRoom,
    /// A new connection while none was idle.
    Refused,
    /// A handshake of TLS that failed.
    Handshake,
    /// A request that is not HTTP.
    Protocol,
}

impl Closed {
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

    /// The reason as label.
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

/// Why the server ended a request before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The body did not arrive in time.
    Body,
    /// The client did not read the response.
    Unread,
}

impl Cut {
    const ALL: [Self; 2] = [Self::Body, Self::Unread];

    fn name(self) -> &'static str {
        match self {
            Self::Body => "body_timeout",
            Self::Unread => "write_timeout",
        }
    }
}

/// Counters of connections.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    accepted: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    cut: [AtomicU64; Cut::ALL.len()],
    shortages: AtomicU64,
}

impl Connections {
    /// Counts an accepted connection.
    pub fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes how many connections are open.
    pub fn set_open(&self, open: usize) {
        self.open.store(open, Ordering::Relaxed);
    }

    /// Counts a connection that the server closed.
    pub fn close(&self, reason: Closed) {
        self.closed.get(reason as usize).map(|total| total.fetch_add(1, Ordering::Relaxed));
    }

    /// Counts a request that the server ended.
    pub fn cut(&self, reason: Cut) {
        self.cut.get(reason as usize).map(|total| total.fetch_add(1, Ordering::Relaxed));
    }

    /// Counts a connection that came while file descriptors were short.
    pub fn shortage(&self) {
        self.shortages.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write(&self, page: &mut Page<'_>) {
        let load = |counter: &AtomicU64| count(counter.load(Ordering::Relaxed));
        let open = count(self.open.load(Ordering::Relaxed) as u64);
        page.single("offsetd_connections", "gauge", "Open connections.", open);
        page.single("offsetd_connections_accepted_total", "counter", "Connections accepted.", load(&self.accepted));
        let shortages = "Connections that came while less than `server.limits.reserved_descriptors` were free.";
        page.single("offsetd_descriptor_shortages_total", "counter", shortages, load(&self.shortages));
        let closed = "offsetd_connections_closed_total";
        page.family(closed, "counter", "Connections that the server closed, by the limit that they exceeded.");
        for (reason, total) in Closed::ALL.iter().zip(&self.closed) {
            page.sample(closed, &[("reason", reason.name())], load(total));
        }
        let cut = "offsetd_requests_cut_total";
        page.family(cut, "counter", "Requests that the server ended, by the limit that they exceeded.");
        for (reason, total) in Cut::ALL.iter().zip(&self.cut) {
            page.sample(cut, &[("reason", reason.name())], load(total));
        }
    }
}
