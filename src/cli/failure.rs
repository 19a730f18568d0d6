//! Why a command failed, and the exit code of that.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::{EXIT_USAGE, text::escape_lines};
use crate::config::ConfigErrors;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Arguments that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A bad configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// A line of the input that is not what the command reads.
    #[error("{0}")]
    Input(String),
    /// The command could not do what was asked.
    #[error("{0}")]
    Command(String),
    /// Nobody reads the output any more, or it cannot be written.
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
    /// Not the user's doing.
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

    /// Says on stderr what is wrong, unless it is only that a pipe has closed.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if self.code() != 0 {
            // Nothing is left to be done when the message cannot be written.
            let _ = writeln!(io::stderr(), "offsetd: {}", escape_lines(&self.to_string()));
        }
        ExitCode::from(self.code())
    }
}

impl From<arrow::error::ArrowError> for Failure {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            arrow::error::ArrowError::IoError(_, error) => Self::Output(error),
            // It is the answer that cannot be read or written in this format.
            other => Self::Command(other.to_string()),
        }
    }
}
