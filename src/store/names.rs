//! Interned names: each name is stored once and freed when it is no longer used, because clients create names without
//! end (`console-consumer-12345`).

use hashbrown::HashSet;
use parking_lot::Mutex;

use crate::model::Name;

/// A set of shared names. When the set has doubled since the last sweep, names that only the set holds are dropped. The
/// set is therefore at most twice as large as the names in use, at a constant cost per new name.
#[derive(Debug)]
pub struct NameInterner {
    set: Mutex<Set>,
}

#[derive(Debug)]
struct Set {
    names: HashSet<Name>,
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 1024;

impl NameInterner {
    /// Returns the shared copy of `text`.
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

    /// Returns the number of names in the set, including unused names that are not swept yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.lock().names.len()
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for NameInterner {
    fn default() -> Self {
        Self { set: Mutex::new(Set { names: HashSet::new(), sweep_at: FIRST_SWEEP }) }
    }
}

#[cfg(test)]
mod tests;
