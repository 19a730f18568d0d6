//! Memory of operators that keep rows without asking the pool for it: window functions.
//!
//! One kind keeps its whole input, and puts it together in one piece at the end; the other keeps as much of it as its
//! frames reach back, which may be all. Both are charged for what goes into them until the last row has come out.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array as _, RecordBatch};
use datafusion::{
    common::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_plan::{
        ExecutionPlan,
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};

/// What an operator keeps, over all partitions.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    reservation: Arc<OnceLock<MemoryReservation>>,
    /// How often a row is kept.
    copies: usize,
}

impl Charge {
    /// For an operator that keeps rows without asking.
    pub(crate) fn of(plan: &dyn ExecutionPlan) -> Option<Self> {
        let copies = match (plan.is::<WindowAggExec>(), plan.is::<BoundedWindowAggExec>()) {
            (true, _) => 2,
            (_, true) => 1,
            _ => return None,
        };
        Some(Self { reservation: Arc::default(), copies })
    }

    fn reservation(&self, context: &TaskContext) -> &MemoryReservation {
        self.reservation.get_or_init(|| MemoryConsumer::new("window").register(context.memory_pool()))
    }

    /// Asks for room for a batch that goes in.
    pub(crate) fn add(&self, batch: &RecordBatch, context: &TaskContext) -> Result<()> {
        // A slice of a larger batch is charged for its own rows.
        let bytes = batch.columns().iter().map(|column| column.to_data().get_slice_memory_size());
        let bytes = bytes.sum::<Result<usize, _>>()?;
        self.reservation(context).try_grow(bytes.saturating_mul(self.copies))
    }
}
