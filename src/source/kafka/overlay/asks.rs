//! Requests to the coordinators of groups with records behind open transactions.

use std::{
    collections::BTreeSet,
    hash::Hash,
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use super::{
    super::{
        ask::Committed,
        coordinator::Answer,
        ffi::{CommittedOffset, ReplyContent},
    },
    Overlay, RETRY,
    range::{Ask, Key, Range},
};
use crate::{
    model::Name,
    store::{shard::Shard, source::Source},
};

/// Pause after the coordinator of a group denied a request. Requests of readers do not wait for it.
const REFUSED: Duration = Duration::from_secs(60);

impl Overlay {
    /// Sends the requests that are due, at the allowed rate. Requests for waiting readers go first.
    pub(super) fn ask(&mut self, now: Instant) {
        while self.coordinators.rate_limit.allows(now)
            && let Some(look) = &mut self.look
        {
            if let Some(ask) = self.beside.pop_front() {
                self.send(ask);
                continue;
            }
            let Some(group) = self.groups.next(now) else { return };
            match look.ranges.iter_mut().find_map(|(number, range)| range.ask(*number, &group)) {
                Some(ask) => self.send(ask),
                None => self.groups.remove(&group),
            }
        }
    }

    fn send(&mut self, ask: Ask) {
        self.log.counters.calls.add(1);
        self.coordinators.send(ask, 1, |admin, number, ask| {
            let keys: Vec<(Name, i32)> = ask.keys.iter().map(|key| (Name::clone(&key.1), key.2)).collect();
            admin.committed(number, &ask.group, Some(&keys), ask.stable)
        });
    }

    /// Handles the responses that have arrived.
    pub(super) fn take_answers(&mut self, source: &Source, now: Instant) {
        while let Some((number, ask, answer)) = self.coordinators.take(Duration::ZERO) {
            let range = self.look.as_mut().and_then(|look| look.ranges.get_mut(&ask.log_partition));
            let Some((range, shard)) = range.zip(source.shard(ask.log_partition)) else {
                self.groups.remove(&ask.group);
                continue;
            };
            let told = match answer {
                Answer::Response(ReplyContent::Committed(told)) => told,
                Answer::NoGroup(_) => vec![],
                Answer::Refused(error) => {
                    self.log.counters.failures.add(1);
                    self.groups.put(&ask.group, now + REFUSED, false);
                    let keys: Vec<Key> = ask.keys.into_iter().collect();
                    range.waiters.resolve(number, &keys, &Err(error.of_group(&ask.group)));
                    continue;
                }
                Answer::Failed(_) | Answer::Response(_) => {
                    tracing::debug!(
                        cluster = &*self.writer.cluster().name,
                        group = &*ask.group,
                        ?answer,
                        "a coordinator returned no committed offsets"
                    );
                    self.log.counters.failures.add(1);
                    self.groups.put(&ask.group, now + RETRY / 4, true);
                    range.failed(ask);
                    continue;
                }
            };
            let (news, unstable) = take_answer(number, &ask, told, (range, &shard));
            if ask.stable {
                self.groups.again(&ask.group, !range.waited_for(&ask.group).is_empty(), now);
            }
            self.log.counters.shown.add(news);
            if !unstable.is_empty() {
                let keys = unstable.clone();
                self.beside.push_back(Ask { keys, fresh: unstable, stable: false, ..ask });
            }
        }
    }
}

/// Shows the committed offsets of a response, and resolves the readers that wait for them. Returns the number of
/// changed rows, and the keys with new records that also have a pending transaction.
fn take_answer(
    number: usize,
    ask: &Ask,
    told: Vec<CommittedOffset>,
    (range, shard): (&mut Range, &Shard),
) -> (u64, BTreeSet<Key>) {
    let (mut shown, mut unstable, mut news) = (vec![], BTreeSet::new(), 0);
    let told = told.into_iter().map(|of| ((Name::clone(&ask.group), Name::from(of.topic), of.partition), of.result));
    for (key, result) in matched(&ask.keys, told) {
        // A group that does not exist has no committed offsets.
        let Ok(committed) = result.unwrap_or(Ok(None)) else {
            unstable.insert(key.clone());
            continue;
        };
        let (is_shown, is_news) = show((range, shard), key, committed.as_ref(), ask.stable);
        news += u64::from(is_news);
        if is_shown {
            shown.push(key.clone());
        }
    }
    if !ask.stable {
        return (news, BTreeSet::new());
    }
    // Records that the consumer has not read yet will cause another request.
    range.waiters.resolve(number, &shown, &Ok(shard.applied()));
    unstable.retain(|key| ask.fresh.contains(key));
    (news, unstable)
}

/// Pairs each key with its result, in time linear in the number of keys and results.
fn matched<'a, K: Eq + Hash + 'a, A>(
    keys: impl IntoIterator<Item = &'a K>,
    answers: impl Iterator<Item = (K, A)>,
) -> impl Iterator<Item = (&'a K, Option<A>)> {
    let mut answers: HashMap<K, A> = answers.collect();
    keys.into_iter().map(move |key| (key, answers.remove(key)))
}

/// Updates the shard from a response about one key. Returns whether the shard shows the committed offset, and whether
/// that is a change.
fn show((range, shard): (&Range, &Shard), key: &Key, answer: Option<&Committed>, stable: bool) -> (bool, bool) {
    let known = shard.get(&key.0, &key.1, key.2).and_then(|found| found.entry);
    let is_known = match (&known, answer) {
        (None, None) => true,
        (Some(known), Some(answer)) => answer.is(&known.row, known.extras.as_ref()),
        _ => false,
    };
    // A record that equals the row may belong to the pending transaction, which may be aborted.
    let record = range.matching(key, answer).filter(|_| stable || !is_known);
    let is_news = record.is_some_and(|record| shard.show_early(&record.event(key)));
    (is_known || record.is_some(), is_news)
}

#[cfg(test)]
mod tests;
