//! What can go wrong with a statement, in words for its author.

use arrow::error::ArrowError;
use datafusion::{common::DataFusionError, sql::sqlparser::parser::ParserError};

use super::limits::memory::ALL_MEMORY;
use crate::{
    freshness::Stale,
    store::Unready,
    work::{Ended, Refused},
};

/// Why a statement failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SqlError {
    /// The statement is wrong: syntax, a name, a type, a parameter.
    #[error("{0}")]
    Invalid(String),
    /// The statement is more than a query.
    #[error("{0}; offsetd is read-only: SELECT, WITH, SHOW TABLES, SHOW COLUMNS, DESCRIBE and EXPLAIN are allowed")]
    NotReadOnly(String),
    /// A limit of the server, with its setting.
    #[error("{what} (setting `{setting}`)")]
    Limit {
        /// Which limit, and how large.
        what: String,
        /// Key in the configuration.
        setting: &'static str,
    },
    /// A limit of the server that others are using up now; it may be free again in a moment.
    #[error("{what} (setting `{setting}`)")]
    Busy {
        /// Which limit, and how large.
        what: String,
        /// Key in the configuration.
        setting: &'static str,
    },
    /// The deadline of the call or of the server passed.
    #[error("the statement took longer than {0:?} (setting `sql.timeout`, or the call's deadline)")]
    Deadline(std::time::Duration),
    /// The reader took nothing for longer than it may.
    #[error("no rows were taken for {0:?}, while the statement kept the state it reads (setting `sql.stall_timeout`)")]
    Stalled(std::time::Duration),
    /// It was not admitted, or was ended.
    #[error(transparent)]
    Refused(Refused),
    /// A cluster is unknown or not loaded.
    #[error(transparent)]
    Unready(#[from] Unready),
    /// The latest was asked for, and is not to be had.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// The server is stopping.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

impl From<Refused> for SqlError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Ended(Ended::Deadline(after)) => Self::Deadline(after),
            Refused::Panicked => Self::Internal("the statement panicked".to_owned()),
            Refused::Full { .. } | Refused::Abandoned(_) | Refused::Ended(_) | Refused::Threads(_) => {
                Self::Refused(refused)
            }
        }
    }
}

impl SqlError {
    /// Sorts an error of the planner or of the execution.
    pub(super) fn from_datafusion(error: &DataFusionError) -> Self {
        let root = error.find_root();
        let text = root.strip_backtrace();
        let place = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| span.start);
        let place = place.map_or_else(String::new, |at| format!(" at Line: {}, Column: {}", at.line, at.column));
        match root {
            DataFusionError::External(error) if error.is::<Self>() => {
                error.downcast_ref().cloned().unwrap_or(Self::Internal(text))
            }
            DataFusionError::ResourcesExhausted(what) if what == ALL_MEMORY => Self::all_memory(),
            DataFusionError::ResourcesExhausted(_) => Self::memory(),
            DataFusionError::Internal(_) => Self::Internal(text),
            DataFusionError::NotImplemented(what) if what.contains("single SQL statement") => {
                Self::Invalid("one statement at a time: there is more after the first".to_owned())
            }
            DataFusionError::Plan(what) if is_forbidden(what) => Self::NotReadOnly(what.clone()),
            // Its Display is the Debug form of the parser's error.
            DataFusionError::SQL(error, _) => Self::Invalid(parser_text(error)),
            // Their Display begins with the name of the part that failed, which is nobody's business.
            DataFusionError::Plan(what)
            | DataFusionError::Execution(what)
            | DataFusionError::Configuration(what)
            | DataFusionError::NotImplemented(what) => Self::Invalid(format!("{}{place}", first_line(what))),
            DataFusionError::External(error) => Self::Invalid(error.to_string()),
            DataFusionError::ArrowError(error, _) => Self::Invalid(arrow_text(error)),
            DataFusionError::SchemaError(error, _) => Self::Invalid(format!("{error}{place}")),
            _ => Self::Invalid(text),
        }
    }

    /// The statement's memory is used up.
    pub(super) fn memory() -> Self {
        let what = "the statement needs more memory than one statement may use".to_owned();
        Self::Limit { what, setting: "sql.memory_per_query" }
    }

    /// The memory of all statements is used up.
    pub(super) fn all_memory() -> Self {
        let what = "all statements together need more memory than they may use".to_owned();
        Self::Busy { what, setting: "sql.memory_total" }
    }

    /// A result does not fit its type.
    pub(super) fn overflow(text: &str) -> Self {
        let is_named = text.to_ascii_lowercase().contains("overflow");
        Self::Invalid(if is_named { text.to_owned() } else { format!("overflow: {text}") })
    }

    /// For code that can only give an error of the engine's.
    pub(super) fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

/// A backtrace may follow.
fn first_line(text: &str) -> &str {
    text.split("\n\nbacktrace: ").next().unwrap_or(text)
}

/// Without the name of the kind of error, where there is a text.
fn arrow_text(error: &ArrowError) -> String {
    match error {
        ArrowError::ComputeError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ArithmeticOverflow(text) => text.clone(),
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ExternalError(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn parser_text(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => format!("syntax error: {text}"),
        ParserError::RecursionLimitExceeded => "the statement is nested too deep".to_owned(),
    }
}

/// Texts of `SQLOptions::verify_plan`.
fn is_forbidden(what: &str) -> bool {
    ["DDL not supported", "DML not supported", "Statement not supported"].iter().any(|text| what.starts_with(text))
}
