//! Requests the current ends of log partitions for readers with freshness `LATEST`.
//!
//! Concurrent readers share requests: one is in flight per leader, and one for the number of log partitions. A reader
//! that arrives while a request is in flight joins the next one, because the broker may already have handled the one in
//! flight.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    super::live_source::{LiveSource, PartitionEnds, RequestError},
    Log,
};
use crate::{
    model::{Name, OFFSETS_TOPIC},
    store::cluster::Cluster,
};

/// Timeout of a request. It is the same for all callers because they share requests; a caller may stop waiting earlier.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The requests in flight, each with the round of readers that the next request will serve.
#[derive(Debug, Default)]
pub(super) struct SharedRequests(Mutex<HashMap<SharedRequest, Option<RequestBatch>>>);

/// The kind of a shared request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum SharedRequest {
    /// The ends of log partitions that have this leader.
    Ends(Option<i32>),
    /// The number of log partitions. The result is stored under partition 0.
    Count,
}

/// The readers that share one request.
#[derive(Debug)]
struct RequestBatch {
    partitions: BTreeSet<i32>,
    answer: watch::Sender<Option<Arc<PartitionEnds>>>,
}

impl Log {
    /// Requests the high watermarks of log partitions, with one request per leader.
    ///
    /// # Errors
    /// The high watermark of a partition could not be read.
    ///
    /// # Cancel safety
    /// Dropping the future leaves no state behind; the response to a request in flight is dropped.
    pub(crate) async fn current_ends(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        partitions: Vec<i32>,
    ) -> Result<BTreeMap<i32, i64>, RequestError> {
        let mut by_leader: BTreeMap<Option<i32>, Vec<i32>> = BTreeMap::new();
        let ends = cluster.ends.current();
        let topic = ends.topic(OFFSETS_TOPIC);
        for number in partitions {
            let index = usize::try_from(number).ok();
            let known = topic.zip(index).and_then(|(topic, index)| topic.partitions.get(index));
            by_leader.entry(known.and_then(|known| known.leader)).or_default().push(number);
        }
        let answers = by_leader.into_iter().map(|(leader, partitions)| {
            let answer = self.join(cluster, SharedRequest::Ends(leader), &partitions);
            async move {
                let answer = response(answer).await?;
                let end = |number: &i32| {
                    let end = answer.get(number).cloned().unwrap_or(Err(RequestError::UnexpectedResponse));
                    end.map(|end| (*number, end)).map_err(|error| error.in_log_partition(*number))
                };
                partitions.iter().map(end).collect::<Result<Vec<_>, RequestError>>()
            }
        });
        Ok(try_join_all(answers).await?.into_iter().flatten().collect())
    }

    /// Requests the number of log partitions. Returns `None` if the source does not provide it.
    ///
    /// # Errors
    /// The cluster did not answer.
    ///
    /// # Cancel safety
    /// As [`Log::current_ends`].
    pub(crate) async fn current_log_partitions(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
    ) -> Result<Option<i32>, RequestError> {
        let answer = response(self.join(cluster, SharedRequest::Count, &[])).await?;
        let count = answer.get(&0).cloned().transpose()?;
        Ok(count.and_then(|count| i32::try_from(count).ok()))
    }

    /// Joins the next request of its kind, and sends it if none is in flight.
    fn join(
        self: &Arc<Self>,
        cluster: &Arc<Cluster>,
        request: SharedRequest,
        partitions: &[i32],
    ) -> watch::Receiver<Option<Arc<PartitionEnds>>> {
        let mut shared = self.shared.0.lock();
        let is_idle = !shared.contains_key(&request);
        let new = || RequestBatch { partitions: BTreeSet::new(), answer: watch::Sender::new(None) };
        let batch = shared.entry(request).or_default().get_or_insert_with(new);
        batch.partitions.extend(partitions);
        let answer = batch.answer.subscribe();
        if is_idle {
            let (log, name) = (Arc::clone(self), Name::clone(&cluster.name));
            tokio::task::spawn_blocking(move || log.send_batches(&name, request));
        }
        answer
    }

    /// Sends requests of one kind until no caller waits for a response.
    fn send_batches(&self, cluster: &Name, request: SharedRequest) {
        loop {
            let mut shared = self.shared.0.lock();
            let Some(batch) = shared.get_mut(&request).and_then(Option::take) else {
                shared.remove(&request);
                return;
            };
            drop(shared);
            let partitions: Vec<i32> = match request {
                SharedRequest::Ends(_) => batch.partitions.into_iter().collect(),
                SharedRequest::Count => vec![0],
            };
            let answer = send(self.live().as_deref(), cluster, request, &partitions);
            let all = |error: RequestError| partitions.iter().map(|number| (*number, Err(error.clone()))).collect();
            batch.answer.send_replace(Some(Arc::new(answer.unwrap_or_else(all))));
        }
    }
}

fn send(
    source: Option<&dyn LiveSource>,
    cluster: &Name,
    request: SharedRequest,
    partitions: &[i32],
) -> Result<PartitionEnds, RequestError> {
    match (request, source) {
        (SharedRequest::Ends(_), Some(source)) => source.log_ends(partitions, REQUEST_TIMEOUT),
        (SharedRequest::Ends(_), None) => Err(RequestError::NotConnected { cluster: Name::clone(cluster) }),
        (SharedRequest::Count, Some(source)) => {
            let count = source.log_partitions(REQUEST_TIMEOUT)?;
            Ok(count.map(|count| (0, Ok(i64::from(count)))).into_iter().collect())
        }
        (SharedRequest::Count, None) => Ok(PartitionEnds::new()),
    }
}

async fn response(mut answer: watch::Receiver<Option<Arc<PartitionEnds>>>) -> Result<Arc<PartitionEnds>, RequestError> {
    let answer = answer.wait_for(Option::is_some).await.map_err(|_| RequestError::UnexpectedResponse)?;
    answer.clone().ok_or(RequestError::UnexpectedResponse)
}

#[cfg(test)]
mod tests;
