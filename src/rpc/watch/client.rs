//! What a watch sends to its client.

use std::sync::{Arc, atomic::Ordering};

use prost::Message as _;
use tonic::Status;

use super::BATCH;
use crate::{
    config,
    rpc::{paging::PageSize, proto},
    store::{Store, held::Pin, shard::ShardView},
    work::{Cancel, Ended, Outbox, Patience},
};

/// Messages that the bytes of a watch have room for.
const MESSAGES: usize = 4;
/// All current entries of a log partition may take as many times the time that one message may.
const STALLS: u32 = 10;

/// What a shard was when it was subscribed to, kept while it is sent.
pub(super) type Pinned = Pin<ShardView>;

/// What is sent to a client that watches.
pub(super) struct Client {
    pub(super) outbox: Outbox<Result<proto::WatchResponse, Status>>,
    store: Arc<Store>,
    message_bytes: usize,
    patience: Patience,
}

impl Client {
    pub(super) fn new(
        outbox: Outbox<Result<proto::WatchResponse, Status>>,
        store: Arc<Store>,
        server: &config::Server,
    ) -> Self {
        let patience = Patience { after: server.stall_timeout, setting: "server.stall_timeout" };
        Self { outbox, store, message_bytes: server.watch_bytes / MESSAGES, patience }
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Sends a message when there is room for it, however long that takes.
    pub(super) async fn send(&self, response: proto::WatchResponse) -> Result<(), Ended> {
        let bytes = response.encoded_len();
        self.outbox.send(Ok(response), bytes, None).await
    }

    /// Sends a message while a state is pinned for the client, which must read in time.
    pub(super) async fn send_pinned(&self, response: proto::WatchResponse, pin: &Pinned) -> Result<(), Ended> {
        let bytes = response.encoded_len();
        pin.cancel().in_time(self.outbox.send(Ok(response), bytes, Some(self.patience))).await?
    }

    pub(super) fn message(&self) -> PageSize {
        PageSize::within(BATCH, self.message_bytes)
    }

    /// Pins what a shard was when it was subscribed to.
    pub(super) fn pin(&self, view: Arc<ShardView>) -> Pinned {
        self.store.held().pin(view, &Cancel::within(self.patience.after.saturating_mul(STALLS)))
    }
}

/// Counts a watch while it is open.
pub(super) struct Open(Arc<Store>);

impl Open {
    pub(super) fn new(store: &Arc<Store>) -> Self {
        store.work().watches.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(store))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.work().watches.fetch_sub(1, Ordering::Relaxed);
    }
}
