//! What can go wrong with a statement, in words for its author.

use std::{error::Error as StdError, sync::LazyLock};

use arrow::error::ArrowError;
use datafusion::{common::DataFusionError, sql::sqlparser::parser::ParserError};
use itertools::Itertools as _;
use regex::Regex;

use crate::{
    freshness::Stale,
    store::Unready,
    work::{Ended, Refused},
};

/// The cap on the memory of all statements is reached, not that of the statement.
pub(super) const ALL_MEMORY: &str = "memory of all statements";

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
            Refused::Ended(Ended::Memory { of_all: false }) => Self::memory(),
            Refused::Ended(Ended::Memory { of_all: true }) => Self::all_memory(),
            Refused::Panicked => Self::Internal("the statement panicked".to_owned()),
            Refused::Full { .. } | Refused::Abandoned(_) | Refused::Ended(_) | Refused::Threads(_) => {
                Self::Refused(refused)
            }
        }
    }
}

impl From<Ended> for SqlError {
    fn from(ended: Ended) -> Self {
        Refused::Ended(ended).into()
    }
}

/// What the engine was doing with a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has seen the statement, and no rows.
    Planning,
    Running,
}

impl SqlError {
    /// The error of a statement that cannot be planned. What the planner takes for a bug of its own is a statement whose
    /// types do not fit together, or one that uses what does not exist: no row was read yet.
    pub(super) fn planning(error: &DataFusionError) -> Self {
        Self::classify(error, Phase::Planning)
    }

    /// The error of a statement that fails while it runs.
    pub(super) fn from_datafusion(error: &DataFusionError) -> Self {
        Self::classify(error, Phase::Running)
    }

    fn classify(error: &DataFusionError, phase: Phase) -> Self {
        if let Some(own) = own(error) {
            return own;
        }
        let place = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| span.start);
        let place = place.map_or_else(String::new, |at| format!(" at Line: {}, Column: {}", at.line, at.column));
        let invalid = |text: &str| Self::Invalid(format!("{}{place}", plain(text)));
        let whole = |text: String| Self::Invalid(format!("{}{place}", text.split_whitespace().join(" ")));
        let bug = |error: &dyn StdError| match phase {
            Phase::Planning => {
                tracing::info!(%error, "a statement cannot be planned");
                invalid("the statement cannot be planned: an operator or a function does not take these types")
            }
            Phase::Running => Self::Internal(error.to_string()),
        };
        match error.find_root() {
            DataFusionError::ResourcesExhausted(what) if what == ALL_MEMORY => Self::all_memory(),
            DataFusionError::ResourcesExhausted(_) => Self::memory(),
            DataFusionError::SQL(error, _) => Self::Invalid(parser_text(error)),
            DataFusionError::Plan(text) | DataFusionError::Execution(text) | DataFusionError::Configuration(text) => {
                invalid(text)
            }
            DataFusionError::NotImplemented(text) => {
                let what = tree(text).map_or_else(|| plain(text), |tree| tree.name);
                Self::Invalid(format!("not supported: {what}{place}"))
            }
            DataFusionError::SchemaError(error, _) => whole(error.to_string()),
            DataFusionError::ArrowError(error, _) => match arrow_text(error) {
                Some(text) => invalid(&text),
                None => match error.as_ref() {
                    ArrowError::MemoryError(_) | ArrowError::OffsetOverflowError(_) => Self::memory(),
                    _ => bug(error.as_ref()),
                },
            },
            DataFusionError::ExecutionJoin(error) if error.is_cancelled() => Self::ShuttingDown,
            // A panic.
            DataFusionError::ExecutionJoin(error) => Self::Internal(error.to_string()),
            // Nothing but a regular expression is looked at by others while a statement is planned.
            DataFusionError::External(error) if phase == Phase::Planning || error.is::<regex::Error>() => {
                whole(error.to_string())
            }
            error @ DataFusionError::Internal(_) => bug(error),
            error @ (DataFusionError::IoError(_)
            | DataFusionError::ObjectStore(_)
            | DataFusionError::External(_)
            | DataFusionError::Substrait(_)
            | DataFusionError::Ffi(_)
            // Never the root.
            | DataFusionError::Context(..)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Collection(_)
            | DataFusionError::Shared(_)) => Self::Internal(error.to_string()),
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

/// The error of our own that an error of the engine was made from, however it is wrapped.
fn own(error: &DataFusionError) -> Option<SqlError> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<SqlError>() {
            return Some(own.clone());
        }
        next = error.source();
    }
    None
}

/// Begins the part of the planner's text that tells which function does not take its arguments.
const MISMATCH: &str = "No function matches the given name and argument types '";

/// Begins the text of an error of the engine's own that the engine repeats in an error about the statement.
const EXCUSE: &str = "Internal error: ";

/// Begins the reason in an error that the engine repeats in another.
const REASON: &str = "Error during planning: ";

/// How the engine prints the type of a time without a zone, after its unit.
const NO_ZONE: &str = ", None)";

/// A text of the engine for the author of a statement: in one line, without the list of all functions of a name, and
/// without the engine's tree of the statement.
fn plain(text: &str) -> String {
    let text = &text.replace(EXCUSE, "").replace(NO_ZONE, ")");
    // The reason, where the engine repeats it in an error about the call.
    let text = text.rsplit(REASON).next().unwrap_or_default();
    if let Some((call, _)) = text.split_once(MISMATCH).and_then(|(_, rest)| rest.split_once("'.")) {
        return format!("no function takes these arguments: {call}");
    }
    // As the parser of regular expressions draws them, in several lines.
    if let Some(reason) = text.lines().find_map(|line| line.trim().strip_prefix("error: ")) {
        return format!("regular expression: {reason}");
    }
    match tree(text) {
        Some(Tree { before, name, place }) => format!("{before} {name}{place}"),
        None => text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// A text with a part of a statement in the form in which Rust prints values for programmers, as `Collate { expr: …`.
struct Tree<'a> {
    before: &'a str,
    /// Its root in words, as `COLLATE`.
    name: String,
    /// Where in the statement it stands, if that is told.
    place: &'a str,
}

fn tree(text: &str) -> Option<Tree<'_>> {
    static ROOT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\b([A-Z]\w*)(\([A-Z]\w*)* \{").ok());
    let found = ROOT.as_ref()?.captures(text)?;
    let (whole, root) = (found.get(0)?, found.get(1)?);
    let mut name = String::new();
    for character in root.as_str().chars() {
        if character.is_ascii_uppercase() && !name.is_empty() {
            name.push(' ');
        }
        name.push(character.to_ascii_uppercase());
    }
    let place = text.rfind(" at Line:").and_then(|at| text.get(at..)).unwrap_or_default();
    Some(Tree { before: text.get(..whole.start())?.trim_end(), name, place })
}

/// The text of an error that a value or a type of the statement is the cause of.
fn arrow_text(error: &ArrowError) -> Option<String> {
    match error {
        ArrowError::ComputeError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ArithmeticOverflow(text) => Some(text.clone()),
        ArrowError::NotYetImplemented(text) => Some(format!("not supported: {text}")),
        ArrowError::DivideByZero => Some("division by zero".to_owned()),
        ArrowError::ExternalError(_)
        | ArrowError::MemoryError(_)
        | ArrowError::OffsetOverflowError(_)
        | ArrowError::SchemaError(_)
        | ArrowError::CsvError(_)
        | ArrowError::JsonError(_)
        | ArrowError::AvroError(_)
        | ArrowError::IoError(..)
        | ArrowError::IpcError(_)
        | ArrowError::ParquetError(_)
        | ArrowError::CDataInterface(_)
        | ArrowError::DictionaryKeyOverflowError
        | ArrowError::RunEndIndexOverflowError => None,
    }
}

fn parser_text(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => format!("syntax error: {}", plain(text)),
        ParserError::RecursionLimitExceeded => "the statement is nested too deep".to_owned(),
    }
}
