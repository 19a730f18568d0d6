//! Errors of HBase, and their texts for operators.

use std::io;

use super::{TIMEOUT, messages::ExceptionResponse};
use crate::store::latest::SourceError;

/// Exceptions after which a scan continues with another scanner, although HBase marks them as final.
const LOST_SCANNER: [&str; 4] =
    ["UnknownScannerException", "OutOfOrderScannerNextException", "ScannerResetException", "LeaseException"];
/// Maximum length of a server's message in an error, in bytes.
const MAX_MESSAGE_BYTES: usize = 300;

/// Why a call to a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    #[error("connection lost: {0}")]
    Io(#[source] io::Error),
    #[error("unexpected response ({0}); is this the port of an HBase master or region server without TLS?")]
    Unexpected(&'static str),
    #[error("unreadable response: {0}")]
    Decode(#[from] prost::DecodeError),
    #[error("{message}{hint}", hint = hint(class, message))]
    Exception {
        /// Name of the class without its package.
        class: String,
        /// First line of the exception.
        message: String,
        may_retry: bool,
    },
}

impl From<io::Error> for RpcError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::Timeout,
            _ => Self::Io(error),
        }
    }
}

impl From<ExceptionResponse> for RpcError {
    fn from(exception: ExceptionResponse) -> Self {
        let ExceptionResponse { class, trace, do_not_retry } = exception;
        let short = |name: &str| name.rsplit(['.', '$']).next().unwrap_or_default().to_owned();
        let line = trace.lines().next().unwrap_or_default();
        let message = match line.strip_prefix(&*class) {
            Some(message) => format!("{}{message}", short(&class)),
            None => format!("{}: {line}", short(&class)),
        };
        let end = message.floor_char_boundary(MAX_MESSAGE_BYTES);
        let class = short(&class);
        let may_retry = !do_not_retry || LOST_SCANNER.contains(&&*class);
        Self::Exception { class, message: message.get(..end).unwrap_or_default().to_owned(), may_retry }
    }
}

impl RpcError {
    /// Returns whether the same read may succeed soon, on this server or on another one.
    fn is_transient(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Io(_) => true,
            Self::Timeout | Self::Unexpected(_) | Self::Decode(_) => false,
            Self::Exception { may_retry, .. } => *may_retry,
        }
    }

    /// Returns whether the connection can be used for further calls.
    pub(super) fn keeps_connection(&self) -> bool {
        matches!(self, Self::Exception { .. })
    }

    fn is_refused(&self) -> bool {
        matches!(self, Self::Exception { class, .. } if class == "AccessDeniedException")
    }
}

/// The message with which a cluster that uses Kerberos refuses a connection.
const NEEDS_KERBEROS: &str = "Authentication is required";

/// Returns advice about an exception.
fn hint(class: &str, message: &str) -> &'static str {
    match class {
        "AccessDeniedException" if message.ends_with(NEEDS_KERBEROS) => {
            "; clusters with Kerberos cannot be read: let a program that may read the table write its offsets to a file, \
             and use a source of kind import"
        }
        "AccessDeniedException" => "; grant the user of `user` READ on the family of `column`",
        "NoSuchColumnFamilyException" => "; check the family in `column`",
        "UnknownServiceException" => {
            "; `servers` must be masters of HBase 2.3 or later, or region servers of HBase 2.5 or later"
        }
        _ => "",
    }
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no server in `servers` knows where hbase:meta is: {}", failures.join("; "))]
    NoMeta {
        /// The failure of each server.
        failures: Vec<String>,
        is_refused: bool,
    },
    #[error("HBase at {server}: {error}")]
    Server {
        server: String,
        #[source]
        error: RpcError,
    },
    #[error("HBase has no table {0:?}; check `table` (NAMESPACE:TABLE, or TABLE in the namespace default)")]
    NoTable(String),
    #[error("table {0:?} of HBase is disabled")]
    Disabled(String),
    #[error("table {0:?} of HBase has no region on a server for some rows")]
    NoRegion(String),
}

impl ReadError {
    /// Returns whether the same read may succeed soon, once the regions have been located again.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Server { error, .. } => error.is_transient(),
            Self::NoRegion(_) => true,
            Self::NoMeta { .. } | Self::NoTable(_) | Self::Disabled(_) => false,
        }
    }
}

impl From<ReadError> for SourceError {
    fn from(error: ReadError) -> Self {
        let is_refused = match &error {
            ReadError::Server { error, .. } => error.is_refused(),
            ReadError::NoMeta { is_refused, .. } => *is_refused,
            ReadError::NoTable(_) | ReadError::Disabled(_) | ReadError::NoRegion(_) => false,
        };
        let reason = error.to_string();
        if is_refused { Self::Forbidden { reason } } else { Self::Unreachable { reason } }
    }
}

impl ReadError {
    /// Creates the error of a configuration of which no server has answered.
    pub(super) fn no_meta(failures: Vec<(String, Option<RpcError>)>) -> Self {
        let is_refused = failures.iter().any(|(_, error)| error.as_ref().is_some_and(RpcError::is_refused));
        let text = |(server, error): (String, Option<RpcError>)| match error {
            Some(error) => format!("{server}: {error}"),
            None => format!("{server}: hbase:meta is on no server"),
        };
        Self::NoMeta { failures: failures.into_iter().map(text).collect(), is_refused }
    }
}
