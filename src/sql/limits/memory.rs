//! Memory pools of statements: a limit for each statement, and one for all together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::super::error::ALL_MEMORY;
use crate::{
    config,
    work::{CancelHandle, EndReason},
};
use datafusion::{
    common::{DataFusionError, Result},
    execution::memory_pool::{MemoryPool, MemoryReservation},
};

/// Name under which guards reserve memory.
pub(crate) const GUARD: &str = "guard";

/// The memory pool of one statement.
#[derive(Debug)]
pub(crate) struct QueryPool {
    /// Bytes that the statement has reserved.
    used: AtomicUsize,
    limit: usize,
    /// Bytes that all statements have reserved.
    all: Arc<AtomicUsize>,
    all_limit: usize,
    cancel: CancelHandle,
}

impl QueryPool {
    pub(crate) fn new(settings: &config::Sql, all: Arc<AtomicUsize>, cancel: CancelHandle) -> Self {
        let (limit, all_limit) = (settings.memory_per_query, settings.memory_total);
        Self { used: AtomicUsize::new(0), limit, all, all_limit, cancel }
    }
}

impl std::fmt::Display for QueryPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueryPool({} of {} bytes)", self.used.load(Ordering::Relaxed), self.limit)
    }
}

/// Returns the bytes for which a reservation counts. An aggregate or a join that concatenates its rows keeps them twice
/// meanwhile, so its reservations count twice. Sorts reserve the copy themselves.
fn counted_bytes(reservation: &MemoryReservation, bytes: usize) -> usize {
    let name = reservation.consumer().name();
    let is_copied = name != GUARD && (name.contains("AggregateStream") || name.contains("Join"));
    if is_copied { bytes.saturating_mul(2) } else { bytes }
}

/// Adds bytes, unless the limit would be exceeded. Returns whether they were added.
fn try_add(counter: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "query"
    }

    /// Joins grow without a check. The statement is cancelled, and ends at the next check.
    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let additional = counted_bytes(reservation, additional);
        let used = self.used.fetch_add(additional, Ordering::Relaxed).saturating_add(additional);
        let all = self.all.fetch_add(additional, Ordering::Relaxed).saturating_add(additional);
        if used > self.limit {
            self.cancel.end(EndReason::Memory { of_all: false });
        } else if all > self.all_limit {
            self.cancel.end(EndReason::Memory { of_all: true });
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, bytes: usize) {
        let bytes = counted_bytes(reservation, bytes);
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let additional = counted_bytes(reservation, additional);
        if !try_add(&self.used, additional, self.limit) {
            return Err(DataFusionError::ResourcesExhausted("memory of the statement".to_owned()));
        }
        if !try_add(&self.all, additional, self.all_limit) {
            self.used.fetch_sub(additional, Ordering::Relaxed);
            return Err(DataFusionError::ResourcesExhausted(ALL_MEMORY.to_owned()));
        }
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}
