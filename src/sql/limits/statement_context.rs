//! The context of a running statement, which its session and its plan carry.

use std::sync::Arc;

use datafusion::{common::Result, execution::TaskContext, prelude::SessionConfig};

use super::super::error::SqlError;
use crate::{
    store::cut::Cut,
    work::{CancelHandle, Job},
};

/// A statement with its slot and its cut. It occupies the slot until the last part of its plan drops this.
#[derive(Debug)]
pub(crate) struct StatementContext {
    pub(crate) cut: Arc<Cut>,
    pub(crate) job: Job,
}

/// Fails once a statement must end. Code that computes without yielding calls it.
pub(crate) fn check(cancel: &CancelHandle) -> Result<()> {
    cancel.check().map_err(|ended| SqlError::from(ended).into_datafusion())
}

impl StatementContext {
    /// Returns the statement of a running plan.
    pub(crate) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        Self::of_session(context.session_config())
    }

    /// Returns the statement of a session.
    pub(crate) fn of_session(config: &SessionConfig) -> Result<Arc<Self>> {
        let none = || SqlError::Internal("a plan does not belong to a statement".to_owned()).into_datafusion();
        config.get_extension::<Self>().ok_or_else(none)
    }
}
