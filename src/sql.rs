//! SQL over the store: a statement in, a stream of Arrow batches out. Knows no transport.
//!
//! Each statement reads one cut, so that all its tables, joined or not, show one moment, and `now()`
//! is that moment. It runs on threads of the engine's own ([`Engine`]), with a deadline, a cap on
//! memory, and a bounded number of statements at once. Its plan knows no cut, and is kept for when
//! it comes again; what is planned and small is answered where it is asked. Steps of our own stand in it where
//! DataFusion cannot know what the store knows: scans, counts, and groups by name.

mod arithmetic;
mod charge;
mod check;
mod count;
mod engine;
mod error;
mod grouping;
mod guard;
mod marks;
mod memory;
mod spelling;
mod places;
mod planning;
mod reading;
mod scan;
mod session;
mod stop;
mod sums;
mod table;
mod tables;
mod views;
mod wanted;

pub mod functions;
pub mod output;

pub use datafusion::common::ScalarValue;
pub use datafusion::sql::sqlparser::{dialect::GenericDialect, tokenizer};
pub use engine::{Answer, Description, Engine, Statement, Stats};
pub use error::SqlError;
pub use session::{CATALOG, SCHEMA};
pub use table::COMMENT;
pub use tables::TableDescription;
