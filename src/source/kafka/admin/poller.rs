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
        client::Connector,
        coordinator::{Coordinators, Outcome, TIMEOUT},
        ffi::{CommittedOffset, NamedGroup, ReplyContent},
        live_source::RequestError,
        now,
        requests::{CAPACITY, Inbox, Reached, Waiters},
    },
    LONGEST_ROUND,
    round::RoundProgress,
    schedule::Schedule,
    write::{AdminWriter, AppliedOffsets},
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
const MAX_IN_FLIGHT: usize = 8;
/// Interval of requests for the groups of all protocols; librdkafka's listing omits some protocols.
const NAMES_INTERVAL: Duration = Duration::from_secs(60);
/// Longest interval between two requests for the members of a group that did not change its state.
const MEMBERS_INTERVAL: Duration = Duration::from_secs(60);
/// Time until the next request about an unlisted group, if its coordinator denied the request.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// Every n-th request is about members, if one is due.
const SHARE_OF_MEMBERS: u32 = 5;
/// Requests per description of a group: librdkafka tries the KIP-848 request first, then the classic one.
const CALLS_OF_MEMBERS: u32 = 2;

/// A request to brokers or coordinators.
#[derive(Debug)]
enum AdminRequest {
    /// Lists the groups.
    Groups,
    /// Requests the committed offsets of a group.
    Committed(OffsetsRequest),
    /// Requests the members of a group.
    Members(Name),
}

/// A request for the committed offsets of a group.
#[derive(Debug)]
struct OffsetsRequest {
    group: Name,
    /// The partitions to request, because the response about all partitions omitted them; `None` requests all.
    omitted: Option<Vec<(Name, i32)>>,
    /// Whether the response about all partitions contained changes.
    has_changes: bool,
    /// Whether brokers list the group. If not, it was deleted, or the user may no longer describe it.
    is_listed: bool,
}

impl OffsetsRequest {
    fn all(group: Name, is_listed: bool) -> Self {
        Self { group, omitted: None, has_changes: false, is_listed }
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
pub(in super::super) struct AdminPoller {
    coordinators: Coordinators<AdminRequest>,
    settings: config::Admin,
    writer: AdminWriter,
    /// Schedule of the requests for committed offsets.
    offsets: Schedule,
    /// Schedule of the requests for members.
    members: Schedule,
    listed: Listed,
    due: Due,
    /// Number of requests that were sent to coordinators.
    sent: u32,
    inbox: Inbox,
    /// Readers that wait for responses about groups.
    waiting: Waiters<Name>,
    round: RoundProgress,
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

impl AdminPoller {
    /// Makes a poller that has not sent a request yet.
    pub(in super::super) fn new(
        connector: Connector,
        settings: config::Admin,
        writer: AdminWriter,
        inbox: Inbox,
    ) -> Self {
        let now = now();
        Self {
            coordinators: Coordinators::new(connector, settings.calls_per_second),
            offsets: Schedule::new(settings.max_interval),
            members: Schedule::new(MEMBERS_INTERVAL),
            settings,
            writer,
            listed: Listed::default(),
            due: Due { groups: now, names: now },
            sent: 0,
            inbox,
            waiting: Waiters::default(),
            round: RoundProgress::new(now),
            unlisted: HashMap::new(),
        }
    }

    /// Sends requests and applies responses until the token is cancelled. Blocks; run it on its own thread.
    pub(in super::super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            self.take_requests();
            self.send_due(now());
            self.take_responses();
            self.update_round(now());
        }
    }

    /// Takes the requests of readers.
    fn take_requests(&mut self) {
        self.waiting.remove_closed();
        while self.waiting.len() < CAPACITY
            && let Ok(reader_request) = self.inbox.requests.try_recv()
        {
            let groups: BTreeSet<Name> = match reader_request.scope {
                Scope::Key(group, ..) => [group].into(),
                Scope::All => {
                    if let Some(refusal) = self.refusal() {
                        // Fails only if the reader has stopped waiting.
                        let _ = reader_request.reply.send(Err(refusal));
                        continue;
                    }
                    self.listed.names().cloned().collect()
                }
            };
            let from = self.coordinators.next_number();
            for group in &groups {
                // A group that is not listed may be newer than the listing, so its coordinator is polled.
                if !self.offsets.prioritize(group) {
                    self.send(AdminRequest::Committed(OffsetsRequest::all(Name::clone(group), true)), 0);
                }
            }
            self.waiting.add(groups, from, reader_request.reply, self.writer.revision());
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
    fn send_due(&mut self, now: Instant) {
        if now >= self.due.groups {
            self.due.groups = now + self.settings.list_interval;
            self.send(AdminRequest::Groups, 0);
        }
        if now >= self.due.names && self.listed.is_complete {
            self.due.names = now + NAMES_INTERVAL;
            self.list_other_protocols();
        }
        while self.coordinators.len() < MAX_IN_FLIGHT {
            // Sending a request takes some time.
            let now = self::now();
            let Some(request) = self.coordinators.rate_limit.allows(now).then(|| self.next_request(now)).flatten()
            else {
                return;
            };
            self.sent = self.sent.wrapping_add(1);
            let calls = if matches!(request, AdminRequest::Members(_)) { CALLS_OF_MEMBERS } else { 1 };
            self.send(request, calls);
        }
    }

    /// Returns the next request. Groups that readers wait for come first.
    fn next_request(&mut self, now: Instant) -> Option<AdminRequest> {
        let members_first = self.sent.is_multiple_of(SHARE_OF_MEMBERS) && self.waiting.is_empty();
        if members_first && let Some(group) = self.members.next(now) {
            return Some(AdminRequest::Members(group));
        }
        if let Some(group) = self.offsets.next(now) {
            return Some(AdminRequest::Committed(OffsetsRequest::all(group, true)));
        }
        self.members.next(now).map(AdminRequest::Members)
    }

    fn send(&mut self, request: AdminRequest, calls: u32) {
        self.inbox.calls.add(1);
        self.coordinators.send(request, calls, |admin, number, request| match request {
            AdminRequest::Groups => {
                admin.list_groups(number, TIMEOUT);
                true
            }
            AdminRequest::Committed(OffsetsRequest { group, omitted, .. }) => {
                admin.committed(number, group, omitted.as_deref(), false)
            }
            AdminRequest::Members(group) => admin.describe_groups(number, &[group]),
        });
    }

    /// Handles a request without a response.
    fn failed(&mut self, request: AdminRequest, error: &RequestError) {
        let now = now();
        match request {
            AdminRequest::Groups => {
                self.writer.failed(Fault::Unanswered, Some(format!("brokers do not list groups: {error}")));
            }
            AdminRequest::Committed(OffsetsRequest { group, is_listed: true, .. }) => {
                self.offsets.failed(&group, now);
                self.round.record_failure(&group, self.writer.offsets_of(&group));
                self.resolve_readers(&group, usize::MAX, Err(error.of_group(&group)));
            }
            // The group is requested again after the next listing.
            AdminRequest::Committed(OffsetsRequest { group, is_listed: false, .. }) => {
                self.unlisted.insert(group, now);
            }
            AdminRequest::Members(group) => self.members.failed(&group, now),
        }
    }

    /// Handles the responses that have arrived, and waits for the first one.
    fn take_responses(&mut self) {
        // Waiting longer than the rate limit requires would send fewer calls than the setting allows.
        let until_free = self.coordinators.rate_limit.wait(now());
        let mut wait = if until_free.is_zero() { TICK } else { TICK.min(until_free) };
        while let Some((number, request, outcome)) = self.coordinators.take(wait) {
            wait = Duration::ZERO;
            match (request, outcome) {
                (AdminRequest::Groups, Outcome::Response(ReplyContent::Groups(listed))) => self.take_groups(listed),
                (AdminRequest::Committed(request), Outcome::Response(ReplyContent::Committed(keys))) => {
                    self.take_offsets(number, request, &keys);
                }
                (AdminRequest::Committed(request), Outcome::NoGroup(_)) => {
                    let stats = self.writer.no_offsets(&request.group);
                    let applied = AppliedOffsets { stats, omitted: vec![] };
                    self.finish_offsets(number, &request, &applied);
                }
                (AdminRequest::Committed(request), Outcome::Refused(error)) => self.take_refusal(request, &error),
                (AdminRequest::Members(group), Outcome::Response(ReplyContent::Described(described))) => {
                    let described = described.into_iter().next().map(|(_, described)| described);
                    let has_changed = match described {
                        Some(Ok(described)) => self.writer.members(&group, &described),
                        // librdkafka cannot describe groups of this protocol, or the group was deleted.
                        Some(Err(RDKafkaErrorCode::GroupIdNotFound)) | None => false,
                        Some(Err(_)) => {
                            self.members.failed(&group, now());
                            continue;
                        }
                    };
                    self.members.answered(&group, has_changed, now());
                }
                (request, Outcome::NoGroup(error) | Outcome::Refused(error) | Outcome::Failed(error)) => {
                    self.failed(request, &error);
                }
                (request, Outcome::Response(_)) => self.failed(request, &RequestError::UnexpectedResponse),
            }
        }
    }

    /// Applies the committed offsets of a group. A coordinator omits offsets that were deleted and offsets of topics
    /// that the user may not describe. A second request names the omitted partitions to find out which.
    fn take_offsets(&mut self, number: usize, request: OffsetsRequest, keys: &[CommittedOffset]) {
        let applied = self.writer.offsets(&request.group, keys, request.omitted.is_some());
        if applied.omitted.is_empty() {
            return self.finish_offsets(number, &request, &applied);
        }
        let has_changes = request.has_changes || applied.stats.changes > 0;
        self.send(
            AdminRequest::Committed(OffsetsRequest { omitted: Some(applied.omitted), has_changes, ..request }),
            1,
        );
    }

    /// Handles the end of a request about a group: everything that the coordinator returned is applied.
    fn finish_offsets(&mut self, number: usize, request: &OffsetsRequest, applied: &AppliedOffsets) {
        let group = &request.group;
        if request.is_listed {
            // A group that is known only from a reader's request is not in the schedule.
            if self.offsets.has(group) {
                let now = now();
                self.offsets.answered(group, request.has_changes || applied.stats.changes > 0, now);
                self.round.record_response(group, now);
                self.round.record_rejected(group, &applied.stats);
            }
            return self.resolve_readers(group, number, Ok(self.writer.revision()));
        }
        self.round.record_rejected(group, &applied.stats);
        // A group without offsets that brokers do not list was deleted.
        self.unlisted.remove(group);
        if self.writer.offsets_of(group) == 0 {
            self.writer.no_members(group);
            self.round.remove(group);
        }
    }

    /// Handles the denial of a request. The data of a group that the user may no longer describe stays visible.
    fn take_refusal(&mut self, request: OffsetsRequest, error: &RequestError) {
        let (group, is_known) = (Name::clone(&request.group), !request.is_listed || self.offsets.has(&request.group));
        if request.is_listed {
            self.failed(AdminRequest::Committed(request), error);
        } else {
            self.unlisted.insert(request.group, now() + REFUSED_PAUSE);
            if self.listed.states.is_empty() {
                self.writer.refused(&error.to_string());
            }
        }
        if is_known {
            self.round.record_refusal(&group, self.writer.offsets_of(&group));
        }
    }

    /// Updates the progress of the round. The source is loaded once all groups of the first listing are read and log
    /// ends are known.
    fn update_round(&mut self, now: Instant) {
        let is_busy = self.coordinators.len() > 0 || self.offsets.is_due(now);
        self.round.advance(is_busy, now);
        let names = || self.listed.names().filter(|name| self.writer.accepts(name)).cloned().collect();
        if let Some(reading) = self.round.finish(names, self.settings.max_interval) {
            self.writer.read(reading);
        }
        let is_new = !self.writer.is_loaded() && self.round.is_first_done() && self.writer.are_ends_loaded();
        if is_new || self.writer.is_allowed_again() {
            self.writer.loaded();
        }
    }

    /// Sends the result of request `number` to the readers that wait for a group.
    fn resolve_readers(&mut self, group: &Name, number: usize, result: Reached) {
        self.waiting.resolve(number, std::slice::from_ref(group), &result);
    }
}

impl Listed {
    fn names(&self) -> impl Iterator<Item = &Name> {
        self.states.keys().chain(self.others.keys())
    }
}
