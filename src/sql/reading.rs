//! What a plan is run with. Its nodes know neither rows nor a statement, so that it can be run again for another one.

use std::sync::Arc;

use datafusion::{
    common::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
};

use super::{error::SqlError, stop::Stop};
use crate::store::{cut::Cut, older::Budget};

/// The cut that a statement reads, and what ends it.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) cut: Arc<Cut>,
    pub(super) stop: Stop,
}

impl Reading {
    /// That of the statement for which a plan is run.
    pub(super) fn of(context: &TaskContext) -> Result<Arc<Self>> {
        let none = || SqlError::Internal("a plan is run for no statement".to_owned()).into_datafusion();
        context.session_config().get_extension::<Self>().ok_or_else(none)
    }
}

/// The memory of a statement, for tables that decode what they read.
#[derive(Debug)]
pub(super) struct Memory(MemoryReservation);

impl Memory {
    /// That of the statement for which a plan is run.
    pub(super) fn of(context: &TaskContext) -> Arc<Self> {
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
