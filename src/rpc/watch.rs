//! The Watch call: a stream of changes of committed offsets, as they are applied.
//!
//! A shard returns its view and its stream of changes under one lock, so `include_current` neither misses nor repeats a
//! change. The ring of changes is bounded. A client that lags behind it receives a `resync` with the number of missed
//! changes, followed by the current entries of the missed keys: those with records after the last delivered change. If
//! keys were deleted meanwhile, or changed out of the order of the log, all entries of the shard follow instead, and
//! keys that are not among them no longer exist.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures::{
    StreamExt as _,
    future::{OptionFuture, abortable},
    stream::SelectAll,
};
use tokio::sync::{
    OwnedSemaphorePermit,
    broadcast::error::{RecvError, TryRecvError},
};
use tokio_stream::wrappers::WatchStream;
use tonic::Status;
use tracing::{Instrument as _, Span};

use super::{
    Shared,
    entry::{self, EntryKey},
    filter::Filter,
    proto,
};
use crate::{
    error::Error,
    model::Revision,
    store::{
        Store, Unready,
        cluster::{Cluster, Health},
        event::{Change, ShardKey},
        group::{ReadAhead, StoredCommit},
        shard::{HiddenGroups, Shard, ShardView},
        source::Source,
    },
    work::{EndReason, outbox},
};

mod client;
mod statuses;
mod selection;

use client::{OpenWatch, Pinned, WatchClient};
use selection::WatchSelection;

pub(super) type Stream = Pin<Box<dyn futures::Stream<Item = Result<proto::WatchResponse, Status>> + Send>>;

/// Maximum number of changes in one message.
const BATCH: usize = 500;

pub(super) fn watch(
    shared: &Shared,
    request: proto::WatchRequest,
    permit: OwnedSemaphorePermit,
) -> Result<Stream, Error> {
    let (store, server, stop) = (Arc::clone(shared.store()), &shared.server, shared.stop.clone());
    let filter = Arc::new(Filter::new(request.filter)?);
    if filter.with_lag_only {
        return Err(Error::Invalid("filter.with_lag_only: Watch reports commits, not log ends; unset it".to_owned()));
    }
    let selection = WatchSelection::new(&store, &filter)?;
    let checks: Vec<_> = selection.clusters().iter().map(|cluster| check_loaded(&store, cluster)).collect();
    if !request.allow_partial
        && let Some(Err(error)) = checks.first()
        && checks.iter().all(Result::is_err)
    {
        return Err(error.clone().into());
    }
    let (outbox, inbox) = outbox(server.watch_bytes, &store.work().unread.bytes);
    let client = Arc::new(WatchClient::new(outbox, store, server));
    let statuses = request.include_status_changes.then(|| statuses::follow(selection.clone(), &filter, &client));
    // A separate task, because a stream that the client does not read is not polled and could not end by itself.
    let task = async move {
        let _permit = permit;
        let _open = OpenWatch::new(client.store());
        let commits = run(&selection, filter, request.include_current, &client);
        let statuses = async { OptionFuture::from(statuses).await.unwrap_or(Ok(())) };
        let watch = async { tokio::try_join!(commits, statuses) };
        let error = tokio::select! {
            // Checked first, so that the removal of a cluster or source is not reported as deletions.
            biased;
            error = selection.removed() => error,
            over = watch => match over {
                Ok(_) | Err(EndReason::Disconnected) => return,
                Err(ended) => Error::from(ended),
            },
            () = stop.cancelled() => Error::Unavailable("the server is shutting down".to_owned()),
        };
        client.outbox.fail(Err(error.into()));
    };
    tokio::spawn(task.instrument(Span::current()));
    Ok(Box::pin(futures::stream::poll_fn(move |context| inbox.poll_next(context))))
}

/// Fails if no source of a cluster is loaded.
fn check_loaded(store: &Store, cluster: &Cluster) -> Result<(), Unready> {
    let is_loaded = cluster.sources().iter().any(|source| source.health().ready);
    if is_loaded { Ok(()) } else { store.check_loaded(cluster) }
}

/// Wakes when the health or the shards of a source change.
type Changes = SelectAll<WatchStream<Arc<Health>>>;

fn changes(sources: &[Arc<Source>]) -> Changes {
    sources.iter().map(|source| WatchStream::from_changes(source.watch_health())).collect()
}

/// Watches every shard of the selected clusters, including shards that are added later.
async fn run(
    selection: &WatchSelection,
    filter: Arc<Filter>,
    include_current: bool,
    client: &WatchClient,
) -> Result<(), EndReason> {
    // Subscribe before reading the sources and shards, so that no change in between is missed.
    let mut source_changes = selection.changes();
    let mut sources = selection.sources();
    let mut changes = self::changes(&sources);
    let mut current = vec![];
    for shard in shards_of(&sources) {
        let (follower, view) = ShardFollower::new(&shard, &filter);
        // One shard after the other, so that at most one view is pinned.
        if include_current {
            follower.send_entries(&client.pin(view), Revision::NONE, client).await?;
        }
        current.push(follower);
    }
    if include_current {
        client.send(proto::WatchResponse { current_complete: true, ..proto::WatchResponse::default() }).await?;
    }
    let mut followed = futures::stream::FuturesUnordered::new();
    let mut shards = HashMap::new();
    for follower in current {
        let (key, version) = (follower.shard.key.clone(), follower.version());
        let (follow, abort) = abortable(follower.follow(client));
        shards.insert(key, (version, abort));
        followed.push(follow);
    }
    loop {
        tokio::select! {
            Some(ended) = followed.next(), if !followed.is_empty() => if let Ok(Err(over)) = ended { return Err(over) },
            Some(_) = changes.next() => {}
            Ok(()) = source_changes.changed() => {
                sources = selection.sources();
                changes = self::changes(&sources);
            }
            () = client.outbox.closed() => return Err(EndReason::Disconnected),
        }
        let gone: Vec<ShardKey> = shards.keys().filter(|key| !is_there(&sources, key)).cloned().collect();
        for key in gone {
            let Some(((epoch, _), abort)) = shards.remove(&key) else { continue };
            abort.abort();
            // No entries follow: all entries of the shard were removed.
            let position = shard_position(&key, epoch + 1, 0);
            let resync = proto::Resync { position: Some(position), missed: None, full: true };
            client.send(proto::WatchResponse { resync: Some(resync), ..proto::WatchResponse::default() }).await?;
        }
        for shard in shards_of(&sources) {
            let before = shards.get(&shard.key);
            if before.is_some_and(|((epoch, hidden), _)| *epoch == shard.epoch && *hidden == shard.hidden()) {
                continue;
            }
            let rebuilt = before.is_some();
            before.iter().for_each(|(_, abort)| abort.abort());
            // The shard is new, was rebuilt, or shows other groups, so the client needs all of its entries.
            client.outbox.wait_for_room().await?;
            let (follower, view) = ShardFollower::new(&shard, &filter);
            if rebuilt {
                follower.resync(None, true, view, Revision::NONE, client).await?;
            } else {
                follower.send_entries(&client.pin(view), Revision::NONE, client).await?;
            }
            let version = follower.version();
            let (follow, abort) = abortable(follower.follow(client));
            shards.insert(shard.key.clone(), (version, abort));
            followed.push(follow);
        }
    }
}

fn shards_of(sources: &[Arc<Source>]) -> impl Iterator<Item = Arc<Shard>> {
    sources.iter().flat_map(|source| source.shards())
}

fn is_there(sources: &[Arc<Source>], key: &ShardKey) -> bool {
    let shard = sources.iter().find(|source| source.id == key.source).and_then(|source| source.shard(key.number));
    shard.is_some_and(|shard| shard.key == *key)
}

/// Sends the changes of one shard.
struct ShardFollower {
    shard: Arc<Shard>,
    changes: tokio::sync::broadcast::Receiver<Arc<Change>>,
    filter: Arc<Filter>,
    /// Number of the last change that was delivered or skipped, and its revision.
    sequence: u64,
    revision: Revision,
    /// Groups of the shard that were hidden when the follower was created.
    hidden: HiddenGroups,
}

impl ShardFollower {
    fn new(shard: &Arc<Shard>, filter: &Arc<Filter>) -> (Self, Arc<ShardView>) {
        let (view, changes) = shard.subscribe();
        let follower = Self {
            shard: Arc::clone(shard),
            changes,
            filter: Arc::clone(filter),
            sequence: view.sequence,
            revision: view.last,
            hidden: HiddenGroups::clone(&view.hidden),
        };
        (follower, view)
    }

    /// Returns the version of the shard that is followed. If it changes, the shard needs a new follower.
    fn version(&self) -> (u64, HiddenGroups) {
        (self.shard.epoch, HiddenGroups::clone(&self.hidden))
    }

    /// Sends changes until the shard is replaced or the client disconnects.
    async fn follow(mut self, client: &WatchClient) -> Result<(), EndReason> {
        loop {
            let first = match self.changes.recv().await {
                Ok(change) => change,
                Err(RecvError::Closed) => return Ok(()),
                Err(RecvError::Lagged(_)) => {
                    self.catch_up(client).await?;
                    continue;
                }
            };
            let (mut changes, mut size, mut lagged) = (vec![], client.message(), false);
            let mut next = Some(first);
            while let Some(change) = next {
                self.sequence = change.sequence;
                self.revision = change.revision;
                if let Some(change) = self.change(&change) {
                    size.add(&change);
                    changes.push(change);
                }
                next = match if size.is_full() { Err(TryRecvError::Empty) } else { self.changes.try_recv() } {
                    Ok(change) => Some(change),
                    Err(TryRecvError::Lagged(_)) => {
                        // Send the changes that are left in the ring, then one resync.
                        lagged = true;
                        None
                    }
                    Err(TryRecvError::Empty | TryRecvError::Closed) => None,
                };
            }
            let response = proto::WatchResponse { changes, ..proto::WatchResponse::default() };
            if !response.changes.is_empty() {
                client.send(response).await?;
            }
            if lagged {
                self.catch_up(client).await?;
            }
        }
    }

    /// Reports how many changes were missed, and sends the current entries of the missed keys.
    async fn catch_up(&mut self, client: &WatchClient) -> Result<(), EndReason> {
        // Wait for room before pinning a view, so that a client that does not read pins none.
        client.outbox.wait_for_room().await?;
        let (view, changes) = self.shard.subscribe();
        self.changes = changes;
        let missed = view.sequence.saturating_sub(self.sequence);
        let full = view.last_full > self.sequence;
        let after = if full { Revision::NONE } else { self.revision };
        self.sequence = view.sequence;
        self.revision = view.last;
        self.resync(Some(missed), full, view, after, client).await
    }

    /// Reports that changes were missed, and sends the current entries with records after `after`.
    async fn resync(
        &self,
        missed: Option<u64>,
        full: bool,
        view: Arc<ShardView>,
        after: Revision,
        client: &WatchClient,
    ) -> Result<(), EndReason> {
        let view = client.pin(view);
        let resync = proto::Resync { position: Some(position(&view, view.sequence)), missed, full };
        let response = proto::WatchResponse { resync: Some(resync), ..proto::WatchResponse::default() };
        client.send_pinned(response, &view).await?;
        self.send_entries(&view, after, client).await
    }

    /// Sends the current entries with records after `after`.
    async fn send_entries(&self, view: &Pinned, after: Revision, client: &WatchClient) -> Result<(), EndReason> {
        if !self.filter.accepts_source(&view.key.source.name) {
            return Ok(());
        }
        let (mut changes, mut size) = (vec![], client.message());
        let shown = view.groups.unordered(ReadAhead::Offsets).filter(|group| !view.hidden.contains(&group.id));
        for group in shown.filter(|group| self.filter.group.accepts(&group.id)) {
            for at in group.entries().filter(|at| { at.row.revision } > after) {
                if !self.filter.accepts_key(at.topic, at.row.partition) {
                    continue;
                }
                let key = EntryKey { shard: &view.key, group: &group.id, topic: at.topic };
                let change = proto::OffsetChange {
                    position: Some(position(view, view.sequence)),
                    old: None,
                    new: Some(entry::committed(key, at.row, at.extras)),
                    current: true,
                };
                size.add(&change);
                changes.push(change);
                if size.is_full() {
                    size = client.message();
                    let changes = std::mem::take(&mut changes);
                    client.send_pinned(proto::WatchResponse { changes, ..Default::default() }, view).await?;
                }
            }
            // Yield, because many groups may have no matching entries.
            tokio::task::consume_budget().await;
        }
        if changes.is_empty() {
            return Ok(());
        }
        client.send_pinned(proto::WatchResponse { changes, ..Default::default() }, view).await
    }

    fn change(&self, change: &Change) -> Option<proto::OffsetChange> {
        let wanted = self.filter.accepts_source(&self.shard.key.source.name)
            && self.filter.accepts_key(&change.topic, change.partition)
            && self.filter.group.accepts(&change.group);
        let key = EntryKey { shard: &self.shard.key, group: &change.group, topic: &change.topic };
        let entry = |of: &StoredCommit| entry::committed(key, &of.row, of.extras.as_ref());
        wanted.then(|| proto::OffsetChange {
            position: Some(shard_position(&self.shard.key, self.shard.epoch, change.sequence)),
            old: change.old.as_ref().map(entry),
            new: change.new.as_ref().map(entry),
            current: false,
        })
    }
}

fn position(view: &ShardView, sequence: u64) -> proto::ShardPosition {
    shard_position(&view.key, view.epoch, sequence)
}

fn shard_position(key: &ShardKey, epoch: u64, sequence: u64) -> proto::ShardPosition {
    proto::ShardPosition {
        cluster: key.source.cluster.to_string(),
        source: key.source.name.to_string(),
        log_partition: key.number,
        epoch,
        sequence,
    }
}
