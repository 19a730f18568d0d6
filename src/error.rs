//! The errors of the public interface, and their gRPC codes and HTTP statuses (contract §3).

use std::{borrow::Cow, time::Duration};

use crate::{
    call,
    freshness::FreshnessError,
    sql::SqlError,
    store::{Unready, latest::SourceError},
    work::{EndReason, WorkError},
};

/// Why a call failed. The text is for the client.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request is malformed.
    #[error("{}", truncated(.0))]
    Invalid(String),
    /// A requested object does not exist.
    #[error("{}", truncated(.0))]
    NotFound(String),
    /// The request exceeds a limit of the server. The text names its setting.
    #[error("{}", truncated(.0))]
    Exhausted(String),
    /// Other requests are using up a limit of the server. The text names its setting.
    #[error("{}", truncated(.0))]
    Busy(String),
    /// The deadline passed.
    #[error("{}", truncated(.0))]
    Deadline(String),
    /// The server cannot process the request now.
    #[error("{}", truncated(.0))]
    Unavailable(String),
    /// The token is missing or was not accepted.
    #[error("{}", truncated(.0))]
    Unauthenticated(String),
    /// The request was sent by a web page of another origin.
    #[error("{}", truncated(.0))]
    Forbidden(String),
    /// The request was sent to a host name that is not known to be this server's.
    #[error("{}", truncated(.0))]
    Misdirected(String),
    /// A bug. The log has the details under this id.
    #[error("internal error {0}; see the server's log")]
    Internal(String),
}

/// Maximum length of an error text as encoded by gRPC (bytes). Clients reject trailers of more than 8 KiB.
const MAX_TEXT_BYTES: usize = 4096;

/// The end of a truncated text: a space, and a character of three bytes that are encoded as three bytes each.
const ELLIPSIS: &str = " …";

/// Truncates a text that is too long. gRPC percent-encodes each byte of a character outside printable ASCII as three
/// bytes.
fn truncated(text: &str) -> Cow<'_, str> {
    let mut sent = 0;
    let is_over = |character: char| {
        sent += if matches!(character, ' '..='~') { 1 } else { 3 * character.len_utf8() };
        sent > MAX_TEXT_BYTES - 10
    };
    match text.find(is_over) {
        Some(end) => Cow::Owned(format!("{}{ELLIPSIS}", text.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

/// gRPC codes by number (`google.rpc.Code`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum GrpcCode {
    /// INVALID_ARGUMENT.
    InvalidArgument = 3,
    /// DEADLINE_EXCEEDED.
    DeadlineExceeded = 4,
    /// NOT_FOUND.
    NotFound = 5,
    /// PERMISSION_DENIED.
    PermissionDenied = 7,
    /// RESOURCE_EXHAUSTED.
    ResourceExhausted = 8,
    /// INTERNAL.
    Internal = 13,
    /// UNAVAILABLE.
    Unavailable = 14,
    /// UNAUTHENTICATED.
    Unauthenticated = 16,
}

impl Error {
    /// Returns the error for a bug. Logs `what` under the id of the call; the client only receives the id.
    #[must_use]
    pub fn internal(what: &str) -> Self {
        let id = call::current_id();
        tracing::error!(id, what, "internal error");
        Self::Internal(id)
    }

    /// Returns the name of the code, as in `google.rpc.Code`.
    #[must_use]
    pub fn code_name(&self) -> &'static str {
        match self.codes().0 {
            GrpcCode::InvalidArgument => "INVALID_ARGUMENT",
            GrpcCode::DeadlineExceeded => "DEADLINE_EXCEEDED",
            GrpcCode::NotFound => "NOT_FOUND",
            GrpcCode::PermissionDenied => "PERMISSION_DENIED",
            GrpcCode::ResourceExhausted => "RESOURCE_EXHAUSTED",
            GrpcCode::Internal => "INTERNAL",
            GrpcCode::Unavailable => "UNAVAILABLE",
            GrpcCode::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// Returns the id under which a bug is logged.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Internal(id) => Some(id),
            Self::Invalid(_)
            | Self::NotFound(_)
            | Self::Exhausted(_)
            | Self::Busy(_)
            | Self::Deadline(_)
            | Self::Unavailable(_)
            | Self::Unauthenticated(_)
            | Self::Forbidden(_)
            | Self::Misdirected(_) => None,
        }
    }

    /// Returns the gRPC code and the HTTP status.
    ///
    /// | | gRPC | HTTP |
    /// |---|---|---|
    /// | malformed, not read-only | INVALID_ARGUMENT | 400 |
    /// | no such group, topic, partition, cluster | NOT_FOUND | 404 |
    /// | limit of the server exceeded | RESOURCE_EXHAUSTED | 429 |
    /// | deadline, statement timeout, a client that does not read | DEADLINE_EXCEEDED | 504 |
    /// | not loaded, unreachable, shutting down | UNAVAILABLE | 503 |
    /// | missing or wrong token | UNAUTHENTICATED | 401 |
    /// | web page of another origin | PERMISSION_DENIED | 403 |
    /// | unknown host name | PERMISSION_DENIED | 421 |
    /// | bug | INTERNAL | 500 |
    #[must_use]
    pub fn codes(&self) -> (GrpcCode, u16) {
        match self {
            Self::Invalid(_) => (GrpcCode::InvalidArgument, 400),
            Self::NotFound(_) => (GrpcCode::NotFound, 404),
            Self::Exhausted(_) | Self::Busy(_) => (GrpcCode::ResourceExhausted, 429),
            Self::Deadline(_) => (GrpcCode::DeadlineExceeded, 504),
            Self::Unavailable(_) => (GrpcCode::Unavailable, 503),
            Self::Unauthenticated(_) => (GrpcCode::Unauthenticated, 401),
            Self::Forbidden(_) => (GrpcCode::PermissionDenied, 403),
            Self::Misdirected(_) => (GrpcCode::PermissionDenied, 421),
            Self::Internal(_) => (GrpcCode::Internal, 500),
        }
    }

    /// Returns when to retry, if a retry may succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(_) | Self::Busy(_) => Some(Duration::from_secs(1)),
            // The same request would fail again.
            Self::Exhausted(_)
            | Self::Invalid(_)
            | Self::NotFound(_)
            | Self::Deadline(_)
            | Self::Unauthenticated(_)
            | Self::Forbidden(_)
            | Self::Misdirected(_)
            | Self::Internal(_) => None,
        }
    }
}

impl From<Unready> for Error {
    fn from(error: Unready) -> Self {
        match error {
            Unready::Unknown { .. } => Self::NotFound(error.to_string()),
            Unready::Ambiguous { .. } => Self::Invalid(error.to_string()),
            Unready::Loading { .. } => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<FreshnessError> for Error {
    fn from(error: FreshnessError) -> Self {
        match error {
            FreshnessError::Unreachable(SourceError::Busy { .. }) => Self::Busy(error.to_string()),
            FreshnessError::Unreachable(SourceError::Unreachable { .. } | SourceError::Forbidden { .. }) => {
                Self::Unavailable(error.to_string())
            }
            FreshnessError::Deadline { .. } => Self::Deadline(error.to_string()),
        }
    }
}

impl From<EndReason> for Error {
    fn from(error: EndReason) -> Self {
        let text = error.to_string();
        match error {
            EndReason::Deadline(_) | EndReason::Stalled { .. } => Self::Deadline(text),
            EndReason::Retained { .. } | EndReason::Unread { .. } | EndReason::Memory { of_all: true } => {
                Self::Busy(text)
            }
            EndReason::Memory { of_all: false } => Self::Exhausted(text),
            // No client receives this error.
            EndReason::Disconnected | EndReason::Cancelled => Self::Unavailable(text),
        }
    }
}

impl From<WorkError> for Error {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Full { .. } | WorkError::Abandoned(_) => Self::Busy(error.to_string()),
            WorkError::Ended(ended) => ended.into(),
            WorkError::Panicked | WorkError::Threads(_) => Self::internal(&error.to_string()),
        }
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        let text = error.to_string();
        match error {
            SqlError::Invalid(_) | SqlError::NotReadOnly(_) => Self::Invalid(text),
            SqlError::Limit { .. } => Self::Exhausted(text),
            SqlError::Busy { .. } => Self::Busy(text),
            SqlError::Deadline(_) => Self::Deadline(text),
            SqlError::Work(refused) => refused.into(),
            SqlError::Unready(unready) => unready.into(),
            SqlError::Stale(stale) => stale.into(),
            SqlError::ShuttingDown => Self::Unavailable(text),
            SqlError::Internal(_) => Self::internal(&text),
        }
    }
}

#[cfg(test)]
mod tests;
