//! Lists the groups of a cluster, and updates the schedule of the poller from the listing.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use rdkafka::error::RDKafkaErrorCode;

use super::{AdminPoller, AdminRequest, OffsetsRequest, REFUSED_PAUSE, now};
use crate::{model::Name, source::kafka::ffi::ListedGroups, store::source::Fault};

/// Timeout of a request for the groups of all protocols.
const NAMES_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of requests after one listing about groups that brokers no longer list.
const MAX_UNLISTED_REQUESTS: usize = 20;
/// Advice in the error if brokers do not support the request.
const TOO_OLD: &str = "; the brokers are too old to list groups: set mode = \"log\"";

impl AdminPoller {
    /// Applies a listing. An incomplete listing adds groups, but removes none.
    pub(super) fn take_groups(&mut self, listed: ListedGroups) {
        let is_complete = listed.errors.is_empty();
        if !is_complete && listed.groups.is_empty() {
            return self.report_no_listing(&listed.errors);
        }
        self.writer.failed(Fault::Unanswered, None);
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
            self.members.prioritize(group);
        }
    }

    fn set_groups(&mut self) {
        let now = now();
        let names: HashSet<Name> = self.listed.names().filter(|name| self.writer.accepts(name)).cloned().collect();
        self.members.set_groups(&names, now);
        for gone in self.offsets.set_groups(&names, now) {
            self.round.remove(&gone);
            self.resolve_readers(&gone, usize::MAX, Ok(self.writer.revision()));
        }
        if self.listed.is_complete {
            self.request_unlisted(&names, now);
        }
        if self.listed.is_complete {
            self.round.record_listing(&names);
        }
    }

    /// Reports the fault that no broker lists groups.
    fn report_no_listing(&self, errors: &[RDKafkaErrorCode]) {
        let reason = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let is_unknown = |error: &RDKafkaErrorCode| {
            matches!(error, RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion)
        };
        let fault = match errors {
            [RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed, ..] => {
                Fault::Read
            }
            _ => Fault::Unanswered,
        };
        let advice = if errors.iter().any(is_unknown) { TOO_OLD } else { "" };
        self.writer.failed(fault, Some(format!("brokers do not list groups: {reason}{advice}")));
    }

    /// Requests the offsets of groups that readers see but brokers do not list: brokers omit groups that the user may
    /// no longer describe.
    fn request_unlisted(&mut self, names: &HashSet<Name>, now: Instant) {
        self.unlisted.retain(|group, _| !names.contains(group));
        let is_due =
            |group: &Name| !names.contains(group) && self.unlisted.get(group).is_none_or(|until| *until <= now);
        let mut groups: Vec<Name> = self.writer.groups().into_iter().filter(is_due).collect();
        // Groups without a previous request come first, then those with the oldest request.
        groups.sort_by_key(|group| self.unlisted.get(group).copied());
        groups.truncate(MAX_UNLISTED_REQUESTS);
        for group in groups {
            self.unlisted.insert(Name::clone(&group), now + REFUSED_PAUSE);
            self.send(AdminRequest::Committed(OffsetsRequest::all(group, false)), 0);
        }
    }

    /// Requests the groups of all protocols, because librdkafka's listing omits some.
    pub(super) fn list_other_protocols(&mut self) {
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
            Err(error) => tracing::debug!(%error, "cannot list the groups of all protocols"),
        }
    }
}
