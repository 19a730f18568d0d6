//! Questions to coordinators about what lies behind transactions, and those who wait for the answers.

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::{
    super::{
        client,
        ffi::{Admin, CommittedOffset, ReplyContent},
    },
    RETRY, TIMEOUT,
    look::{Look, Looked, Shards},
    range::TopicPartition,
};
use crate::{
    model::Name,
    store::{
        overlay::{Committed, Settle},
        shard::Shard,
    },
};

/// How long a group is not asked about whose coordinator refuses to tell.
const REFUSED: Duration = Duration::from_secs(60);
/// How soon a transaction under way is asked about again, at first and at last.
const UNSTABLE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// A question that was sent.
#[derive(Debug)]
pub(super) struct Ask {
    log_partition: i32,
    group: Name,
    keys: Vec<TopicPartition>,
    /// Transactions under way are to be told, not passed over.
    stable: bool,
    sent: Instant,
}

/// Who waits until a partition is shown up to an offset.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) request: Settle,
    /// What is not answered yet; `None` before the look has read far enough.
    needs: Option<Vec<Need>>,
    failure: Option<String>,
}

#[derive(Debug)]
struct Need {
    group: Name,
    keys: Vec<TopicPartition>,
    /// Only a question sent from this number on answers it.
    from: usize,
    not_before: Option<Instant>,
    backoff: Duration,
}

impl Waiting {
    pub(super) fn new(request: Settle) -> Self {
        Self { request, needs: None, failure: None }
    }

    pub(super) fn tell(self, result: Result<(), String>) {
        // Who asked may have gone.
        let _ = self.request.done.send(result);
    }

    /// Tells who waits, if there is something to tell; else it goes on waiting.
    pub(super) fn judge(mut self, shards: &Shards, look: &Look) -> Option<Self> {
        if self.request.done.is_closed() {
            return None;
        }
        if let Some(failure) = self.failure.take() {
            self.tell(Err(failure));
            return None;
        }
        // A shard that is gone is nobody's to wait for: the sender is dropped.
        let shard = shards.get(&self.request.log_partition)?;
        let looked = look.ranges.get(&self.request.log_partition);
        if self.needs.is_none()
            && let Some(looked) = looked
            && looked.range.read >= self.request.target
        {
            match needs(&self.request, looked, look.next_number) {
                Ok(needs) => self.needs = Some(needs),
                Err(error) => {
                    self.tell(Err(error));
                    return None;
                }
            }
        }
        let answered = self.needs.as_ref().is_some_and(|needs| needs.iter().all(|need| need.keys.is_empty()));
        if answered || shard.applied() >= self.request.target {
            self.tell(Ok(()));
            return None;
        }
        Some(self)
    }
}

fn needs(request: &Settle, looked: &Looked, from: usize) -> Result<Vec<Need>, String> {
    let need =
        |group: &Name, keys| Need { group: Name::clone(group), keys, from, not_before: None, backoff: UNSTABLE.0 };
    if let Some((group, topic, partition)) = &request.key {
        let key = (Name::clone(topic), *partition);
        let has = looked.range.overflowed || looked.range.has(group, &key);
        return Ok(if has { vec![need(group, vec![key])] } else { vec![] });
    }
    if looked.range.overflowed {
        let number = request.log_partition;
        return Err(format!("log partition {number}: too many commits behind an open transaction to keep them all"));
    }
    Ok(looked.range.keys().map(|(group, keys)| need(group, keys)).collect())
}

impl Look {
    pub(super) fn is_asking(&self) -> bool {
        !self.asks.is_empty()
    }

    /// Asks what is due, at the pace that is allowed. Those who wait come first.
    pub(super) fn ask(&mut self, waiting: &mut [Waiting], now: Instant) {
        self.refused.retain(|_, until| *until > now);
        let is_late = self.asks.values().any(|ask| now.duration_since(ask.sent) >= TIMEOUT);
        if is_late || (self.failed && self.asks.is_empty()) {
            self.reconnect(waiting, now);
        }
        while self.pace.is_free(now)
            && let Some(ask) = self.next_awaited(waiting, now).or_else(|| self.next_due(now))
        {
            self.pace.count(now);
            self.send(ask, waiting);
        }
    }

    /// Drops the connections, and the coordinators that librdkafka remembers, see [`Admin::committed`].
    fn reconnect(&mut self, waiting: &mut [Waiting], now: Instant) {
        match client::connect_asking(&self.cluster.config) {
            Ok(client) => self.admin = Admin::new(&client),
            Err(error) => tracing::warn!(cluster = &*self.cluster.name, error, "cannot ask coordinators"),
        }
        self.failed = false;
        for (_, ask) in std::mem::take(&mut self.asks) {
            self.cluster.overlay_counters.failures.add(1);
            put_off(waiting, &ask, now + RETRY / 4);
            self.again(&ask);
        }
    }

    /// A group that somebody waits for, with all keys that anybody does.
    fn next_awaited(&self, waiting: &[Waiting], now: Instant) -> Option<Ask> {
        let due = |need: &&Need| !need.keys.is_empty() && need.not_before.is_none_or(|at| at <= now);
        let (log_partition, group) = waiting.iter().find_map(|waiting| {
            let number = waiting.request.log_partition;
            let free = |need: &&Need| !self.is_asked(number, &need.group, true);
            let need = waiting.needs.iter().flatten().filter(due).find(free)?;
            Some((number, Name::clone(&need.group)))
        })?;
        let mut keys: Vec<TopicPartition> = waiting
            .iter()
            .filter(|waiting| waiting.request.log_partition == log_partition)
            .flat_map(|waiting| waiting.needs.iter().flatten())
            .filter(|need| need.group == group)
            .flat_map(|need| need.keys.iter().cloned())
            .collect();
        keys.sort();
        keys.dedup();
        Some(Ask { log_partition, group, keys, stable: true, sent: now })
    }

    fn is_asked(&self, log_partition: i32, group: &str, stable: bool) -> bool {
        self.asks.values().any(|ask| ask.log_partition == log_partition && *ask.group == *group && ask.stable == stable)
    }

    /// A group with new records.
    fn next_due(&mut self, now: Instant) -> Option<Ask> {
        let refused = &self.refused;
        self.ranges.iter_mut().find_map(|(number, looked)| {
            loop {
                let (group, keys, stable) = looked.range.next_due()?;
                if !refused.contains_key(&group) {
                    return Some(Ask { log_partition: *number, group, keys, stable, sent: now });
                }
                looked.range.asked(&group, &keys);
            }
        })
    }

    fn send(&mut self, ask: Ask, waiting: &mut [Waiting]) {
        let number = self.next_number;
        self.next_number += 1;
        self.cluster.overlay_counters.calls.add(1);
        if let Some(looked) = self.ranges.get_mut(&ask.log_partition) {
            looked.range.asked(&ask.group, &ask.keys);
        }
        let keys: Vec<(&str, i32)> = ask.keys.iter().map(|(topic, partition)| (&**topic, *partition)).collect();
        if self.admin.committed(number, &ask.group, Some(&keys), ask.stable) {
            self.asks.insert(number, ask);
        } else {
            fail(waiting, &ask, &format!("group {:?} cannot be asked about", ask.group));
        }
    }

    fn again(&mut self, ask: &Ask) {
        if let Some(looked) = self.ranges.get_mut(&ask.log_partition) {
            looked.range.again(&ask.group, &ask.keys);
        }
    }

    /// Takes the answers that are there.
    pub(super) fn take_answers(&mut self, shards: &Shards, waiting: &mut [Waiting], now: Instant) {
        while let Some(reply) = self.admin.poll(Duration::ZERO) {
            let Some(ask) = self.asks.remove(&reply.number) else { continue };
            let answers = match reply.content {
                Ok(ReplyContent::Committed(answers)) => answers,
                // No such group: nothing is committed.
                Err(_) if reply.code == RDKafkaErrorCode::GroupIdNotFound => {
                    let none = |(topic, partition): &TopicPartition| CommittedOffset {
                        topic: topic.to_string(),
                        partition: *partition,
                        result: Ok(None),
                    };
                    ask.keys.iter().map(none).collect()
                }
                Ok(_) => continue,
                Err(error) => {
                    self.take_failure(&ask, reply.code, &error, waiting, now);
                    continue;
                }
            };
            if let Some(shard) = shards.get(&ask.log_partition) {
                self.take_answer(reply.number, &ask, &answers, shard, waiting, now);
            }
        }
    }

    fn take_failure(&mut self, ask: &Ask, code: RDKafkaErrorCode, error: &str, waiting: &mut [Waiting], now: Instant) {
        self.cluster.overlay_counters.failures.add(1);
        if matches!(code, RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::InvalidGroupId) {
            self.refused.insert(Name::clone(&ask.group), now + REFUSED);
            fail(waiting, ask, &format!("the coordinator of group {:?} refuses to tell: {error}", ask.group));
        } else {
            tracing::debug!(cluster = &*self.cluster.name, group = &*ask.group, error, "a coordinator did not answer");
            self.failed = true;
            put_off(waiting, ask, now + RETRY / 4);
            self.again(ask);
        }
    }

    fn take_answer(
        &mut self,
        number: usize,
        ask: &Ask,
        answers: &[CommittedOffset],
        shard: &Shard,
        waiting: &mut [Waiting],
        now: Instant,
    ) {
        let Some(looked) = self.ranges.get_mut(&ask.log_partition) else { return };
        let (mut settled, mut unstable, mut shown) = (vec![], vec![], 0);
        for key in &ask.keys {
            let is = |answer: &&CommittedOffset| *answer.topic == *key.0 && answer.partition == key.1;
            let Some(answer) = answers.iter().find(is) else { continue };
            let Ok(answer) = &answer.result else {
                unstable.push(key.clone());
                continue;
            };
            let (is_shown, news) = show(looked, shard, &ask.group, key, answer.as_ref(), ask.stable);
            shown += u64::from(news);
            if is_shown {
                settled.push(key.clone());
            }
        }
        self.cluster.overlay_counters.shown.add(shown);
        // What was not read yet will come, and with it the next question.
        if !ask.stable {
            return;
        }
        looked.range.set_unstable(&ask.group, &settled, false);
        looked.range.set_unstable(&ask.group, &unstable, true);
        for need in waiting.iter_mut().filter_map(|waiting| waiting.needs.as_mut()).flatten() {
            if need.group == ask.group && need.from <= number {
                need.keys.retain(|key| !settled.contains(key));
                need.not_before = Some(now + need.backoff);
                need.backoff = (need.backoff * 2).min(UNSTABLE.1);
            }
        }
    }
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
    let ours = entry.map(|entry| Committed {
        offset: entry.row.committed_offset,
        leader_epoch: entry.row.leader_epoch,
        metadata: entry.rare.and_then(|rare| rare.metadata).as_deref().unwrap_or_default().to_owned(),
    });
    match (&ours, answer) {
        (None, None) => true,
        (Some(ours), Some(answer)) => ours.is_what(answer),
        _ => false,
    }
}

fn concerned<'a>(
    waiting: &'a mut [Waiting],
    ask: &'a Ask,
) -> impl Iterator<Item = (&'a mut Option<String>, &'a mut Need)> {
    waiting.iter_mut().filter(|waiting| waiting.request.log_partition == ask.log_partition).filter_map(|waiting| {
        let need = waiting.needs.as_mut()?.iter_mut().find(|need| need.group == ask.group && !need.keys.is_empty())?;
        Some((&mut waiting.failure, need))
    })
}

fn fail(waiting: &mut [Waiting], ask: &Ask, error: &str) {
    concerned(waiting, ask).for_each(|(failure, _)| *failure = Some(error.to_owned()));
}

fn put_off(waiting: &mut [Waiting], ask: &Ask, until: Instant) {
    concerned(waiting, ask).for_each(|(_, need)| need.not_before = Some(until));
}
