//! The cuts that statements hold, and which of them gives way when old versions take too much memory.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Cut, SqlError, Stop};

/// Statements with their cuts, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pins(Mutex<Vec<(Weak<Cut>, Stop)>>);

impl Pins {
    pub(super) fn add(&self, cut: &Arc<Cut>, stop: &Stop) {
        let mut pins = self.0.lock();
        pins.retain(|(cut, _)| cut.strong_count() > 0);
        pins.push((Arc::downgrade(cut), stop.clone()));
    }

    /// Ends the oldest statement that holds a cut; one at a time, since it takes a moment until it has let go.
    pub(super) fn relieve(&self, max_held_bytes: usize) {
        let pins = self.0.lock();
        let Some((_, oldest)) = pins.iter().find(|(cut, _)| cut.strong_count() > 0) else { return };
        if !oldest.is_ended() {
            let what = format!(
                "statements under way keep more than {max_held_bytes} bytes of what has changed since, and this one \
                 has read for the longest"
            );
            oldest.end(SqlError::Busy { what, setting: "sql.max_held_bytes" });
        }
    }
}
