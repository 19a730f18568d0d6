//! Why a statement under way is to end, and when: told to whatever works for it.

use std::sync::{Arc, OnceLock};

use datafusion::common::Result;

use super::super::error::SqlError;
use crate::{
    store::older::Patience,
    work::{Cancel, Ended, Refused},
};

tokio::task_local! {
    /// Of the statement that the task plans: DataFusion's rules are told nothing of whom they work for.
    static CURRENT: Stop;
}

/// Ends a statement, for a reason in the words of SQL. All clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    cancel: Cancel,
    /// The first that was given.
    reason: Arc<OnceLock<SqlError>>,
}

impl Stop {
    pub(crate) fn new(cancel: Cancel) -> Self {
        Self { cancel, reason: Arc::default() }
    }

    /// Runs work for the statement, which can ask for [`Stop::current`].
    pub(crate) async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// That of the statement for which this runs.
    pub(crate) fn current() -> Result<Self> {
        let none = |_| SqlError::Internal("planning for no statement".to_owned()).into_datafusion();
        CURRENT.try_with(Self::clone).map_err(none)
    }

    /// Ends it for a reason, if it does not end already.
    pub(crate) fn end(&self, reason: SqlError) {
        let _ = self.reason.set(reason);
        self.cancel.end(Ended::Cancelled);
    }

    /// Why the statement must end, if it must.
    pub(crate) fn reason(&self) -> Option<SqlError> {
        let ended = || self.cancel.reason().map(|ended| Refused::Ended(ended).into());
        self.reason.get().cloned().or_else(ended)
    }

    /// How long work for it may wait.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.cancel.deadline(), self.cancel.token().clone())
    }

    /// Fails once the statement is to end: for what computes without giving way.
    pub(crate) fn check(&self) -> Result<()> {
        self.reason().map_or(Ok(()), |reason| Err(reason.into_datafusion()))
    }

    /// Why, once it is to end.
    ///
    /// # Cancel safety
    /// Holds nothing.
    pub(crate) async fn ended(&self) -> SqlError {
        let ended = self.cancel.ended().await;
        self.reason().unwrap_or_else(|| Refused::Ended(ended).into())
    }
}

#[cfg(test)]
mod tests;
