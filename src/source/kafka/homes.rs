//! Polls coordinators to find out which copies of misplaced groups are current after `__consumer_offsets` has grown
//! (see [`super::verdicts`]).
//!
//! While no group is misplaced, this task sends no requests and holds no connection. Otherwise it requests the
//! offsets of up to three groups of each class of copies: every second while the copies may be current, every minute
//! afterwards.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use super::{
    client::Connector,
    coordinator::{Coordinators, Outcome},
    ffi::{Admin, CommittedOffset, ReplyContent},
    latest::Log,
    now,
    verdicts::{Class, Verdict, Verdicts, misplaced_groups_of},
};
use crate::{
    model::{Name, OFFSETS_TOPIC, Uuid, java_hash, log_partition_of},
    store::{
        cluster::Cluster,
        group::GroupView,
        homes::{Homes as _, group_in},
        shard::{GroupSet, ShardView},
        source::Source,
        writer::SourceWriter,
    },
};

/// Interval of checks for requests and responses.
const TICK: Duration = Duration::from_millis(50);
/// Interval of the search for misplaced groups, and of requests to coordinators while copies may be current.
const INTERVAL: Duration = Duration::from_secs(1);
/// Interval of requests about copies that are not current, and of requests that a coordinator denied.
const SLOW_INTERVAL: Duration = Duration::from_secs(60);
/// Maximum time that a reader waits for the coordinators. It bounds the wait while brokers disagree about the log
/// partition of a group, because the group then has no coordinator.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Number of groups to request per class. More than one, since a group may have records that no coordinator wrote.
const SAMPLES: usize = 3;
/// Maximum number of requests in flight.
const MAX_IN_FLIGHT: usize = 30;
/// Maximum number of copies from which the earlier number of log partitions is derived.
const MAX_EXPLAINED: usize = 1000;

/// A misplaced copy of a group: the group id and the log partition of the copy.
type MisplacedCopy = (Name, i32);

/// The poller of coordinators that finds out which copies of groups are current in one cluster.
#[derive(Debug)]
pub(super) struct HomePoller {
    cluster: Arc<Cluster>,
    source: Arc<Source>,
    log: Arc<Log>,
    coordinators: Coordinators<CopyRequest>,
    /// Last known id of `__consumer_offsets`.
    topic_id: Option<Uuid>,
    /// The groups and verdicts from which `classes` was computed.
    classified: (Vec<GroupSet>, Verdicts),
    /// The misplaced copies of each class.
    classes: HashMap<Class, Vec<MisplacedCopy>>,
    /// The requests about each class.
    rounds: HashMap<Class, Round>,
    /// The reader's request in progress: its number and its deadline.
    serving: Option<(u64, Instant)>,
    /// Time of the next search for misplaced groups.
    next_search: Instant,
}

/// The class and the copy for which the offsets of a group are requested.
type CopyRequest = (Class, MisplacedCopy);

/// The requests about one class.
#[derive(Debug)]
struct Round {
    /// Time of the next requests.
    due: Instant,
    /// Number of rounds so far.
    count: usize,
    /// Requests in flight.
    in_flight: usize,
    /// Responses that show the copy.
    copy_matches: usize,
    /// Responses that show the copy at the home.
    home_matches: usize,
    /// Whether a coordinator denied a request.
    refused: bool,
}

impl HomePoller {
    /// Makes a poller that has not sent a request yet.
    pub(super) fn new((writer, log): (&SourceWriter, &Arc<Log>), connector: Connector) -> Self {
        Self {
            cluster: Arc::clone(writer.cluster()),
            source: Arc::clone(writer.source()),
            log: Arc::clone(log),
            coordinators: Coordinators::new(connector, usize::MAX),
            topic_id: None,
            classified: Default::default(),
            classes: HashMap::new(),
            rounds: HashMap::new(),
            serving: None,
            next_search: now(),
        }
    }

    /// Sends requests and applies responses until the token is cancelled. Blocks; run it on its own thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.step();
            thread::park_timeout(TICK);
        }
    }

    /// Handles the requests of readers, responses, and due requests once.
    fn step(&mut self) {
        let now = now();
        let request = self.log.homes.last_request();
        let is_new = self.serving.is_none() && !self.log.homes.is_answered(request);
        if is_new || now >= self.next_search {
            self.next_search = now + INTERVAL;
            self.find_misplaced(now);
        }
        if is_new {
            self.serving = Some((request, now + MAX_WAIT));
            self.restart_rounds(now);
        }
        self.take_responses(now);
        match self.source.health().reachable {
            true => self.send_due(now),
            false => self.coordinators.disconnect(),
        }
        if let Some((number, until)) = self.serving {
            // A verdict may lead to new classes at the next call of `find_misplaced`.
            let is_known = self.next_search > now;
            let waits = !is_known || self.coordinators.len() > 0 || self.has_due(now);
            if !waits || now >= until {
                self.log.homes.set_answered(number);
                self.serving = None;
            }
        }
    }

    /// Finds the misplaced copies, and sets which copies the shards hide.
    fn find_misplaced(&mut self, now: Instant) {
        let shards = self.source.pin_shards();
        let ends = self.cluster.ends.current();
        let mut verdicts = Verdicts::clone(&self.log.homes.verdicts());
        if let Some(topic) = ends.topic(OFFSETS_TOPIC) {
            if topic.id.is_some() && self.topic_id.is_some() && topic.id != self.topic_id {
                verdicts = Verdicts::default();
            }
            self.topic_id = topic.id.or(self.topic_id);
            let leaders: Vec<Option<i32>> = topic.partitions.iter().map(|partition| partition.leader).collect();
            verdicts.set_log_partitions(i32::try_from(shards.len()).unwrap_or(i32::MAX), &leaders);
        }
        let groups: Vec<GroupSet> = shards.iter().map(|shard| shard.groups.set()).collect();
        if self.classified.0 != groups || self.classified.1 != verdicts {
            self.classify(&shards, &mut verdicts);
            verdicts.retain(|class| self.classes.contains_key(class));
            verdicts.unsettled = self.classes.keys().any(|class| verdicts.verdict(class) != Some(Verdict::Outdated));
            self.classified = (groups, verdicts.clone());
            self.log.homes.set(verdicts);
        }
        self.rounds.retain(|class, round| self.classes.contains_key(class) || round.in_flight > 0);
        for class in self.classes.keys() {
            self.rounds.entry_ref(class).or_insert_with(|| Round::new(now));
        }
        if self.classes.is_empty() && self.coordinators.len() == 0 {
            self.coordinators.disconnect();
        }
        self.source.set_hidden(&self.log.homes.layout(&shards).hidden_in(&shards));
    }

    /// Groups the misplaced copies by class.
    fn classify(&mut self, shards: &[Arc<ShardView>], verdicts: &mut Verdicts) {
        self.classes.clear();
        let count = i32::try_from(shards.len()).unwrap_or(i32::MAX);
        let copies_in = |shard: &Arc<ShardView>| {
            let at = shard.key.number;
            let ids = misplaced_groups_of(shard, count);
            ids.iter().map(|id| (Name::clone(id), at)).collect::<Vec<MisplacedCopy>>()
        };
        let misplaced: Vec<MisplacedCopy> = shards.iter().flat_map(copies_in).collect();
        let positions: Vec<(i32, i32)> =
            misplaced.iter().take(MAX_EXPLAINED).map(|(id, at)| (java_hash(id), *at)).collect();
        verdicts.derive_earlier_counts(&positions);
        for (id, at) in misplaced {
            let hash = java_hash(&id);
            let Some(class) = verdicts.class(hash, at, count, None) else { continue };
            let home = log_partition_of(hash, count).and_then(|home| group_in(shards, home, &id));
            if home.is_none() {
                self.classes.entry(class).or_default().push((id, at));
            } else if verdicts.verdict(&class) == Some(Verdict::Current) {
                // Both copies may be current, so the verdict must come from this group itself.
                self.classes.insert(Class { group: Some(Name::clone(&id)), ..class }, vec![(id, at)]);
            }
        }
    }

    /// Makes requests about all classes due that may be current.
    fn restart_rounds(&mut self, now: Instant) {
        let verdicts = self.log.homes.verdicts();
        for (class, round) in &mut self.rounds {
            if verdicts.verdict(class) != Some(Verdict::Outdated) {
                *round = Round { count: round.count, ..Round::new(now) };
            }
        }
        self.coordinators.cancel_all();
    }

    /// Returns whether a request is due and can be sent.
    fn has_due(&self, now: Instant) -> bool {
        self.source.health().reachable
            && self.rounds.iter().any(|(class, round)| round.is_due(now) && self.classes.contains_key(class))
    }

    /// Sends the requests that are due, the oldest first.
    fn send_due(&mut self, now: Instant) {
        let is_due = |(class, round): &(&Class, &Round)| round.is_due(now) && self.classes.contains_key(*class);
        let mut due: Vec<(Instant, Class)> =
            self.rounds.iter().filter(is_due).map(|(class, round)| (round.due, class.clone())).collect();
        due.sort_by_key(|(since, _)| *since);
        for (_, class) in due {
            if self.coordinators.len() >= MAX_IN_FLIGHT {
                return;
            }
            self.send_samples(&class, now);
        }
    }

    /// Sends requests about samples of one class.
    fn send_samples(&mut self, class: &Class, now: Instant) {
        let copies = self.classes.get(class).map_or(&[][..], Vec::as_slice);
        let Some(round) = self.rounds.get_mut(class) else { return };
        let samples = samples(&self.source, copies, round.count);
        *round = Round { count: round.count + 1, ..Round::new(now + INTERVAL) };
        // Without samples the copies have no offsets, so there is nothing to compare.
        for copy in samples {
            round.in_flight += 1;
            let purpose = (class.clone(), copy);
            let send = |admin: &Admin, number, (_, copy): &CopyRequest| admin.committed(number, &copy.0, None, false);
            self.coordinators.send(purpose, 0, send);
        }
    }

    /// Handles the responses that have arrived.
    fn take_responses(&mut self, now: Instant) {
        while let Some((_, (class, copy), outcome)) = self.coordinators.take(Duration::ZERO) {
            let verdict = self.evaluate(&outcome, &copy);
            let Some(round) = self.rounds.get_mut(&class) else { continue };
            round.in_flight = round.in_flight.saturating_sub(1);
            match verdict {
                Some(Verdict::Current) => round.copy_matches += 1,
                Some(Verdict::Outdated) => round.home_matches += 1,
                None => round.refused |= matches!(outcome, Outcome::Refused(_)),
            }
            if round.in_flight == 0 {
                let verdict = round.verdict();
                if verdict == Some(Verdict::Outdated) || round.refused {
                    round.due = now + SLOW_INTERVAL;
                }
                if let Some(verdict) = verdict {
                    self.record_verdict(class, verdict);
                }
            }
        }
    }

    /// Stores the verdict about a class, if it is new.
    fn record_verdict(&mut self, class: Class, verdict: Verdict) {
        let verdicts = self.log.homes.verdicts();
        if verdicts.verdict(&class) == Some(verdict) && verdicts.has_direct_verdict(&class) {
            return;
        }
        tracing::info!(
            cluster = &*self.cluster.name,
            leader = class.leader,
            home_leader = class.home_leader,
            earlier_log_partitions = class.earlier_count,
            group = class.group.as_deref(),
            is_current = verdict == Verdict::Current,
            "group coordinators reported whether misplaced copies of groups are current"
        );
        let mut verdicts = Verdicts::clone(&verdicts);
        verdicts.insert(class, verdict);
        self.log.homes.set(verdicts);
        // The next call of `find_misplaced` derives the consequences for readers and other classes.
        self.classified = Default::default();
        self.next_search = self::now();
    }

    /// Returns the verdict of a response about a copy. An error gives no verdict.
    fn evaluate(&self, outcome: &Outcome, copy: &MisplacedCopy) -> Option<Verdict> {
        let response = match outcome {
            Outcome::Response(ReplyContent::Committed(response)) => response.as_slice(),
            Outcome::NoGroup(_) => &[],
            Outcome::Refused(_) | Outcome::Response(_) => return None,
            Outcome::Failed(error) => {
                tracing::debug!(
                    cluster = &*self.cluster.name,
                    group = &*copy.0,
                    %error,
                    "a coordinator returned no committed offsets"
                );
                return None;
            }
        };
        let shards = self.source.pin_shards();
        let home = i32::try_from(shards.len()).ok().and_then(|count| log_partition_of(java_hash(&copy.0), count));
        let home = home.and_then(|home| group_in(&shards, home, &copy.0));
        compare(response, group_in(&shards, copy.1, &copy.0), home)
    }
}

impl Round {
    fn new(due: Instant) -> Self {
        Self { due, count: 0, in_flight: 0, copy_matches: 0, home_matches: 0, refused: false }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.in_flight == 0 && self.due <= now
    }

    /// Returns the verdict of the round. One copy that a coordinator returns is enough, because the other samples may
    /// contain records that no coordinator wrote.
    fn verdict(&self) -> Option<Verdict> {
        match (self.copy_matches, self.home_matches) {
            (0, 0) => None,
            (0, _) => Some(Verdict::Outdated),
            _ => Some(Verdict::Current),
        }
    }
}

/// Returns up to [`SAMPLES`] copies that have committed offsets. They are spread over all copies, and each round takes
/// different ones.
fn samples(source: &Source, copies: &[MisplacedCopy], round: usize) -> Vec<MisplacedCopy> {
    let step = (copies.len() / SAMPLES).max(1);
    let start = round % step;
    let all = copies.iter().skip(start).step_by(step).chain(copies.iter().take(SAMPLES));
    let mut found: Vec<MisplacedCopy> = vec![];
    for copy in all {
        let group = source.shard(copy.1).and_then(|shard| shard.group(&copy.0));
        if group.is_some_and(|group| !group.is_empty()) && !found.contains(copy) {
            found.push(copy.clone());
        }
        if found.len() == SAMPLES {
            break;
        }
    }
    found
}

/// Compares a response with the copy and with the copy at the group's home. Returns the one that it matches better, or
/// `None` if both match equally well.
fn compare(
    response: &[CommittedOffset],
    copy: Option<&Arc<GroupView>>,
    home: Option<&Arc<GroupView>>,
) -> Option<Verdict> {
    let mut returned = HashMap::new();
    for key in response {
        if let Ok(Some(committed)) = &key.result {
            returned.insert((key.topic.as_str(), key.partition), committed.offset);
        }
    }
    // Counts the keys that match, and the keys that differ or are missing on either side.
    let count_matches = |group: Option<&Arc<GroupView>>| {
        let entries = group.into_iter().flat_map(|group| group.entries());
        let (mut same, mut all) = (0_usize, 0_usize);
        for entry in entries {
            all += 1;
            let offset = returned.get(&(&**entry.topic, entry.row.partition));
            same += usize::from(offset.copied() == Some(entry.row.committed_offset));
        }
        (same, (all - same) + returned.len().saturating_sub(same))
    };
    let ((copy_same, copy_differs), (home_same, home_differs)) = (count_matches(copy), count_matches(home));
    match (copy_differs, home_differs) {
        (0, 0) => None,
        (0, _) => Some(Verdict::Current),
        (_, 0) => Some(Verdict::Outdated),
        _ if copy_same == home_same => None,
        _ => Some(if copy_same > home_same { Verdict::Current } else { Verdict::Outdated }),
    }
}
