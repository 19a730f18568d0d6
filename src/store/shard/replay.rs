//! The fast path of the initial load. While no watcher and no provisional value exists, replayed commits need no change
//! events. They arrive in runs of one group, so each run looks the group up and makes it writable once.

use super::{
    super::{
        event::{Event, EventKind},
        group::ReplayedCommit,
    },
    Now, Shard, ShardState,
};

impl Shard {
    /// Applies a run of replayed commits of one group.
    pub(super) fn replay(&self, state: &mut ShardState, run: &[Event<'_>], now: &Now) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else { return };
        let Some(mut group) = self.group_mut(state, first.group) else { return };
        let commits = run.iter().filter_map(|event| match &event.kind {
            EventKind::Commit { topic, partition, commit } => {
                Some(ReplayedCommit { topic, partition: *partition, commit, revision: event.revision })
            }
            EventKind::Delete { .. } | EventKind::Classic(_) | EventKind::GroupRecord(..) => None,
        });
        let new = group.replay(commits, now.wall, |name| self.names.intern(name));
        state.groups.count_new(new);
        state.sequence += run.len() as u64;
        state.read_to = last.revision.next();
        state.last = last.revision;
        state.highest = last.revision;
    }
}

#[cfg(test)]
mod tests;
