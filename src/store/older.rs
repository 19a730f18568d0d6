//! Samples that are older than those in memory: what a store of them can be asked.

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::model::{Millis, Name};

/// How long an answer is waited for: until a time, and until nobody waits any more. The default waits for ever.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    until: Option<Instant>,
    gone: CancellationToken,
}

impl Patience {
    /// Until a time, or until the token is cancelled.
    #[must_use]
    pub fn new(until: Instant, gone: CancellationToken) -> Self {
        Self { until: Some(until), gone }
    }

    /// For so long, or until the token is cancelled.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "bounds the wait, part of no answer")]
    pub fn within(timeout: Duration, gone: CancellationToken) -> Self {
        Self { until: Instant::now().checked_add(timeout), gone }
    }

    /// Until the token is cancelled.
    #[must_use]
    pub fn until_cancelled(gone: CancellationToken) -> Self {
        Self { until: None, gone }
    }

    /// Whether nobody waits any more. What was found by then is not all there is.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "bounds the wait, part of no answer")]
    pub fn is_over(&self) -> bool {
        self.gone.is_cancelled() || self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Waits until nobody waits any more.
    pub async fn over(&self) {
        let gone = self.gone.cancelled();
        match self.until {
            Some(until) => tokio::time::timeout_at(until.into(), gone).await.unwrap_or_default(),
            None => gone.await,
        }
    }
}

/// What a key was at a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// The next offset that the group would read.
    pub committed_offset: i64,
    /// High watermark.
    pub log_end_offset: Option<i64>,
    /// How far behind.
    pub lag: Option<i64>,
}

/// Which samples are wanted.
#[derive(Clone, Debug)]
pub struct Question {
    /// Name of the cluster.
    pub cluster: Name,
    /// Times of samples.
    pub times: RangeInclusive<Millis>,
    /// Only these groups, in order; `None`: all.
    pub groups: Option<Vec<String>>,
    /// Only groups whose id starts so.
    pub prefix: String,
    /// Only groups from this id on.
    pub first: String,
    /// The keys end early once it is over.
    pub patience: Patience,
}

/// A key and what it was: a row stands until the next, for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Archived {
    /// Group id.
    pub group: Name,
    /// Topic name.
    pub topic: Name,
    /// Partition of the topic.
    pub partition: i32,
    /// By time; `None`: it was gone.
    pub rows: Vec<(Millis, Option<Point>)>,
    /// How long the last row before a time stands for it.
    pub stands_for: Millis,
}

impl Archived {
    /// What it was at the time of a sample.
    #[must_use]
    pub fn at(&self, time: Millis) -> Option<Point> {
        let after = self.rows.partition_point(|(at, _)| *at <= time);
        let (at, point) = self.rows.get(after.checked_sub(1)?)?;
        point.filter(|_| time.saturating_sub(*at) <= self.stands_for)
    }
}

/// An answer.
pub struct Older {
    /// The times of samples that were asked for, in order.
    pub times: Vec<Millis>,
    /// The keys, ordered by group, topic and partition. Taking one may wait for the store.
    pub keys: Box<dyn Iterator<Item = Archived> + Send>,
}

impl std::fmt::Debug for Older {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Older").field("times", &self.times.len()).finish_non_exhaustive()
    }
}

/// How a store does.
#[derive(Clone, Debug, Default)]
pub struct OlderStatus {
    /// What the last attempts to write, to read and to tidy failed with; `None` once each that failed has succeeded.
    pub last_error: Option<String>,
    /// Attempts that failed.
    pub failures: u64,
    /// Files written.
    pub files: u64,
    /// Files that cannot be read and are left alone.
    pub unreadable: u64,
    /// Some of these, and why.
    pub skipped: BTreeMap<String, String>,
    /// Time of the newest sample written, of all clusters.
    pub written_to: Option<Millis>,
}

/// A store of older samples. Blocks: not for async code.
pub trait OlderSamples: Send + Sync + std::fmt::Debug {
    /// Asks for samples. A store that fails has none, and its status says so.
    fn ask(&self, question: Question) -> Option<Older>;

    /// How it does.
    fn status(&self) -> OlderStatus;
}
