//! SQL over the store: a statement in, a stream of Arrow batches out. Knows no transport.
//!
//! Each statement gets a session of its own over one cut, so that all its tables, joined or not,
//! show one moment, and `now()` is that moment. It runs on threads of its own ([`Engine`]), with a
//! deadline, a cap on memory, and a bounded number of statements at once.

mod charge;
mod check;
mod count;
mod engine;
mod error;
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
mod table;
mod tables;
mod views;
mod wanted;

pub mod functions;
pub mod output;

pub use datafusion::common::ScalarValue;
pub use engine::{Answer, Description, Engine, Statement, Stats};
pub use error::SqlError;
pub use session::{CATALOG, SCHEMA};
pub use table::COMMENT;
pub use tables::TableDescription;
