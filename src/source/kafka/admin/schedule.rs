//! Schedules the requests for committed offsets: decides which group is polled next, and when.
//!
//! A group that changed since the last poll is polled again soon; the interval of other groups doubles up to a maximum.
//! Due groups are polled in the order of their due times, but every fourth poll goes to a group that did not change, so
//! that changing groups never starve the others. Groups that a reader waits for come first.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};

use crate::model::Name;

/// Shortest time between two polls of a group.
pub(super) const SHORTEST: Duration = Duration::from_secs(1);
/// Every n-th poll goes to a group that did not change, if one is due.
const SHARE_OF_IDLE: u32 = 4;

/// The groups of a cluster, ordered by due time.
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
    /// Time between the last response and the next poll.
    interval: Duration,
    /// Time of the next poll; `None` while a request is in flight.
    due: Option<Instant>,
    is_moving: bool,
}

impl Schedule {
    /// Makes an empty schedule. No group waits longer than `longest`, as far as the rate limit permits.
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

    /// Sets the existing groups. New groups are due now. Returns the groups that no longer exist.
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

    /// Schedules a group ahead of all others, because a reader waits for it. Returns whether the group exists.
    pub(super) fn hurry(&mut self, name: &Name) -> bool {
        let is_known = self.groups.contains_key(name);
        if is_known && !self.urgent.contains(name) {
            self.urgent.push_back(Name::clone(name));
        }
        is_known
    }

    /// Returns the group to poll now. The caller must report the result by `answered` or `failed`.
    pub(super) fn next(&mut self, now: Instant) -> Option<Name> {
        let name = self.next_urgent().or_else(|| self.next_due(now))?;
        self.take_out(&name);
        self.asked = self.asked.wrapping_add(1);
        Some(name)
    }

    /// Returns whether the group exists.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.groups.contains_key(name)
    }

    /// Returns whether any group is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        !self.urgent.is_empty() || self.next_due(now).is_some()
    }

    /// Returns an urgent group without a request in flight. The response to a request in flight may be older than the
    /// reader's request.
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

    /// Records a response, and whether the group changed since the previous one.
    pub(super) fn answered(&mut self, name: &Name, moved: bool, now: Instant) {
        let longest = self.longest;
        let Some(group) = self.groups.get_mut(name) else { return };
        group.interval = if moved { SHORTEST } else { (group.interval * 2).min(longest) };
        let due = now + group.interval;
        self.put(name, due, moved);
    }

    /// Records that a request failed.
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
