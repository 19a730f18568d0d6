//! SQL over the store: takes a statement and returns a stream of Arrow batches. It does not depend on a transport.
//!
//! A statement reads one cut, so that all of its tables show the same time, and `now()` is that time. It runs on
//! threads of the engine ([`Engine`]) with a deadline and a memory limit; the number of running statements is limited.
//! Only scans read the store (`scan`). Between DataFusion's operators, guards end a plan in time.

mod arithmetic;
mod builtin;
mod catalog;
mod checked_sums;
mod column_names;
mod cut_parts;
mod engine;
mod error;
mod limits;
mod plan;
mod predicate;
mod scan;
mod session;
mod table;
mod tables;
mod views;

pub mod functions;
pub mod output;

pub use catalog::{CATALOG, SCHEMA};
pub use datafusion::common::ScalarValue;
pub use datafusion::sql::sqlparser::{dialect::GenericDialect, tokenizer};
pub use engine::{Answer, Description, Engine, Statement, Stats};
pub use error::SqlError;
pub use plan::check_syntax;
pub use table::COMMENT;
pub use tables::TableDescription;
