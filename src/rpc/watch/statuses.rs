//! Changes of the status of groups, as they are noticed.

use std::sync::Arc;

use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll},
};
use tokio_stream::wrappers::WatchStream;

use super::{BATCH, client::Client};
use crate::{
    rpc::{entry, filter::Filter, proto},
    store::{cluster::Cluster, samples::StatusChange, source::Source},
    work::Ended,
};

/// Sends what is noticed from now on, until the client leaves.
pub(super) fn follow(
    clusters: &[Arc<Cluster>],
    filter: &Arc<Filter>,
    client: &Arc<Client>,
) -> impl Future<Output = Result<(), Ended>> + Send + use<> {
    let mut followed = Followed::new(clusters);
    let (filter, client) = (Arc::clone(filter), Arc::clone(client));
    async move {
        loop {
            tokio::select! {
                noticed = followed.noticed.next() => if noticed.is_none() { return Ok(()) },
                () = client.outbox.closed() => return Err(Ended::Disconnected),
            }
            followed.add(|_| 0);
            for (source, sent) in &mut followed.sources {
                let samples = source.samples.current();
                let is_wanted = filter.accepts_source(&source.id.name);
                let is_new = |change: &&StatusChange| {
                    is_wanted && change.sequence > *sent && filter.group.accepts(&change.group)
                };
                let changes: Vec<_> =
                    samples.changes.iter().filter(is_new).map(|change| to_proto(source, change)).collect();
                *sent = samples.changes.last().map_or(*sent, |last| last.sequence);
                for status_changes in changes.chunks(BATCH).map(<[_]>::to_vec) {
                    let response = proto::WatchResponse { status_changes, ..proto::WatchResponse::default() };
                    client.send(response).await?;
                }
            }
        }
    }
}

/// The sources whose groups are followed.
struct Followed {
    clusters: Vec<Arc<Cluster>>,
    /// Each with the number of the last change that was sent.
    sources: Vec<(Arc<Source>, u64)>,
    /// Wakes for a change of a status, and for a source that was added.
    noticed: SelectAll<BoxStream<'static, ()>>,
}

impl Followed {
    fn new(clusters: &[Arc<Cluster>]) -> Self {
        let added = clusters.iter().map(|cluster| WatchStream::from_changes(cluster.watch_health()).map(drop).boxed());
        let mut followed = Self { clusters: clusters.to_vec(), sources: vec![], noticed: added.collect() };
        followed.add(|source| source.samples.current().changes.last().map_or(0, |last| last.sequence));
        followed
    }

    /// Adds the sources that are new; `sent` tells from which change on. Those that are gone are followed no longer.
    fn add(&mut self, sent: impl Fn(&Source) -> u64) {
        let all: Vec<Arc<Source>> = self.clusters.iter().flat_map(|cluster| cluster.sources()).collect();
        self.sources.retain(|(known, _)| all.iter().any(|source| Arc::ptr_eq(known, source)));
        for source in all {
            if !self.sources.iter().any(|(known, _)| Arc::ptr_eq(known, &source)) {
                // Before the number is looked up: a change that comes in between is noticed.
                self.noticed.push(WatchStream::from_changes(source.samples.watch_changes()).map(drop).boxed());
                let sent = sent(&source);
                self.sources.push((source, sent));
            }
        }
    }
}

fn to_proto(source: &Source, change: &StatusChange) -> proto::StatusChange {
    proto::StatusChange {
        cluster: source.id.cluster.to_string(),
        source: source.id.name.to_string(),
        group_id: change.group.to_string(),
        from: change.from.as_str().to_owned(),
        to: change.to.as_str().to_owned(),
        at: entry::timestamp(change.at),
    }
}
