//! Sends requests to the coordinators of groups, at a bounded rate, for the overlay, for the homes of groups, for the
//! self-audit and for `admin` mode.

use std::{
    collections::BTreeMap,
    mem, thread,
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;

use super::{
    client::Connector,
    ffi::{Admin, CommittedOffset, NamedGroup, ReplyContent},
    live_source::{CommittedKey, RequestError},
    now,
};
use crate::source::rate_limit::RateLimit;

/// Timeout of a request to a coordinator.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for librdkafka's events.
const TICK: Duration = Duration::from_millis(50);

/// Requests to the coordinators of one cluster; `Q` is the purpose of a request. It connects at the first request, when
/// there are groups, because the lookup of a coordinator creates `__consumer_offsets` if it does not exist.
#[derive(Debug)]
pub(super) struct Coordinators<Q> {
    connector: Connector,
    /// Rate limit, which the caller observes.
    pub(super) rate_limit: RateLimit,
    admin: Option<Admin>,
    /// Requests without a response, by number. Numbers rise.
    pending: BTreeMap<usize, (Q, Instant)>,
    /// Requests that failed before a response arrived.
    failed_requests: Vec<(usize, Q, RequestError)>,
    next_number: usize,
    /// Whether a coordinator failed. librdkafka would keep using it although another broker may be the coordinator now.
    failed: bool,
}

/// The result of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The response.
    Response(ReplyContent),
    /// The coordinator knows no such group: nothing is committed, or another broker is its coordinator now.
    NoGroup(RequestError),
    /// The client may not describe the group, or the group's id is invalid.
    Refused(RequestError),
    /// The request was not sent, timed out, or failed.
    Failed(RequestError),
}

impl<Q> Coordinators<Q> {
    /// Makes a sender that has sent no request. `calls_per_second`: rate limit.
    pub(super) fn new(connector: Connector, calls_per_second: usize) -> Self {
        let rate_limit = RateLimit::new(calls_per_second, now());
        Self {
            connector,
            rate_limit,
            admin: None,
            pending: BTreeMap::new(),
            failed_requests: vec![],
            next_number: 0,
            failed: false,
        }
    }

    /// Sends a request that counts as `calls` calls. `send` returns false if librdkafka refuses its names. Every
    /// request gets a result, even if it cannot be sent.
    pub(super) fn send(&mut self, purpose: Q, calls: u32, send: impl FnOnce(&Admin, usize, &Q) -> bool) {
        let (now, number) = (now(), self.next_number);
        self.reconnect_if_failed(now);
        self.next_number += 1;
        if calls > 0 {
            self.rate_limit.record(calls, now);
        }
        let admin: &Admin = match &self.admin {
            Some(admin) => admin,
            None => match self.connector.connect_with_group() {
                Ok(client) => self.admin.insert(Admin::new(&client)),
                Err(error) => return self.failed_requests.push((number, purpose, error)),
            },
        };
        if send(admin, number, &purpose) {
            self.pending.insert(number, (purpose, now));
        } else {
            let reason = "librdkafka refuses the names in the request".to_owned();
            self.failed_requests.push((number, purpose, RequestError::Client { reason }));
        }
    }

    /// Waits for a result for at most `wait`. Returns the number of the request, its purpose, and the result.
    pub(super) fn take(&mut self, wait: Duration) -> Option<(usize, Q, Outcome)> {
        self.reconnect_if_failed(now());
        if let Some((number, purpose, error)) = self.failed_requests.pop() {
            return Some((number, purpose, Outcome::Failed(error)));
        }
        let Some(admin) = &self.admin else {
            // No request was sent.
            thread::park_timeout(wait);
            return None;
        };
        loop {
            let reply = admin.poll(wait)?;
            let Some((purpose, _)) = self.pending.remove(&reply.number) else { continue };
            let outcome = match (reply.content, reply.code) {
                (Ok(content), _) => Outcome::Response(content),
                (Err(error), RDKafkaErrorCode::GroupIdNotFound) => Outcome::NoGroup(error),
                (Err(error), RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::InvalidGroupId) => {
                    Outcome::Refused(error)
                }
                (Err(error), _) => {
                    self.failed = true;
                    Outcome::Failed(error)
                }
            };
            return Some((reply.number, purpose, outcome));
        }
    }

    /// Requests the groups of all protocols, and waits for the response. Returns no groups before the first request to
    /// a coordinator was sent.
    pub(super) fn all_groups(&self, timeout: Duration) -> Result<Vec<NamedGroup>, RequestError> {
        self.admin.as_ref().map_or(Ok(vec![]), |admin| admin.all_groups(timeout))
    }

    /// Drops the connections, and the coordinators that librdkafka has cached, if a response is late or a coordinator
    /// failed (see [`Admin::committed`]).
    fn reconnect_if_failed(&mut self, now: Instant) {
        let oldest = self.pending.first_key_value();
        let is_late = oldest.is_some_and(|(_, (_, sent))| now.duration_since(*sent) >= TIMEOUT);
        if is_late || (self.failed && self.pending.is_empty()) {
            self.disconnect();
        }
    }

    /// Drops the connections. Requests without a response fail.
    pub(super) fn disconnect(&mut self) {
        (self.admin, self.failed) = (None, false);
        let failed_requests = |(number, (purpose, _))| (number, purpose, RequestError::Timeout { after: TIMEOUT });
        self.failed_requests.extend(mem::take(&mut self.pending).into_iter().map(failed_requests));
    }

    /// Drops all requests without a result.
    pub(super) fn cancel_all(&mut self) {
        self.pending.clear();
        self.failed_requests.clear();
    }

    /// Returns the number of the next request.
    pub(super) fn next_number(&self) -> usize {
        self.next_number
    }

    /// Returns the number of requests without a result.
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.failed_requests.len()
    }
}

impl Coordinators<()> {
    /// Requests all committed offsets of a group, and waits for the response.
    pub(super) fn committed(&mut self, group: &str) -> Result<Vec<CommittedKey>, RequestError> {
        self.send((), 0, |admin, number, ()| admin.committed(number, group, None, false));
        let outcome = loop {
            if let Some((.., outcome)) = self.take(TICK) {
                break outcome;
            }
        };
        let error = match outcome {
            Outcome::Response(ReplyContent::Committed(committed)) => {
                let key = |key: CommittedOffset| match key.result {
                    Ok(committed) => committed.map(|committed| Ok((key.topic, key.partition, committed))),
                    Err(error) => Some(Err(RequestError::broker(error))),
                };
                return committed.into_iter().filter_map(key).collect();
            }
            Outcome::Response(_) => RequestError::UnexpectedResponse,
            Outcome::NoGroup(error) | Outcome::Refused(error) | Outcome::Failed(error) => error,
        };
        // The client would search for the coordinator again, which creates `__consumer_offsets` if it was deleted.
        self.disconnect();
        Err(error)
    }
}
