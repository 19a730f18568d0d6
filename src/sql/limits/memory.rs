//! The memory of statements: a pool with a limit for each statement and one for all together; and the memory that
//! DataFusion does not reserve, of functions and of tables that decode rows.
//!
//! A function does not know the operator that calls it. The account of the operator that a thread is executing is
//! therefore thread-local, and replaced while the operator polls another one for rows.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    common::{DataFusionError, Result},
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
    },
};

use super::{
    super::error::ALL_MEMORY,
    statement_context::{StatementContext, check},
};
use crate::{
    config,
    store::history_store::Budget,
    work::{CancelHandle, EndReason},
};

/// Name under which guards reserve memory.
const GUARD: &str = "guard";

/// Returns an empty reservation of a running plan's statement.
pub(crate) fn reservation(context: &TaskContext) -> MemoryReservation {
    MemoryConsumer::new(GUARD).register(context.memory_pool())
}

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

/// The memory reservation of a statement for tables that decode the rows they read.
#[derive(Debug)]
pub(crate) struct StatementMemory(MemoryReservation);

impl StatementMemory {
    /// Returns the reservation of the statement of a running plan.
    pub(crate) fn of(context: &TaskContext) -> Arc<Self> {
        Arc::new(Self(reservation(context)))
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

thread_local! {
    /// The account of the operator that this thread is executing.
    static CURRENT: RefCell<Option<Arc<OperatorAccount>>> = const { RefCell::new(None) };
}

tokio::task_local! {
    /// The cancel handle of the statement that a task plans, since DataFusion's rules have no access to it.
    static PLANNING_CANCEL: CancelHandle;
}

/// Runs the planning of a statement; [`check_current`] inside of it checks `cancel`.
pub(crate) async fn plan_cancellable<F: Future>(cancel: CancelHandle, work: F) -> F::Output {
    PLANNING_CANCEL.scope(cancel, work).await
}

/// The account of one operator in one of its partitions.
#[derive(Debug)]
pub(crate) struct OperatorAccount {
    /// Bytes that functions returned for the current batch.
    reservation: MemoryReservation,
    cancel: CancelHandle,
}

impl OperatorAccount {
    /// Creates an empty account.
    ///
    /// # Errors
    /// The plan does not belong to a statement.
    pub(crate) fn new(context: &TaskContext) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            reservation: reservation(context),
            cancel: StatementContext::of(context)?.job.cancel().clone(),
        }))
    }

    /// Returns the account of the operator that this thread is executing.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Option::clone)
    }

    /// Runs a part of an operator's work, with `account` as the current account.
    pub(crate) fn run_with<T>(account: Option<Arc<Self>>, work: impl FnOnce() -> T) -> T {
        /// Restores the previous account, even after a panic.
        struct Restore(Option<Arc<OperatorAccount>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _restore = Restore(CURRENT.replace(account));
        work()
    }

    /// Reserves bytes for the current batch.
    ///
    /// # Errors
    /// The limit of the statement, or of all statements together, is exceeded.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<()> {
        self.reservation.try_grow(bytes)
    }

    /// Releases some bytes of the current batch.
    pub(crate) fn release(&self, bytes: usize) {
        self.reservation.shrink(bytes.min(self.reservation.size()));
    }

    /// Releases all bytes of the current batch.
    pub(crate) fn release_all(&self) {
        self.reservation.free();
    }
}

/// Fails once the statement that this thread plans or runs must end.
///
/// # Errors
///
/// The reason why it must end.
pub(crate) fn check_current() -> Result<()> {
    match OperatorAccount::current() {
        Some(account) => check(&account.cancel),
        None => PLANNING_CANCEL.try_with(check).unwrap_or(Ok(())),
    }
}
