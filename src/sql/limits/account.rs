//! The bytes that an operator holds and DataFusion does not reserve: what its functions return for the batch at hand.
//!
//! Functions are told nothing of the operator that calls them. So the account of the operator that a thread is at is kept
//! with the thread, and replaced while the operator asks another one for rows.

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
    static CURRENT: RefCell<Option<Arc<Account>>> = const { RefCell::new(None) };
}

tokio::task_local! {
    /// What ends the statement that a task plans: DataFusion's rules are told nothing of it.
    static PLANNED: Cancel;
}

/// Runs the work of a task that plans a statement.
pub(crate) async fn planning<F: Future>(cancel: Cancel, work: F) -> F::Output {
    PLANNED.scope(cancel, work).await
}

/// The bytes that one operator holds in one of its partitions.
#[derive(Debug)]
pub(crate) struct Account {
    /// What functions returned for the batch at hand.
    reservation: MemoryReservation,
    /// Rows that wait until they are enough for a batch.
    gathered: MemoryReservation,
    cancel: Cancel,
}

impl Account {
    /// An account without bytes.
    ///
    /// # Errors
    /// The plan runs for no statement.
    pub(crate) fn new(context: &TaskContext) -> Result<Arc<Self>> {
        let reservation = || MemoryConsumer::new(GUARD).register(context.memory_pool());
        Ok(Arc::new(Self {
            reservation: reservation(),
            gathered: reservation(),
            cancel: Reading::of(context)?.job.cancel().clone(),
        }))
    }

    /// The account of the operator that this thread is at.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.with_borrow(Option::clone)
    }

    /// Does a part of an operator's work.
    pub(crate) fn enter<T>(account: Option<Arc<Self>>, work: impl FnOnce() -> T) -> T {
        /// Puts the account before back, also after a panic.
        struct Before(Option<Arc<Account>>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _before = Before(CURRENT.replace(account));
        work()
    }

    /// Reserves bytes.
    ///
    /// # Errors
    /// The statement, or all statements together, would hold too much.
    pub(crate) fn charge(&self, bytes: usize) -> Result<()> {
        self.reservation.try_grow(bytes)
    }

    /// Gives some of its bytes back.
    pub(crate) fn give_back(&self, bytes: usize) {
        self.reservation.shrink(bytes.min(self.reservation.size()));
    }

    /// Gives all bytes of the batch at hand back.
    pub(crate) fn clear(&self) {
        self.reservation.free();
    }

    /// Reserves bytes of rows that are kept until they are a batch, which has `most` bytes.
    ///
    /// # Errors
    /// As [`Self::charge`].
    pub(crate) fn gather(&self, bytes: usize, most: usize) -> Result<()> {
        self.gathered.try_grow(bytes.min(most.saturating_sub(self.gathered.size())))
    }

    /// Gives the bytes of gathered rows back, which are a batch.
    pub(crate) fn emitted(&self) {
        self.gathered.free();
    }
}

/// Fails once the statement that this thread plans or runs must end.
///
/// # Errors
/// Why it must end.
pub(crate) fn check_current() -> Result<()> {
    match Account::current() {
        Some(account) => check(&account.cancel),
        None => PLANNED.try_with(check).unwrap_or(Ok(())),
    }
}
