//! Polls committed offsets and members of groups from coordinators at a bounded rate, and writes them to the store.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use rdkafka::error::RDKafkaErrorCode;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        ask::AskError,
        client::Connector,
        coordinator::{Answer, Coordinators, TIMEOUT},
        ffi::{CommittedOffset, NamedGroup, ReplyContent},
        now,
        requests::{Inbox, ROOM, Reached, Waiters},
    },
    LONGEST_ROUND,
    schedule::Schedule,
    tally::Tally,
    write::{Taken, Writer},
};
use crate::{
    config,
    model::Name,
    store::{
        latest::{Scope, SourceError},
        source::Fault,
    },
};

mod listing;

/// Longest wait for a response before the next check for due requests.
const TICK: Duration = Duration::from_millis(20);
/// Maximum number of requests in flight.
const AT_ONCE: usize = 8;
/// Interval of requests for the groups of all protocols; librdkafka's listing omits some protocols.
const NAMES_INTERVAL: Duration = Duration::from_secs(60);
/// Longest interval between two requests for the members of a group that did not change its state.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(60);
/// Time until the next request about an unlisted group, if its coordinator denied the request.
const REFUSED: Duration = Duration::from_secs(60);
/// Every n-th request is about members, if one is due.
const SHARE_OF_MEMBERS: u32 = 5;
/// Requests per description of a group: librdkafka tries the KIP-848 request first, then the classic one.
const CALLS_OF_MEMBERS: u32 = 2;

/// A request to brokers or coordinators.
#[derive(Debug)]
enum Question {
    /// Lists the groups.
    Groups,
    /// Requests the committed offsets of a group.
    Committed(Offsets),
    /// Requests the members of a group.
    Members(Name),
}

/// A request for the committed offsets of a group.
#[derive(Debug)]
struct Offsets {
    group: Name,
    /// The partitions to request, because the response about all partitions omitted them; `None` requests all.
    untold: Option<Vec<(Name, i32)>>,
    /// Whether the response about all partitions contained changes.
    has_moved: bool,
    /// Whether brokers list the group. If not, it was deleted, or the user may no longer describe it.
    is_listed: bool,
}

impl Offsets {
    fn all(group: Name, is_listed: bool) -> Self {
        Self { group, untold: None, has_moved: false, is_listed }
    }
}

/// The existing groups, as listed by the brokers.
#[derive(Debug, Default)]
struct Listed {
    /// State of each group in librdkafka's listing.
    states: HashMap<Name, String>,
    /// Groups of protocols that librdkafka's listing omits, from the request for the groups of all protocols.
    others: HashMap<Name, NamedGroup>,
    /// Whether at least one listing was complete.
    is_complete: bool,
}

/// The poller of groups: lists them, and requests their committed offsets and members.
#[derive(Debug)]
pub(in super::super) struct Asker {
    coordinators: Coordinators<Question>,
    settings: config::Admin,
    writer: Writer,
    offsets: Schedule,
    members: Schedule,
    listed: Listed,
    due: Due,
    asked: u32,
    inbox: Inbox,
    waiting: Waiters<Name>,
    tally: Tally,
    /// Groups that brokers no longer list, and the earliest time of the next request about each.
    unlisted: HashMap<Name, Instant>,
}

/// The due times of the listings.
#[derive(Debug)]
struct Due {
    /// Due time of librdkafka's listing.
    groups: Instant,
    /// Due time of the listing of all protocols.
    names: Instant,
}

impl Asker {
    /// Makes a poller that has not sent a request yet.
    pub(in super::super) fn new(connector: Connector, settings: config::Admin, writer: Writer, inbox: Inbox) -> Self {
        let now = now();
        Self {
            coordinators: Coordinators::new(connector, settings.calls_per_second),
            offsets: Schedule::new(settings.max_interval),
            members: Schedule::new(MEMBERS_INTERVAL),
            settings,
            writer,
            listed: Listed::default(),
            due: Due { groups: now, names: now },
            asked: 0,
            inbox,
            waiting: Waiters::default(),
            tally: Tally::new(now),
            unlisted: HashMap::new(),
        }
    }

    /// Sends requests and applies responses until the token is cancelled. Blocks; run it on its own thread.
    pub(in super::super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.take_requests();
            self.ask(now());
            self.take_answers();
            self.judge_round(now());
        }
    }

    /// Takes the requests of readers.
    fn take_requests(&mut self) {
        self.waiting.forget_gone();
        while self.waiting.len() < ROOM
            && let Ok(wanted) = self.inbox.requests.try_recv()
        {
            let groups: BTreeSet<Name> = match wanted.scope {
                Scope::Key(group, ..) => [group].into(),
                Scope::All => {
                    if let Some(refusal) = self.refusal() {
                        // Fails only if the reader has stopped waiting.
                        let _ = wanted.done.send(Err(refusal));
                        continue;
                    }
                    self.listed.names().cloned().collect()
                }
            };
            let from = self.coordinators.next_number();
            for group in &groups {
                // A group that is not listed may be newer than the listing, so its coordinator is polled.
                if !self.offsets.hurry(group) {
                    self.send(Question::Committed(Offsets::all(Name::clone(group), true)), 0);
                }
            }
            self.waiting.add(groups, from, wanted.done, self.writer.revision());
        }
    }

    /// Returns the error of a request for the latest offsets of all groups, if that request would take too long.
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

    /// Sends the requests that are due.
    fn ask(&mut self, now: Instant) {
        if now >= self.due.groups {
            self.due.groups = now + self.settings.list_interval;
            self.send(Question::Groups, 0);
        }
        if now >= self.due.names && self.listed.is_complete {
            self.due.names = now + NAMES_INTERVAL;
            self.look_for_other_protocols();
        }
        while self.coordinators.len() < AT_ONCE {
            // Sending a request takes some time.
            let now = self::now();
            let Some(question) = self.coordinators.rate_limit.allows(now).then(|| self.next(now)).flatten() else {
                return;
            };
            self.asked = self.asked.wrapping_add(1);
            let calls = if matches!(question, Question::Members(_)) { CALLS_OF_MEMBERS } else { 1 };
            self.send(question, calls);
        }
    }

    /// Returns the next request. Groups that readers wait for come first.
    fn next(&mut self, now: Instant) -> Option<Question> {
        let members_first = self.asked.is_multiple_of(SHARE_OF_MEMBERS) && self.waiting.is_empty();
        if members_first && let Some(group) = self.members.next(now) {
            return Some(Question::Members(group));
        }
        if let Some(group) = self.offsets.next(now) {
            return Some(Question::Committed(Offsets::all(group, true)));
        }
        self.members.next(now).map(Question::Members)
    }

    fn send(&mut self, question: Question, calls: u32) {
        self.inbox.calls.add(1);
        self.coordinators.send(question, calls, |admin, number, question| match question {
            Question::Groups => {
                admin.list_groups(number, TIMEOUT);
                true
            }
            Question::Committed(Offsets { group, untold, .. }) => {
                admin.committed(number, group, untold.as_deref(), false)
            }
            Question::Members(group) => admin.describe_groups(number, &[group]),
        });
    }

    /// Handles a request without a response.
    fn failed(&mut self, question: Question, error: &AskError) {
        let now = now();
        match question {
            Question::Groups => {
                self.writer.failed(Fault::Unanswered, Some(format!("brokers do not list groups: {error}")));
            }
            Question::Committed(Offsets { group, is_listed: true, .. }) => {
                self.offsets.failed(&group, now);
                self.tally.unanswered(&group, self.writer.offsets_of(&group));
                self.tell(&group, usize::MAX, Err(error.of_group(&group)));
            }
            // The group is requested again after the next listing.
            Question::Committed(Offsets { group, is_listed: false, .. }) => drop(self.unlisted.insert(group, now)),
            Question::Members(group) => self.members.failed(&group, now),
        }
    }

    /// Handles the responses that have arrived, and waits for the first one.
    fn take_answers(&mut self) {
        // Waiting longer than the rate limit requires would send fewer calls than the setting allows.
        let until_free = self.coordinators.rate_limit.wait(now());
        let mut wait = if until_free.is_zero() { TICK } else { TICK.min(until_free) };
        while let Some((number, question, answer)) = self.coordinators.take(wait) {
            wait = Duration::ZERO;
            match (question, answer) {
                (Question::Groups, Answer::Response(ReplyContent::Groups(listed))) => self.take_groups(listed),
                (Question::Committed(asked), Answer::Response(ReplyContent::Committed(keys))) => {
                    self.take_offsets(number, asked, &keys);
                }
                (Question::Committed(asked), Answer::NoGroup(_)) => {
                    let seen = self.writer.no_offsets(&asked.group);
                    let taken = Taken { seen, untold: vec![] };
                    self.take_all(number, &asked, &taken);
                }
                (Question::Committed(asked), Answer::Refused(error)) => self.take_refusal(asked, &error),
                (Question::Members(group), Answer::Response(ReplyContent::Described(described))) => {
                    let described = described.into_iter().next().map(|(_, described)| described);
                    let moved = match described {
                        Some(Ok(described)) => self.writer.members(&group, &described),
                        // librdkafka cannot describe groups of this protocol, or the group was deleted.
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
                (question, Answer::Response(_)) => self.failed(question, &AskError::NoAnswer),
            }
        }
    }

    /// Applies the committed offsets of a group. A coordinator omits offsets that were deleted and offsets of topics
    /// that the user may not describe. A second request names the omitted partitions to find out which.
    fn take_offsets(&mut self, number: usize, asked: Offsets, keys: &[CommittedOffset]) {
        let taken = self.writer.offsets(&asked.group, keys, asked.untold.is_some());
        if taken.untold.is_empty() {
            return self.take_all(number, &asked, &taken);
        }
        let has_moved = asked.has_moved || taken.seen.changes > 0;
        self.send(Question::Committed(Offsets { untold: Some(taken.untold), has_moved, ..asked }), 1);
    }

    /// Handles the end of a request about a group: everything that the coordinator returned is applied.
    fn take_all(&mut self, number: usize, asked: &Offsets, taken: &Taken) {
        let group = &asked.group;
        if asked.is_listed {
            // A group that is known only from a reader's request is not in the schedule.
            if self.offsets.has(group) {
                let now = now();
                self.offsets.answered(group, asked.has_moved || taken.seen.changes > 0, now);
                self.tally.answered(group, now);
                self.tally.reject(group, &taken.seen);
            }
            return self.tell(group, number, Ok(self.writer.revision()));
        }
        self.tally.reject(group, &taken.seen);
        // A group without offsets that brokers do not list was deleted.
        self.unlisted.remove(group);
        if self.writer.offsets_of(group) == 0 {
            self.writer.no_members(group);
            self.tally.forget(group);
        }
    }

    /// Handles the denial of a request. The data of a group that the user may no longer describe stays visible.
    fn take_refusal(&mut self, asked: Offsets, error: &AskError) {
        let (group, is_known) = (Name::clone(&asked.group), !asked.is_listed || self.offsets.has(&asked.group));
        if asked.is_listed {
            self.failed(Question::Committed(asked), error);
        } else {
            self.unlisted.insert(asked.group, now() + REFUSED);
            if self.listed.states.is_empty() {
                self.writer.refused(&error.to_string());
            }
        }
        if is_known {
            self.tally.refused(&group, self.writer.offsets_of(&group));
        }
    }

    /// Updates the progress of the round. The source is loaded once all groups of the first listing are read and log
    /// ends are known.
    fn judge_round(&mut self, now: Instant) {
        let is_busy = self.coordinators.len() > 0 || self.offsets.is_due(now);
        self.tally.pass(is_busy, now);
        let names = || self.listed.names().filter(|name| self.writer.accepts(name)).cloned().collect();
        if let Some(reading) = self.tally.finish(names, self.settings.max_interval) {
            self.writer.read(reading);
        }
        let is_new = !self.writer.is_loaded() && self.tally.is_first_done() && self.writer.are_ends_loaded();
        if is_new || self.writer.is_allowed_again() {
            self.writer.loaded();
        }
    }

    /// Sends the result of request `number` to the readers that wait for a group.
    fn tell(&mut self, group: &Name, number: usize, answer: Reached) {
        self.waiting.resolve(number, std::slice::from_ref(group), &answer);
    }
}

impl Listed {
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.states.keys().chain(self.others.keys())
    }
}
