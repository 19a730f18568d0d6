//! Looks behind open transactions, so that plain commits there show as Kafka's own tools show them.
//!
//! The readers stop at the last stable offset: an open transaction freezes its whole log partition,
//! with the commits of all other groups behind it. Where that lasts (`freeze`), one more consumer
//! reads what lies behind, whoever wrote it (`range`), and the coordinators of the groups that have
//! records there say what is committed, at a bounded pace and only when there is something new. The
//! record that an answer means is shown early (`Shard::show_early`). When the transaction ends, the
//! readers replay all of it, and nothing jumps back.
//!
//! Without open transactions this asks nothing and holds no connection.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        mpsc::{self, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

mod asks;
mod freeze;
mod look;
mod range;

use asks::{Asks, Waiting};
use freeze::Freezes;
use look::{Look, Shards};

use super::{
    client::{Client, Connector},
    coordinator::TIMEOUT,
    ffi::{Admin, ReplyContent, Spec},
    identity::Identity,
    now,
};
use crate::{
    config,
    model::OFFSETS_TOPIC,
    source::kafka::Log,
    source::kafka::ask::Settle,
    store::{
        cluster::Cluster,
        ends::{OffsetAnswer, OffsetSpec},
        writer::SourceWriter,
    },
};

/// How often it looks whether a partition is frozen.
const TICK: Duration = Duration::from_millis(50);
/// How long the consumer is kept for the next transaction.
const LINGER: Duration = Duration::from_secs(10);
/// How soon a failed attempt is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// Requests that wait, and as many more that were not taken yet. Beyond, callers are told at once that it is too many.
const ROOM: usize = 1024;

/// The overlay of one cluster.
#[derive(Debug)]
pub(super) struct Overlay {
    writer: SourceWriter,
    log: Arc<Log>,
    cluster: Arc<Cluster>,
    settings: config::Transactions,
    connector: Connector,
    identity: Arc<Identity>,
    requests: mpsc::Receiver<Settle>,
    freezes: Freezes,
    stable: StableOffsets,
    /// While something is frozen or awaited, and a little longer. The two have a client each: a broker answers nothing else on
    /// a connection while a fetch waits there.
    look: Option<(Look, Asks)>,
    waiting: Vec<Waiting>,
    next_try: Instant,
}

/// Asks for last stable offsets, one question at a time.
#[derive(Debug)]
struct StableOffsets {
    admin: Admin,
    pending: Option<Instant>,
}

impl Overlay {
    /// Makes an overlay that asks for stable offsets through `client`. Returns it, and where requests go in with the number
    /// that has room.
    pub(super) fn new(
        (writer, log): (SourceWriter, Arc<Log>),
        (client, connector, identity): (&Client, Connector, Arc<Identity>),
        settings: config::Transactions,
    ) -> (Self, (SyncSender<Settle>, usize)) {
        let (sender, requests) = mpsc::sync_channel(ROOM);
        let cluster = Arc::clone(writer.cluster());
        let overlay = Self {
            stable: StableOffsets { admin: Admin::new(client), pending: None },
            writer,
            log,
            cluster,
            settings,
            connector,
            identity,
            requests,
            freezes: Freezes::default(),
            look: None,
            waiting: vec![],
            next_try: now(),
        };
        (overlay, (sender, 2 * ROOM))
    }

    /// Looks until the token is cancelled. Blocks: give it a thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let room = ROOM.saturating_sub(self.waiting.len());
            if self.look.is_none() && room == 0 {
                thread::park_timeout(TICK);
            } else if self.look.is_none()
                && let Ok(request) = self.requests.recv_timeout(TICK)
            {
                self.waiting.push(Waiting::new(request));
            }
            self.waiting.extend(self.requests.try_iter().take(room).map(Waiting::new));
            self.find_frozen();
            self.look_behind();
        }
    }

    /// Asks for the last stable offsets of partitions where nothing moves.
    fn find_frozen(&mut self) {
        let now = now();
        if !self.cluster.health().ready {
            return;
        }
        let ends = self.cluster.ends.current();
        let Some(topic) = ends.topic(OFFSETS_TOPIC) else { return };
        let mut candidates = vec![];
        self.freezes.retain(|number| self.cluster.own.shard(number).is_some());
        for (partition, number) in topic.partitions.iter().zip(0..) {
            let Some(shard) = self.cluster.own.shard(number) else { continue };
            if self.freezes.look(number, shard.applied().0, ends.value(*partition).log_end, now) {
                candidates.push((c"__consumer_offsets", number));
            }
            if !self.freezes.is_frozen(number) {
                shard.progress.set_open_transaction_since(None);
            }
        }
        self.take_stable(now);
        let waits = self.stable.pending.is_some_and(|sent| now.duration_since(sent) < TIMEOUT + RETRY);
        if !candidates.is_empty() && !waits {
            self.stable.pending = Some(now);
            self.log.counters.stable_offset_requests.add(1);
            self.stable.admin.list_offsets(0, Spec::LatestCommitted, &candidates, TIMEOUT);
        }
    }

    fn take_stable(&mut self, now: Instant) {
        let Some(reply) = self.stable.admin.poll(Duration::ZERO) else { return };
        self.stable.pending = None;
        let Ok(ReplyContent::Offsets(listed)) = reply.content else { return };
        let ends = self.cluster.ends.current();
        let Some(topic) = ends.topic(OFFSETS_TOPIC) else { return };
        let mut answers = vec![];
        for offset in listed {
            let Ok((stable, epoch)) = offset.result else { continue };
            let place = usize::try_from(offset.partition).ok().and_then(|number| topic.partitions.get(number));
            answers.extend(place.map(|place| OffsetAnswer { slot: place.slot, result: Ok((stable, epoch)) }));
            if self.freezes.answer(offset.partition, stable, now) {
                tracing::info!(
                    cluster = &*self.cluster.name,
                    log_partition = offset.partition,
                    last_stable_offset = stable,
                    "an open transaction holds readers back; asking coordinators for the commits behind it"
                );
            }
        }
        self.cluster.ends.observe(OffsetSpec::Stable, &answers, self.writer.clock().ticks(), self.writer.clock().now());
    }

    /// Reads what is frozen, asks coordinators, and shows what they say.
    fn look_behind(&mut self) {
        let now = now();
        let shards: Shards = self.cluster.own.shards().into_iter().map(|shard| (shard.key.number, shard)).collect();
        let frozen = shards.keys().copied().filter(|number| self.freezes.is_frozen(*number));
        let awaited = self.waiting.iter().map(|waiting| waiting.request.log_partition);
        let wanted: BTreeSet<i32> = frozen.chain(awaited).collect();
        if self.look.is_none() && !wanted.is_empty() && now >= self.next_try {
            match Look::new((&self.writer, &self.log), &self.connector, now) {
                Ok(look) => {
                    let asks = Asks::new(
                        (Arc::clone(&self.cluster), Arc::clone(&self.log)),
                        self.connector.clone(),
                        &self.settings,
                        now,
                    );
                    self.look = Some((look, asks));
                }
                Err(error) => {
                    self.next_try = now + RETRY;
                    tracing::warn!(cluster = &*self.cluster.name, %error, "cannot look behind a transaction");
                    self.waiting.drain(..).for_each(|waiting| waiting.tell(Err(error.clone())));
                }
            }
        }
        let Some((look, asks)) = &mut self.look else { return };
        look.choose(&shards, &wanted, now);
        let busy = asks.is_asking() || !self.waiting.is_empty();
        look.read(if busy { Duration::from_millis(1) } else { TICK / 2 });
        for (number, shard) in &shards {
            if self.freezes.is_frozen(*number) {
                let since = look.first_at(*number).or(shard.progress.open_transaction_since());
                shard.progress.set_open_transaction_since(since.or_else(|| Some(self.writer.clock().now())));
            }
        }
        if !self.identity.is_same_cluster(&look.client) {
            return;
        }
        asks.take_answers(&shards, &mut look.ranges, &mut self.waiting, now);
        asks.ask(&mut look.ranges, &mut self.waiting, now);
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        self.waiting = waiting.filter_map(|waiting| waiting.judge(&shards, &look.ranges, asks, now)).collect();
        if look.is_idle_for(LINGER, now) && self.waiting.is_empty() {
            self.look = None;
        }
    }
}
