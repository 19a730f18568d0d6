//! The entries of a store, turned into the rows of a listing by the layout of the source.

use std::sync::Arc;

use super::round::{ListingRound, Rejected, StoredOffset};
use crate::{
    model::Millis,
    source::layout::{Entry, Layout, Mismatch, NewestBatches, OffsetParts, Template, Topics},
    store::ends::LogEnds,
};

/// The times that a store knows of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreTimes {
    /// When its value was written.
    pub written_at: Option<Millis>,
    /// When it was created.
    pub created_at: Option<Millis>,
}

/// Reads the names and values of a store by a layout. Entries that are no rows are counted in the round.
#[derive(Debug)]
pub struct EntryReader<'a, 'b> {
    layout: &'a Layout,
    round: &'a mut ListingRound<'b>,
    /// The topics of the cluster, or `None` while they are not known.
    topics: Option<Arc<LogEnds>>,
    newest_batches: NewestBatches,
    is_ambiguous: bool,
}

impl<'a, 'b> EntryReader<'a, 'b> {
    /// Starts reading entries into a round.
    pub fn new(layout: &'a Layout, round: &'a mut ListingRound<'b>) -> Self {
        let topics = round.topics();
        Self { layout, round, topics, newest_batches: NewestBatches::default(), is_ambiguous: false }
    }

    /// Returns whether an entry was ambiguous that may become unambiguous once the topics of the cluster are known.
    #[must_use]
    pub fn awaits_topics(&self) -> bool {
        self.topics.is_none() && self.is_ambiguous
    }

    /// Reads a name by the layout's template with this index. `key` is the entry as shown to operators. Returns `None`,
    /// and counts the entry, if the name does not match.
    pub fn name(&mut self, template: usize, name: &[u8], key: &str) -> Option<OffsetParts> {
        let parts = self.parse_name(template, name);
        parts.map_err(|mismatch| self.reject(rejected(mismatch, Rejected::Unmatched), key)).ok()
    }

    fn parse_name(&self, template: usize, name: &[u8]) -> Result<OffsetParts, Mismatch> {
        let name = std::str::from_utf8(name).map_err(|_| Mismatch::NoMatch)?;
        let template = self.layout.names().get(template).ok_or(Mismatch::NoMatch)?;
        read_name(template, name, self.topics.as_deref())
    }

    /// Reads the offsets of a value whose names gave the parts `given`. A commit time in the value has precedence over
    /// the time of the store.
    pub fn value(&mut self, given: &[&OffsetParts], value: &[u8], times: StoreTimes, key: &str) {
        let layout = self.layout.value();
        for parts in with_topics(self.topics.as_deref(), |topics| layout.read(value, topics)) {
            let entry = parts.and_then(|parts| {
                let given: Vec<&OffsetParts> = given.iter().copied().chain([&parts]).collect();
                self.layout.entry(&given).ok_or(Mismatch::NoMatch)
            });
            match entry {
                Ok(mut entry) => {
                    entry.committed_at = entry.committed_at.or(times.written_at);
                    entry.first_seen_at = times.created_at;
                    if let Some(entry) = self.newest_batches.add(entry) {
                        self.round.found(&stored(&entry));
                    }
                }
                Err(mismatch) => self.reject(rejected(mismatch, Rejected::Malformed), key),
            }
        }
    }

    /// Returns the round, for facts that are no entries.
    pub fn round(&mut self) -> &mut ListingRound<'b> {
        self.round
    }

    /// Counts an entry that is not a row. `key` is shown to operators, so it must not contain the value.
    pub fn reject(&mut self, why: Rejected, key: &str) {
        self.is_ambiguous |= why == Rejected::Ambiguous;
        self.round.reject(why, key);
    }

    /// Adds the entries of the newest batches to the round, and returns it. Without this call they are lost.
    pub fn finish(self) -> &'a mut ListingRound<'b> {
        for entry in self.newest_batches.into_entries() {
            self.round.found(&stored(&entry));
        }
        self.round
    }
}

fn stored(entry: &Entry) -> StoredOffset<'_> {
    StoredOffset {
        group: &entry.group,
        topic: &entry.topic,
        partition: entry.partition,
        committed_offset: entry.committed_offset,
        committed_at: entry.committed_at,
        first_seen_at: entry.first_seen_at,
        metadata: &entry.metadata,
    }
}

/// Reads a name by a template. `topics` are those of the cluster, if they are known.
///
/// # Errors
/// Returns why the name does not match.
pub fn read_name(template: &Template, name: &str, topics: Option<&LogEnds>) -> Result<OffsetParts, Mismatch> {
    with_topics(topics, |topics| template.read(name, topics))
}

fn with_topics<T>(ends: Option<&LogEnds>, read: impl FnOnce(Topics<'_>) -> T) -> T {
    match ends {
        Some(ends) => read(Some(&|topic| ends.topic(topic).is_some())),
        None => read(None),
    }
}

fn rejected(mismatch: Mismatch, no_match: Rejected) -> Rejected {
    match mismatch {
        Mismatch::NoMatch => no_match,
        Mismatch::Ambiguous => Rejected::Ambiguous,
    }
}
