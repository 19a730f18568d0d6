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
pub(in super::super) struct Schedule {
    groups: HashMap<Name, Group>,
    /// Due times of the groups that changed since the previous poll.
    changing: BTreeSet<(Instant, Name)>,
    /// Due times of the other groups.
    idle: BTreeSet<(Instant, Name)>,
    /// Groups that readers wait for.
    urgent: VecDeque<Name>,
    /// Number of polls.
    polls: u32,
    shortest: Duration,
    longest: Duration,
}

#[derive(Debug)]
struct Group {
    /// Time between the last response and the next poll.
    interval: Duration,
    /// Time of the next poll; `None` while a request is in flight.
    due: Option<Instant>,
    /// Whether the group changed since the previous poll.
    is_changing: bool,
    /// Whether a reader waits for the group.
    is_urgent: bool,
}

impl Schedule {
    /// Makes an empty schedule. No group waits longer than `longest`, as far as the rate limit permits.
    pub(super) fn new(longest: Duration) -> Self {
        Self::between(SHORTEST, longest)
    }

    /// Makes an empty schedule. The time between two polls of a group doubles from `shortest` to `longest`, unless the
    /// group changes.
    pub(in super::super) fn between(shortest: Duration, longest: Duration) -> Self {
        Self {
            groups: HashMap::new(),
            changing: BTreeSet::new(),
            idle: BTreeSet::new(),
            urgent: VecDeque::new(),
            polls: 0,
            shortest,
            longest: longest.max(shortest),
        }
    }

    /// Sets the existing groups. New groups are due now. Returns the groups that no longer exist.
    pub(super) fn set_groups(&mut self, listed: &HashSet<Name>, now: Instant) -> Vec<Name> {
        let gone: Vec<Name> = self.groups.keys().filter(|name| !listed.contains(*name)).cloned().collect();
        for name in &gone {
            self.remove(name);
        }
        for name in listed {
            self.add(name, now);
        }
        gone
    }

    /// Adds a group, if it is new. It is due now.
    pub(in super::super) fn add(&mut self, name: &Name, now: Instant) {
        if !self.groups.contains_key(name) {
            let group = Group { interval: self.shortest, due: None, is_changing: true, is_urgent: false };
            self.groups.insert(Name::clone(name), group);
            self.set_due(name, now, true);
        }
    }

    /// Removes a group.
    pub(in super::super) fn remove(&mut self, name: &Name) {
        self.unschedule(name);
        if self.groups.remove(name).is_some_and(|group| group.is_urgent) {
            self.urgent.retain(|urgent| urgent != name);
        }
    }

    /// Moves a group before all others because a reader waits for it. Returns whether the group exists.
    pub(in super::super) fn prioritize(&mut self, name: &Name) -> bool {
        let Some(group) = self.groups.get_mut(name) else { return false };
        if !std::mem::replace(&mut group.is_urgent, true) {
            self.urgent.push_back(Name::clone(name));
        }
        true
    }

    /// Returns the group to poll now. The caller must report the response with [`Self::answered`] or
    /// [`Self::reschedule`], and a failure with [`Self::failed`].
    pub(in super::super) fn next(&mut self, now: Instant) -> Option<Name> {
        let name = self.next_urgent().or_else(|| self.next_due(now))?;
        self.unschedule(&name);
        self.polls = self.polls.wrapping_add(1);
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
        let name = self.urgent.remove(at)?;
        self.groups.get_mut(&name)?.is_urgent = false;
        Some(name)
    }

    fn next_due(&self, now: Instant) -> Option<Name> {
        let due = |set: &BTreeSet<(Instant, Name)>| set.first().filter(|(due, _)| *due <= now).cloned();
        let (changing, idle) = (due(&self.changing), due(&self.idle));
        let idle_first = self.polls.is_multiple_of(SHARE_OF_IDLE);
        let (first, second) = if idle_first { (idle, changing) } else { (changing, idle) };
        first.or(second).map(|(_, name)| name)
    }

    /// Records a response, and whether the group changed since the previous one.
    pub(super) fn answered(&mut self, name: &Name, has_changed: bool, now: Instant) {
        if has_changed && let Some(group) = self.groups.get_mut(name) {
            // `reschedule` doubles the interval.
            group.interval = self.shortest / 2;
        }
        self.reschedule(name, has_changed, now);
    }

    /// Schedules the next poll of a group, with twice the previous interval. `is_changing`: the group goes before
    /// groups that do not change.
    pub(in super::super) fn reschedule(&mut self, name: &Name, is_changing: bool, now: Instant) {
        let Some(group) = self.groups.get_mut(name) else { return };
        group.interval = (group.interval * 2).min(self.longest);
        let due = now + group.interval;
        self.set_due(name, due, is_changing);
    }

    /// Records that a request failed.
    pub(super) fn failed(&mut self, name: &Name, now: Instant) {
        self.answered(name, false, now);
    }

    /// Sets the time of the next poll of a group.
    pub(in super::super) fn set_due(&mut self, name: &Name, due: Instant, is_changing: bool) {
        self.unschedule(name);
        let Some(group) = self.groups.get_mut(name) else { return };
        (group.due, group.is_changing) = (Some(due), is_changing);
        let set = if is_changing { &mut self.changing } else { &mut self.idle };
        set.insert((due, Name::clone(name)));
    }

    fn unschedule(&mut self, name: &Name) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if let Some(due) = group.due.take() {
            let set = if group.is_changing { &mut self.changing } else { &mut self.idle };
            set.remove(&(due, Name::clone(name)));
        }
    }
}

#[cfg(test)]
mod tests;
