//! Reads committed offsets by Kafka's Admin API, for clusters that do not allow clients to read `__consumer_offsets`.
//!
//! The asker lists the groups every few seconds and requests the committed offsets of each group at a bounded rate.
//! Groups that commit are requested more often ([`schedule`]). The API does not return the time, expiry or topic id of
//! a commit, nor the generation of a group; librdkafka does not return the members of share and streams groups.

mod asker;
mod members;
mod schedule;
mod tally;
mod write;

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use crate::{
    model::{Name, Revision},
    store::{
        counter::Counter,
        latest::{LatestOffsets, Scope, SourceCounter, SourceError},
    },
};

pub(super) use asker::Asker;
pub(super) use write::{SHARD, Writer};

/// Capacity of the queue of requests.
const ROOM: usize = 1000;
/// Longest time that a request for all groups may take; a request that would take longer is rejected.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// A request for the latest offsets of one group, or of all groups.
#[derive(Debug)]
pub(super) struct Wanted {
    /// `None`: of all groups.
    group: Option<Name>,
    /// Receives the revision up to which the responses are applied.
    done: oneshot::Sender<Result<Revision, SourceError>>,
}

/// The queue from readers to the asker. It outlives the asker, which may be restarted.
#[derive(Debug, Default)]
pub(super) struct Requests {
    asker: RwLock<Option<SyncSender<Wanted>>>,
    calls: Arc<Counter>,
}

/// The receiving end of the queue, which belongs to an asker.
#[derive(Debug)]
pub(super) struct Inbox {
    wanted: Receiver<Wanted>,
    /// Number of requests to coordinators.
    calls: Arc<Counter>,
}

impl Requests {
    /// Returns the receiving end of a new queue, which gets all requests from now on.
    pub(super) fn open(&self) -> Inbox {
        let (sender, wanted) = sync_channel(ROOM);
        *self.asker.write() = Some(sender);
        Inbox { wanted, calls: Arc::clone(&self.calls) }
    }

    /// Returns a receiving end that never gets requests, for an asker that loads data which readers do not see yet.
    pub(super) fn closed(&self) -> Inbox {
        Inbox { wanted: sync_channel(1).1, calls: Arc::clone(&self.calls) }
    }

    fn send(&self, wanted: Wanted) -> Result<(), SourceError> {
        let asker = self.asker.read().clone();
        let gone = || SourceError::Unreachable { reason: "the cluster is not connected yet".to_owned() };
        asker.ok_or_else(gone)?.try_send(wanted).map_err(|error| match error {
            TrySendError::Full(_) => SourceError::Busy {
                reason: format!("{ROOM} requests for the latest offsets are waiting; try again later"),
            },
            TrySendError::Disconnected(_) => gone(),
        })
    }
}

/// The [`LatestOffsets`] of a cluster that is read by the Admin API.
#[derive(Debug)]
pub(super) struct LatestOfAdmin(pub(super) Arc<Requests>);

impl LatestOffsets for LatestOfAdmin {
    fn required_revisions<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async move {
            let group = match scope {
                Scope::Key(group, ..) => Some(Name::clone(group)),
                Scope::All => None,
            };
            let (done, told) = oneshot::channel();
            self.0.send(Wanted { group, done })?;
            let stopped = |_| SourceError::Unreachable { reason: "the source was restarted".to_owned() };
            Ok(vec![(SHARD, told.await.map_err(stopped)??)])
        }
        .boxed()
    }

    fn counters(&self) -> Vec<SourceCounter> {
        vec![SourceCounter {
            name: "offsetd_admin_calls_total",
            help: "Requests to group coordinators while committed offsets are read by the Admin API.",
            value: self.0.calls.get(),
        }]
    }
}
