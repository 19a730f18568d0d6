//! The cut that a statement reads and its cancel handle, as its session and its running plan carry them.

use std::sync::Arc;

use datafusion::{common::Result, execution::TaskContext, prelude::SessionConfig};

use super::super::error::SqlError;
use super::Stop;
use crate::{store::cut::Cut, work::Job};

/// The cut that a statement reads, and what ends it.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) cut: Arc<Cut>,
    pub(crate) stop: Stop,
    /// The statement's turn and threads.
    pub(crate) _job: Option<Job>,
}

impl Reading {
    /// That of the statement for which a plan is run.
    pub(crate) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        Self::of_session(context.session_config())
    }

    /// That of the statement for which a session plans or runs.
    pub(crate) fn of_session(config: &SessionConfig) -> Result<Arc<Self>> {
        let none = || SqlError::Internal("a plan is made or run for no statement".to_owned()).into_datafusion();
        config.get_extension::<Self>().ok_or_else(none)
    }
}
