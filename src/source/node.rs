//! Host and port of a server of a store.

use std::fmt;

/// Host and port of a server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

impl Node {
    /// Parses `HOST:PORT`, `HOST`, `[IPV6]:PORT` or `[IPV6]`. Returns `None` if the text is none of these.
    pub(super) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']')? {
                (host, "") => (host, default_port),
                (host, after) => (host, after.strip_prefix(':')?.parse().ok()?),
            },
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (text, default_port),
            },
        };
        let is_valid = !host.is_empty() && port != 0 && !host.contains(char::is_whitespace);
        is_valid.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
