//! Errors of a session, and their texts for operators.

use std::{io, time::Duration};

use super::super::{
    tls::TlsError,
    wire::{WireError, code},
};
use crate::{source::node::Node, store::latest::SourceError};

/// Why a session failed.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum SessionError {
    /// The connection failed.
    #[error(transparent)]
    Io(io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection; it may have no quorum, or expect TLS (`tls`)")]
    Closed,
    /// The server did not answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The host name has no address.
    #[error("the host has no address")]
    NoAddress,
    /// TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A message is invalid.
    #[error("unexpected message, the server may not be a ZooKeeper: {0}")]
    Wire(#[from] WireError),
    /// A reply does not belong to the request.
    #[error("unexpected reply {0}, the server may not be a ZooKeeper")]
    UnexpectedReply(i32),
    /// The server refuses new sessions.
    #[error("the server refused the session")]
    Expired,
    /// The server reports an error.
    #[error("{request}: error {code}{}", name_of(*code))]
    Code {
        /// Name of the request.
        request: &'static str,
        /// The error code.
        code: i32,
    },
    /// The ACL of a znode that must be readable refuses access.
    #[error("no permission to read {0}")]
    NoAuth(String),
}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            // The write timed out: its buffer is full.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout(super::TIMEOUT),
            _ => Self::Io(error),
        }
    }
}

impl SessionError {
    /// Returns whether this may be the answer of a server that does not know the request. Old servers close the
    /// connection.
    pub(in super::super) fn may_mean_unsupported(&self) -> bool {
        matches!(self, Self::Closed | Self::Code { code: code::UNIMPLEMENTED, .. })
    }

    /// Converts the error of a server into a text for operators.
    pub(in super::super) fn to_source_error(&self, node: &Node) -> SourceError {
        match self {
            Self::NoAuth(_) => SourceError::Forbidden {
                reason: format!(
                    "ZooKeeper at {node} refused access: {self}; grant the user in `auth` the permission READ (getAcl shows the ACL), and check `auth.password`"
                ),
            },
            Self::Code { code: code::AUTH_FAILED | code::SASL_REQUIRED, .. } => SourceError::Forbidden {
                reason: format!(
                    "ZooKeeper at {node} refused access: {self}; check `auth`, which logs in by the scheme digest"
                ),
            },
            _ => SourceError::Unreachable { reason: format!("ZooKeeper at {node}: {self}") },
        }
    }
}

fn name_of(error: i32) -> &'static str {
    match error {
        code::UNIMPLEMENTED => " (Unimplemented)",
        code::NO_AUTH => " (NoAuth)",
        code::SESSION_EXPIRED => " (SessionExpired)",
        code::AUTH_FAILED => " (AuthFailed)",
        code::SASL_REQUIRED => " (SessionClosedRequireSaslAuth)",
        _ => "",
    }
}
