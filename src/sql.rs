//! SQL over the store: a statement in, a stream of Arrow batches out. Knows no transport.
//!
//! Each statement reads one cut, so that all its tables, joined or not, show one moment, and `now()`
//! is that moment. It runs on threads of the engine's own ([`Engine`]), with a deadline, a cap on
//! memory, and a bounded number of statements at once. Scans are the only steps of a plan that read
//! the store (`scan`); guards that end a plan in time stand between DataFusion's own steps.

mod arithmetic;
mod catalog;
mod engine;
mod error;
mod limits;
mod names;
mod own;
mod places;
mod plan;
mod scan;
mod session;
mod sums;
mod table;
mod tables;
mod views;
mod wanted;

pub mod functions;
pub mod output;

pub use catalog::{CATALOG, SCHEMA};
pub use datafusion::common::ScalarValue;
pub use datafusion::sql::sqlparser::{dialect::GenericDialect, tokenizer};
pub use engine::{Answer, Description, Engine, Statement, Stats};
pub use error::SqlError;
pub use table::COMMENT;
pub use tables::TableDescription;
