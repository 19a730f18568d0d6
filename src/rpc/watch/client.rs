//! The sending side of a watch.

use std::sync::{Arc, atomic::Ordering};

use prost::Message as _;
use tonic::Status;

use super::BATCH;
use crate::{
    config,
    rpc::{paging::PageSize, proto},
    store::{Store, pins::Pin, shard::ShardView},
    work::{CancelHandle, EndReason, Outbox, StallTimeout},
};

/// Number of messages for which the byte limit of a watch has room.
const BUFFERED_MESSAGES: usize = 4;
/// All current entries of a log partition must be read within this multiple of the stall timeout.
const STALL_FACTOR: u32 = 10;

/// The view of a shard at the time of subscription, pinned while it is sent.
pub(super) type Pinned = Pin<ShardView>;

/// Sends messages to the client of a watch.
pub(super) struct WatchClient {
    pub(super) outbox: Outbox<Result<proto::WatchResponse, Status>>,
    store: Arc<Store>,
    message_bytes: usize,
    stall_timeout: StallTimeout,
}

impl WatchClient {
    pub(super) fn new(
        outbox: Outbox<Result<proto::WatchResponse, Status>>,
        store: Arc<Store>,
        server: &config::Server,
    ) -> Self {
        let stall_timeout = StallTimeout { after: server.stall_timeout, setting: "server.stall_timeout" };
        Self { outbox, store, message_bytes: server.watch_bytes / BUFFERED_MESSAGES, stall_timeout }
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Sends a message as soon as there is room for it, without a time limit.
    pub(super) async fn send(&self, response: proto::WatchResponse) -> Result<(), EndReason> {
        let bytes = response.encoded_len();
        self.outbox.send(Ok(response), bytes, None).await
    }

    /// Sends a message while a view is pinned. Fails if the client does not read in time.
    pub(super) async fn send_pinned(&self, response: proto::WatchResponse, pin: &Pinned) -> Result<(), EndReason> {
        let bytes = response.encoded_len();
        pin.cancel().run_until_ended(self.outbox.send(Ok(response), bytes, Some(self.stall_timeout))).await?
    }

    pub(super) fn message(&self) -> PageSize {
        PageSize::within(BATCH, self.message_bytes)
    }

    /// Pins the view of a shard.
    pub(super) fn pin(&self, view: Arc<ShardView>) -> Pinned {
        self.store.pins().pin(view, &CancelHandle::within(self.stall_timeout.after.saturating_mul(STALL_FACTOR)))
    }
}

/// Counts a watch as open until dropped.
pub(super) struct OpenWatch(Arc<Store>);

impl OpenWatch {
    pub(super) fn new(store: &Arc<Store>) -> Self {
        store.work().watches.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(store))
    }
}

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.work().watches.fetch_sub(1, Ordering::Relaxed);
    }
}
