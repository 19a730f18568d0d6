//! Accounts for the memory of an operator that DataFusion does not reserve: the results of functions for the current
//! batch.
//!
//! A function does not know the operator that calls it. The account of the operator that a thread is executing is
//! therefore thread-local, and replaced while the operator polls another one for rows.

use std::{cell::RefCell, sync::Arc};

use datafusion::{
    common::Result,
    execution::{
        TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
};

use super::{
    memory::GUARD,
    statement_context::{StatementContext, check},
};
use crate::work::CancelHandle;

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
    /// Bytes of rows that are collected until they fill a batch.
    collected: MemoryReservation,
    cancel: CancelHandle,
}

impl OperatorAccount {
    /// Creates an empty account.
    ///
    /// # Errors
    /// The plan does not belong to a statement.
    pub(crate) fn new(context: &TaskContext) -> Result<Arc<Self>> {
        let reservation = || MemoryConsumer::new(GUARD).register(context.memory_pool());
        Ok(Arc::new(Self {
            reservation: reservation(),
            collected: reservation(),
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

    /// Reserves bytes of collected rows, up to `most` in all, the size of a full batch.
    ///
    /// # Errors
    /// Those of [`Self::reserve`].
    pub(crate) fn reserve_collected(&self, bytes: usize, most: usize) -> Result<()> {
        self.collected.try_grow(bytes.min(most.saturating_sub(self.collected.size())))
    }

    /// Releases the bytes of the collected rows, which were returned as a batch.
    pub(crate) fn release_collected(&self) {
        self.collected.free();
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
