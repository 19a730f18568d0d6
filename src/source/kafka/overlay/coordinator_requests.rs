//! Requests to the coordinators of groups with records behind open transactions.

use std::{
    collections::BTreeSet,
    hash::Hash,
    time::{Duration, Instant},
};

use hashbrown::HashMap;

use super::{
    super::{
        coordinator::Outcome,
        ffi::{CommittedOffset, ReplyContent},
        live_source::Committed,
    },
    Overlay, RETRY,
    blocked_range::{BlockedRange, CoordinatorRequest, Key},
};
use crate::{
    model::Name,
    store::{shard::Shard, source::Source},
};

/// Pause after the coordinator of a group denied a request. Requests of readers do not wait for it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

impl Overlay {
    /// Sends the requests that are due, at the allowed rate. Requests for waiting readers go first.
    pub(super) fn send_due(&mut self, now: Instant) {
        while self.coordinators.rate_limit.allows(now)
            && let Some(reader) = &mut self.reader
        {
            if let Some(request) = self.unstable_requests.pop_front() {
                self.send(request);
                continue;
            }
            let Some(group) = self.groups.next(now) else { return };
            match reader.ranges.iter_mut().find_map(|(number, range)| range.next_request(*number, &group)) {
                Some(request) => self.send(request),
                None => self.groups.remove(&group),
            }
        }
    }

    fn send(&mut self, request: CoordinatorRequest) {
        self.log.counters.calls.add(1);
        self.coordinators.send(request, 1, |admin, number, request| {
            let keys: Vec<(Name, i32)> = request.keys.iter().map(|key| (Name::clone(&key.1), key.2)).collect();
            admin.committed(number, &request.group, Some(&keys), request.require_stable)
        });
    }

    /// Handles the responses that have arrived.
    pub(super) fn take_responses(&mut self, source: &Source, now: Instant) {
        while let Some((number, request, outcome)) = self.coordinators.take(Duration::ZERO) {
            let range = self.reader.as_mut().and_then(|reader| reader.ranges.get_mut(&request.log_partition));
            let Some((range, shard)) = range.zip(source.shard(request.log_partition)) else {
                self.groups.remove(&request.group);
                continue;
            };
            let response = match outcome {
                Outcome::Response(ReplyContent::Committed(response)) => response,
                Outcome::NoGroup(_) => vec![],
                Outcome::Refused(error) => {
                    self.log.counters.failures.add(1);
                    self.groups.set_due(&request.group, now + REFUSED_PAUSE, false);
                    let keys: Vec<Key> = request.keys.into_iter().collect();
                    range.waiters.resolve(number, &keys, &Err(error.of_group(&request.group)));
                    continue;
                }
                Outcome::Failed(_) | Outcome::Response(_) => {
                    tracing::debug!(
                        cluster = &*self.writer.cluster().name,
                        group = &*request.group,
                        ?outcome,
                        "a coordinator returned no committed offsets"
                    );
                    self.log.counters.failures.add(1);
                    self.groups.set_due(&request.group, now + RETRY / 4, true);
                    range.requeue(request);
                    continue;
                }
            };
            let (changes, unstable) = apply_response(number, &request, response, (range, &shard));
            if request.require_stable {
                self.groups.reschedule(&request.group, !range.awaited_keys(&request.group).is_empty(), now);
            }
            self.log.counters.shown.add(changes);
            if !unstable.is_empty() {
                let keys = unstable.clone();
                self.unstable_requests.push_back(CoordinatorRequest {
                    keys,
                    new_keys: unstable,
                    require_stable: false,
                    ..request
                });
            }
        }
    }
}

/// Shows the committed offsets of a response, and resolves the readers that wait for them. Returns the number of
/// changed rows, and the keys with new records that also have a pending transaction.
fn apply_response(
    number: usize,
    request: &CoordinatorRequest,
    response: Vec<CommittedOffset>,
    (range, shard): (&mut BlockedRange, &Shard),
) -> (u64, BTreeSet<Key>) {
    let (mut shown, mut unstable, mut changes) = (vec![], BTreeSet::new(), 0);
    let response =
        response.into_iter().map(|of| ((Name::clone(&request.group), Name::from(of.topic), of.partition), of.result));
    for (key, result) in pair_with_results(&request.keys, response) {
        // A group that does not exist has no committed offsets.
        let Ok(committed) = result.unwrap_or(Ok(None)) else {
            unstable.insert(key.clone());
            continue;
        };
        let (is_shown, is_change) = show((range, shard), key, committed.as_ref(), request.require_stable);
        changes += u64::from(is_change);
        if is_shown {
            shown.push(key.clone());
        }
    }
    if !request.require_stable {
        return (changes, BTreeSet::new());
    }
    // Records that the consumer has not read yet will cause another request.
    range.waiters.resolve(number, &shown, &Ok(shard.applied()));
    unstable.retain(|key| request.new_keys.contains(key));
    (changes, unstable)
}

/// Pairs each key with its result, in time linear in the number of keys and results.
fn pair_with_results<'a, K: Eq + Hash + 'a, A>(
    keys: impl IntoIterator<Item = &'a K>,
    results: impl Iterator<Item = (K, A)>,
) -> impl Iterator<Item = (&'a K, Option<A>)> {
    let mut results: HashMap<K, A> = results.collect();
    keys.into_iter().map(move |key| (key, results.remove(key)))
}

/// Updates the shard from a response about one key. Returns whether the shard shows the committed offset, and whether
/// that is a change.
fn show(
    (range, shard): (&BlockedRange, &Shard),
    key: &Key,
    committed: Option<&Committed>,
    require_stable: bool,
) -> (bool, bool) {
    let known = shard.get(&key.0, &key.1, key.2).and_then(|found| found.entry);
    let is_known = match (&known, committed) {
        (None, None) => true,
        (Some(known), Some(committed)) => committed.equals_row(&known.row, known.extras.as_ref()),
        _ => false,
    };
    // A record that equals the row may belong to the pending transaction, which may be aborted.
    let record = range.matching(key, committed).filter(|_| require_stable || !is_known);
    let is_change = record.is_some_and(|record| shard.show_early(&record.event(key)));
    (is_known || record.is_some(), is_change)
}

#[cfg(test)]
mod tests;
