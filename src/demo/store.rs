//! Stores of offsets outside Kafka, simulated in memory. The server lists them as it lists a real one.

use std::collections::BTreeMap;

use super::scenario::{StoreSpec, TICK_MS};
use crate::{
    clock::Clock,
    model::Millis,
    source::polled::{Listing, ListingRound, StoredOffset},
    store::{ends::LogEnds, latest::SourceError},
};

/// A simulated store.
#[derive(Clone, Debug)]
pub(super) struct SimulatedStore {
    pub(super) spec: StoreSpec,
    pub(super) clock: Clock,
    /// Number of writes so far, and the time of the last one.
    pub(super) writes: i64,
    pub(super) written_at: Millis,
    /// Committed offset and end of the planned batch, by topic and partition.
    pub(super) stored: BTreeMap<(String, i32), (i64, i64)>,
}

impl SimulatedStore {
    /// Writes the log ends, as the application that owns the store does. Returns `None` while they are unknown.
    fn write(&mut self, ends: &LogEnds, at: Millis) -> Option<()> {
        let mut stored = BTreeMap::new();
        for topic in &self.spec.topics {
            for (&of, partition) in ends.topic(topic)?.partitions.iter().zip(0..) {
                let end = Some(ends.value(of).log_end).filter(|end| *end >= 0)?;
                let (key, planned) = ((topic.clone(), partition), (end - self.spec.behind).max(0));
                let before = self.stored.get(&key).filter(|_| self.spec.batches).map(|(_, planned)| *planned);
                stored.insert(key, (before.unwrap_or(planned), planned));
            }
        }
        (self.stored, self.writes, self.written_at) = (stored, self.writes + 1, at);
        Some(())
    }
}

impl Listing for SimulatedStore {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        let every = i64::try_from(self.spec.every.0 * TICK_MS).unwrap_or(i64::MAX).max(1);
        let at = self.clock.now() / every * every;
        if at > self.written_at {
            round.topics().and_then(|ends| self.write(&ends, at));
        }
        let planned = |end| {
            let (batch, next) = (self.writes - 1, self.writes);
            format!(r#"{{"batch":{batch},"planned_batch":{next},"planned_offset":{end}}}"#)
        };
        for ((topic, partition), (committed_offset, end)) in &self.stored {
            let metadata = if self.spec.batches { planned(end) } else { String::new() };
            if self.spec.expires && self.spec.topics.first() == Some(topic) && at % 60_000 < 10_000 {
                continue;
            }
            round.found(&StoredOffset {
                group: &self.spec.group,
                topic,
                partition: *partition,
                committed_offset: *committed_offset,
                committed_at: Some(self.written_at),
                metadata: &metadata,
                ..StoredOffset::default()
            });
        }
        Ok(!self.stored.is_empty())
    }
}
