//! What ends work under way.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// Why work was ended before it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// Its deadline passed.
    #[error("not done within {0:?} (the call's deadline, or the server's)")]
    Deadline(Duration),
    /// Its client disconnected.
    #[error("the client disconnected")]
    Disconnected,
    /// Its client read nothing for so long.
    #[error("the client read nothing for {after:?} (setting `{setting}`)")]
    Stalled {
        /// The time that was allowed.
        after: Duration,
        /// Key in the configuration.
        setting: &'static str,
    },
    /// It retained more memory than any other reader when all together retained too much.
    #[error(
        "readers retain more than {cap} bytes of replaced data, and this one retains the most of them, {bytes} bytes \
         (setting `sql.max_held_bytes`)"
    )]
    Retained {
        /// Bytes that it retained.
        bytes: usize,
        /// Bytes that all may retain.
        cap: usize,
    },
    /// Too many answers wait for their clients.
    #[error("{paused} answers wait for their client to read (setting `{setting}`)")]
    Unread {
        /// How many.
        paused: usize,
        /// Key in the configuration.
        setting: &'static str,
    },
    /// It was cancelled for a reason that its owner knows.
    #[error("cancelled")]
    Cancelled,
}

/// Ends work: by its deadline, or for a reason. All clones end together.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The first that was given.
    reason: OnceLock<Ended>,
    ended: CancellationToken,
    deadline: Instant,
    timeout: Duration,
}

impl Cancel {
    /// For work that may take so long from now on.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "bounds the work, part of no answer")]
    pub fn within(timeout: Duration) -> Self {
        // A century where the time cannot be represented.
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(3_155_760_000));
        Self(Arc::new(Inner { reason: OnceLock::new(), ended: CancellationToken::new(), deadline, timeout }))
    }

    /// Ends the work for a reason, unless it has ended. Past the deadline, the deadline is the reason.
    pub fn end(&self, reason: Ended) {
        let _ = self.0.reason.set(self.reason().unwrap_or(reason));
        self.0.ended.cancel();
    }

    /// Returns why the work must end, if it must.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "bounds the work, part of no answer")]
    pub fn reason(&self) -> Option<Ended> {
        let reason = self.0.reason.get().cloned();
        reason.or_else(|| (Instant::now() >= self.0.deadline).then(|| self.late()))
    }

    /// Fails once the work must end. Loops over many rows call it every few thousand.
    ///
    /// # Errors
    /// The reason.
    pub fn check(&self) -> Result<(), Ended> {
        self.reason().map_or(Ok(()), Err)
    }

    /// Waits until the work must end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) -> Ended {
        let ended = timeout_at(self.0.deadline.into(), self.0.ended.cancelled()).await;
        ended.ok().and_then(|()| self.0.reason.get().cloned()).unwrap_or_else(|| self.late())
    }

    /// When the work must be done.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// The time that the work was given.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// Cancelled when the work is ended for a reason; not by the deadline.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.0.ended
    }

    fn late(&self) -> Ended {
        Ended::Deadline(self.0.timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_counts() {
        let cancel = Cancel::within(Duration::from_secs(3600));
        assert_eq!(cancel.check(), Ok(()));
        cancel.clone().end(Ended::Disconnected);
        cancel.end(Ended::Cancelled);
        assert_eq!((cancel.check(), cancel.ended().await), (Err(Ended::Disconnected), Ended::Disconnected));
    }

    #[tokio::test]
    async fn without_a_reason_work_ends_at_its_deadline() {
        let cancel = Cancel::within(Duration::ZERO);
        cancel.end(Ended::Disconnected);
        assert_eq!(
            (cancel.check(), cancel.ended().await),
            (Err(Ended::Deadline(Duration::ZERO)), Ended::Deadline(Duration::ZERO))
        );
        assert_eq!(Cancel::within(Duration::MAX).check(), Ok(()));
    }
}
