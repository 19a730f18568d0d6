//! Pages and their tokens.

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
    model::Name,
    rpc::proto::GetConsumerRequest,
    store::{cut::Cut, shard::GroupSet},
};

const DEFAULT_SIZE: i32 = 1000;
const MAX_SIZE: i32 = 10_000;
/// How long the order of a walk is kept.
const WALK_TICKS: Ticks = 600;
/// Walks kept at once; the oldest goes first.
const WALKS: usize = 128;

/// The page size asked for, within bounds.
///
/// # Errors
/// A negative size.
pub(super) fn size(asked: i32) -> Result<usize, Error> {
    size_within(asked, DEFAULT_SIZE, MAX_SIZE)
}

/// The same, with other bounds.
///
/// # Errors
/// A negative size.
pub(super) fn size_within(asked: i32, default: i32, most: i32) -> Result<usize, Error> {
    let size = match asked {
        0 => default,
        asked => asked.min(most),
    };
    usize::try_from(size).map_err(|_| Error::Invalid(format!("page_size {asked} is negative")))
}

/// Most clients refuse messages of more than 4 MiB.
const MAX_MESSAGE_BYTES: usize = 3 << 20;

/// How much fits into one message: so many items, and so many bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageSize {
    items: usize,
    bytes: usize,
}

impl PageSize {
    /// An empty message with room for at most `items`.
    pub(super) fn new(items: usize) -> Self {
        Self::within(items, MAX_MESSAGE_BYTES)
    }

    /// An empty message with room for at most so many items, and so many bytes or one item.
    pub(super) fn within(items: usize, bytes: usize) -> Self {
        Self { items, bytes: bytes.min(MAX_MESSAGE_BYTES) }
    }

    /// Takes the room of an item.
    pub(super) fn add(&mut self, item: &impl Message) {
        self.items = self.items.saturating_sub(1);
        self.add_bytes(item);
    }

    /// Takes the bytes of something that is no item.
    pub(super) fn add_bytes(&mut self, part: &impl Message) {
        self.bytes = self.bytes.saturating_sub(part.encoded_len());
    }

    /// Whether there is no room left.
    pub(super) fn is_full(&self) -> bool {
        self.items == 0 || self.bytes == 0
    }
}

/// A token: where the next page starts, bound to the request that it belongs to.
#[derive(Debug, Serialize, Deserialize)]
struct Token<T> {
    request: u64,
    next: T,
}

/// Makes and reads the tokens of one request.
#[derive(Debug)]
pub(super) struct Tokens {
    request: u64,
}

impl Tokens {
    /// `request` must have its token and page size cleared.
    pub(super) fn new(request: &impl Message) -> Self {
        // The same in every replica, so that a walk may go on at another: FNV-1a, not seeded.
        let hash = request
            .encode_to_vec()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Self { request: hash }
    }

    pub(super) fn write<T: Serialize>(&self, next: T) -> String {
        let token = Token { request: self.request, next };
        // Strings and numbers always serialize.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).unwrap_or_default())
    }

    /// `None` for the first page.
    ///
    /// # Errors
    /// A token that is none, or of another request.
    pub(super) fn read<T: for<'de> Deserialize<'de>>(&self, token: &str) -> Result<Option<T>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let bad = || Error::Invalid("page_token is not one of this server's".to_owned());
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let token: Token<T> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        if token.request != self.request {
            return Err(Error::Invalid("page_token belongs to another request: only page_size may change".to_owned()));
        }
        Ok(Some(token.next))
    }
}

/// (cluster, group id, source).
pub(super) type GroupKey = (Name, Name, Name);

/// The orders of walks over columns that move, kept for a while.
#[derive(Debug, Default)]
pub(super) struct Walks {
    walks: Mutex<VecDeque<Walk>>,
    ids: DefaultHashBuilder,
}

#[derive(Debug)]
struct Walk {
    id: u64,
    started: Ticks,
    order: Arc<Vec<GroupKey>>,
}

impl Walks {
    /// Keeps an order; returns its id.
    pub(super) fn keep(&self, clock: &Clock, order: Arc<Vec<GroupKey>>) -> u64 {
        let started = clock.ticks();
        let mut walks = self.walks.lock();
        walks.retain(|walk| started.saturating_sub(walk.started) <= WALK_TICKS);
        let newest = walks.back().map_or(0, |walk| walk.id);
        // Not to be guessed from another: the hasher is seeded at random.
        let id = self.ids.hash_one((newest, started, order.len()));
        if walks.len() >= WALKS {
            walks.pop_front();
        }
        walks.push_back(Walk { id, started, order });
        id
    }

    /// An order kept before.
    ///
    /// # Errors
    /// It was let go.
    pub(super) fn find(&self, clock: &Clock, id: u64) -> Result<Arc<Vec<GroupKey>>, Error> {
        let now = clock.ticks();
        let walks = self.walks.lock();
        let walk = walks.iter().find(|walk| walk.id == id && now.saturating_sub(walk.started) <= WALK_TICKS);
        walk.map(|walk| Arc::clone(&walk.order))
            .ok_or_else(|| Error::Invalid("page_token has expired: an ordered walk is kept for 60 s".to_owned()))
    }
}

/// How long a ranking answers other calls.
const RANKING_TICKS: Ticks = 10;
/// Rankings kept at once.
const RANKINGS: usize = 4;

/// Orders of groups by columns that move, shared by calls of one moment: dashboards ask again and again, and an order takes
/// a walk over every offset.
#[derive(Debug, Default)]
pub(super) struct Rankings(Mutex<VecDeque<Arc<Ranking>>>);

#[derive(Debug)]
struct Ranking {
    request: GetConsumerRequest,
    taken: Ticks,
    groups: Vec<GroupSet>,
    /// Made by the first call, outside of the lock; calls that ask for the same wait for it.
    keys: OnceCell<Arc<Vec<GroupKey>>>,
}

impl Rankings {
    /// The ranking that a request asks for: one of at most a second ago, unless a group came or went since.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn get<E>(
        &self,
        clock: &Clock,
        cut: &Cut,
        request: GetConsumerRequest,
        make: impl FnOnce() -> Result<Vec<GroupKey>, E>,
    ) -> Result<Arc<Vec<GroupKey>>, E> {
        let taken = clock.ticks();
        let groups: Vec<GroupSet> =
            cut.clusters.iter().flat_map(|cluster| cluster.shards.iter().map(|shard| shard.groups.set())).collect();
        let ranking = {
            let mut kept = self.0.lock();
            kept.retain(|ranking| taken.saturating_sub(ranking.taken) <= RANKING_TICKS);
            let known = kept.iter().find(|kept| kept.request == request && kept.groups == groups);
            known.map(Arc::clone).unwrap_or_else(|| {
                if kept.len() >= RANKINGS {
                    kept.pop_front();
                }
                let ranking = Arc::new(Ranking { request, taken, groups, keys: OnceCell::new() });
                kept.push_back(Arc::clone(&ranking));
                ranking
            })
        };
        ranking.keys.get_or_try_init(|| make().map(Arc::new)).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests;
