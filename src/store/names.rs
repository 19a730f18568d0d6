//! Names are stored once, and let go when nobody uses them (`console-consumer-12345` must not live
//! for ever).

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::model::Name;

/// A set of shared names. Names that only the set holds are dropped whenever the set has doubled
/// since the last sweep, so that it is at most twice as large as what is in use, at a constant cost
/// per new name.
#[derive(Debug)]
pub struct Names {
    set: Mutex<Set>,
}

#[derive(Debug)]
struct Set {
    names: HashSet<Name>,
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 1024;

impl Names {
    /// The shared copy of `text`.
    pub fn intern(&self, text: &str) -> Name {
        let mut set = self.set.lock();
        if let Some(name) = set.names.get(text) {
            return Name::clone(name);
        }
        if set.names.len() >= set.sweep_at {
            set.names.retain(|name| Name::strong_count(name) > 1);
            set.names.shrink_to_fit();
            set.sweep_at = FIRST_SWEEP.max(set.names.len() * 2);
        }
        let name = Name::from(text);
        set.names.insert(Name::clone(&name));
        name
    }

    /// Names held, used or not yet swept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.lock().names.len()
    }

    /// Whether no name is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for Names {
    fn default() -> Self {
        Self { set: Mutex::new(Set { names: HashSet::new(), sweep_at: FIRST_SWEEP }) }
    }
}

#[cfg(test)]
mod tests;
