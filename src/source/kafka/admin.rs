//! Reads committed offsets by Kafka's Admin API, for clusters that do not allow clients to read `__consumer_offsets`.
//!
//! The poller lists the groups every few seconds and requests the committed offsets of each group at a bounded rate.
//! Groups that commit are polled more often ([`schedule`]). The API does not return the time, expiry or topic id of
//! a commit, nor the generation of a group; librdkafka does not return the members of share and streams groups.

mod poller;
mod members;
mod schedule;
mod round;
mod write;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};

use super::requests::LatestRequests;
use crate::{
    model::Revision,
    store::latest::{LatestOffsets, Scope, SourceCounter, SourceError},
};

pub(super) use poller::AdminPoller;
pub(super) use schedule::Schedule;
pub(super) use write::{AdminWriter, SHARD};

/// Maximum duration of a request for the latest offsets of all groups. Requests that would take longer are refused.
const LONGEST_ROUND: Duration = Duration::from_secs(10);

/// The [`LatestOffsets`] of a cluster that is read by the Admin API.
#[derive(Debug)]
pub(super) struct LatestOfAdmin(pub(super) Arc<LatestRequests>);

impl LatestOffsets for LatestOfAdmin {
    fn required_revisions<'a>(&'a self, scope: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async move {
            let receiver = self.0.send((SHARD, Revision(0)), scope)?;
            let stopped = |_| SourceError::Unreachable { reason: "the source was restarted".to_owned() };
            Ok(vec![(SHARD, receiver.await.map_err(stopped)??)])
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
