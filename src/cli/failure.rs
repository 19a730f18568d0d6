//! The error of a command, with its exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::{EXIT_USAGE, text::escape_lines};
use crate::config::ConfigErrors;

/// The error of a command. Its variants are the exit codes of the contract; its text is for the user.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A bad configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A line of the input that the command cannot read.
    #[error("{0}")]
    Input(String),
    /// The command failed.
    #[error("{0}")]
    Command(String),
    /// The output cannot be written, or its reader is gone.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// An internal failure.
    #[error("{0:#}")]
    Internal(anyhow::Error),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(_) | Self::Command(_) => 1,
            Self::Input(_) => 2,
            Self::Usage(_) | Self::Config(_) => EXIT_USAGE,
            Self::Internal(_) => 70,
        }
    }

    /// Writes the error to stderr, unless it is a closed pipe.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if self.code() != 0 {
            // There is no other place for a message that cannot be written.
            let _ = writeln!(io::stderr(), "offsetd: {}", escape_lines(&self.to_string()));
        }
        ExitCode::from(self.code())
    }
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::IoError(_, error) => Self::Output(error),
            // The answer cannot be read, or not be written in this format.
            other => Self::Command(other.to_string()),
        }
    }
}
