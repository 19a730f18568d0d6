//! Requests to coordinators about what lies behind transactions, and the callers that wait for the answers.

use std::{
    collections::BTreeSet,
    hash::Hash,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};

use super::{
    super::{
        client::Connector,
        coordinator::{Answer, Coordinators},
        ffi::CommittedOffset,
        rate_limit::RateLimit,
    },
    RETRY,
    look::{Looked, Shards},
    range::TopicPartition,
};
use crate::{
    config,
    model::Name,
    source::kafka::Log,
    source::kafka::ask::{AskError, Committed, Settle},
    store::{cluster::Cluster, shard::Shard},
};

/// How long a group is not asked about whose coordinator refuses to tell.
const REFUSED: Duration = Duration::from_secs(60);
/// How soon a transaction under way is asked about again, at first and at last.
const UNSTABLE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// The log partitions that are looked behind.
pub(super) type Ranges = std::collections::BTreeMap<i32, Looked>;

/// A request to the coordinator of a group.
#[derive(Debug)]
struct Ask {
    log_partition: i32,
    group: Name,
    keys: Vec<TopicPartition>,
    /// Transactions under way are to be told, not passed over.
    stable: bool,
}

/// Asks coordinators at a bounded pace.
#[derive(Debug)]
pub(super) struct Asks {
    cluster: Arc<Cluster>,
    log: Arc<Log>,
    coordinators: Coordinators<Ask>,
    pace: RateLimit,
    /// Groups of log partitions about which callers have an answer to come.
    awaited: HashSet<(i32, Name)>,
    /// Groups whose coordinator refuses to tell, and until when they are not asked about.
    refused: HashMap<Name, Instant>,
}

/// A caller that waits until a partition is shown up to an offset.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Settle,
    /// What is not answered yet; `None` before the look has read far enough.
    needs: Option<Needs>,
    failure: Option<AskError>,
}

/// The groups that a caller waits for. Each step takes a time that does not grow with their number.
#[derive(Debug, Default)]
pub(super) struct Needs {
    groups: HashMap<Name, Need>,
    /// Groups to ask about, and not before when.
    due: BTreeSet<(Instant, Name)>,
    /// Only a request from this number on answers them.
    from: usize,
}

#[derive(Debug)]
struct Need {
    keys: HashSet<TopicPartition>,
    due: Instant,
    backoff: Duration,
}

impl Needs {
    pub(super) fn new(keys: impl Iterator<Item = (Name, Vec<TopicPartition>)>, from: usize, now: Instant) -> Self {
        let mut needs = Self { from, ..Self::default() };
        for (group, keys) in keys {
            needs.due.insert((now, Name::clone(&group)));
            needs.groups.insert(group, Need { keys: keys.into_iter().collect(), due: now, backoff: UNSTABLE.0 });
        }
        needs
    }

    /// The first group that is due, of those that are free to be asked about.
    fn next(&self, now: Instant, is_free: impl Fn(&Name) -> bool) -> Option<&Name> {
        self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, group)| group).find(|group| is_free(group))
    }

    /// Asks about a group again, but not before a time.
    fn put_off(&mut self, group: &Name, until: Instant) {
        let Some(need) = self.groups.get_mut(group) else { return };
        self.due.remove(&(need.due, Name::clone(group)));
        need.due = until;
        self.due.insert((until, Name::clone(group)));
    }

    /// Takes over the answer to a request: these keys are shown now, and the others are asked for again.
    fn settle(&mut self, number: usize, group: &Name, settled: &[TopicPartition], now: Instant) {
        let Some(need) = self.groups.get_mut(group).filter(|_| self.from <= number) else { return };
        for key in settled {
            need.keys.remove(key);
        }
        let (again, is_done) = (now + need.backoff, need.keys.is_empty());
        need.backoff = (need.backoff * 2).min(UNSTABLE.1);
        self.put_off(group, again);
        if is_done {
            self.due.remove(&(again, Name::clone(group)));
            self.groups.remove(group);
        }
    }
}

impl Waiting {
    pub(super) fn new(request: Settle) -> Self {
        Self { request, needs: None, failure: None }
    }

    pub(super) fn tell(self, result: Result<(), AskError>) {
        // The caller may have gone.
        let _ = self.request.done.send(result);
    }

    /// Tells the caller, if there is something to tell; else it goes on waiting.
    pub(super) fn judge(mut self, shards: &Shards, ranges: &Ranges, asks: &Asks, now: Instant) -> Option<Self> {
        if self.request.done.is_closed() {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            self.tell(Err(failure));
            return None;
        }
        // The caller of a shard that is gone is told by the drop of its request.
        let shard = shards.get(&self.request.log_partition)?;
        let looked = ranges.get(&self.request.log_partition);
        if self.needs.is_none()
            && let Some(looked) = looked
            && looked.range.read >= self.request.target
        {
            match needs(&self.request, looked, asks.coordinators.next_number(), now) {
                Ok(needs) => self.needs = Some(needs),
                Err(error) => {
                    self.tell(Err(error));
                    return None;
                }
            }
        }
        let answered = self.needs.as_ref().is_some_and(|needs| needs.groups.is_empty());
        if answered || shard.applied().0 >= self.request.target {
            self.tell(Ok(()));
            return None;
        }
        Some(self)
    }

    /// The need for a group of a log partition.
    fn needs_of(&mut self, ask: &Ask) -> Option<&mut Needs> {
        let needs = self.needs.as_mut().filter(|_| self.request.log_partition == ask.log_partition)?;
        needs.groups.contains_key(&ask.group).then_some(needs)
    }
}

fn needs(request: &Settle, looked: &Looked, from: usize, now: Instant) -> Result<Needs, AskError> {
    if let Some((group, topic, partition)) = &request.key {
        let key = (Name::clone(topic), *partition);
        let has = looked.range.overflowed || looked.range.has(group, &key);
        return Ok(Needs::new(has.then(|| (Name::clone(group), vec![key])).into_iter(), from, now));
    }
    if looked.range.overflowed {
        return Err(AskError::TooManyCommits.in_log_partition(request.log_partition));
    }
    Ok(Needs::new(looked.range.keys(), from, now))
}

impl Asks {
    pub(super) fn new(
        (cluster, log): (Arc<Cluster>, Arc<Log>),
        connector: Connector,
        settings: &config::Transactions,
        now: Instant,
    ) -> Self {
        Self {
            cluster,
            log,
            coordinators: Coordinators::new(connector),
            pace: RateLimit::new(settings.calls_per_second, now),
            awaited: HashSet::new(),
            refused: HashMap::new(),
        }
    }

    pub(super) fn is_asking(&self) -> bool {
        self.coordinators.len() > 0
    }

    /// Asks what is due, at the pace that is allowed. Callers that wait come first.
    pub(super) fn ask(&mut self, ranges: &mut Ranges, waiting: &mut [Waiting], now: Instant) {
        self.refused.retain(|_, until| *until > now);
        for ask in self.coordinators.renew(now) {
            self.log.counters.failures.add(1);
            self.again(&ask, ranges, waiting, now);
        }
        while self.pace.allows(now)
            && let Some(ask) = self.next_awaited(waiting, now).or_else(|| self.next_due(ranges))
        {
            self.pace.record(1, now);
            self.send(ask, ranges, waiting, now);
        }
    }

    /// A group that a caller waits for, with all keys that any caller waits for.
    fn next_awaited(&self, waiting: &[Waiting], now: Instant) -> Option<Ask> {
        let (log_partition, group) = waiting.iter().find_map(|waiting| {
            let number = waiting.request.log_partition;
            let is_free = |group: &Name| !self.awaited.contains(&(number, Name::clone(group)));
            let group = waiting.needs.as_ref()?.next(now, is_free)?;
            Some((number, Name::clone(group)))
        })?;
        let here = waiting.iter().filter(|waiting| waiting.request.log_partition == log_partition);
        let needs = here.filter_map(|waiting| waiting.needs.as_ref()?.groups.get(&group));
        let keys: BTreeSet<TopicPartition> = needs.flat_map(|need| need.keys.iter().cloned()).collect();
        Some(Ask { log_partition, group, keys: keys.into_iter().collect(), stable: true })
    }

    /// A group with new records.
    fn next_due(&self, ranges: &mut Ranges) -> Option<Ask> {
        ranges.iter_mut().find_map(|(number, looked)| {
            loop {
                let (group, keys, stable) = looked.range.next_due()?;
                if !self.refused.contains_key(&group) {
                    return Some(Ask { log_partition: *number, group, keys, stable });
                }
                looked.range.asked(&group, &keys);
            }
        })
    }

    fn send(&mut self, ask: Ask, ranges: &mut Ranges, waiting: &mut [Waiting], now: Instant) {
        self.log.counters.calls.add(1);
        if let Some(looked) = ranges.get_mut(&ask.log_partition) {
            looked.range.asked(&ask.group, &ask.keys);
        }
        let (group, stable, place) =
            (Name::clone(&ask.group), ask.stable, (ask.log_partition, Name::clone(&ask.group)));
        let names: Vec<TopicPartition> = ask.keys.clone();
        let keys: Vec<(&str, i32)> = names.iter().map(|(topic, partition)| (&**topic, *partition)).collect();
        match self.coordinators.ask(&group, Some(&keys), stable, ask, now) {
            Ok(()) => self.awaited.extend(stable.then_some(place)),
            Err((ask, error)) => fail(waiting, &ask, &error),
        }
    }

    fn note_answered(&mut self, ask: &Ask) {
        if ask.stable {
            self.awaited.remove(&(ask.log_partition, Name::clone(&ask.group)));
        }
    }

    fn again(&mut self, ask: &Ask, ranges: &mut Ranges, waiting: &mut [Waiting], now: Instant) {
        self.note_answered(ask);
        for needs in waiting.iter_mut().filter_map(|waiting| waiting.needs_of(ask)) {
            needs.put_off(&ask.group, now + RETRY / 4);
        }
        if let Some(looked) = ranges.get_mut(&ask.log_partition) {
            looked.range.again(&ask.group, &ask.keys);
        }
    }

    /// Takes the answers that are there.
    pub(super) fn take_answers(&mut self, shards: &Shards, ranges: &mut Ranges, waiting: &mut [Waiting], now: Instant) {
        while let Some((number, ask, answer)) = self.coordinators.take(Duration::ZERO) {
            self.note_answered(&ask);
            let answers = match answer {
                Answer::Committed(answers) => answers,
                Answer::NoGroup(_) => vec![],
                // Not asked for here.
                Answer::Listed(_) | Answer::Described(_) => continue,
                Answer::Refused(error) => {
                    self.log.counters.failures.add(1);
                    self.refused.insert(Name::clone(&ask.group), now + REFUSED);
                    fail(waiting, &ask, &error);
                    continue;
                }
                Answer::Failed(error) => {
                    self.log.counters.failures.add(1);
                    tracing::debug!(cluster = &*self.cluster.name, group = &*ask.group, %error, "a coordinator did not answer");
                    self.again(&ask, ranges, waiting, now);
                    continue;
                }
            };
            if let (Some(shard), Some(looked)) = (shards.get(&ask.log_partition), ranges.get_mut(&ask.log_partition)) {
                self.take_answer(number, &ask, answers, (&**shard, looked), waiting, now);
            }
        }
    }

    fn take_answer(
        &self,
        number: usize,
        ask: &Ask,
        answers: Vec<CommittedOffset>,
        (shard, looked): (&Shard, &mut Looked),
        waiting: &mut [Waiting],
        now: Instant,
    ) {
        let (mut settled, mut unstable, mut shown) = (vec![], vec![], 0);
        let answers = answers.into_iter().map(|answer| ((Name::from(answer.topic), answer.partition), answer.result));
        for (key, answer) in matched(&ask.keys, answers) {
            // A group that there is not has no answers: nothing is committed.
            let Ok(answer) = answer.unwrap_or(Ok(None)) else {
                unstable.push(key.clone());
                continue;
            };
            let (is_shown, news) = show(looked, shard, &ask.group, key, answer.as_ref(), ask.stable);
            shown += u64::from(news);
            if is_shown {
                settled.push(key.clone());
            }
        }
        self.log.counters.shown.add(shown);
        // What was not read yet will come, and with it the next request.
        if !ask.stable {
            return;
        }
        looked.range.set_unstable(&ask.group, &settled, false);
        looked.range.set_unstable(&ask.group, &unstable, true);
        for needs in waiting.iter_mut().filter_map(|waiting| waiting.needs_of(ask)) {
            needs.settle(number, &ask.group, &settled, now);
        }
    }
}

/// Each key with its answer. Takes a step for each key and for each answer.
fn matched<K: Eq + Hash, A>(
    keys: &[K],
    answers: impl Iterator<Item = (K, A)>,
) -> impl Iterator<Item = (&K, Option<A>)> {
    let mut answers: HashMap<K, A> = answers.collect();
    keys.iter().map(move |key| (key, answers.remove(key)))
}

/// Brings the shard to what the coordinator says. Returns whether it shows that, and whether it is news.
fn show(
    looked: &Looked,
    shard: &Shard,
    group: &str,
    key: &TopicPartition,
    answer: Option<&Committed>,
    stable: bool,
) -> (bool, bool) {
    // A record that says what is known already may be that of the transaction under way, which may never count.
    if !stable && is_known(shard, group, key, answer) {
        return (true, false);
    }
    if let Some(kept) = looked.range.matching(group, key, answer) {
        return (true, shard.show_early(&kept.event(group, (&key.0, key.1))));
    }
    (is_known(shard, group, key, answer), false)
}

/// Whether the shard shows this already.
fn is_known(shard: &Shard, group: &str, key: &TopicPartition, answer: Option<&Committed>) -> bool {
    let entry = shard.get(group, &key.0, key.1).and_then(|found| found.entry);
    match (&entry, answer) {
        (None, None) => true,
        (Some(ours), Some(answer)) => answer.is(&ours.row, ours.extras.as_ref()),
        _ => false,
    }
}

/// Tells the callers that wait for the group.
fn fail(waiting: &mut [Waiting], ask: &Ask, error: &AskError) {
    let failure = AskError::Coordinator { group: Name::clone(&ask.group), cause: Arc::new(error.clone()) };
    for waiting in waiting.iter_mut() {
        if waiting.needs_of(ask).is_some() {
            waiting.failure = Some(failure.clone());
        }
    }
}

#[cfg(test)]
mod tests;
