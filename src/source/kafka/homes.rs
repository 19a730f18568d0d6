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
    coordinator::{Answer, Coordinators},
    ffi::{Admin, CommittedOffset, ReplyContent},
    latest::Log,
    now,
    verdicts::{Class, Told, Verdicts, strays_of},
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
const SELDOM: Duration = Duration::from_secs(60);
/// Maximum time that a reader waits for the coordinators. It bounds the wait while brokers disagree about the log
/// partition of a group, because the group then has no coordinator.
const PATIENCE: Duration = Duration::from_secs(2);
/// Number of groups to request per class. More than one, since a group may have records that no coordinator wrote.
const SAMPLES: usize = 3;
/// Maximum number of requests in flight.
const AT_ONCE: usize = 30;
/// Maximum number of copies from which the earlier number of log partitions is derived.
const EXPLAINED: usize = 1000;

/// A misplaced copy of a group: the group id and the log partition of the copy.
type Copy = (Name, i32);

/// The poller of coordinators that finds out which copies of groups are current in one cluster.
#[derive(Debug)]
pub(super) struct Asker {
    cluster: Arc<Cluster>,
    source: Arc<Source>,
    log: Arc<Log>,
    coordinators: Coordinators<Question>,
    topic_id: Option<Uuid>,
    /// The groups and verdicts from which `classes` was computed.
    seen: (Vec<GroupSet>, Verdicts),
    classes: HashMap<Class, Vec<Copy>>,
    rounds: HashMap<Class, Round>,
    /// The reader's request in progress: its number and its deadline.
    serving: Option<(u64, Instant)>,
    next_look: Instant,
}

/// The class and the copy for which the offsets of a group are requested.
type Question = (Class, Copy);

/// The requests about one class.
#[derive(Debug)]
struct Round {
    /// Time of the next requests.
    due: Instant,
    /// Number of rounds so far.
    count: usize,
    /// Requests in flight.
    open: usize,
    /// Responses that show the copy.
    here: usize,
    /// Responses that show the copy at the home.
    elsewhere: usize,
    /// Whether a coordinator denied a request.
    refused: bool,
}

impl Asker {
    /// Makes a poller that has not sent a request yet.
    pub(super) fn new((writer, log): (&SourceWriter, &Arc<Log>), connector: Connector) -> Self {
        Self {
            cluster: Arc::clone(writer.cluster()),
            source: Arc::clone(writer.source()),
            log: Arc::clone(log),
            coordinators: Coordinators::new(connector, usize::MAX),
            topic_id: None,
            seen: Default::default(),
            classes: HashMap::new(),
            rounds: HashMap::new(),
            serving: None,
            next_look: now(),
        }
    }

    /// Sends requests and applies responses until the token is cancelled. Blocks; run it on its own thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.turn();
            thread::park_timeout(TICK);
        }
    }

    /// Handles the requests of readers, responses, and due requests once.
    fn turn(&mut self) {
        let now = now();
        let wanted = self.log.homes.wanted();
        let is_new = self.serving.is_none() && !self.log.homes.is_done(wanted);
        if is_new || now >= self.next_look {
            self.next_look = now + INTERVAL;
            self.look(now);
        }
        if is_new {
            self.serving = Some((wanted, now + PATIENCE));
            self.ask_again(now);
        }
        self.take_answers(now);
        match self.source.health().reachable {
            true => self.ask(now),
            false => self.coordinators.disconnect(),
        }
        if let Some((number, until)) = self.serving {
            // A verdict may lead to new classes at the next call of `look`.
            let is_known = self.next_look > now;
            let waits = !is_known || self.coordinators.len() > 0 || self.has_due(now);
            if !waits || now >= until {
                self.log.homes.set_done(number);
                self.serving = None;
            }
        }
    }

    /// Finds the misplaced copies, and sets which copies the shards hide.
    fn look(&mut self, now: Instant) {
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
        if self.seen.0 != groups || self.seen.1 != verdicts {
            self.classify(&shards, &mut verdicts);
            verdicts.keep(|class| self.classes.contains_key(class));
            verdicts.unsettled = self.classes.keys().any(|class| verdicts.told(class) != Some(Told::Elsewhere));
            self.seen = (groups, verdicts.clone());
            self.log.homes.set(verdicts);
        }
        self.rounds.retain(|class, round| self.classes.contains_key(class) || round.open > 0);
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
        let stray = |shard: &Arc<ShardView>| {
            let at = shard.key.number;
            let ids = strays_of(shard, count);
            ids.iter().map(|id| (Name::clone(id), at)).collect::<Vec<Copy>>()
        };
        let misplaced: Vec<Copy> = shards.iter().flat_map(stray).collect();
        let places: Vec<(i32, i32)> = misplaced.iter().take(EXPLAINED).map(|(id, at)| (java_hash(id), *at)).collect();
        verdicts.explain(&places);
        for (id, at) in misplaced {
            let hash = java_hash(&id);
            let Some(class) = verdicts.class(hash, at, count, None) else { continue };
            let home = log_partition_of(hash, count).and_then(|home| group_in(shards, home, &id));
            if home.is_none() {
                self.classes.entry(class).or_default().push((id, at));
            } else if verdicts.told(&class) == Some(Told::Here) {
                // Both copies may be current, so the verdict must come from this group itself.
                self.classes.insert(Class { group: Some(Name::clone(&id)), ..class }, vec![(id, at)]);
            }
        }
    }

    /// Makes requests about all classes due that may be current.
    fn ask_again(&mut self, now: Instant) {
        let verdicts = self.log.homes.verdicts();
        for (class, round) in &mut self.rounds {
            if verdicts.told(class) != Some(Told::Elsewhere) {
                *round = Round { count: round.count, ..Round::new(now) };
            }
        }
        self.coordinators.forget();
    }

    /// Returns whether a request is due and can be sent.
    fn has_due(&self, now: Instant) -> bool {
        self.source.health().reachable
            && self.rounds.iter().any(|(class, round)| round.is_due(now) && self.classes.contains_key(class))
    }

    /// Sends the requests that are due, the oldest first.
    fn ask(&mut self, now: Instant) {
        let is_due = |(class, round): &(&Class, &Round)| round.is_due(now) && self.classes.contains_key(*class);
        let mut due: Vec<(Instant, Class)> =
            self.rounds.iter().filter(is_due).map(|(class, round)| (round.due, class.clone())).collect();
        due.sort_by_key(|(since, _)| *since);
        for (_, class) in due {
            if self.coordinators.len() >= AT_ONCE {
                return;
            }
            self.ask_about(&class, now);
        }
    }

    /// Sends requests about samples of one class.
    fn ask_about(&mut self, class: &Class, now: Instant) {
        let copies = self.classes.get(class).map_or(&[][..], Vec::as_slice);
        let Some(round) = self.rounds.get_mut(class) else { return };
        let samples = samples(&self.source, copies, round.count);
        *round = Round { count: round.count + 1, ..Round::new(now + INTERVAL) };
        // Without samples the copies have no offsets, so there is nothing to compare.
        for copy in samples {
            round.open += 1;
            let purpose = (class.clone(), copy);
            let send = |admin: &Admin, number, (_, copy): &Question| admin.committed(number, &copy.0, None, false);
            self.coordinators.send(purpose, 0, send);
        }
    }

    /// Handles the responses that have arrived.
    fn take_answers(&mut self, now: Instant) {
        while let Some((_, (class, copy), answer)) = self.coordinators.take(Duration::ZERO) {
            let told = self.judge(&answer, &copy);
            let Some(round) = self.rounds.get_mut(&class) else { continue };
            round.open = round.open.saturating_sub(1);
            match told {
                Some(Told::Here) => round.here += 1,
                Some(Told::Elsewhere) => round.elsewhere += 1,
                None => round.refused |= matches!(answer, Answer::Refused(_)),
            }
            if round.open == 0 {
                let told = round.told();
                if told == Some(Told::Elsewhere) || round.refused {
                    round.due = now + SELDOM;
                }
                if let Some(told) = told {
                    self.tell(class, told);
                }
            }
        }
    }

    /// Stores the verdict about a class, if it is new.
    fn tell(&mut self, class: Class, told: Told) {
        let verdicts = self.log.homes.verdicts();
        if verdicts.told(&class) == Some(told) && verdicts.is_told(&class) {
            return;
        }
        tracing::info!(
            cluster = &*self.cluster.name,
            leader = class.leader,
            home_leader = class.home_leader,
            earlier_log_partitions = class.earlier,
            group = class.group.as_deref(),
            is_current = told == Told::Here,
            "group coordinators reported whether misplaced copies of groups are current"
        );
        let mut verdicts = Verdicts::clone(&verdicts);
        verdicts.tell(class, told);
        self.log.homes.set(verdicts);
        // The next call of `look` derives the consequences for readers and other classes.
        self.seen = Default::default();
        self.next_look = self::now();
    }

    /// Returns the verdict of a response about a copy. An error gives no verdict.
    fn judge(&self, answer: &Answer, copy: &Copy) -> Option<Told> {
        let answer = match answer {
            Answer::Response(ReplyContent::Committed(answer)) => answer.as_slice(),
            Answer::NoGroup(_) => &[],
            Answer::Refused(_) | Answer::Response(_) => return None,
            Answer::Failed(error) => {
                tracing::debug!(cluster = &*self.cluster.name, group = &*copy.0, %error, "a coordinator returned no committed offsets");
                return None;
            }
        };
        let shards = self.source.pin_shards();
        let home = i32::try_from(shards.len()).ok().and_then(|count| log_partition_of(java_hash(&copy.0), count));
        let home = home.and_then(|home| group_in(&shards, home, &copy.0));
        told(answer, group_in(&shards, copy.1, &copy.0), home)
    }
}

impl Round {
    fn new(due: Instant) -> Self {
        Self { due, count: 0, open: 0, here: 0, elsewhere: 0, refused: false }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.open == 0 && self.due <= now
    }

    /// Returns the verdict of the round. One copy that a coordinator returns is enough, because the other samples may
    /// contain records that no coordinator wrote.
    fn told(&self) -> Option<Told> {
        match (self.here, self.elsewhere) {
            (0, 0) => None,
            (0, _) => Some(Told::Elsewhere),
            _ => Some(Told::Here),
        }
    }
}

/// Returns up to [`SAMPLES`] copies that have committed offsets. They are spread over all copies, and each round takes
/// different ones.
fn samples(source: &Source, copies: &[Copy], round: usize) -> Vec<Copy> {
    let step = (copies.len() / SAMPLES).max(1);
    let start = round % step;
    let all = copies.iter().skip(start).step_by(step).chain(copies.iter().take(SAMPLES));
    let mut found: Vec<Copy> = vec![];
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
fn told(answer: &[CommittedOffset], copy: Option<&Arc<GroupView>>, home: Option<&Arc<GroupView>>) -> Option<Told> {
    let mut shown = HashMap::new();
    for key in answer {
        if let Ok(Some(committed)) = &key.result {
            shown.insert((key.topic.as_str(), key.partition), committed.offset);
        }
    }
    // Counts the keys that match, and the keys that differ or are missing on either side.
    let compare = |group: Option<&Arc<GroupView>>| {
        let entries = group.into_iter().flat_map(|group| group.entries());
        let (mut same, mut all) = (0_usize, 0_usize);
        for entry in entries {
            all += 1;
            let offset = shown.get(&(&**entry.topic, entry.row.partition));
            same += usize::from(offset.copied() == Some(entry.row.committed_offset));
        }
        (same, (all - same) + shown.len().saturating_sub(same))
    };
    let ((here, others_here), (there, others_there)) = (compare(copy), compare(home));
    match (others_here, others_there) {
        (0, 0) => None,
        (0, _) => Some(Told::Here),
        (_, 0) => Some(Told::Elsewhere),
        _ if here == there => None,
        _ => Some(if here > there { Told::Here } else { Told::Elsewhere }),
    }
}
