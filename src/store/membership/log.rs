//! What the log says of the members of one group, of every kind of group it ever was.

use std::sync::{Arc, OnceLock};

use super::{GroupKind, Membership, modern::Modern, piece::Piece};
use crate::model::Revision;

/// Everything that records of one group tell of its members; nothing, of a simple group. Cheap to clone, and small: most
/// groups have but one record.
#[derive(Clone, Debug, Default)]
pub struct Members {
    classic: Option<Arc<Membership>>,
    others: Option<Arc<Others>>,
}

/// What records of other types tell.
#[derive(Clone, Debug, Default)]
struct Others {
    /// At most one a kind; nearly always one.
    modern: Vec<Modern>,
    current: OnceLock<Option<Arc<Membership>>>,
}

impl Members {
    /// Nothing is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.classic.is_none() && self.others.is_none()
    }

    /// Takes over a record of type 2; `None` is its tombstone, which other kinds outlive.
    pub fn set_classic(&mut self, membership: Option<Arc<Membership>>) {
        self.classic = membership;
        if let Some(others) = &mut self.others {
            Arc::make_mut(others).current = OnceLock::new();
        }
    }

    /// Takes over a record of another type.
    pub fn apply(&mut self, kind: GroupKind, piece: Piece, revision: Revision) {
        let others = Arc::make_mut(self.others.get_or_insert_default());
        others.current = OnceLock::new();
        match others.modern.iter_mut().find(|modern| modern.kind == kind) {
            Some(modern) => modern.apply(piece, revision),
            // Of what compaction removed: normal (KAFKA-17306).
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

    /// The members as they are now. Where records of several kinds live, which is so only in the
    /// middle of a migration or on a damaged log, the newest group-level record tells the kind.
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
