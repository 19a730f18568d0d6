//! Forgetting a Kafka cluster whose place another one has taken.

use super::{Ends, EndsBoard};

impl EndsBoard {
    /// Drops all topics and ends.
    pub(in super::super) fn clear(&self) {
        self.update(|ends, free| {
            *ends = Ends { version: ends.version, ..Ends::default() };
            free.clear();
        });
    }
}
