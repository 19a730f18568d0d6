//! The asker: requests committed offsets and members of groups from their coordinators at a bounded rate, and writes them
//! to the store.

use std::{
    mem,
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        ask::AskError,
        client::Connector,
        coordinator::{Answer, Coordinators},
        ffi::{CommittedOffset, ListedGroups, NamedGroup},
        now,
        pace::Pace,
    },
    LONGEST_ROUND, Wanted,
    schedule::Schedule,
    write::Writer,
};
use crate::{
    config,
    model::{Name, Revision},
    store::{latest::SourceError, source::Fault},
};

/// Longest wait for an answer before looking at what else is due.
const TICK: Duration = Duration::from_millis(20);
/// Questions without an answer at once.
const AT_ONCE: usize = 8;
/// How often the groups of all protocols are asked for, which librdkafka's listing leaves out.
const NAMES_INTERVAL: Duration = Duration::from_secs(60);
/// How long brokers have to tell them.
const NAMES_TIMEOUT: Duration = Duration::from_secs(10);
/// How often members are asked for although the state of their group is the same.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(60);
/// Groups that brokers list no longer, asked about after one listing.
const UNLISTED_AT_ONCE: usize = 20;
/// One of so many questions is about members, if some are due.
const SHARE_OF_MEMBERS: u32 = 5;
/// Requests that describing a group takes: librdkafka asks by KIP-848 first, then by the classic protocol.
const CALLS_OF_MEMBERS: u32 = 2;

/// A reader, and the groups of which it has no answer yet.
#[derive(Debug)]
struct Waiting {
    groups: HashSet<Name>,
    /// Answers to questions below this number were perhaps given before the reader asked.
    from: usize,
    done: oneshot::Sender<Result<Revision, SourceError>>,
}

#[derive(Debug)]
enum Question {
    Groups,
    Committed(Name),
    /// Of a group that brokers list no longer: it is gone, or the user may not describe it any more.
    Unlisted(Name),
    Members(Name),
}

/// The groups that there are, as brokers tell.
#[derive(Debug, Default)]
struct Listed {
    /// By librdkafka's listing: the state of each.
    states: HashMap<Name, String>,
    /// By the other request: groups whose protocol the listing leaves out.
    others: HashMap<Name, NamedGroup>,
    is_complete: bool,
}

/// Asks until it is stopped.
#[derive(Debug)]
pub(in super::super) struct Asker {
    coordinators: Coordinators<Question>,
    settings: config::Admin,
    writer: Writer,
    offsets: Schedule,
    members: Schedule,
    pace: Pace,
    listed: Listed,
    due: Due,
    asked: u32,
    requests: Receiver<Wanted>,
    waiting: Vec<Waiting>,
    /// Groups of the first listing that were not answered yet; `None` before it.
    first: Option<HashSet<Name>>,
    /// Groups that brokers list no longer, and about which there is an answer to come.
    unlisted: HashSet<Name>,
}

#[derive(Debug)]
struct Due {
    groups: Instant,
    names: Instant,
}

impl Asker {
    /// Nothing was asked yet.
    pub(in super::super) fn new(
        connector: Connector,
        settings: config::Admin,
        writer: Writer,
        requests: Receiver<Wanted>,
    ) -> Self {
        let now = now();
        Self {
            coordinators: Coordinators::new(connector),
            offsets: Schedule::new(settings.max_interval),
            members: Schedule::new(MEMBERS_INTERVAL),
            pace: Pace::new(settings.calls_per_second, now),
            settings,
            writer,
            listed: Listed::default(),
            due: Due { groups: now, names: now },
            asked: 0,
            requests,
            waiting: vec![],
            first: None,
            unlisted: HashSet::new(),
        }
    }

    /// Asks until the token is cancelled. Blocks: give it a thread.
    pub(in super::super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.take_requests();
            self.ask(now());
            self.take_answers();
            self.judge_loaded();
            for question in self.coordinators.renew(now()) {
                self.failed(question, &AskError::NoAnswer);
            }
        }
    }

    fn take_requests(&mut self) {
        while let Ok(wanted) = self.requests.try_recv() {
            let refusal = wanted.group.is_none().then(|| self.refusal()).flatten();
            if let Some(refusal) = refusal {
                // The reader may have gone.
                let _ = wanted.done.send(Err(refusal));
                continue;
            }
            let groups: HashSet<Name> = match &wanted.group {
                Some(group) => [Name::clone(group)].into(),
                None => self.listed.names().cloned().collect(),
            };
            let from = self.coordinators.next_number();
            for group in &groups {
                // A group that no listing has shown may have come since: its coordinator tells.
                if !self.offsets.hurry(group) {
                    self.send(Question::Committed(Name::clone(group)), now());
                }
            }
            if groups.is_empty() {
                // The reader may have gone.
                let _ = wanted.done.send(Ok(self.writer.revision()));
            } else {
                self.waiting.push(Waiting { groups, from, done: wanted.done });
            }
        }
        self.waiting.retain(|waiting| !waiting.done.is_closed());
    }

    /// Returns why the latest offsets of all groups are not requested, if that takes too long.
    fn refusal(&self) -> Option<SourceError> {
        let (groups, calls) = (self.listed.names().count(), self.settings.calls_per_second);
        let seconds = groups.div_ceil(calls.max(1));
        (seconds as u64 > LONGEST_ROUND.as_secs()).then(|| SourceError::Busy {
            reason: format!(
                "reading the latest offsets of {groups} groups takes {seconds} s at admin.calls_per_second = {calls}; \
                 request one group, or raise this setting"
            ),
        })
    }

    fn ask(&mut self, now: Instant) {
        if now >= self.due.groups {
            self.due.groups = now + self.settings.list_interval;
            self.send(Question::Groups, now);
        }
        if now >= self.due.names && self.listed.is_complete {
            self.due.names = now + NAMES_INTERVAL;
            self.look_for_other_protocols();
        }
        while self.pace.is_free(now) && self.coordinators.len() < AT_ONCE {
            let Some(question) = self.next(now) else { return };
            self.asked = self.asked.wrapping_add(1);
            let calls = if matches!(question, Question::Members(_)) { CALLS_OF_MEMBERS } else { 1 };
            self.pace.count(calls, now);
            self.send(question, now);
        }
    }

    /// What is asked next: readers that wait come first.
    fn next(&mut self, now: Instant) -> Option<Question> {
        let members_first = self.asked.is_multiple_of(SHARE_OF_MEMBERS) && self.waiting.is_empty();
        if members_first && let Some(group) = self.members.next(now) {
            return Some(Question::Members(group));
        }
        if let Some(group) = self.offsets.next(now) {
            return Some(Question::Committed(group));
        }
        self.members.next(now).map(Question::Members)
    }

    fn send(&mut self, question: Question, now: Instant) {
        let sent = match &question {
            Question::Groups => self.coordinators.list(question, now),
            Question::Committed(group) | Question::Unlisted(group) => {
                let group = Name::clone(group);
                self.coordinators.ask(&group, None, false, question, now)
            }
            Question::Members(group) => {
                let group = Name::clone(group);
                self.coordinators.describe(&[&group], question, now)
            }
        };
        if let Err((question, error)) = sent {
            self.failed(question, &error);
        }
    }

    fn failed(&mut self, question: Question, error: &AskError) {
        let now = now();
        match question {
            Question::Groups => tracing::debug!(%error, "brokers do not list groups"),
            Question::Committed(group) => {
                self.offsets.failed(&group, now);
                self.tell(&group, usize::MAX, Some(error));
            }
            // Asked again after the next listing.
            Question::Unlisted(group) => drop(self.unlisted.remove(&group)),
            Question::Members(group) => self.members.failed(&group, now),
        }
    }

    fn take_answers(&mut self) {
        let mut wait = TICK;
        while let Some((number, question, answer)) = self.coordinators.take(wait) {
            wait = Duration::ZERO;
            match (question, answer) {
                (Question::Groups, Answer::Listed(listed)) => self.take_groups(listed),
                (Question::Committed(group), Answer::Committed(keys)) => {
                    let moved = self.writer.offsets(&group, &keys);
                    self.answered(&group, number, moved);
                }
                (Question::Committed(group), Answer::NoGroup(_)) => {
                    let moved = self.writer.offsets(&group, &[]);
                    self.answered(&group, number, moved);
                }
                (Question::Unlisted(group), Answer::Committed(keys)) => self.take_unlisted(&group, &keys),
                (Question::Unlisted(group), Answer::NoGroup(_)) => self.take_unlisted(&group, &[]),
                (Question::Unlisted(group), Answer::Refused(error)) if self.listed.states.is_empty() => {
                    self.unlisted.remove(&group);
                    self.writer.refused(&error.to_string());
                }
                (Question::Members(group), Answer::Described(described)) => {
                    let described = described.into_iter().next().map(|(_, described)| described);
                    let moved = match described {
                        Some(Ok(described)) => self.writer.members(&group, &described),
                        // A group of a protocol that librdkafka cannot describe, or that is gone.
                        Some(Err(RDKafkaErrorCode::GroupIdNotFound)) | None => false,
                        Some(Err(_)) => {
                            self.members.failed(&group, now());
                            continue;
                        }
                    };
                    self.members.answered(&group, moved, now());
                }
                (question, Answer::NoGroup(error) | Answer::Refused(error) | Answer::Failed(error)) => {
                    self.failed(question, &error);
                }
                (question, Answer::Committed(_) | Answer::Listed(_) | Answer::Described(_)) => {
                    self.failed(question, &AskError::NoAnswer);
                }
            }
        }
    }

    /// A group without offsets that brokers do not list is gone.
    fn take_unlisted(&mut self, group: &Name, keys: &[CommittedOffset]) {
        self.unlisted.remove(group);
        if keys.iter().all(|key| key.result == Ok(None)) {
            self.writer.gone(group);
        } else {
            self.writer.offsets(group, keys);
        }
    }

    fn answered(&mut self, group: &Name, number: usize, moved: bool) {
        self.offsets.answered(group, moved, now());
        if let Some(first) = &mut self.first {
            first.remove(group);
        }
        self.tell(group, number, None);
    }

    /// Loaded once every group of the first listing was answered, and log ends are known.
    fn judge_loaded(&mut self) {
        if self.first.as_ref().is_some_and(HashSet::is_empty) && self.writer.are_ends_loaded() {
            self.first = None;
            self.writer.loaded();
        }
        if self.writer.is_allowed_again() {
            self.writer.loaded();
        }
    }

    /// Tells readers that waited for a group.
    fn tell(&mut self, group: &Name, number: usize, failure: Option<&AskError>) {
        let revision = self.writer.revision();
        for mut waiting in mem::take(&mut self.waiting) {
            if number >= waiting.from && waiting.groups.contains(group) {
                if let Some(error) = failure {
                    let cause = Arc::new(error.clone());
                    let error = AskError::Coordinator { group: Name::clone(group), cause };
                    // The reader may have gone.
                    let _ = waiting.done.send(Err(error.into()));
                    continue;
                }
                waiting.groups.remove(group);
                if waiting.groups.is_empty() {
                    let _ = waiting.done.send(Ok(revision));
                    continue;
                }
            }
            self.waiting.push(waiting);
        }
    }

    /// Takes over a listing. What brokers do not tell stays as it was.
    fn take_groups(&mut self, listed: ListedGroups) {
        let is_complete = listed.errors.is_empty();
        if !is_complete && listed.groups.is_empty() {
            let reason = listed.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return self.writer.failed(Fault::Read, Some(reason));
        }
        if !listed.groups.is_empty() {
            self.writer.failed(Fault::Read, None);
        }
        let states: HashMap<Name, String> =
            listed.groups.into_iter().map(|group| (self.writer.name(&group.id), group.state)).collect();
        let changed: Vec<Name> = states
            .iter()
            .filter(|(name, state)| self.listed.states.get(*name) != Some(*state))
            .map(|(name, _)| Name::clone(name))
            .collect();
        if is_complete {
            self.listed.states = states;
        } else {
            self.listed.states.extend(states);
        }
        self.listed.is_complete |= is_complete;
        self.set_groups();
        for group in &changed {
            self.members.hurry(group);
        }
    }

    fn set_groups(&mut self) {
        let now = now();
        let names: HashSet<Name> = self.listed.names().filter(|name| self.writer.accepts(name)).cloned().collect();
        self.members.set_groups(&names, now);
        for gone in self.offsets.set_groups(&names, now) {
            if let Some(first) = &mut self.first {
                first.remove(&gone);
            }
            self.tell(&gone, usize::MAX, None);
        }
        if self.listed.is_complete {
            self.ask_unlisted(&names, now);
        }
        if self.listed.is_complete && !self.writer.is_loaded() {
            self.first.get_or_insert(names);
        }
    }

    /// Asks about groups that are shown and not listed: without the right to describe a group, brokers list it no longer.
    fn ask_unlisted(&mut self, names: &HashSet<Name>, now: Instant) {
        let room = UNLISTED_AT_ONCE.saturating_sub(self.unlisted.len());
        let is_new = |group: &Name| !names.contains(group) && !self.unlisted.contains(group);
        let groups: Vec<Name> = self.writer.groups().filter(is_new).take(room).collect();
        for group in groups {
            self.unlisted.insert(Name::clone(&group));
            self.send(Question::Unlisted(group), now);
        }
    }

    /// Asks for groups of protocols that the listing leaves out.
    fn look_for_other_protocols(&mut self) {
        match self.coordinators.all_groups(NAMES_TIMEOUT) {
            Ok(groups) => {
                let names = groups.into_iter().map(|group| (self.writer.name(&group.id), group));
                let is_other = |name: &Name| !self.listed.states.contains_key(name);
                self.listed.others = names.filter(|(name, _)| is_other(name)).collect();
                self.set_groups();
                for group in self.listed.others.values() {
                    self.writer.other_protocol(group);
                }
            }
            Err(error) => tracing::debug!(%error, "brokers do not list the groups of all protocols"),
        }
    }
}

impl Listed {
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.states.keys().chain(self.others.keys())
    }
}
