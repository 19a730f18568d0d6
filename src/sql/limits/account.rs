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
    reading::{Reading, check},
};
use crate::work::Cancel;

thread_local! {
    /// The account of the operator that this thread is executing.
    static CURRENT: RefCell<Option<Arc<Account>>> = const { RefCell::new(None) };
}

tokio::task_local! {
    /// The cancel handle of the statement that a task plans, since DataFusion's rules have no access to it.
    static PLANNED: Cancel;
}

/// Runs the planning of a statement; [`check_current`] inside of it checks `cancel`.
pub(crate) async fn planning<F: Future>(cancel: Cancel, work: F) -> F::Output {
    PLANNED.scope(cancel, work).await
}

/// The account of one operator in one of its partitions.
#[derive(Debug)]
pub(crate) struct Account {
    /// Bytes that functions returned for the current batch.
    reservation: MemoryReservation,
    /// Bytes of rows that are collected until they fill a batch.
    gathered: MemoryReservation,
    cancel: Cancel,
}

impl Account {
    /// Creates an empty account.
    ///
    /// # Errors
    /// The plan does not belong to a statement.
    pub(crate) fn new(context: &TaskContext) -> Result<Arc<Self>> {
        let reservation = || MemoryConsumer::new(GUARD).register(context.memory_pool());
        Ok(Arc::new(Self {
            reservation: reservation(),
            gathered: reservation(),
            cancel: Reading::of(context)?.job.cancel().clone(),
        }))
    }

    /// Returns the account of the operator that this thread is executing.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Option::clone)
    }

    /// Runs a part of an operator's work, with `account` as the current account.
    pub(crate) fn enter<T>(account: Option<Arc<Self>>, work: impl FnOnce() -> T) -> T {
        /// Restores the previous account, even after a panic.
        struct Before(Option<Arc<Account>>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _before = Before(CURRENT.replace(account));
        work()
    }

    /// Reserves bytes for the current batch.
    ///
    /// # Errors
    /// The limit of the statement, or of all statements together, is exceeded.
    pub(crate) fn charge(&self, bytes: usize) -> Result<()> {
        self.reservation.try_grow(bytes)
    }

    /// Releases some bytes of the current batch.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.reservation.shrink(bytes.min(self.reservation.size()));
    }

    /// Releases all bytes of the current batch.
    pub(crate) fn clear(&self) {
        self.reservation.free();
    }

    /// Reserves bytes of collected rows, up to `most` in all, the size of a full batch.
    ///
    /// # Errors
    /// Those of [`Self::charge`].
    pub(crate) fn gather(&self, bytes: usize, most: usize) -> Result<()> {
        self.gathered.try_grow(bytes.min(most.saturating_sub(self.gathered.size())))
    }

    /// Releases the bytes of the collected rows, which were returned as a batch.
    pub(crate) fn emitted(&self) {
        self.gathered.free();
    }
}

/// Fails once the statement that this thread plans or runs must end.
///
/// # Errors
///
/// The reason why it must end.
pub(crate) fn check_current() -> Result<()> {
    match Account::current() {
        Some(account) => check(&account.cancel),
        None => PLANNED.try_with(check).unwrap_or(Ok(())),
    }
}
