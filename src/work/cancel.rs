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
    /// It needs more memory than it may use.
    #[error("more memory is needed than {} may use", if *.of_all { "all work together" } else { "one piece of work" })]
    Memory {
        /// The limit is that of all work of its kind together.
        of_all: bool,
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

impl Default for Cancel {
    /// For work without a deadline.
    fn default() -> Self {
        Self::until(CancellationToken::new())
    }
}

impl Cancel {
    /// For work that may take so long from now on.
    #[must_use]
    pub fn within(timeout: Duration) -> Self {
        Self::new(timeout, CancellationToken::new())
    }

    /// For work that ends when a token is cancelled.
    #[must_use]
    pub fn until(token: CancellationToken) -> Self {
        Self::new(Duration::MAX, token)
    }

    #[expect(clippy::disallowed_methods, reason = "bounds the work, part of no answer")]
    fn new(timeout: Duration, ended: CancellationToken) -> Self {
        // A century where the time cannot be represented.
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(3_155_760_000));
        Self(Arc::new(Inner { reason: OnceLock::new(), ended, deadline, timeout }))
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
        match self.0.reason.get() {
            Some(reason) => Some(reason.clone()),
            None if Instant::now() >= self.0.deadline => Some(self.late()),
            None => self.0.ended.is_cancelled().then_some(Ended::Cancelled),
        }
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
        let _ = timeout_at(self.0.deadline.into(), self.0.ended.cancelled()).await;
        self.reason().unwrap_or_else(|| self.late())
    }

    /// Waits for something, no longer than the work may take.
    ///
    /// # Errors
    /// The work must end.
    ///
    /// # Cancel safety
    /// That of the future.
    pub async fn in_time<F: Future>(&self, future: F) -> Result<F::Output, Ended> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            ended = self.ended() => Err(ended),
        }
    }

    fn late(&self) -> Ended {
        Ended::Deadline(self.0.timeout)
    }
}

#[cfg(test)]
mod tests;
