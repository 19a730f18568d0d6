//! Sources that are listed periodically: each listing is compared with the known rows.
//!
//! A store that keeps offsets as a table implements [`Listing`], and [`PolledSource`] makes a [`Source`] of it. The
//! differences that a listing shows become commits and deletions in the source's only shard, numbered in the order in
//! which they are found. A listing that fails or is incomplete deletes nothing. While the store is down, its rows stay
//! and are shown as stale.

use std::{
    fmt,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Source;
use crate::{
    clock::{Ticks, ticks},
    model::Revision,
    store::{
        ends::LogEnds,
        latest::{LatestOffsets, Scope, SourceError},
        source::ReadOutcome,
        writer::{ShardWriter, SourceWriter},
    },
};

mod entries;
mod round;

pub use entries::{EntryReader, StoreTimes, read_name};
pub use round::{ListingRound, ListingStats, Rejected, StoredOffset, Subset};

/// Longest delay until a cancelled stop token is noticed.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// Minimum pause after a listing, as a multiple of the time that the listing took. At 20, a slow store spends at most a
/// twentieth of its time on listings.
const PAUSE_FACTOR: Ticks = 20;
/// First pause after a failure, in ticks of 0.1 s. Each further failure in a row doubles it.
const MIN_PAUSE: Ticks = 10;
/// Longest pause after failures, and the pause after a refusal, in ticks of 0.1 s.
const MAX_PAUSE: Ticks = 300;
/// Maximum number of callers that wait for the next listing. Further callers get an error immediately.
const MAX_WAITING: usize = 1024;
/// Number of the only shard.
const SHARD: i32 = 0;

/// A store that can list its offsets. Its methods may block.
pub trait Listing: Send + fmt::Debug + 'static {
    /// Passes every offset of the store to `round`. Returns whether the listing is complete; rows that a complete
    /// listing does not show are deleted.
    ///
    /// # Errors
    /// Returns why the store cannot be read. Offsets passed to `round` before the error are applied, as those of an
    /// incomplete listing.
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError>;

    /// Returns the factor by which the time between two listings exceeds the interval. It is above 1 while the store
    /// reports changes itself.
    fn interval_factor(&self) -> u32 {
        1
    }

    /// Waits at most `timeout` for changes that the store reports, and reads the changed offsets into `subsets`.
    /// Returns `None`, without waiting, if the store reports no changes.
    fn follow(&mut self, timeout: Duration, subsets: &SubsetReader<'_>) -> Option<FollowOutcome> {
        let _ = (timeout, subsets);
        None
    }
}

/// The result of waiting for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowOutcome {
    /// No change was reported, or every reported change has been read.
    Read,
    /// A change was reported that only a full listing can read.
    ListAll,
}

/// A reader of parts of a store between two listings.
#[derive(Clone, Copy, Debug)]
pub struct SubsetReader<'a> {
    writer: &'a SourceWriter,
    shard: &'a ShardWriter,
}

impl SubsetReader<'_> {
    /// Returns the topics of the cluster, or `None` while they are not known.
    #[must_use]
    pub fn topics(&self) -> Option<Arc<LogEnds>> {
        round::topics(self.writer)
    }

    /// Reads a part of the store. `read` passes every offset of the part to the round, and returns whether it found
    /// all.
    ///
    /// # Errors
    /// Returns the error of `read`. Offsets found before the error are applied.
    pub fn read<E>(
        &self,
        subset: &Subset<'_>,
        read: impl FnOnce(&mut ListingRound<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let is_loaded = self.writer.source().health().ready;
        self.finish(ListingRound::of_subset(self.writer, self.shard, subset, is_loaded), read)
    }

    /// Reads changed offsets of all groups. Rows that `read` does not pass to the round stay.
    ///
    /// # Errors
    /// Returns the error of `read`. Offsets found before the error are applied.
    pub fn read_changes<E>(&self, read: impl FnOnce(&mut ListingRound<'_>) -> Result<(), E>) -> Result<(), E> {
        let is_loaded = self.writer.source().health().ready;
        let round = ListingRound::new(self.writer, self.shard, is_loaded);
        self.finish(round, |round| read(round).map(|()| false))
    }

    fn finish<E>(
        &self,
        mut round: ListingRound<'_>,
        read: impl FnOnce(&mut ListingRound<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        let result = read(&mut round);
        let seen = round.finish(matches!(result, Ok(true)));
        self.shard.reached(seen.reached);
        self.shard.progress.count(seen.changes, seen.deletions, Some(self.writer.clock().now()));
        result.map(drop)
    }
}

/// A source made of a [`Listing`].
#[derive(Debug)]
pub struct PolledSource<L> {
    listing: L,
    interval: Duration,
    requests: Receiver<ListingRequest>,
    latest: Arc<ListingRequester>,
    failures: u32,
}

/// The reply channel of a caller: it gets the revision up to which a listing that began after the request is applied.
type ListingRequest = oneshot::Sender<Result<Revision, SourceError>>;

/// A handle that requests a listing now.
#[derive(Debug)]
struct ListingRequester(SyncSender<ListingRequest>);

impl<L: Listing> PolledSource<L> {
    /// Creates a source that is listed every `interval`, or less often if a listing takes long.
    #[must_use]
    pub fn new(listing: L, interval: Duration) -> Self {
        let (sender, requests) = mpsc::sync_channel(MAX_WAITING);
        Self { listing, interval, requests, latest: Arc::new(ListingRequester(sender)), failures: 0 }
    }

    /// Lists the store once. Returns the revision up to which the shard is applied.
    fn poll(&mut self, writer: &SourceWriter, shard: &ShardWriter) -> Result<Revision, SourceError> {
        let clock = writer.clock();
        let begun = clock.ticks();
        let is_loaded = writer.source().health().ready;
        if !is_loaded {
            shard.target(Revision(0), Revision(0), begun);
        }
        let mut round = ListingRound::new(writer, shard, is_loaded);
        let listed = self.listing.list(&mut round);
        let seen = round.finish(listed == Ok(true));
        shard.reached(seen.reached);
        let took = clock.ticks().saturating_sub(begun);
        match listed {
            Ok(is_complete) => {
                self.failures = 0;
                shard.progress.count(seen.entries, seen.deletions, Some(clock.now()));
                writer.succeeded(ReadOutcome {
                    entries: seen.entries,
                    unmatched: seen.unmatched,
                    malformed: seen.malformed,
                    ambiguous: seen.ambiguous,
                    forbidden: seen.forbidden,
                    last_rejected: seen.last_rejected,
                    read_at: clock.now(),
                    seconds: f64::from(took) / 10.0,
                    interval: self.interval(),
                });
                if is_complete && !is_loaded {
                    writer.loaded();
                }
                Ok(seen.reached)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                writer.unreachable(error.to_string());
                Err(error)
            }
        }
    }

    /// Returns the time between two listings.
    fn interval(&self) -> Duration {
        self.interval * self.listing.interval_factor()
    }

    /// Returns the pause after a listing that took `took` ticks.
    fn pause_after(&self, took: Ticks, result: &Result<Revision, SourceError>) -> Ticks {
        match result {
            Ok(_) => ticks(self.interval()).max(took.saturating_mul(PAUSE_FACTOR)),
            Err(SourceError::Forbidden { .. }) => MAX_PAUSE,
            Err(SourceError::Unreachable { .. } | SourceError::Busy { .. }) => {
                let doubled = MIN_PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(6));
                doubled.min(MAX_PAUSE)
            }
        }
    }
}

impl<L: Listing> Source for PolledSource<L> {
    type Error = SourceError;

    fn latest(&self) -> Arc<dyn LatestOffsets> {
        Arc::<ListingRequester>::clone(&self.latest)
    }

    fn run(mut self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), SourceError> {
        let shard = writer.shard(SHARD).unwrap_or_else(|| {
            let shard = writer.new_shard(SHARD);
            writer.publish(&shard);
            shard
        });
        let (mut due, mut earliest, mut earliest_all) = (0, 0, 0);
        let mut waiting: Vec<ListingRequest> = vec![];
        while !stop.is_cancelled() {
            let now = writer.clock().ticks();
            let is_due = now >= due || (!waiting.is_empty() && now >= earliest);
            if !is_due {
                match self.listing.follow(STOP_CHECK_INTERVAL, &SubsetReader { writer: &writer, shard: &shard }) {
                    None => waiting.extend(self.requests.recv_timeout(STOP_CHECK_INTERVAL)),
                    Some(FollowOutcome::Read) => {}
                    Some(FollowOutcome::ListAll) => due = due.min(earliest_all),
                }
                waiting.extend(self.requests.try_iter().take(MAX_WAITING));
                waiting.retain(|request| !request.is_closed());
                continue;
            }
            // A caller that arrives during this listing waits for the next one: this one may already have read the
            // caller's key.
            waiting.extend(self.requests.try_iter().take(MAX_WAITING));
            let result = self.poll(&writer, &shard);
            for request in waiting.drain(..) {
                // The caller may have gone away.
                let _ = request.send(result.clone());
            }
            let ended = writer.clock().ticks();
            due = ended.saturating_add(self.pause_after(ended.saturating_sub(now), &result));
            let pause = if result.is_ok() { ended.saturating_sub(now).saturating_mul(PAUSE_FACTOR) } else { MIN_PAUSE };
            earliest_all = ended.saturating_add(pause);
            earliest = if result.is_ok() { ended } else { ended.saturating_add(MIN_PAUSE) };
        }
        Ok(())
    }
}

impl LatestOffsets for ListingRequester {
    fn required_revisions<'a>(&'a self, _: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async move { Ok(vec![(SHARD, send(&self.0, |reply| reply).await?)]) }.boxed()
    }
}

/// Sends a request to the thread of a source and waits for the reply.
pub(super) async fn send<R, T>(
    queue: &SyncSender<R>,
    request: impl FnOnce(oneshot::Sender<Result<T, SourceError>>) -> R,
) -> Result<T, SourceError> {
    let (sender, reply) = oneshot::channel();
    let failed = |reason: &str| SourceError::Unreachable { reason: reason.to_owned() };
    queue.try_send(request(sender)).map_err(|error| match error {
        TrySendError::Full(_) => failed("too many requests are waiting for the source; retry later"),
        TrySendError::Disconnected(_) => failed("the source is no longer read"),
    })?;
    reply.await.map_err(|_| failed("the source is no longer read"))?
}

#[cfg(test)]
mod tests;
