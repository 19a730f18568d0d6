//! Errors of the history store.

use std::{error::Error as _, io, path::PathBuf};

use arrow::error::ArrowError;
use object_store::path::Path;
use parquet::errors::ParquetError;
use tokio::task::JoinError;

use crate::store::older::ReadError;

/// Why work of the history store failed.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The file of credentials cannot be read.
    #[error("{}: {cause}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file of credentials has another form. What it holds is not told.
    #[error("{}: expected the lines access_key_id, secret_access_key and session_token as TOML", path.display())]
    CredentialsForm {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// Rows cannot be put together.
    #[error(transparent)]
    Rows(#[from] ArrowError),
    /// Temporary files cannot be deleted.
    #[error("temporary files: {0}")]
    Temporary(io::Error),
    /// More files than are read at a time.
    #[error("{count} files are not merged yet, more than {most}")]
    TooManyFiles {
        /// Files.
        count: usize,
        /// The limit.
        most: usize,
    },
    /// Files that are to be merged or deleted are not read to their end.
    #[error("files that are to be merged or deleted cannot be read: {0}")]
    Unread(String),
    /// A task panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
    /// A read ended early.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The server stops.
    #[error("shutting down")]
    ShuttingDown,
    /// Several of them.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
}

/// Why a file is not read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0} was deleted while it was read")]
    Gone(Path),
    /// The store does not return it.
    #[error("{0}")]
    Store(ParquetError),
    #[error(transparent)]
    Cancelled(JoinError),
    /// The store refuses this file.
    #[error("{0}")]
    Denied(ParquetError),
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How the content of a file differs from that of a file of samples with its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("not a file of history")]
    Foreign,
    #[error("the times of its samples are out of order")]
    Times,
    #[error("its name and its content disagree about the times of its samples")]
    Name,
    #[error("its rows are out of order")]
    Order,
    #[error("it has rows of samples that are not its own")]
    Samples,
    #[error("{0}")]
    Parquet(ParquetError),
    /// The Parquet reader panicked.
    #[error(transparent)]
    Panic(JoinError),
}

impl Failure {
    /// Tells why a file could not be read from what the Parquet reader failed with.
    pub(super) fn of(path: &Path, error: ParquetError) -> Self {
        let ParquetError::External(cause) = &error else { return Damage::Parquet(error).into() };
        match cause.downcast_ref::<object_store::Error>() {
            Some(object_store::Error::NotFound { .. }) => Self::Gone(path.clone()),
            Some(denied) if is_denied(denied) => Self::Denied(error),
            Some(_) | None => Self::Store(error),
        }
    }
}

impl From<JoinError> for Failure {
    fn from(error: JoinError) -> Self {
        // A file that makes the Parquet reader panic is damaged; a task that is cancelled says nothing about its file.
        if error.is_panic() { Damage::Panic(error).into() } else { Self::Cancelled(error) }
    }
}

fn is_denied(error: &object_store::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied) {
            return true;
        }
        cause = error.source();
    }
    matches!(error, object_store::Error::PermissionDenied { .. })
}
