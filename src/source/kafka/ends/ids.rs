//! Which answer with topic ids another one is compared with.

use std::collections::BTreeMap;

use crate::{clock::Ticks, store::ends::IdsSeen};

/// The last two rounds of questions for topic ids that were answered. A round may have several answers.
#[derive(Debug, Default)]
pub(super) struct IdRounds {
    before: IdsSeen,
    last: IdsSeen,
}

impl IdRounds {
    /// Notes an answer to a question sent at `asked`. Returns the round before that question.
    pub(super) fn answered(&mut self, asked: Ticks, applied: BTreeMap<i32, i64>) -> &IdsSeen {
        if self.last.asked != Some(asked) {
            self.before = std::mem::replace(&mut self.last, IdsSeen { asked: Some(asked), applied });
        }
        &self.before
    }
}
