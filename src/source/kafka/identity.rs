//! Detects that the clients of a source reach another Kafka cluster than before.

use std::{sync::OnceLock, time::Duration};

use rdkafka::consumer::Consumer as _;
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// The Kafka cluster that all clients of a source read: the first one that any of them reached.
#[derive(Debug)]
pub(super) struct Identity {
    first: OnceLock<String>,
    other: OnceLock<String>,
    stop: CancellationToken,
}

impl Identity {
    /// Creates an identity without a cluster. `stop` is cancelled when a client reaches another cluster than the first.
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { first: OnceLock::new(), other: OnceLock::new(), stop }
    }

    /// Returns whether the client reads the same cluster as the other clients. A client without metadata, or with a
    /// broker that reports no cluster id, does not contradict that. Once any client has reached another cluster, this
    /// returns false for all.
    pub(super) fn is_same_cluster(&self, client: &Client) -> bool {
        // A zero timeout sends no request: the client keeps the id of its newest metadata.
        self.matches_first(client.client().fetch_cluster_id(Duration::ZERO))
    }

    fn matches_first(&self, id: Option<String>) -> bool {
        if let Some(id) = id
            && *self.first.get_or_init(|| id.clone()) != id
        {
            self.other.get_or_init(|| id);
            self.stop.cancel();
        }
        self.other.get().is_none()
    }

    /// Returns the token that stops the tasks of the source.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns the cluster ids before and after the change, if another cluster answers now.
    pub(super) fn change(&self) -> Option<(&str, &str)> {
        self.first.get().zip(self.other.get()).map(|(first, other)| (&**first, &**other))
    }
}

#[cfg(test)]
mod tests;
