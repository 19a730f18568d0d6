//! The section `[server.limits]`.

use std::time::Duration;

use super::{Key, Resolver, section};

section! {
    /// `[server.limits]`: limits on connections and on the requests that they carry.
    #[derive(Clone, Debug, Default)]
    pub struct Limits {
        /// Connections at a time. One more closes the oldest idle connection; if none is idle, it is closed itself.
        pub max_connections: usize = Positive("2000"), "an idle connection takes 25 KiB, and clients share one for all their calls";
        /// Connections of one client address (of an IPv6 address: of its /64 network) at a time, as max_connections.
        pub max_connections_per_address: usize = Positive("1000"), "one address leaves half of the connections to others";
        /// File descriptors that connections leave free. Below it, a new connection closes the oldest idle one.
        pub reserved_descriptors: usize = Count("64"), "connections to brokers, files of history, tokens and certificates need some";
        /// Time from the connection, or from the first byte of a later request, to the end of the request's header. A
        /// TLS handshake and the preface of HTTP/2 count.
        pub header_timeout: Duration = Time("10s"), "a header is one packet; slow networks need a few round trips";
        /// Bytes of a request's header. At least 8KiB.
        pub max_header_bytes: usize = Bytes("32KiB"), "tokens are short, and cookies of other servers fit";
        /// Time that the body of a request may take; of a gRPC call, the time between two parts of it.
        pub body_timeout: Duration = Time("30s"), "4 MiB at 1 Mbit/s";
        /// Time that a connection may be without a request.
        pub idle_timeout: Duration = Time("2min"), "longer than the usual scrape interval of Prometheus";
        /// Time in which a client must take the next part of a response. Then the response ends.
        pub write_timeout: Duration = Time("60s"), "memory is kept for what is not read";
        /// HTTP/2 streams of a connection at a time.
        pub http2_max_streams: usize = Positive("100"), "the least that RFC 9113 recommends";
        /// HTTP/2 streams of a connection that the client may cancel in a second. One more closes the connection.
        pub http2_max_resets: usize = Positive("100"), "clients cancel a few calls; an attack cancels thousands";
        /// Time between two pings of an HTTP/2 connection.
        pub http2_ping_interval: Duration = Time("30s"), "finds clients that are gone while a Watch sends nothing";
        /// Time in which a ping must be answered.
        pub http2_ping_timeout: Duration = Time("20s"), "as in gRPC";
        /// TLS handshakes at a time; one client address takes at most half of them.
        pub max_handshakes: usize = Positive("256"), "a handshake takes a millisecond of CPU; more at a time make all of them slow";
    }
}
