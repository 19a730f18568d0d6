//! The error of a command and its exit code.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::{EXIT_USAGE, text::escape_lines};
use crate::config::ConfigErrors;

/// The error of a command. The variant decides the exit code; the text is shown to the user.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Bad arguments, or arguments that contradict each other. Exit code 64.
    #[error("{0}")]
    Usage(String),
    /// A bad configuration. Exit code 64.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A malformed line of the input. Exit code 2.
    #[error("{0}")]
    Input(String),
    /// Any other error of the command. Exit code 1.
    #[error("{0}")]
    Command(String),
    /// An error of standard output. The exit code is 1, or 0 if the reader has closed the pipe.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// An internal error. Exit code 70.
    #[error("{0:#}")]
    Internal(anyhow::Error),
}

impl Failure {
    /// Returns the exit code.
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

    /// Writes the error to stderr, unless the reader has closed the pipe, and returns the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if self.code() != 0 {
            // If stderr cannot be written to, the error cannot be reported anywhere.
            let _ = writeln!(io::stderr(), "offsetd: {}", escape_lines(&self.to_string()));
        }
        ExitCode::from(self.code())
    }
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::IoError(_, error) => Self::Output(error),
            // The response cannot be decoded, or cannot be encoded in the chosen format.
            other => Self::Command(other.to_string()),
        }
    }
}
