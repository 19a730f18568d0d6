//! Cancellation of running work: by a deadline, or for a reason.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

/// The reason why work was ended before it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndReason {
    /// The deadline passed.
    #[error("not done within {0:?}, the deadline of the call or of the server")]
    Deadline(Duration),
    /// The client disconnected.
    #[error("the client disconnected")]
    Disconnected,
    /// The client read nothing within the allowed time.
    #[error("the client read nothing for {after:?} (setting `{setting}`)")]
    Stalled {
        /// The allowed time.
        after: Duration,
        /// The setting of the allowed time.
        setting: &'static str,
    },
    /// The readers together retained too much, and this one retained the most.
    #[error(
        "readers retain more than {cap} bytes of replaced data, and this one retains the most, {bytes} bytes \
         (setting `sql.max_held_bytes`)"
    )]
    Retained {
        /// Bytes that this reader retained.
        bytes: usize,
        /// Bytes that all readers together may retain.
        cap: usize,
    },
    /// Too many answers wait for their clients to read.
    #[error("{paused} answers are waiting for this client to read (setting `{setting}`)")]
    Unread {
        /// Answers of this client that wait.
        paused: usize,
        /// The setting that limits them.
        setting: &'static str,
    },
    /// The work needs more memory than it may use.
    #[error("the memory limit of {} is exceeded", if *.of_all { "all jobs together" } else { "one job" })]
    Memory {
        /// Whether the limit of all jobs of the kind was exceeded, rather than that of one job.
        of_all: bool,
    },
    /// The owner of the work cancelled it.
    #[error("cancelled")]
    Cancelled,
}

/// The cancel handle of running work: a deadline, and a reason to end earlier. Clones share both.
#[derive(Clone, Debug)]
pub struct CancelHandle(Arc<CancelState>);

#[derive(Debug)]
struct CancelState {
    /// The first reason given.
    reason: OnceLock<EndReason>,
    /// Cancelled when the work must end before its deadline.
    ended: CancellationToken,
    deadline: Instant,
    /// The time allowed from the start, for the error text.
    timeout: Duration,
}

impl Default for CancelHandle {
    /// Returns a handle without a deadline.
    fn default() -> Self {
        Self::with_token(CancellationToken::new())
    }
}

impl CancelHandle {
    /// Returns a handle with a deadline `timeout` from now.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self::new(timeout, CancellationToken::new())
    }

    /// Returns a handle that ends the work when `token` is cancelled.
    #[must_use]
    pub fn with_token(token: CancellationToken) -> Self {
        Self::new(Duration::MAX, token)
    }

    #[expect(clippy::disallowed_methods, reason = "limits the run time; not part of an answer")]
    fn new(timeout: Duration, ended: CancellationToken) -> Self {
        // A deadline that cannot be represented is replaced by one in a century.
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(3_155_760_000));
        Self(Arc::new(CancelState { reason: OnceLock::new(), ended, deadline, timeout }))
    }

    /// Ends the work for a reason, unless it was ended before. After the deadline, the deadline is the reason.
    pub fn end(&self, reason: EndReason) {
        let _ = self.0.reason.set(self.reason().unwrap_or(reason));
        self.0.ended.cancel();
    }

    /// Returns why the work must end, or `None` while it may run.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "limits the run time; not part of an answer")]
    pub fn reason(&self) -> Option<EndReason> {
        match self.0.reason.get() {
            Some(reason) => Some(reason.clone()),
            None if Instant::now() >= self.0.deadline => Some(self.deadline_reason()),
            None => self.0.ended.is_cancelled().then_some(EndReason::Cancelled),
        }
    }

    /// Fails once the work must end. A loop over many rows calls it every few thousand rows.
    ///
    /// # Errors
    /// The reason why the work must end.
    pub fn check(&self) -> Result<(), EndReason> {
        self.reason().map_or(Ok(()), Err)
    }

    /// Waits until the work must end.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ended(&self) -> EndReason {
        let _ = timeout_at(self.0.deadline.into(), self.0.ended.cancelled()).await;
        self.reason().unwrap_or_else(|| self.deadline_reason())
    }

    /// Waits for a future, at most until the work must end.
    ///
    /// # Errors
    /// The reason why the work must end.
    ///
    /// # Cancel safety
    /// As cancel safe as the future.
    pub async fn run_until_ended<F: Future>(&self, future: F) -> Result<F::Output, EndReason> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            ended = self.ended() => Err(ended),
        }
    }

    fn deadline_reason(&self) -> EndReason {
        EndReason::Deadline(self.0.timeout)
    }
}

#[cfg(test)]
mod tests;
