//! The errors of statements, with texts for the author of the statement.

use std::{error::Error as StdError, sync::LazyLock};

use arrow::error::ArrowError;
use datafusion::{common::DataFusionError, sql::sqlparser::parser::ParserError};
use itertools::Itertools as _;
use regex::Regex;

use crate::{
    freshness::FreshnessError,
    store::Unready,
    work::{EndReason, WorkError},
};

/// The text with which the memory pool reports that all statements together, not one of them, exceed their limit.
pub(super) const ALL_MEMORY: &str = "memory of all statements";

/// The reason why a statement failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SqlError {
    /// The statement is wrong: a syntax error, an unknown name, a wrong type or parameter.
    #[error("{0}")]
    Invalid(String),
    /// The statement does more than read.
    #[error("{0}; offsetd is read-only: SELECT, WITH, SHOW TABLES, SHOW COLUMNS, DESCRIBE and EXPLAIN are allowed")]
    NotReadOnly(String),
    /// A limit on one statement was exceeded.
    #[error("{what} (setting `{setting}`)")]
    Limit {
        /// The limit and its value.
        what: String,
        /// The setting of the limit.
        setting: &'static str,
    },
    /// A limit on all statements together was exceeded; a retry may succeed.
    #[error("{what} (setting `{setting}`)")]
    Busy {
        /// The limit and its value.
        what: String,
        /// The setting of the limit.
        setting: &'static str,
    },
    /// The deadline of the call or of the server passed.
    #[error("the statement took longer than {0:?} (setting `sql.timeout`, or the call's deadline)")]
    Deadline(std::time::Duration),
    /// The statement was not admitted, or was ended.
    #[error(transparent)]
    Work(WorkError),
    /// A cluster is unknown or not loaded.
    #[error(transparent)]
    Unready(#[from] Unready),
    /// The latest data was requested and is not available in time.
    #[error(transparent)]
    Stale(#[from] FreshnessError),
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// A bug in offsetd or DataFusion.
    #[error("{0}")]
    Internal(String),
}

impl From<WorkError> for SqlError {
    fn from(error: WorkError) -> Self {
        match error {
            WorkError::Ended(EndReason::Deadline(after)) => Self::Deadline(after),
            WorkError::Ended(EndReason::Memory { of_all: false }) => Self::memory(),
            WorkError::Ended(EndReason::Memory { of_all: true }) => Self::all_memory(),
            WorkError::Panicked => Self::Internal("the statement panicked".to_owned()),
            WorkError::Full { .. } | WorkError::Abandoned(_) | WorkError::Ended(_) | WorkError::Threads(_) => {
                Self::Work(error)
            }
        }
    }
}

impl From<EndReason> for SqlError {
    fn from(ended: EndReason) -> Self {
        WorkError::Ended(ended).into()
    }
}

/// The phase of a statement in which an error occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The statement is parsed and planned; no rows were read.
    Planning,
    /// The plan runs.
    Running,
}

impl SqlError {
    /// Returns the error of a statement that cannot be planned. An internal error of the planner is reported as an
    /// error in the statement: its types do not match, or it uses something that does not exist.
    pub(super) fn from_planning(error: &DataFusionError) -> Self {
        Self::classify(error, Phase::Planning)
    }

    /// Returns the error of a statement that fails while it runs.
    pub(super) fn from_datafusion(error: &DataFusionError) -> Self {
        Self::classify(error, Phase::Running)
    }

    /// Maps an error of DataFusion to one of ours.
    fn classify(error: &DataFusionError, phase: Phase) -> Self {
        if let Some(own) = find_wrapped(error) {
            return own;
        }
        let position = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(|span| span.start);
        let position = position.map_or_else(String::new, |at| format!(" at Line: {}, Column: {}", at.line, at.column));
        let invalid = |text: &str| Self::Invalid(format!("{}{position}", readable(text)));
        let whole = |text: String| Self::Invalid(format!("{}{position}", text.split_whitespace().join(" ")));
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
                let what = debug_text(text).map_or_else(|| readable(text), |debug_text| debug_text.name);
                Self::Invalid(format!("not supported: {what}{position}"))
            }
            DataFusionError::SchemaError(error, _) => whole(without_all_columns(error.to_string())),
            DataFusionError::ArrowError(error, _) => match arrow_text(error) {
                Some(text) => invalid(&text),
                None => match error.as_ref() {
                    ArrowError::MemoryError(_) | ArrowError::OffsetOverflowError(_) => Self::memory(),
                    _ => bug(error.as_ref()),
                },
            },
            DataFusionError::ExecutionJoin(error) if error.is_cancelled() => Self::ShuttingDown,
            // The task panicked.
            DataFusionError::ExecutionJoin(error) => Self::Internal(error.to_string()),
            // While a statement is planned, only regular expressions are parsed by other libraries.
            DataFusionError::External(error) if phase == Phase::Planning || error.is::<regex::Error>() => {
                whole(error.to_string())
            }
            error @ DataFusionError::Internal(_) => bug(error),
            // Statements use none of the other parts of DataFusion.
            error => Self::Internal(error.to_string()),
        }
    }

    /// Returns the error for a statement that exceeds its own memory limit.
    pub(super) fn memory() -> Self {
        let what = "the statement needs more memory than one statement may use".to_owned();
        Self::Limit { what, setting: "sql.memory_per_query" }
    }

    /// Returns the error for statements that together exceed their memory limit.
    pub(super) fn all_memory() -> Self {
        let what = "all statements together need more memory than they may use".to_owned();
        Self::Busy { what, setting: "sql.memory_total" }
    }

    /// Returns the error for a result that does not fit its type. Its text always contains "overflow".
    pub(super) fn overflow(text: &str) -> Self {
        let is_named = text.to_ascii_lowercase().contains("overflow");
        Self::Invalid(if is_named { text.to_owned() } else { format!("overflow: {text}") })
    }

    /// Converts the error, for code that must return an error of DataFusion.
    pub(super) fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

/// Returns the error of ours that an error of DataFusion wraps, at any depth.
fn find_wrapped(error: &DataFusionError) -> Option<SqlError> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<SqlError>() {
            return Some(own.clone());
        }
        next = error.source();
    }
    None
}

/// Precedes the call in the planner's text about arguments that no function accepts.
const NO_FUNCTION: &str = "No function matches the given name and argument types '";

/// Precedes the names in the planner's text about a column that its table does not have.
const NO_COLUMN: &str = "could not parse compound identifier from ";

/// Precedes an internal error of DataFusion that it repeats in an error about the statement.
const INTERNAL_ERROR: &str = "Internal error: ";

/// Precedes the reason in an error that DataFusion repeats in another one.
const REASON: &str = "Error during planning: ";

/// The end of DataFusion's name of a time type without a zone, after its unit.
const NO_ZONE: &str = ", None)";

/// Returns a text of DataFusion for the author of a statement: one line, without the list of all overloads of a
/// function, and without the debug output of a syntax tree.
fn readable(text: &str) -> String {
    let text = &text.replace(INTERNAL_ERROR, "").replace(NO_ZONE, ")");
    // Keeps the reason only, where DataFusion repeats it in an error about the call.
    let text = text.rsplit(REASON).next().unwrap_or_default();
    if let Some((call, _)) = text.split_once(NO_FUNCTION).and_then(|(_, rest)| rest.split_once("'.")) {
        return format!("no function takes these arguments: {call}");
    }
    if let Some(names) = text.strip_prefix(NO_COLUMN) {
        let names = names.split('"').filter(|part| part.contains(|c: char| !", []".contains(c)));
        return format!("no column {}", names.collect::<Vec<_>>().join("."));
    }
    // The regex parser reports errors in several lines.
    if let Some(reason) = text.lines().find_map(|line| line.trim().strip_prefix("error: ")) {
        return format!("regular expression: {reason}");
    }
    match debug_text(text) {
        Some(DebugText { before, name, position }) => format!("{before} {name}{position}"),
        None => text.lines().next().unwrap_or_default().to_owned(),
    }
}

/// Returns the text about an unknown column without the list of all columns, if it suggests one.
fn without_all_columns(text: String) -> String {
    match text.split_once("Valid fields are ") {
        Some((kept, _)) if kept.contains("Did you mean") => kept.trim_end().to_owned(),
        _ => text,
    }
}

/// A text that contains a part of a statement in Rust's debug format, for instance `Collate { expr: …`.
struct DebugText<'a> {
    before: &'a str,
    /// The root of the part in SQL words, for instance `COLLATE`.
    name: String,
    /// The place in the statement, or an empty text.
    position: &'a str,
}

/// Splits a text that contains debug output; `None` if it contains none.
fn debug_text(text: &str) -> Option<DebugText<'_>> {
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
    let position = text.rfind(" at Line:").and_then(|at| text.get(at..)).unwrap_or_default();
    Some(DebugText { before: text.get(..whole.start())?.trim_end(), name, position })
}

/// Returns the text of an error that a value or a type in the statement caused, or `None` for other errors.
fn arrow_text(error: &ArrowError) -> Option<String> {
    match error {
        ArrowError::ComputeError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ArithmeticOverflow(text) => Some(text.clone()),
        ArrowError::NotYetImplemented(text) => Some(format!("not supported: {text}")),
        ArrowError::DivideByZero => Some("division by zero".to_owned()),
        _ => None,
    }
}

/// Returns the text of a syntax error.
fn parser_text(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => {
            format!("syntax error: {}", readable(text))
        }
        ParserError::RecursionLimitExceeded => "the statement is nested too deep".to_owned(),
    }
}
