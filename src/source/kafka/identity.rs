//! Which Kafka cluster the clients of one source read.

use std::{sync::OnceLock, time::Duration};

use rdkafka::consumer::Consumer as _;
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// The Kafka cluster that all clients of a source read: the first that one of them reached.
#[derive(Debug)]
pub(super) struct Identity {
    first: OnceLock<String>,
    other: OnceLock<String>,
    stop: CancellationToken,
}

impl Identity {
    /// No client has reached a cluster yet. When one reaches another cluster than the first, `stop` is cancelled.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { first: OnceLock::new(), other: OnceLock::new(), stop }
    }

    /// Whether the client's metadata is of the cluster that the other clients read. A client that has no metadata yet, or
    /// whose broker tells no id, has shown nothing else. Once a client is of another cluster, the answer is no for all.
    pub(super) fn holds(&self, client: &Client) -> bool {
        // Does not ask: the client keeps the id of its newest metadata.
        self.is_first(client.client().fetch_cluster_id(Duration::ZERO))
    }

    fn is_first(&self, id: Option<String>) -> bool {
        if let Some(id) = id
            && *self.first.get_or_init(|| id.clone()) != id
        {
            self.other.get_or_init(|| id);
            self.stop.cancel();
        }
        self.other.get().is_none()
    }

    /// The token that ends the parts of the source.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// The ids of the cluster that was read and of the other one that answers now, if one does.
    pub(super) fn change(&self) -> Option<(&str, &str)> {
        self.first.get().zip(self.other.get()).map(|(first, other)| (&**first, &**other))
    }
}

#[cfg(test)]
mod tests;
