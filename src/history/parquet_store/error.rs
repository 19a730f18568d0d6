//! Errors of the history store.

use std::{error::Error as _, io};

use arrow::error::ArrowError;
use object_store::path::Path;
use parquet::errors::ParquetError;
use tokio::task::JoinError;

use crate::{s3::S3Error, store::history_store::ReadError};

/// An error of the history store.
#[derive(Debug, thiserror::Error)]
pub enum ParquetStoreError {
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] object_store::Error),
    /// The credentials of S3 cannot be read.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// A file cannot be encoded.
    #[error(transparent)]
    Parquet(#[from] ParquetError),
    /// A batch of rows cannot be built.
    #[error(transparent)]
    Rows(#[from] ArrowError),
    /// TemporaryFile files cannot be deleted.
    #[error("cannot delete temporary files: {0}")]
    Temporary(io::Error),
    /// The read would need more files than the limit.
    #[error("the time range has {count} unmerged files, more than {most}; narrow it, or wait until they are merged")]
    TooManyFiles {
        /// Number of files.
        count: usize,
        /// The limit.
        most: usize,
    },
    /// Files to merge or delete could not be read to their end.
    #[error("cannot read files to merge or delete: {0}")]
    Unread(String),
    /// A task panicked.
    #[error(transparent)]
    Task(#[from] JoinError),
    /// A read ended early.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// Several errors.
    #[error("{}", .0.iter().map(Self::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
}

/// Why a file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadFailure {
    #[error("{0} was deleted while it was read")]
    Gone(Path),
    /// The store could not return it.
    #[error("{0}")]
    Store(ParquetError),
    #[error(transparent)]
    Cancelled(JoinError),
    /// The store denies access to this file.
    #[error("{0}")]
    Denied(ParquetError),
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// How the content of a file differs from that of a file of samples of its name.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error("not a history file")]
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

impl ReadFailure {
    /// Returns the failure for an error of the Parquet reader.
    pub(super) fn of(path: &Path, error: ParquetError) -> Self {
        let ParquetError::External(cause) = &error else { return Damage::Parquet(error).into() };
        match cause.downcast_ref::<object_store::Error>() {
            Some(object_store::Error::NotFound { .. }) => Self::Gone(path.clone()),
            Some(denied) if is_denied(denied) => Self::Denied(error),
            Some(_) | None => Self::Store(error),
        }
    }
}

impl From<JoinError> for ReadFailure {
    fn from(error: JoinError) -> Self {
        // A panic of the Parquet reader means that the file is damaged. A cancelled task says nothing about its file.
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
