//! Stores of offsets outside Kafka, simulated in memory. The server lists them as it lists a real one.

use crate::{
    clock::Clock,
    model::Millis,
    source::polled::{Listing, ListingRound, StoredOffset},
    store::{ends::LogEnds, latest::SourceError},
};

use super::scenario::{StoreKind, StoreSpec, TICK_MS};

/// A simulated store.
#[derive(Clone, Debug)]
pub(super) struct SimulatedStore {
    pub(super) spec: StoreSpec,
    pub(super) clock: Clock,
    /// Number of writes so far, and the time of the last one.
    writes: i64,
    written_at: Millis,
    stored: Vec<Stored>,
}

/// A stored offset.
#[derive(Clone, Debug)]
struct Stored {
    topic: usize,
    partition: i32,
    committed: i64,
    /// End of the planned batch.
    planned: i64,
}

impl SimulatedStore {
    pub(super) fn new(spec: StoreSpec, clock: Clock) -> Self {
        Self { spec, clock, writes: 0, written_at: 0, stored: vec![] }
    }

    /// Writes the log ends, as the application that owns the store does. Returns `None` while they are unknown.
    fn write(&mut self, ends: &LogEnds, at: Millis) -> Option<()> {
        let mut stored = vec![];
        for (index, name) in self.spec.topics.iter().enumerate() {
            for (&partition, number) in ends.topic(name)?.partitions.iter().zip(0..) {
                let end = Some(ends.value(partition).log_end).filter(|end| *end >= 0)?;
                let planned = (end - self.spec.behind).max(0);
                let before = self.stored.iter().find(|of| (of.topic, of.partition) == (index, number));
                let committed = match self.spec.store {
                    StoreKind::Batches => before.map_or(planned, |before| before.planned),
                    StoreKind::Mirror | StoreKind::Expiring => planned,
                };
                stored.push(Stored { topic: index, partition: number, committed, planned });
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
        let ends = round.topics();
        if at > self.written_at && ends.and_then(|ends| self.write(&ends, at)).is_none() && self.stored.is_empty() {
            return Ok(false);
        }
        for Stored { topic, partition, committed, planned } in &self.stored {
            let has_expired = self.spec.store == StoreKind::Expiring && *topic == 0 && at % 60_000 < 10_000;
            let Some(topic) = self.spec.topics.get(*topic).filter(|_| !has_expired) else { continue };
            let metadata = match self.spec.store {
                StoreKind::Batches => format!(
                    r#"{{"batch":{},"planned_batch":{},"planned_offset":{planned}}}"#,
                    self.writes - 1,
                    self.writes
                ),
                StoreKind::Mirror | StoreKind::Expiring => String::new(),
            };
            round.found(&StoredOffset {
                group: &self.spec.group,
                topic,
                partition: *partition,
                committed_offset: *committed,
                committed_at: Some(self.written_at),
                metadata: &metadata,
            });
        }
        Ok(true)
    }
}
