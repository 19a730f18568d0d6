//! Writes responses of coordinators to the store, as changes in the order in which they were found.

use rdkafka::error::RDKafkaErrorCode;

use super::{
    super::{
        ffi::{CommittedOffset, DescribedGroup, NamedGroup},
        rights,
    },
    members,
};
use crate::{
    model::{Name, Revision},
    source::polled::{ListingRound, ListingStats, Rejected, StoredOffset},
    store::{
        membership::Membership,
        source::{Fault, ReadOutcome},
        writer::{ShardWriter, SourceWriter},
    },
};

/// The number of the source's only shard.
pub(in super::super) const SHARD: i32 = 0;

/// The writer of the source's only shard. Revisions of this shard count the changes that were found.
#[derive(Debug)]
pub(in super::super) struct AdminWriter {
    source_writer: SourceWriter,
    shard: ShardWriter,
    /// Whether the first round is complete.
    is_loaded: bool,
}

/// The result of applying a response about the offsets of a group.
#[derive(Debug)]
pub(super) struct AppliedOffsets {
    /// Counts of the applied, denied and malformed offsets.
    pub(super) stats: ListingStats,
    /// Topics and partitions of rows that the response omits: their offsets were deleted, or the user may not describe
    /// the topic.
    pub(super) omitted: Vec<(Name, i32)>,
}

impl AdminWriter {
    /// Continues with the existing shard, or publishes an empty one.
    pub(in super::super) fn new(source_writer: SourceWriter) -> Self {
        let shard = source_writer.shard(SHARD).unwrap_or_else(|| {
            let shard = source_writer.new_shard(SHARD);
            source_writer.publish(&shard);
            shard
        });
        source_writer.source().set_health(|health| health.shards = Some(1));
        Self { is_loaded: source_writer.source().health().ready, source_writer, shard }
    }

    /// Returns the interned name.
    pub(super) fn name(&self, name: &str) -> Name {
        self.source_writer.names().intern(name)
    }

    /// Returns whether the configuration includes the group.
    pub(super) fn accepts(&self, group: &str) -> bool {
        self.source_writer.cluster().config.groups.accepts(group)
    }

    /// Returns the ids of the groups that readers see.
    pub(super) fn groups(&self) -> Vec<Name> {
        self.shard.pin().groups.iter().map(|group| Name::clone(&group.id)).collect()
    }

    /// Returns the number of committed offsets of a group.
    pub(super) fn offsets_of(&self, group: &str) -> usize {
        self.shard.group(group).map_or(0, |group| group.len())
    }

    /// Returns the revision up to which all changes are applied.
    pub(super) fn revision(&self) -> Revision {
        self.shard.applied().max(Revision(0))
    }

    /// Returns whether the first round is complete, so that readers see the data.
    pub(super) fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// Returns whether a permission that was lost after loading was granted again.
    pub(super) fn is_allowed_again(&self) -> bool {
        let health = self.source_writer.source().health();
        self.is_loaded && !health.ready && !health.is_refused()
    }

    /// Marks the source as loaded: all groups were read once.
    pub(super) fn loaded(&mut self) {
        self.is_loaded = true;
        self.source_writer.loaded();
    }

    /// Returns whether the log ends are loaded, which readers need as well.
    pub(super) fn are_ends_loaded(&self) -> bool {
        self.source_writer.cluster().ends.current().loaded
    }

    /// Reports that the user may not describe any group any more.
    pub(super) fn refused(&self, error: &str) {
        let reason = rights::cannot_describe_groups(&self.source_writer.cluster().config, error);
        self.source_writer.failed(Fault::Read, Some(reason));
    }

    /// Reports a fault with its reason, or clears it (`None`).
    pub(super) fn failed(&self, fault: Fault, reason: Option<String>) {
        self.source_writer.failed(fault, reason);
    }

    /// Publishes the statistics of the last round, completed with the number of entries and the current time.
    pub(super) fn read(&self, reading: ReadOutcome) {
        let (entries, read_at) = (self.shard.len().1 as u64, self.source_writer.clock().now());
        self.source_writer.set_last_read(ReadOutcome { entries, read_at, ..reading });
    }

    /// Applies the committed offsets in a response: all offsets of a group, or only the requested ones (`by_name`).
    pub(super) fn offsets(&self, group: &Name, response: &[CommittedOffset], by_name: bool) -> AppliedOffsets {
        let mut round = ListingRound::of_group(&self.source_writer, &self.shard, group, self.is_loaded);
        for CommittedOffset { topic, partition, result } in response {
            let partition = *partition;
            match result {
                Ok(Some(committed)) => {
                    let (committed_offset, metadata) = (committed.offset, &*committed.metadata);
                    // The Admin API does not return the time of a commit.
                    let listed =
                        StoredOffset { group, topic, partition, committed_offset, metadata, ..StoredOffset::default() };
                    round.found_with_epoch(&listed, committed.leader_epoch);
                }
                Ok(None) if by_name => round.delete_row(group, topic, partition),
                Ok(None) => {}
                Err(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                    round.keep_row(group, topic, partition, Rejected::Forbidden);
                }
                Err(_) => round.keep_row(group, topic, partition, Rejected::Malformed),
            }
        }
        let missing = if by_name { vec![] } else { round.missing() };
        let omitted = missing.into_iter().map(|(_, topic, partition)| (topic, partition)).collect();
        AppliedOffsets { stats: self.finish(round, false), omitted }
    }

    /// Removes all offsets of a group, since its coordinator does not know the group.
    pub(super) fn no_offsets(&self, group: &Name) -> ListingStats {
        self.finish(ListingRound::of_group(&self.source_writer, &self.shard, group, self.is_loaded), true)
    }

    fn finish(&self, round: ListingRound<'_>, complete: bool) -> ListingStats {
        let stats = round.finish(complete);
        self.shard.reached(stats.reached);
        stats
    }

    /// Applies the state and the members of a group. Returns whether they changed.
    pub(super) fn members(&self, group: &Name, described: &DescribedGroup) -> bool {
        let membership = members::membership(described, self.revision(), &|name| self.name(name));
        self.set_members(group, membership)
    }

    /// Applies the kind and state of a group of a protocol that librdkafka does not describe.
    pub(super) fn other_protocol(&self, group: &NamedGroup) {
        let (name, membership) = (self.name(&group.id), members::of_other_protocol(group, self.revision()));
        self.set_members(&name, membership);
    }

    /// Removes the members of a group that brokers no longer list.
    pub(super) fn no_members(&self, group: &Name) {
        self.set_members(group, None);
    }

    fn set_members(&self, group: &Name, membership: Option<Membership>) -> bool {
        let mut round = ListingRound::of_group(&self.source_writer, &self.shard, group, true);
        let has_changed = round.set_members(group, |_| membership);
        self.finish(round, false);
        has_changed
    }
}
