//! Whether the cluster that answers is still the one that is read.

use rdkafka::consumer::Consumer as _;

use super::Poller;
use crate::source::kafka::now;

impl Poller {
    /// Whether the answers that were just taken are of the cluster that is read. After a lost connection another may
    /// answer: metadata tells which.
    pub(super) fn is_same_cluster(&mut self) -> bool {
        self.client.serve();
        if self.client.context().failures() != self.failures {
            let interval = self.refresh_metadata();
            self.due.metadata = now() + interval;
        }
        self.client.context().failures() == self.failures && self.identity.holds(&self.client)
    }
}
