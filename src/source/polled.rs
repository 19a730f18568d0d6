//! Sources that are asked what they hold, again and again: each listing is compared with what is known.
//!
//! A store that keeps offsets as a table implements [`Listing`], and [`Polled`] makes a source of it. Each listing becomes
//! commits and deletions in the source's only shard, numbered in the order in which they were found. A listing that breaks
//! off, or is not complete, deletes nothing. While the store is down, its rows stay and are shown as stale.

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
        ends::Ends,
        latest::{Latest, Scope, SourceError},
        source::Reading,
        writer::{ShardWriter, SourceWriter},
    },
};

mod round;

pub use round::{Listed, Part, Rejected, Round, Seen};

/// Longest wait before a stop is noticed.
const TICK: Duration = Duration::from_millis(50);
/// The next listing begins no earlier than so many times the length of the last one after it, so that a slow store is read
/// for a twentieth of the time at most.
const REST: Ticks = 20;
/// The first pause after a failure; each further one takes twice as long.
const FIRST_PAUSE: Ticks = 10;
/// The longest pause after failures, and the pause after a refusal.
const LONGEST_PAUSE: Ticks = 600;
/// Callers that wait for a listing. Beyond, they are told at once that it is too many.
const WAITING: usize = 1024;
/// The number of the only shard.
const SHARD: i32 = 0;

/// Lists what a store holds. May block.
pub trait Listing: Send + fmt::Debug + 'static {
    /// Hands every offset that there is to `round`. Returns whether the listing is complete: what it misses was deleted.
    ///
    /// # Errors
    /// Why the store cannot be read. What was handed over before counts, as of a listing that is not complete.
    fn list(&mut self, round: &mut Round<'_>) -> Result<bool, SourceError>;

    /// How many times longer than the interval the time between two listings is, while the store tells of changes.
    fn stretch(&self) -> u32 {
        1
    }

    /// Waits at most so long for changes that the store tells of, and reads what changed into `parts`. `None`: the store tells of
    /// none, and was not waited for.
    fn follow(&mut self, patience: Duration, parts: &Parts<'_>) -> Option<Told> {
        let _ = (patience, parts);
        None
    }
}

/// What a store told of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing, or what it told of has been read.
    Read,
    /// Something that can only be read with everything.
    ListAll,
}

/// Reads parts of a store between two listings.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    writer: &'a SourceWriter,
    shard: &'a ShardWriter,
}

impl Parts<'_> {
    /// The topics of the cluster; `None` while they are not known.
    #[must_use]
    pub fn topics(&self) -> Option<Arc<Ends>> {
        round::topics(self.writer)
    }

    /// Reads a part: `read` hands over all that there is of it, and returns whether that is complete.
    ///
    /// # Errors
    /// As of `read`. What was handed over before counts.
    pub fn read<E>(&self, part: &Part<'_>, read: impl FnOnce(&mut Round<'_>) -> Result<bool, E>) -> Result<(), E> {
        let is_loaded = self.writer.source().health().ready;
        let mut round = Round::of_part(self.writer, self.shard, part, is_loaded);
        let result = read(&mut round);
        let seen = round.finish(matches!(result, Ok(true)));
        self.shard.reached(seen.reached);
        self.shard.progress.count(seen.changes, seen.deletions, Some(self.writer.clock().now()));
        result.map(drop)
    }
}

/// A source made of listings.
#[derive(Debug)]
pub struct Polled<L> {
    listing: L,
    interval: Duration,
    requests: Receiver<Request>,
    latest: Arc<Asker>,
    failures: u32,
}

/// Told when a listing that began after the request is applied: up to which revision.
pub(super) type Request = oneshot::Sender<Result<Revision, SourceError>>;

/// Asks for a listing now.
#[derive(Debug)]
pub(super) struct Asker(pub(super) SyncSender<Request>);

impl<L: Listing> Polled<L> {
    /// A source that is listed every `interval`, or more seldom if that takes long.
    #[must_use]
    pub fn new(listing: L, interval: Duration) -> Self {
        let (sender, requests) = mpsc::sync_channel(WAITING);
        Self { listing, interval, requests, latest: Arc::new(Asker(sender)), failures: 0 }
    }

    /// Lists once. Returns up to which revision the shard is applied then.
    fn poll(&mut self, writer: &SourceWriter, shard: &ShardWriter) -> Result<Revision, SourceError> {
        let clock = writer.clock();
        let begun = clock.ticks();
        let is_loaded = writer.source().health().ready;
        if !is_loaded {
            shard.target(Revision(0), Revision(0), begun);
        }
        let mut round = Round::new(writer, shard, is_loaded);
        let listed = self.listing.list(&mut round);
        let seen = round.finish(listed == Ok(true));
        shard.reached(seen.reached);
        let took = clock.ticks().saturating_sub(begun);
        match listed {
            Ok(is_complete) => {
                self.failures = 0;
                shard.progress.count(seen.entries, seen.deletions, Some(clock.now()));
                writer.succeeded(Reading {
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

    /// Time between two listings.
    fn interval(&self) -> Duration {
        self.interval * self.listing.stretch()
    }

    /// How long to rest after a listing that took so long.
    fn rest(&self, took: Ticks, result: &Result<Revision, SourceError>) -> Ticks {
        match result {
            Ok(_) => ticks(self.interval()).max(took.saturating_mul(REST)),
            Err(SourceError::Forbidden { .. }) => LONGEST_PAUSE,
            Err(SourceError::Unreachable { .. } | SourceError::Busy { .. }) => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.saturating_sub(1).min(6));
                doubled.min(LONGEST_PAUSE)
            }
        }
    }
}

impl<L: Listing> Source for Polled<L> {
    type Error = SourceError;

    fn latest(&self) -> Arc<dyn Latest> {
        Arc::<Asker>::clone(&self.latest)
    }

    fn run(mut self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), SourceError> {
        let shard = writer.shard(SHARD).unwrap_or_else(|| {
            let shard = writer.new_shard(SHARD);
            writer.publish(&shard);
            shard
        });
        let (mut due, mut earliest, mut earliest_all) = (0, 0, 0);
        let mut waiting: Vec<Request> = vec![];
        while !stop.is_cancelled() {
            let now = writer.clock().ticks();
            let is_due = now >= due || (!waiting.is_empty() && now >= earliest);
            if !is_due {
                match self.listing.follow(TICK, &Parts { writer: &writer, shard: &shard }) {
                    None => waiting.extend(self.requests.recv_timeout(TICK)),
                    Some(Told::Read) => {}
                    Some(Told::ListAll) => due = due.min(earliest_all),
                }
                waiting.extend(self.requests.try_iter().take(WAITING));
                waiting.retain(|request| !request.is_closed());
                continue;
            }
            // Who asks while the listing is under way waits for the next: this one may have read the key already.
            waiting.extend(self.requests.try_iter().take(WAITING));
            let result = self.poll(&writer, &shard);
            for request in waiting.drain(..) {
                // The caller may have gone.
                let _ = request.send(result.clone());
            }
            let ended = writer.clock().ticks();
            due = ended.saturating_add(self.rest(ended.saturating_sub(now), &result));
            let pause = if result.is_ok() { ended.saturating_sub(now).saturating_mul(REST) } else { FIRST_PAUSE };
            earliest_all = ended.saturating_add(pause);
            earliest = if result.is_ok() { ended } else { ended.saturating_add(FIRST_PAUSE) };
        }
        Ok(())
    }
}

impl Latest for Asker {
    fn reach<'a>(&'a self, _: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async move {
            let (sender, answer) = oneshot::channel();
            let failed = |reason: &str| SourceError::Unreachable { reason: reason.to_owned() };
            self.0.try_send(sender).map_err(|error| match error {
                TrySendError::Full(_) => failed("too many requests wait for the next listing"),
                TrySendError::Disconnected(_) => failed("the source is not read any more"),
            })?;
            let revision = answer.await.map_err(|_| failed("the source is not read any more"))??;
            Ok(vec![(SHARD, revision)])
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
