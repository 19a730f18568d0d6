//! What a plan is run with. Its nodes know neither rows nor a statement, so that it can be run again for another one.

use std::sync::Arc;

use datafusion::{common::Result, execution::TaskContext};

use super::super::error::SqlError;
use super::Stop;
use crate::store::cut::Cut;

/// The cut that a statement reads, and what ends it.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) cut: Arc<Cut>,
    pub(crate) stop: Stop,
}

impl Reading {
    /// That of the statement for which a plan is run.
    pub(crate) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        let none = || SqlError::Internal("a plan is run for no statement".to_owned()).into_datafusion();
        context.session_config().get_extension::<Self>().ok_or_else(none)
    }
}
