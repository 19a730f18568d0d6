//! Changes of the status of groups, as they are noticed.

use std::sync::Arc;

use futures::{StreamExt as _, stream::SelectAll};
use tokio_stream::wrappers::WatchStream;

use super::{BATCH, client::Client};
use crate::{
    rpc::{entry, filter::Filter, proto},
    store::{cluster::Cluster, samples::StatusChange},
    work::Ended,
};

/// Sends what is noticed from now on, until the client leaves.
pub(super) fn follow(
    clusters: &[Arc<Cluster>],
    filter: &Arc<Filter>,
    client: &Arc<Client>,
) -> impl Future<Output = Result<(), Ended>> + Send + use<> {
    // Before the newest is looked up: a change that comes in between is noticed.
    let mut noticed: SelectAll<_> =
        clusters.iter().map(|cluster| WatchStream::from_changes(cluster.samples.watch_changes())).collect();
    let newest = |cluster: &Arc<Cluster>| cluster.samples.current().changes.last().map_or(0, |last| last.sequence);
    let mut sent: Vec<(Arc<Cluster>, u64)> =
        clusters.iter().map(|cluster| (Arc::clone(cluster), newest(cluster))).collect();
    let (filter, client) = (Arc::clone(filter), Arc::clone(client));
    async move {
        loop {
            tokio::select! {
                noticed = noticed.next() => if noticed.is_none() { return Ok(()) },
                () = client.outbox.closed() => return Err(Ended::Disconnected),
            }
            for (cluster, sent) in &mut sent {
                let samples = cluster.samples.current();
                let is_new = |change: &&StatusChange| change.sequence > *sent && filter.group.accepts(&change.group);
                let changes: Vec<_> =
                    samples.changes.iter().filter(is_new).map(|change| to_proto(cluster, change)).collect();
                *sent = samples.changes.last().map_or(*sent, |last| last.sequence);
                for status_changes in changes.chunks(BATCH).map(<[_]>::to_vec) {
                    let response = proto::WatchResponse { status_changes, ..proto::WatchResponse::default() };
                    client.send(response).await?;
                }
            }
        }
    }
}

fn to_proto(cluster: &Cluster, change: &StatusChange) -> proto::StatusChange {
    proto::StatusChange {
        cluster: cluster.name.to_string(),
        group_id: change.group.to_string(),
        from: change.from.as_str().to_owned(),
        to: change.to.as_str().to_owned(),
        at: entry::timestamp(change.at),
    }
}
