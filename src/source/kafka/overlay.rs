//! Shows commits behind open transactions, as Kafka's own tools do.
//!
//! The poll threads stop at the last stable offset: an open transaction freezes its whole log partition, including
//! later commits of all other groups. If a partition stays frozen (`freeze`), a read_uncommitted consumer reads the
//! records behind the transaction (`transaction_reader`). The overlay requests the committed offsets of the groups with
//! new records there from their coordinators, at a bounded rate (`blocked_range`, `coordinator_requests`). It shows the
//! record that matches each response early (`Shard::show_early`). When the transaction ends, the poll threads replay
//! these records, and no offset jumps back.
//!
//! Without open transactions, the overlay sends no requests and holds no connections.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

mod coordinator_requests;
mod freeze;
mod transaction_reader;
mod blocked_range;

use blocked_range::CoordinatorRequest;
use freeze::Freezes;
use transaction_reader::TransactionReader;

use super::{
    admin::Schedule,
    client::{Client, Connector},
    coordinator::{Coordinators, TIMEOUT},
    ffi::{Admin, ReplyContent, Spec},
    identity::Identity,
    now,
    requests::{CAPACITY, Inbox, LatestRequest},
};
use crate::{
    config,
    model::OFFSETS_TOPIC,
    source::kafka::Log,
    store::{
        ends::{OffsetAnswer, OffsetSpec},
        source::Source,
        writer::SourceWriter,
    },
};

/// Interval at which partitions are checked.
const TICK: Duration = Duration::from_millis(50);
/// Time for which an unused consumer is kept for the next transaction.
const CONSUMER_LINGER: Duration = Duration::from_secs(10);
/// Delay of a retry.
const RETRY: Duration = Duration::from_secs(1);
/// Interval between requests about a group that has new records, or a pending transaction that a reader waits for. It
/// doubles with each request. The first value is half of the shortest interval; the second is the longest.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The overlay of one cluster.
#[derive(Debug)]
pub(super) struct Overlay {
    writer: SourceWriter,
    log: Arc<Log>,
    connector: Connector,
    identity: Arc<Identity>,
    inbox: Inbox,
    freezes: Freezes,
    /// Requests last stable offsets, one request at a time.
    stable_offsets: Admin,
    /// Send time of the request for last stable offsets, while there is no response.
    requested_at: Option<Instant>,
    /// The read_uncommitted consumer, while it is needed. It has its own client: on a connection with a waiting fetch,
    /// a broker handles no other request.
    reader: Option<TransactionReader>,
    coordinators: Coordinators<CoordinatorRequest>,
    /// The groups with new records or waiting readers.
    groups: Schedule,
    /// Requests for the offsets that keys with a pending transaction had before it.
    unstable_requests: VecDeque<CoordinatorRequest>,
    /// Requests of readers that need records which the consumer has not read yet.
    waiting_requests: Vec<LatestRequest>,
    /// Earliest time of the next attempt to create the consumer.
    next_try: Instant,
}

impl Overlay {
    /// Makes an overlay that requests last stable offsets through `client`.
    pub(super) fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        (client, connector, identity): (&Client, &Connector, &Arc<Identity>),
        settings: &config::Transactions,
        inbox: Inbox,
    ) -> Self {
        Self {
            writer: writer.clone(),
            log: Arc::clone(log),
            connector: connector.clone(),
            identity: Arc::clone(identity),
            inbox,
            freezes: Freezes::default(),
            stable_offsets: Admin::new(client),
            requested_at: None,
            reader: None,
            coordinators: Coordinators::new(connector.clone(), settings.calls_per_second),
            groups: Schedule::between(POLL_INTERVALS.0, POLL_INTERVALS.1),
            unstable_requests: VecDeque::new(),
            waiting_requests: vec![],
            next_try: now(),
        }
    }

    /// Runs until the token is cancelled. Blocks its thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.take_requests();
            self.find_frozen();
            self.process_frozen();
        }
    }

    /// Takes the requests of readers. Without a consumer, the thread waits here.
    fn take_requests(&mut self) {
        let ranges = self.reader.iter().flat_map(|reader| reader.ranges.values());
        let waiting = self.waiting_requests.len() + ranges.map(|range| range.waiters.len()).sum::<usize>();
        let wait = if self.reader.is_none() { TICK } else { Duration::ZERO };
        match CAPACITY.checked_sub(waiting + 1) {
            Some(room) => {
                self.waiting_requests.extend(self.inbox.requests.recv_timeout(wait));
                self.waiting_requests.extend(self.inbox.requests.try_iter().take(room));
            }
            None => thread::park_timeout(wait),
        }
    }

    /// Requests the last stable offsets of partitions that have applied nothing new.
    fn find_frozen(&mut self) {
        let now = now();
        if !self.writer.cluster().health().ready {
            return;
        }
        let source = self.writer.source();
        let ends = self.writer.cluster().ends.current();
        let Some(topic) = ends.topic(OFFSETS_TOPIC) else { return };
        let mut candidates = vec![];
        self.freezes.retain(|number| source.shard(number).is_some());
        for (partition, number) in topic.partitions.iter().zip(0..) {
            let Some(shard) = source.shard(number) else { continue };
            if self.freezes.observe(number, shard.applied().0, ends.value(*partition).log_end, now) {
                candidates.push((c"__consumer_offsets", number));
            }
            let since = self.freezes.is_frozen(number).then(|| {
                let first = self.reader.as_ref().and_then(|reader| reader.ranges.get(&number)?.first_record_at());
                let known = first.into_iter().chain(shard.progress.open_transaction_since()).min();
                known.unwrap_or_else(|| self.writer.clock().now())
            });
            shard.progress.set_open_transaction_since(since);
        }
        self.take_stable_offsets(now);
        let waits = self.requested_at.is_some_and(|sent| now.duration_since(sent) < TIMEOUT + RETRY);
        if !candidates.is_empty() && !waits {
            self.requested_at = Some(now);
            self.log.counters.stable_offset_requests.add(1);
            self.stable_offsets.list_offsets(0, Spec::LatestCommitted, &candidates, TIMEOUT);
        }
    }

    /// Handles a response with last stable offsets, if one has arrived.
    fn take_stable_offsets(&mut self, now: Instant) {
        let Some(reply) = self.stable_offsets.poll(Duration::ZERO) else { return };
        self.requested_at = None;
        let Ok(ReplyContent::Offsets(listed)) = reply.content else { return };
        let ends = self.writer.cluster().ends.current();
        let Some(topic) = ends.topic(OFFSETS_TOPIC) else { return };
        let mut answers = vec![];
        for offset in listed {
            let Ok((stable, epoch)) = offset.result else { continue };
            let known = usize::try_from(offset.partition).ok().and_then(|number| topic.partitions.get(number));
            answers.extend(known.map(|known| OffsetAnswer { slot: known.slot, result: Ok((stable, epoch)) }));
            if self.freezes.observe_stable(offset.partition, stable, now) {
                tracing::info!(
                    cluster = &*self.writer.cluster().name,
                    log_partition = offset.partition,
                    last_stable_offset = stable,
                    "an open transaction blocks a log partition; requesting the commits behind it from coordinators"
                );
            }
        }
        let clock = self.writer.clock();
        self.writer.cluster().ends.observe(OffsetSpec::Stable, &answers, clock.ticks(), clock.now());
    }

    /// Reads frozen partitions, sends requests to coordinators, and shows the results.
    fn process_frozen(&mut self) {
        let (now, source) = (now(), Arc::clone(self.writer.source()));
        // Dropping the request notifies the reader of a shard that does not exist any more.
        self.waiting_requests.retain(|request| !request.reply.is_closed() && source.shard(request.shard).is_some());
        let mut needed: BTreeSet<i32> = self.waiting_requests.iter().map(|request| request.shard).collect();
        needed.extend(self.freezes.frozen());
        if self.reader.is_none() && !needed.is_empty() && now >= self.next_try {
            match TransactionReader::new(&self.connector, now) {
                Ok(reader) => self.reader = Some(reader),
                Err(error) => {
                    self.next_try = now + RETRY;
                    tracing::warn!(
                        cluster = &*self.writer.cluster().name,
                        %error,
                        "cannot read the records behind an open transaction; retrying"
                    );
                    for request in self.waiting_requests.drain(..) {
                        // Fails only if the reader has stopped waiting.
                        let _ = request.reply.send(Err(error.clone().into()));
                    }
                }
            }
        }
        let Some(reader) = &mut self.reader else { return };
        let mut is_busy = self.coordinators.len() > 0 || !self.waiting_requests.is_empty();
        for (number, range) in &mut reader.ranges {
            range.waiters.remove_closed();
            if !range.waiters.is_empty() {
                is_busy = true;
                needed.insert(*number);
            }
        }
        reader.select(&source, &needed, now);
        let wait = if is_busy { Duration::from_millis(1) } else { TICK / 2 };
        reader.read(wait, (&self.writer, &self.log.counters), &mut self.groups, now);
        if !self.identity.is_same_cluster(&reader.client) {
            return;
        }
        self.take_responses(&source, now);
        self.admit_readers(&source, now);
        self.send_due(now);
        let idle_since = self.reader.as_ref().map_or(now, |reader| reader.idle_since);
        if self.waiting_requests.is_empty() && now.duration_since(idle_since) >= CONSUMER_LINGER {
            self.reader = None;
            self.coordinators.disconnect();
        }
    }

    /// Admits readers of the partitions that were read up to their targets.
    fn admit_readers(&mut self, source: &Source, now: Instant) {
        let (Some(reader), from) = (&mut self.reader, self.coordinators.next_number()) else { return };
        let is_read = |request: &mut LatestRequest| {
            reader.ranges.get(&request.shard).is_some_and(|range| range.next_offset >= request.target.0)
        };
        for request in self.waiting_requests.extract_if(.., is_read).collect::<Vec<_>>() {
            if let Some((range, shard)) = reader.ranges.get_mut(&request.shard).zip(source.shard(request.shard)) {
                range.admit(request, (from, shard.applied()), &mut self.groups, now);
            }
        }
    }
}
