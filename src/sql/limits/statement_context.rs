//! The context of a running statement, which its session and its plan carry.

use std::sync::Arc;

use datafusion::{
    common::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    prelude::SessionConfig,
};

use super::super::error::SqlError;
use crate::{
    store::{cut::Cut, history_store::Budget},
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

/// The memory reservation of a statement for tables that decode the rows they read.
#[derive(Debug)]
pub(crate) struct StatementMemory(MemoryReservation);

impl StatementMemory {
    /// Returns the reservation of the statement of a running plan.
    pub(crate) fn of(context: &TaskContext) -> Arc<Self> {
        Arc::new(Self(MemoryConsumer::new("samples").register(context.memory_pool())))
    }
}

impl Budget for StatementMemory {
    fn reserve(&self, bytes: usize) -> bool {
        self.0.try_grow(bytes).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.shrink(bytes);
    }
}
