//! Membership records of one group, of all protocols that it has used.

use std::sync::{Arc, OnceLock};

use super::{GroupKind, Membership, next_generation::NextGeneration, record::GroupRecord};
use crate::model::Revision;

/// Membership by the records of one group; empty for a simple group. Cheap to clone and small, because most groups have
/// only one record.
#[derive(Clone, Debug, Default)]
pub struct Members {
    classic: Option<Arc<Membership>>,
    others: Option<Arc<Others>>,
}

/// Records of next-generation groups.
#[derive(Clone, Debug, Default)]
struct Others {
    /// At most one per protocol; nearly always one in total.
    next_generation: Vec<NextGeneration>,
    current: OnceLock<Option<Arc<Membership>>>,
}

impl Members {
    /// Returns whether there are no membership records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classic.is_none() && self.others.is_none()
    }

    /// Applies a record of type 2. `None` is a tombstone, which does not affect other protocols.
    pub fn set_classic(&mut self, membership: Option<Arc<Membership>>) {
        self.classic = membership;
        if let Some(others) = &mut self.others {
            Arc::make_mut(others).current = OnceLock::new();
        }
    }

    /// Applies a record of a next-generation group.
    pub fn apply(&mut self, kind: GroupKind, record: GroupRecord, revision: Revision) {
        let others = Arc::make_mut(self.others.get_or_insert_default());
        others.current = OnceLock::new();
        match others.next_generation.iter_mut().find(|next_generation| next_generation.kind == kind) {
            Some(next_generation) => next_generation.apply(record, revision),
            // A tombstone of a group that compaction has removed; this is normal (KAFKA-17306).
            None if record.is_tombstone() => {}
            None => {
                let mut next_generation = NextGeneration::new(kind);
                next_generation.apply(record, revision);
                others.next_generation.push(next_generation);
            }
        }
        others.next_generation.retain(|next_generation| !next_generation.is_empty());
        if others.next_generation.is_empty() {
            self.others = None;
        }
    }

    /// Returns the current membership. If records of several protocols exist, as in the middle of a migration or in a
    /// damaged log, the newest group-level record determines the protocol.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Membership>> {
        match &self.others {
            None => self.classic.as_ref(),
            Some(others) => others.current.get_or_init(|| self.newest(&others.next_generation)).as_ref(),
        }
    }

    fn newest(&self, next_generation: &[NextGeneration]) -> Option<Arc<Membership>> {
        let next_generation = next_generation
            .iter()
            .filter(|next_generation| next_generation.is_group())
            .max_by_key(|next_generation| next_generation.revision());
        match (&self.classic, next_generation) {
            (Some(classic), Some(next_generation)) if next_generation.revision() < classic.revision => {
                Some(Arc::clone(classic))
            }
            (_, Some(next_generation)) => Some(Arc::new(next_generation.membership())),
            (classic, None) => classic.clone(),
        }
    }
}
