//! Pages of responses, and page tokens.

use std::{collections::VecDeque, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hashbrown::DefaultHashBuilder;
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use prost::Message;
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher as _;

use crate::{
    clock::{Clock, Ticks},
    error::Error,
    model::{Millis, Name, Status},
    rpc::{counts::StatusCounts, proto::GetConsumerRequest},
    store::{cut::Cut, shard::GroupSet},
};

const DEFAULT_SIZE: i32 = 1000;
const MAX_SIZE: i32 = 10_000;
/// Time for which the order of a paged listing is retained (ticks of 100 ms).
const ORDER_TICKS: Ticks = 600;
/// Maximum number of retained orders; the oldest is dropped first.
const MAX_ORDERS: usize = 128;

/// Returns the size of a page. 0 selects the default, and a size above the maximum is reduced to it.
///
/// # Errors
/// The size is negative.
pub(super) fn size(requested: i32) -> Result<usize, Error> {
    size_within(requested, DEFAULT_SIZE, MAX_SIZE)
}

/// Returns the size of a page with another default and maximum.
///
/// # Errors
/// The size is negative.
pub(super) fn size_within(requested: i32, default: i32, most: i32) -> Result<usize, Error> {
    let size = match requested {
        0 => default,
        requested => requested.min(most),
    };
    usize::try_from(size).map_err(|_| Error::Invalid(format!("page_size {requested} is negative")))
}

/// Maximum size of a response message (bytes). Most clients reject messages of more than 4 MiB.
const MAX_MESSAGE_BYTES: usize = 3 << 20;

/// The remaining room of a response message, as a number of items and of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize {
    items: usize,
    bytes: usize,
}

impl PageSize {
    /// Returns the room of an empty message with at most `items` items.
    pub(super) fn new(items: usize) -> Self {
        Self::within(items, MAX_MESSAGE_BYTES)
    }

    /// Returns the room of an empty message with at most `items` items and `bytes` bytes. One item always fits.
    pub(super) fn within(items: usize, bytes: usize) -> Self {
        Self { items, bytes: bytes.min(MAX_MESSAGE_BYTES) }
    }

    /// Subtracts an item.
    pub(super) fn add(&mut self, item: &impl Message) {
        self.items = self.items.saturating_sub(1);
        self.add_bytes(item);
    }

    /// Subtracts the bytes of a part that is not an item.
    pub(super) fn add_bytes(&mut self, part: &impl Message) {
        self.bytes = self.bytes.saturating_sub(part.encoded_len());
    }

    /// Returns whether no item fits any more.
    pub(super) fn is_full(&self) -> bool {
        self.items == 0 || self.bytes == 0
    }
}

/// A page token: the start of the next page, and the hash of its request.
#[derive(Debug, Serialize, Deserialize)]
struct Token<T> {
    request: u64,
    next: T,
}

/// Encodes and decodes the page tokens of one request.
#[derive(Debug)]
pub(super) struct Tokens {
    request: u64,
}

impl Tokens {
    /// Returns the tokens of a request, of which token and page size must be cleared.
    pub(super) fn new(request: &impl Message) -> Self {
        // FNV-1a without a seed: all replicas compute the same hash, so that another replica can return the next page.
        let hash = request
            .encode_to_vec()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Self { request: hash }
    }

    pub(super) fn write<T: Serialize>(&self, next: T) -> String {
        let token = Token { request: self.request, next };
        // Serializing strings and numbers cannot fail.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// Decodes a token; `None` for the first page.
    ///
    /// # Errors
    /// The token is invalid, or belongs to another request.
    pub(super) fn read<T: for<'de> Deserialize<'de>>(&self, token: &str) -> Result<Option<T>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let bad = || Error::Invalid("page_token is invalid; use the next_page_token of a response".to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let token: Token<T> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if token.request != self.request {
            return Err(Error::Invalid("page_token belongs to another request; only page_size may change".to_owned()));
        }
        Ok(Some(token.next))
    }
}

/// Cluster, group id and source.
pub(super) type GroupKey = (Name, Name, Name);

/// The request of a listing without its page, and the time within which its groups must be active.
pub(super) type ListingRequest = (GetConsumerRequest, Option<Millis>);

/// The groups of a listing in order, as of one cut.
#[derive(Debug, Default)]
pub(super) struct RankedGroups {
    pub(super) keys: Vec<GroupKey>,
    /// Status of each group; empty if the statuses were not needed.
    pub(super) statuses: Vec<Status>,
    /// Number of groups of the listing apart from its condition on the status; empty likewise.
    pub(super) counts: StatusCounts,
}

/// Retained orders of paged listings that are sorted by a column with changing values.
#[derive(Debug, Default)]
pub(super) struct ListingOrders {
    orders: Mutex<VecDeque<ListingOrder>>,
    ids: DefaultHashBuilder,
}

#[derive(Debug)]
struct ListingOrder {
    id: u64,
    started: Ticks,
    order: Arc<RankedGroups>,
}

impl ListingOrders {
    /// Retains an order and returns its id.
    pub(super) fn retain(&self, clock: &Clock, order: Arc<RankedGroups>) -> u64 {
        let started = clock.ticks();
        let mut orders = self.orders.lock();
        orders.retain(|order| started.saturating_sub(order.started) <= ORDER_TICKS);
        let newest = orders.back().map_or(0, |order| order.id);
        // The hasher has a random seed, so that ids cannot be guessed from each other.
        let id = self.ids.hash_one((newest, started, order.keys.len()));
        if orders.len() >= MAX_ORDERS {
            orders.pop_front();
        }
        orders.push_back(ListingOrder { id, started, order });
        id
    }

    /// Returns a retained order.
    ///
    /// # Errors
    /// The order has expired or was dropped.
    pub(super) fn find(&self, clock: &Clock, id: u64) -> Result<Arc<RankedGroups>, Error> {
        let now = clock.ticks();
        let orders = self.orders.lock();
        let order = orders.iter().find(|order| order.id == id && now.saturating_sub(order.started) <= ORDER_TICKS);
        order
            .map(|order| Arc::clone(&order.order))
            .ok_or_else(|| Error::Invalid("page_token has expired after 60 s; start with the first page".to_owned()))
    }
}

/// Time for which a ranking is reused by other calls (ticks of 100 ms).
const RANKING_TICKS: Ticks = 10;
/// Maximum number of retained rankings.
const MAX_RANKINGS: usize = 4;

/// Sorted lists of groups, shared by calls with the same request. Dashboards poll often, and sorting requires a scan of
/// every offset.
#[derive(Debug, Default)]
pub(super) struct Rankings(Mutex<VecDeque<Arc<Ranking>>>);

#[derive(Debug)]
struct Ranking {
    request: ListingRequest,
    taken: Ticks,
    groups: Vec<GroupSet>,
    /// Computed by the first call, outside of the lock. Other calls with the same request wait for it.
    ranked: OnceCell<Arc<RankedGroups>>,
}

impl Rankings {
    /// Returns the ranking for a request. It may be up to one second old, unless a group was added or removed since.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn get<E>(
        &self,
        clock: &Clock,
        cut: &Cut,
        request: ListingRequest,
        make: impl FnOnce() -> Result<RankedGroups, E>,
    ) -> Result<Arc<RankedGroups>, E> {
        let taken = clock.ticks();
        let groups: Vec<GroupSet> =
            cut.sources.iter().flat_map(|cluster| cluster.shards.iter().map(|shard| shard.groups.set())).collect();
        let ranking = {
            let mut kept = self.0.lock();
            kept.retain(|ranking| taken.saturating_sub(ranking.taken) <= RANKING_TICKS);
            let known = kept.iter().find(|kept| kept.request == request && kept.groups == groups);
            known.map(Arc::clone).unwrap_or_else(|| {
                if kept.len() >= MAX_RANKINGS {
                    kept.pop_front();
                }
                let ranking = Arc::new(Ranking { request, taken, groups, ranked: OnceCell::new() });
                kept.push_back(Arc::clone(&ranking));
                ranking
            })
        };
        ranking.ranked.get_or_try_init(|| make().map(Arc::new)).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests;
