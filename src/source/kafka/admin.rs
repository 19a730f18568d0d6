//! Offsets by Kafka's Admin API, for clusters whose `__consumer_offsets` nobody may read.
//!
//! Groups are listed every few seconds; each is asked for what it has committed, those that move more often, at a bounded
//! pace ([`schedule`]). Its coordinator tells no time of a commit, no expiry, no topic id and no generation, and of groups
//! of other protocols than classic and KIP-848 no members: these are not known here.

mod asker;
mod members;
mod schedule;
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

use super::ask::AskError;
use crate::{
    config,
    model::{Name, Revision},
    store::latest::{Latest, Scope, SourceError},
};

pub(super) use asker::Asker;
pub(super) use write::{SHARD, Writer};

/// Readers that wait for the latest at once.
const ROOM: usize = 1000;
/// How long readers of all groups wait at most: where a round takes longer, they are refused.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// A reader that wants the latest of a group, or of all.
#[derive(Debug)]
pub(super) struct Wanted {
    /// `None`: of all groups.
    group: Option<Name>,
    /// Told the revision up to which the answers are applied.
    done: oneshot::Sender<Result<Revision, AskError>>,
}

/// The way from readers to the part that asks, which may be started again.
#[derive(Debug)]
pub(super) struct Requests {
    settings: config::Admin,
    asker: RwLock<Option<SyncSender<Wanted>>>,
}

impl Requests {
    /// Nobody takes requests yet.
    pub(super) fn new(settings: config::Admin) -> Self {
        Self { settings, asker: RwLock::default() }
    }

    /// Gives the requests from now on to a new part.
    pub(super) fn open(&self) -> Receiver<Wanted> {
        let (sender, receiver) = sync_channel(ROOM);
        *self.asker.write() = Some(sender);
        receiver
    }

    fn send(&self, wanted: Wanted) -> Result<(), SourceError> {
        let asker = self.asker.read().clone();
        let gone = || SourceError::Unreachable { reason: "the cluster is not asked yet".to_owned() };
        asker.ok_or_else(gone)?.try_send(wanted).map_err(|error| match error {
            TrySendError::Full(_) => {
                SourceError::Busy { reason: format!("{ROOM} readers wait already for the latest; try again later") }
            }
            TrySendError::Disconnected(_) => gone(),
        })
    }
}

/// What answers readers of the latest: groups are asked for them ahead of all others.
#[derive(Debug)]
pub(super) struct LatestOfAdmin {
    requests: Arc<Requests>,
    count: Arc<dyn GroupCount>,
}

/// How many groups there are.
pub(super) trait GroupCount: Send + Sync + std::fmt::Debug {
    /// As of the last listing.
    fn groups(&self) -> usize;
}

impl LatestOfAdmin {
    /// Asks by way of `requests`.
    pub(super) fn new(requests: Arc<Requests>, count: Arc<dyn GroupCount>) -> Self {
        Self { requests, count }
    }

    fn check(&self, scope: &Scope) -> Result<(), SourceError> {
        let (groups, calls) = (self.count.groups(), self.requests.settings.calls_per_second);
        let seconds = groups.div_ceil(calls.max(1));
        match scope {
            Scope::All if seconds as u64 > LONGEST_ROUND.as_secs() => Err(SourceError::Busy {
                reason: format!(
                    "to ask for the latest of {groups} groups takes {seconds} s at admin.calls_per_second = {calls}; \
                     ask for one group, or raise that setting"
                ),
            }),
            Scope::All | Scope::Key(..) => Ok(()),
        }
    }
}

impl Latest for LatestOfAdmin {
    fn reach<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async move {
            self.check(scope)?;
            let group = match scope {
                Scope::Key(group, ..) => Some(Name::clone(group)),
                Scope::All => None,
            };
            let (done, told) = oneshot::channel();
            self.requests.send(Wanted { group, done })?;
            let stopped = |_| SourceError::Unreachable { reason: "the source was started again".to_owned() };
            Ok(vec![(SHARD, told.await.map_err(stopped)??)])
        }
        .boxed()
    }
}
