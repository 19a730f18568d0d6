//! Memory of statements: a cap for each, within a cap for all.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::super::error::SqlError;
use super::Stop;
use crate::config;
use datafusion::{
    common::{DataFusionError, Result},
    execution::memory_pool::{MemoryPool, MemoryReservation},
};

/// The cap for all is reached, not that of the statement.
pub(crate) const ALL_MEMORY: &str = "memory of all statements";

/// The pool of one statement.
#[derive(Debug)]
pub(crate) struct QueryPool {
    used: AtomicUsize,
    limit: usize,
    all: Arc<AtomicUsize>,
    all_limit: usize,
    stop: Stop,
}

impl QueryPool {
    pub(crate) fn new(settings: &config::Sql, all: Arc<AtomicUsize>, stop: Stop) -> Self {
        let (limit, all_limit) = (settings.memory_per_query, settings.memory_total);
        Self { used: AtomicUsize::new(0), limit, all, all_limit, stop }
    }
}

impl std::fmt::Display for QueryPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "QueryPool({} of {} bytes)", self.used.load(Ordering::Relaxed), self.limit)
    }
}

/// Adds within a limit.
fn try_add(counter: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    let add = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
}

impl MemoryPool for QueryPool {
    fn name(&self) -> &'static str {
        "query"
    }

    /// Joins grow without asking, and are stopped for it where they look next.
    fn grow(&self, _: &MemoryReservation, additional: usize) {
        let used = self.used.fetch_add(additional, Ordering::Relaxed).saturating_add(additional);
        let all = self.all.fetch_add(additional, Ordering::Relaxed).saturating_add(additional);
        if used > self.limit {
            self.stop.end(SqlError::memory());
        } else if all > self.all_limit {
            self.stop.end(SqlError::all_memory());
        }
    }

    fn shrink(&self, _: &MemoryReservation, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn try_grow(&self, _: &MemoryReservation, additional: usize) -> Result<()> {
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
