//! Status changes of groups in a watch.

use std::sync::Arc;

use futures::{StreamExt as _, stream::SelectAll};
use tokio_stream::wrappers::WatchStream;

use super::{BATCH, client::WatchClient, selection::WatchSelection};
use crate::{
    rpc::{entry, filter::Filter, proto},
    store::{samples::StatusChange, source::Source},
    work::EndReason,
};

/// Sends the status changes that the sampler detects from now on, until the client disconnects.
pub(super) fn follow(
    selection: WatchSelection,
    filter: &Arc<Filter>,
    client: &Arc<WatchClient>,
) -> impl Future<Output = Result<(), EndReason>> + Send + use<> {
    // Subscribe before reading the newest sequence numbers, so that no change in between is missed.
    let mut source_changes = selection.changes();
    let sources = selection.sources();
    let mut noticed = changes(&sources);
    let newest = |source: &Arc<Source>| source.samples.current().changes.last().map_or(0, |last| last.sequence);
    let mut sent: Vec<(Arc<Source>, u64)> = sources.iter().map(|source| (Arc::clone(source), newest(source))).collect();
    let (filter, client) = (Arc::clone(filter), Arc::clone(client));
    async move {
        loop {
            tokio::select! {
                Some(_) = noticed.next() => {}
                Ok(()) = source_changes.changed() => {
                    let sources = selection.sources();
                    noticed = changes(&sources);
                    sent.retain(|(known, _)| sources.iter().any(|source| Arc::ptr_eq(source, known)));
                    let is_new = |source: &Arc<Source>| !sent.iter().any(|(known, _)| Arc::ptr_eq(source, known));
                    let new: Vec<_> = sources.iter().filter(|source| is_new(source)).map(|of| (Arc::clone(of), 0)).collect();
                    sent.extend(new);
                }
                () = client.outbox.closed() => return Err(EndReason::Disconnected),
            }
            for (source, sent) in &mut sent {
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

fn changes(sources: &[Arc<Source>]) -> SelectAll<WatchStream<u64>> {
    sources.iter().map(|source| WatchStream::from_changes(source.samples.watch_changes())).collect()
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
