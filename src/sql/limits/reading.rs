//! What a statement reads and what ends it, as its session and its running plan carry them.

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
    store::{cut::Cut, older::Budget},
    work::{Cancel, Job},
};

/// A statement that has its turn and its cut. While a part of its plan has it, the statement counts as running.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) cut: Arc<Cut>,
    pub(crate) job: Job,
}

/// Fails once a statement must end: for what computes without giving way.
pub(crate) fn check(cancel: &Cancel) -> Result<()> {
    cancel.check().map_err(|ended| SqlError::from(ended).into_datafusion())
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

/// The memory of a statement, for tables that decode what they read.
#[derive(Debug)]
pub(crate) struct Memory(MemoryReservation);

impl Memory {
    /// That of the statement for which a plan is run.
    pub(crate) fn of(context: &TaskContext) -> Arc<Self> {
        Arc::new(Self(MemoryConsumer::new("samples").register(context.memory_pool())))
    }
}

impl Budget for Memory {
    fn reserve(&self, bytes: usize) -> bool {
        self.0.try_grow(bytes).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.0.shrink(bytes);
    }
}
