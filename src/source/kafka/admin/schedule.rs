//! Which group is asked next for what it has committed, and when.
//!
//! Groups that moved at the last look are looked at again soon; others less and less often. What is due is asked in that
//! order, but every fourth question goes to a group that did not move, so that those which move never keep the others from
//! being looked at. A reader that waits goes first.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};

use crate::model::Name;

/// The shortest time between two looks at a group.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);
/// One of so many questions goes to a group that did not move, if one is due.
const SHARE_OF_IDLE: u32 = 4;

/// The groups of a cluster, by when they are due.
#[derive(Debug)]
pub(super) struct Schedule {
    groups: HashMap<Name, Group>,
    moving: BTreeSet<(Instant, Name)>,
    idle: BTreeSet<(Instant, Name)>,
    /// Groups that readers wait for.
    urgent: VecDeque<Name>,
    asked: u32,
    longest: Duration,
}

#[derive(Debug)]
struct Group {
    /// Until the next look, as long as nothing moves.
    interval: Duration,
    /// `None` while its answer is under way.
    due: Option<Instant>,
    is_moving: bool,
}

impl Schedule {
    /// Without groups. No group waits longer than `longest`, as far as the pace allows.
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            groups: HashMap::new(),
            moving: BTreeSet::new(),
            idle: BTreeSet::new(),
            urgent: VecDeque::new(),
            asked: 0,
            longest: longest.max(SHORTEST),
        }
    }

    /// Takes over the groups that there are. New ones are due now. Returns those that are gone.
    pub(super) fn set_groups(&mut self, listed: &HashSet<Name>, now: Instant) -> Vec<Name> {
        let gone: Vec<Name> = self.groups.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        for name in &gone {
            self.take_out(name);
            self.groups.remove(name);
        }
        self.urgent.retain(|name| listed.contains(name));
        for name in listed {
            if !self.groups.contains_key(name) {
                let group = Group { interval: SHORTEST, due: None, is_moving: true };
                self.groups.insert(Name::clone(name), group);
                self.put(name, now, true);
            }
        }
        gone
    }

    /// Puts a group before all others, for a reader that waits. Returns whether there is such a group.
    pub(super) fn hurry(&mut self, name: &Name) -> bool {
        let is_known = self.groups.contains_key(name);
        if is_known && !self.urgent.contains(name) {
            self.urgent.push_back(Name::clone(name));
        }
        is_known
    }

    /// The group to ask now. Its answer, or failure, must be told.
    pub(super) fn next(&mut self, now: Instant) -> Option<Name> {
        let name = self.next_urgent().or_else(|| self.next_due(now))?;
        self.take_out(&name);
        self.asked = self.asked.wrapping_add(1);
        Some(name)
    }

    /// Whether there is such a group.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.groups.contains_key(name)
    }

    /// Whether a group is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.urgent.is_empty() || self.next_due(now).is_some()
    }

    /// An urgent group whose answer is not under way: that one may have been given before the reader asked.
    fn next_urgent(&mut self) -> Option<Name> {
        let is_free = |name: &Name| self.groups.get(name).is_some_and(|group| group.due.is_some());
        let at = self.urgent.iter().position(is_free)?;
        self.urgent.remove(at)
    }

    fn next_due(&self, now: Instant) -> Option<Name> {
        let due = |set: &BTreeSet<(Instant, Name)>| set.first().filter(|(due, _)| *due <= now).cloned();
        let (moving, idle) = (due(&self.moving), due(&self.idle));
        let idle_first = self.asked.is_multiple_of(SHARE_OF_IDLE);
        let (first, second) = if idle_first { (idle, moving) } else { (moving, idle) };
        first.or(second).map(|(_, name)| name)
    }

    /// Notes an answer: whether something of the group moved since the one before.
    pub(super) fn answered(&mut self, name: &Name, moved: bool, now: Instant) {
        let longest = self.longest;
        let Some(group) = self.groups.get_mut(name) else { return };
        group.interval = if moved { SHORTEST } else { (group.interval * 2).min(longest) };
        let due = now + group.interval;
        self.put(name, due, moved);
    }

    /// Notes that no answer came.
    pub(super) fn failed(&mut self, name: &Name, now: Instant) {
        self.answered(name, false, now);
    }

    fn put(&mut self, name: &Name, due: Instant, is_moving: bool) {
        self.take_out(name);
        let Some(group) = self.groups.get_mut(name) else { return };
        (group.due, group.is_moving) = (Some(due), is_moving);
        let set = if is_moving { &mut self.moving } else { &mut self.idle };
        set.insert((due, Name::clone(name)));
    }

    fn take_out(&mut self, name: &Name) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if let Some(due) = group.due.take() {
            let set = if group.is_moving { &mut self.moving } else { &mut self.idle };
            set.remove(&(due, Name::clone(name)));
        }
    }
}

#[cfg(test)]
mod tests;
