//! Polls the topics and log ends of one cluster, and finds out whether the cluster is reachable.
//!
//! Requests are asynchronous and go to one leader each, so that a slow broker delays only its own partitions. They are
//! split into chunks, because the cost of a request in librdkafka is quadratic in the number of partitions.

use std::{
    collections::BTreeSet,
    ffi::CStr,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use rdkafka::{consumer::Consumer as _, error::RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

mod absent;
mod ids;
mod metadata;

use absent::MissingTopics;
use ids::IdRounds;

use super::{
    client::{Client, Connector},
    ffi::{Admin, Reply, ReplyContent, Spec},
    identity::Identity,
    now,
};
use crate::{
    clock::Ticks,
    config,
    model::Millis,
    source::kafka::live_source::RequestError,
    store::{
        cluster::{Cluster, Fault},
        ends::{EndError, OffsetAnswer, OffsetSpec},
        writer::SourceWriter,
    },
};

/// Maximum number of partitions per ListOffsets request.
const CHUNK: usize = 125;
/// Time until a failed attempt is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// Longest time until ListOffsets requests are repeated after failures.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// Time during which more responses are collected after the first one.
const COLLECT: Duration = Duration::from_millis(20);
/// Longest wait for a response before the next check for due requests.
const TICK: Duration = Duration::from_millis(50);

/// The poller of one cluster.
#[derive(Debug)]
pub(super) struct Poller {
    cluster: Arc<Cluster>,
    writer: SourceWriter,
    settings: config::Lag,
    client: Client,
    admin: Admin,
    plan: PollPlan,
    pending: HashMap<usize, Pending>,
    next_number: usize,
    due: DueTimes,
    ends_retry: EndsRetry,
    round: EndsRound,
    ids: IdRounds,
    missing: MissingTopics,
    identity: Arc<Identity>,
    /// Number of broker failures at the last metadata refresh. As long as it does not change, the same cluster answers.
    failures: u64,
    /// Whether log starts and last stable offsets of known topics were requested.
    has_polled_starts: bool,
}

/// The due time of each kind of request.
#[derive(Debug)]
struct DueTimes {
    metadata: Instant,
    high: Instant,
    low: Instant,
    ids: Instant,
}

/// The repetition of ListOffsets requests after a failure: a newly elected leader cannot answer them yet.
#[derive(Debug, Default)]
struct EndsRetry {
    at: Option<Instant>,
    last: Option<Instant>,
    wait: Duration,
}

impl EndsRetry {
    /// Schedules one repetition. The wait doubles as long as repetitions fail.
    fn plan(&mut self, now: Instant) {
        if self.at.is_none() {
            let fails_again = self.last.is_some_and(|last| now < last + self.wait);
            self.wait = if fails_again { (self.wait * 2).min(LONGEST_RETRY) } else { RETRY };
            self.at = Some(now + self.wait);
        }
    }

    /// Returns whether the repetition is due, and removes it then.
    fn take(&mut self, now: Instant) -> bool {
        let is_due = self.at.take_if(|at| now >= *at).is_some();
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// A topic and partition, in the form that librdkafka needs.
type TopicPartition = (Arc<CStr>, i32);

/// The partitions to poll, in chunks of one leader each.
#[derive(Debug, Default)]
struct PollPlan {
    chunks: Vec<(i32, Vec<TopicPartition>)>,
    topics: Vec<Arc<CStr>>,
}

/// A request in flight.
#[derive(Debug)]
struct Pending {
    kind: RequestKind,
    leader: i32,
    sent: (Ticks, Millis),
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    /// ListOffsets of one leader.
    Ends(OffsetSpec),
    /// The ids of topics.
    Ids,
    /// The listing of groups.
    Groups,
}

/// The results of requests for high watermarks in the current interval.
#[derive(Debug, Default)]
struct EndsRound {
    /// Responses to requests that were sent before this time do not count.
    since: Ticks,
    answered: usize,
    failed: usize,
    last_error: Option<String>,
}

impl Poller {
    /// Makes a poller, and validates the client configuration.
    pub(super) fn new(
        writer: SourceWriter,
        settings: config::Lag,
        connector: &Connector,
        identity: Arc<Identity>,
    ) -> Result<Self, RequestError> {
        let client = connector.connect()?;
        let cluster = Arc::clone(writer.cluster());
        let now = now();
        Ok(Self {
            admin: Admin::new(&client),
            cluster,
            writer,
            settings,
            client,
            plan: PollPlan::default(),
            pending: HashMap::new(),
            next_number: 0,
            due: DueTimes { metadata: now, high: now, low: now, ids: now },
            ends_retry: EndsRetry::default(),
            round: EndsRound::default(),
            ids: IdRounds::default(),
            missing: MissingTopics::default(),
            identity,
            failures: 0,
            has_polled_starts: false,
        })
    }

    /// Returns the client that requests log ends.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Polls until the token is cancelled. Blocks; run it on its own thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.send_due_requests();
            self.apply_responses();
        }
    }

    fn send_due_requests(&mut self) {
        let now = now();
        if now >= self.due.metadata {
            let interval = self.refresh_metadata();
            // The refresh may have taken some time.
            self.due.metadata = self::now() + interval;
        }
        if self.ends_retry.take(now) {
            (self.due.high, self.due.low) = (now, now);
        }
        if now >= self.due.high {
            self.due.high = now + self.settings.poll_interval;
            self.check_reachable();
            self.request_ends(OffsetSpec::High);
            self.cluster.ends.sample(self.writer.clock().ticks());
        }
        if now >= self.due.low {
            self.due.low = now + self.settings.start_interval;
            self.request_ends(OffsetSpec::Start);
            self.request_ends(OffsetSpec::Stable);
            self.has_polled_starts = !self.plan.topics.is_empty() || self.cluster.health().shards.is_some();
        }
        if now >= self.due.ids && self.cluster.config.topic_ids {
            self.due.ids = now + self.settings.topic_id_interval;
            self.request_ids();
        }
    }

    /// Returns whether the last responses came from the cluster that is read. After a lost connection, another cluster
    /// may answer at the same address; its metadata shows that.
    fn is_same_cluster(&mut self) -> bool {
        self.client.serve();
        if self.client.context().failures() != self.failures {
            let interval = self.refresh_metadata();
            self.due.metadata = now() + interval;
        }
        self.client.context().failures() == self.failures && self.identity.is_same_cluster(&self.client)
    }

    /// Sends requests of one kind to all leaders that have answered the previous request of this kind.
    fn request_ends(&mut self, kind: OffsetSpec) {
        let spec = match kind {
            OffsetSpec::Start => Spec::Earliest,
            OffsetSpec::High => Spec::Latest,
            OffsetSpec::Stable => Spec::LatestCommitted,
        };
        let busy: BTreeSet<i32> = self
            .pending
            .values()
            .filter(|pending| pending.kind == RequestKind::Ends(kind))
            .map(|pending| pending.leader)
            .collect();
        let sent = (self.writer.clock().ticks(), self.writer.clock().now());
        for (leader, partitions) in self.plan.chunks.iter().filter(|(leader, _)| !busy.contains(leader)) {
            self.next_number += 1;
            let partitions: Vec<(&CStr, i32)> = partitions.iter().map(|(topic, number)| (&**topic, *number)).collect();
            self.admin.list_offsets(self.next_number, spec, &partitions, self.settings.request_timeout);
            self.pending.insert(self.next_number, Pending { kind: RequestKind::Ends(kind), leader: *leader, sent });
        }
    }

    /// Applies the available responses. It waits at most [`TICK`] for the first and [`COLLECT`] for more, because each
    /// update copies the log ends of all partitions.
    fn apply_responses(&mut self) {
        // Responses are grouped by the time of their request, because a late response must not affect others.
        let mut answers: HashMap<(OffsetSpec, Ticks, Millis), Vec<OffsetAnswer>> = HashMap::new();
        let (mut until, mut ids) = (None, vec![]);
        while !(self.pending.is_empty() && until.is_some()) {
            let wait = until.map_or(TICK, |until: Instant| until.saturating_duration_since(now()));
            let Some(reply) = self.admin.poll(wait) else { break };
            until.get_or_insert_with(|| now() + COLLECT);
            let Some(pending) = self.pending.remove(&reply.number) else { continue };
            match pending.kind {
                RequestKind::Ids => ids.push((reply, pending.sent.0)),
                RequestKind::Groups => self.apply_groups(reply),
                RequestKind::Ends(kind) => {
                    let (ticks, at) = pending.sent;
                    let found = self.read_offsets(kind, ticks, reply);
                    answers.entry((kind, ticks, at)).or_default().extend(found);
                }
            }
        }
        let has_news = !ids.is_empty() || answers.values().flatten().any(|answer| answer.result.is_ok());
        if has_news && !self.is_same_cluster() {
            ids.clear();
            answers.values_mut().for_each(|answers| answers.retain(|answer| answer.result.is_err()));
        }
        ids.into_iter().for_each(|(reply, asked)| self.apply_ids(reply, asked));
        let mut answers: Vec<_> = answers.into_iter().filter(|(_, answers)| !answers.is_empty()).collect();
        answers.sort_unstable_by_key(|((_, sent, _), _)| *sent);
        for ((kind, sent, sent_at), answers) in answers {
            if self.cluster.ends.observe(kind, &answers, sent, sent_at) {
                // A log was replaced: request its new start, and the topic id, which changes if the topic was created
                // again.
                let now = now();
                (self.due.low, self.due.ids) = (now, now);
            }
        }
        self.check_loaded();
    }

    /// Marks the log ends as loaded once the first requests of every kind are done and at least one was answered.
    fn check_loaded(&self) {
        let asked = self.cluster.health().shards.is_some() && self.pending.is_empty();
        if asked && self.has_polled_starts && (self.round.answered > 0 || self.plan.chunks.is_empty()) {
            self.cluster.ends.set_loaded();
        }
    }

    fn read_offsets(&mut self, kind: OffsetSpec, sent: Ticks, reply: Reply) -> Vec<OffsetAnswer> {
        let listed = match reply.content {
            Ok(ReplyContent::Offsets(listed)) => listed,
            Ok(_) => return vec![],
            Err(error) => {
                self.ends_retry.plan(now());
                if kind == OffsetSpec::High {
                    self.round.failed += 1;
                    self.round.last_error = Some(error.to_string());
                }
                return vec![];
            }
        };
        let ends = self.cluster.ends.current();
        // An error code of a broker is an answer, too. Errors of librdkafka itself have negative codes.
        let answered = listed.iter().any(|offset| offset.result.map_or_else(|error| error as i32 > 0, |_| true));
        if kind == OffsetSpec::High && sent >= self.round.since {
            self.round.answered += usize::from(answered);
            self.round.failed += usize::from(!answered);
        }
        listed
            .iter()
            .filter_map(|offset| {
                let topic = ends.topic(&offset.topic)?;
                let partition = topic.partitions.get(usize::try_from(offset.partition).ok()?)?;
                let result = offset.result.map_err(|error| {
                    if is_leader_change(error) {
                        self.due.metadata = self.due.metadata.min(now() + RETRY);
                    }
                    self.round.last_error.get_or_insert_with(|| error.to_string());
                    match error {
                        RDKafkaErrorCode::TopicAuthorizationFailed => EndError::NotAuthorized,
                        error => {
                            self.ends_retry.plan(now());
                            EndError::Other(error as i32)
                        }
                    }
                });
                // If a leader does not answer, the last known ends of its partitions stay, and become stale.
                Some(OffsetAnswer { slot: partition.slot, result })
            })
            .collect()
    }

    /// Updates the reachability of the cluster: an interval without a single answer means that it is unreachable.
    fn check_reachable(&mut self) {
        let since = self.round.since;
        let round = std::mem::replace(&mut self.round, EndsRound { since, ..EndsRound::default() });
        if round.answered > 0 {
            self.succeed();
        } else if round.failed > 0 {
            let reason = self.client.context().last_error().or(round.last_error);
            self.fail(&reason.unwrap_or_else(|| "no broker answers".to_owned()));
            self.due.metadata = self.due.metadata.min(now() + RETRY);
        }
    }

    fn succeed(&self) {
        if !self.cluster.health().reachable {
            tracing::info!(cluster = &*self.cluster.name, "the cluster is reachable");
        }
        self.client.context().succeeded();
        self.cluster.succeeded(self.writer.clock());
    }

    fn fail(&self, reason: &str) {
        let known = self.cluster.health().faults.get(&Fault::Unreachable).cloned();
        if known.as_deref() != Some(reason) {
            tracing::warn!(cluster = &*self.cluster.name, reason, "cannot reach the cluster; retrying");
        }
        self.cluster.failed(reason.to_owned(), self.writer.clock());
    }
}

/// Returns whether the error suggests that the partition has another leader than in the last metadata.
fn is_leader_change(error: RDKafkaErrorCode) -> bool {
    matches!(
        error,
        RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::OperationTimedOut
    )
}

#[cfg(test)]
mod tests;
