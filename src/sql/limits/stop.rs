//! Why a statement under way is to end, and when: told to whatever works for it.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use datafusion::common::Result;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::super::error::SqlError;
use crate::store::{older::Patience, threads};

tokio::task_local! {
    /// Of the statement that the task plans: DataFusion's rules are told nothing of whom they work for.
    static CURRENT: Stop;
}

/// Ends a statement. All clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The first that was given.
    reason: OnceLock<SqlError>,
    ended: CancellationToken,
    deadline: Instant,
    timeout: Duration,
}

impl Stop {
    pub(crate) fn new(deadline: Instant, timeout: Duration) -> Self {
        let (reason, ended) = (OnceLock::new(), CancellationToken::new());
        Self(Arc::new(Inner { reason, ended, deadline, timeout }))
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
        let _ = self.0.reason.set(reason);
        self.0.ended.cancel();
    }

    /// Whether [`Stop::end`] was called.
    pub(crate) fn is_ended(&self) -> bool {
        self.0.reason.get().is_some()
    }

    /// What it may take, planning included.
    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// When it is late.
    pub(crate) fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// How long work for it may wait.
    pub(crate) fn patience(&self) -> Patience {
        Patience::new(self.0.deadline, self.0.ended.clone())
    }

    /// Fails once the statement is to end: for what computes without giving way.
    #[expect(clippy::disallowed_methods, reason = "bounds the run, part of no answer")]
    pub(crate) fn check(&self) -> Result<()> {
        threads::step();
        match self.0.reason.get() {
            Some(reason) => Err(reason.clone().into_datafusion()),
            None if Instant::now() > self.0.deadline => Err(self.late().into_datafusion()),
            None => Ok(()),
        }
    }

    /// Why, once it is to end.
    ///
    /// # Cancel safety
    /// Holds nothing.
    pub(crate) async fn ended(&self) -> SqlError {
        let ended = timeout_at(self.0.deadline.into(), self.0.ended.cancelled()).await;
        let reason = ended.ok().and_then(|()| self.0.reason.get().cloned());
        reason.unwrap_or_else(|| self.late())
    }

    fn late(&self) -> SqlError {
        SqlError::Deadline(self.0.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(timeout: Duration) -> Stop {
        #[expect(clippy::disallowed_methods, reason = "a test")]
        Stop::new(Instant::now() + timeout, timeout)
    }

    #[tokio::test]
    async fn the_first_reason_is_the_one_that_is_told() {
        let stop = stop(Duration::from_secs(3600));
        assert!(stop.check().is_ok() && !stop.is_ended());
        stop.clone().end(SqlError::ShuttingDown);
        stop.end(SqlError::Invalid("later".to_owned()));
        assert!(matches!(stop.ended().await, SqlError::ShuttingDown));
        let error = SqlError::from_datafusion(&stop.check().unwrap_err());
        assert!(matches!(error, SqlError::ShuttingDown));
    }

    #[tokio::test]
    async fn without_a_reason_it_ends_with_its_deadline() {
        let stop = stop(Duration::ZERO);
        assert!(matches!(stop.ended().await, SqlError::Deadline(_)));
        let error = SqlError::from_datafusion(&stop.check().unwrap_err());
        assert!(matches!(error, SqlError::Deadline(_)));
    }
}
