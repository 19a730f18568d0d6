//! Asks the coordinators of groups what is committed, and who the members are: for the overlay, the homes of groups, the
//! audit, and the admin source.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

use super::{
    client::Connector,
    ffi::{Admin, CommittedOffset, DescribedGroup, ListedGroups, NamedGroup, ReplyContent},
    now,
};
use crate::source::kafka::ask::{AskError, CommittedKey};

/// How long a coordinator has to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for librdkafka's events.
const TICK: Duration = Duration::from_millis(50);

/// Requests to the coordinators of one cluster; `Q` says what each was sent for. Connects when it first asks, which is
/// when there are groups: before, looking for a coordinator would create `__consumer_offsets`.
#[derive(Debug)]
pub(super) struct Coordinators<Q> {
    connector: Connector,
    admin: Option<Admin>,
    /// By number, which rises.
    pending: BTreeMap<usize, (Q, Instant)>,
    next_number: usize,
    /// A coordinator failed: librdkafka would go on asking it, though another broker may be the coordinator by now.
    failed: bool,
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// The committed offsets.
    Committed(Vec<CommittedOffset>),
    /// The groups that there are.
    Listed(ListedGroups),
    /// The state and the members of each group.
    Described(Vec<(String, Result<DescribedGroup, RDKafkaErrorCode>)>),
    /// The coordinator knows no such group, so nothing is committed; or another broker is its coordinator by now.
    NoGroup(AskError),
    /// The coordinator may not be asked about the group.
    Refused(AskError),
    /// The coordinator did not tell.
    Failed(AskError),
}

impl<Q> Coordinators<Q> {
    /// Nothing was asked yet.
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector, admin: None, pending: BTreeMap::new(), next_number: 0, failed: false }
    }

    /// Asks what a group has committed: of some keys, or of all (`None`). `stable`: a key with a transaction under way
    /// fails.
    ///
    /// # Errors
    /// What it is asked for, and why it cannot be asked.
    pub(super) fn ask(
        &mut self,
        group: &str,
        keys: Option<&[(&str, i32)]>,
        stable: bool,
        purpose: Q,
        now: Instant,
    ) -> Result<(), (Q, AskError)> {
        let sent = |admin: &Admin, number| admin.committed(number, group, keys, stable);
        let refused = || format!("librdkafka refuses the group {group:?} or its keys");
        self.send(purpose, now, sent, refused)
    }

    /// Asks which groups there are.
    ///
    /// # Errors
    /// As [`Coordinators::ask`].
    pub(super) fn list(&mut self, purpose: Q, now: Instant) -> Result<(), (Q, AskError)> {
        let sent = |admin: &Admin, number| {
            admin.list_groups(number, TIMEOUT);
            true
        };
        self.send(purpose, now, sent, String::new)
    }

    /// Asks for the states and the members of groups.
    ///
    /// # Errors
    /// As [`Coordinators::ask`].
    pub(super) fn describe(&mut self, groups: &[&str], purpose: Q, now: Instant) -> Result<(), (Q, AskError)> {
        let sent = |admin: &Admin, number| admin.describe_groups(number, groups);
        self.send(purpose, now, sent, || "librdkafka refuses the names of groups".to_owned())
    }

    /// Asks for the groups of all protocols, and waits. Nothing is told before something else was asked.
    pub(super) fn all_groups(&self, timeout: Duration) -> Result<Vec<NamedGroup>, AskError> {
        self.admin.as_ref().map_or(Ok(vec![]), |admin| admin.all_groups(timeout))
    }

    fn send(
        &mut self,
        purpose: Q,
        now: Instant,
        send: impl FnOnce(&Admin, usize) -> bool,
        refused: impl FnOnce() -> String,
    ) -> Result<(), (Q, AskError)> {
        let admin: &Admin = match &self.admin {
            Some(admin) => admin,
            None => match self.connector.connect_with_group() {
                Ok(client) => self.admin.insert(Admin::new(&client)),
                Err(error) => return Err((purpose, error)),
            },
        };
        let number = self.next_number;
        self.next_number += 1;
        if !send(admin, number) {
            return Err((purpose, AskError::Client { reason: refused() }));
        }
        self.pending.insert(number, (purpose, now));
        Ok(())
    }

    /// Waits for an answer, at most `wait`. Returns the number of the request, what it was for, and the answer.
    pub(super) fn take(&mut self, wait: Duration) -> Option<(usize, Q, Answer)> {
        let Some(admin) = &self.admin else {
            // Nothing was asked: nothing comes.
            thread::park_timeout(wait);
            return None;
        };
        loop {
            let reply = admin.poll(wait)?;
            let Some((purpose, _)) = self.pending.remove(&reply.number) else { continue };
            let answer = match reply.content {
                Ok(ReplyContent::Committed(answer)) => Answer::Committed(answer),
                Ok(ReplyContent::Groups(listed)) => Answer::Listed(listed),
                Ok(ReplyContent::Described(groups)) => Answer::Described(groups),
                Ok(ReplyContent::Offsets(_) | ReplyContent::TopicIds(_)) => Answer::Failed(AskError::NoAnswer),
                Err(error) => match reply.code {
                    RDKafkaErrorCode::GroupIdNotFound => Answer::NoGroup(error),
                    RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::InvalidGroupId => {
                        Answer::Refused(error)
                    }
                    _ => {
                        self.failed = true;
                        Answer::Failed(error)
                    }
                },
            };
            return Some((reply.number, purpose, answer));
        }
    }

    /// Drops the connections, and the coordinators that librdkafka remembers, if an answer is late or a coordinator
    /// failed (see [`Admin::committed`]). Returns what was being asked.
    pub(super) fn renew(&mut self, now: Instant) -> Vec<Q> {
        let is_late = self.pending.values().any(|(_, sent)| now.duration_since(*sent) >= TIMEOUT);
        if is_late || (self.failed && self.pending.is_empty()) { self.disconnect() } else { vec![] }
    }

    /// Drops the connections. Returns what was being asked.
    pub(super) fn disconnect(&mut self) -> Vec<Q> {
        (self.admin, self.failed) = (None, false);
        std::mem::take(&mut self.pending).into_values().map(|(purpose, _)| purpose).collect()
    }

    /// Drops answers to come: nothing waits for them.
    pub(super) fn forget(&mut self) {
        self.pending.clear();
    }

    /// The number of the next request.
    pub(super) fn next_number(&self) -> usize {
        self.next_number
    }

    /// How many requests have no answer yet.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether all requests from a number on have an answer.
    pub(super) fn is_answered_from(&self, number: usize) -> bool {
        self.pending.range(number..).next().is_none()
    }
}

impl Coordinators<()> {
    /// Asks what a group has committed, and waits for the answer.
    pub(super) fn committed(&mut self, group: &str, timeout: Duration) -> Result<Vec<CommittedKey>, AskError> {
        let answer = self.ask_and_wait(group, timeout);
        if answer.is_err() {
            // See Admin::committed.
            self.disconnect();
        }
        let mut keys = vec![];
        for key in answer? {
            match key.result {
                Ok(Some(committed)) => keys.push((key.topic, key.partition, committed)),
                Ok(None) => {}
                Err(error) => return Err(AskError::broker(error)),
            }
        }
        Ok(keys)
    }

    fn ask_and_wait(&mut self, group: &str, timeout: Duration) -> Result<Vec<CommittedOffset>, AskError> {
        let start = now();
        self.ask(group, None, false, (), start).map_err(|((), error)| error)?;
        while now().duration_since(start) <= timeout {
            match self.take(TICK) {
                Some((.., Answer::Committed(answer))) => return Ok(answer),
                Some((.., Answer::NoGroup(error) | Answer::Refused(error) | Answer::Failed(error))) => {
                    return Err(error);
                }
                Some((.., Answer::Listed(_) | Answer::Described(_))) => return Err(AskError::NoAnswer),
                None => {}
            }
        }
        Err(AskError::Timeout { after: timeout })
    }
}
