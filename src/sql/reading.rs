//! The cut that a statement reads and its cancel handle, as its session and its running plan carry them.

use std::sync::Arc;

use datafusion::{common::Result, execution::TaskContext, prelude::SessionConfig};

use super::{error::SqlError, stop::Stop};
use crate::store::cut::Cut;

/// The cut that a statement reads, and what ends it.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) cut: Arc<Cut>,
    pub(super) stop: Stop,
}

impl Reading {
    /// That of the statement for which a plan is run.
    pub(super) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        Self::of_session(context.session_config())
    }

    /// That of the statement for which a session plans or runs.
    pub(super) fn of_session(config: &SessionConfig) -> Result<Arc<Self>> {
        let none = || SqlError::Internal("a plan is made or run for no statement".to_owned()).into_datafusion();
        config.get_extension::<Self>().ok_or_else(none)
    }
}
