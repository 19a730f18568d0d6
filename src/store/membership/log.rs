//! Membership records of one group, of all protocols that it has used.

use std::sync::{Arc, OnceLock};

use super::{GroupKind, Membership, modern::Modern, piece::Piece};
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
    modern: Vec<Modern>,
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
    pub fn apply(&mut self, kind: GroupKind, piece: Piece, revision: Revision) {
        let others = Arc::make_mut(self.others.get_or_insert_default());
        others.current = OnceLock::new();
        match others.modern.iter_mut().find(|modern| modern.kind == kind) {
            Some(modern) => modern.apply(piece, revision),
            // A tombstone of a group that compaction has removed; this is normal (KAFKA-17306).
            None if piece.is_tombstone() => {}
            None => {
                let mut modern = Modern::new(kind);
                modern.apply(piece, revision);
                others.modern.push(modern);
            }
        }
        others.modern.retain(|modern| !modern.is_empty());
        if others.modern.is_empty() {
            self.others = None;
        }
    }

    /// Returns the current membership. If records of several protocols exist, as in the middle of a migration or in a
    /// damaged log, the newest group-level record determines the protocol.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Membership>> {
        match &self.others {
            None => self.classic.as_ref(),
            Some(others) => others.current.get_or_init(|| self.newest(&others.modern)).as_ref(),
        }
    }

    fn newest(&self, modern: &[Modern]) -> Option<Arc<Membership>> {
        let modern = modern.iter().filter(|modern| modern.is_group()).max_by_key(|modern| modern.revision());
        match (&self.classic, modern) {
            (Some(classic), Some(modern)) if modern.revision() < classic.revision => Some(Arc::clone(classic)),
            (_, Some(modern)) => Some(Arc::new(modern.membership())),
            (classic, None) => classic.clone(),
        }
    }
}
