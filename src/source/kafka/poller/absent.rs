//! Finds out why the metadata of all topics lacks `__consumer_offsets`, or a topic with committed offsets.
//!
//! The metadata of all topics omits topics that the user may not describe, so a missing permission looks like a missing
//! topic. A request for the topic by name distinguishes the two: the broker returns UNKNOWN_TOPIC_OR_PARTITION or
//! TOPIC_AUTHORIZATION_FAILED. Brokers of some services hide `__consumer_offsets` even from this request. If brokers
//! list groups, the topic that stores their commits must exist, so it is hidden.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use rdkafka::{error::RDKafkaErrorCode, metadata::MetadataTopic, types::RDKafkaRespErr};

use super::{
    super::{
        client::Client,
        ffi::{ListedGroups, Reply, ReplyContent},
        now, rights,
    },
    Pending, Poller, RequestKind,
};
use crate::{
    clock::Ticks,
    config,
    model::{Name, OFFSETS_TOPIC, SourceKind},
    store::cluster::{Cluster, Fault},
};

impl Poller {
    /// Sets the number of partitions of `__consumer_offsets`, or finds out why the metadata does not contain it.
    pub(super) fn check_log(&mut self, partitions: Option<usize>) {
        if self.cluster.own.kind() == SourceKind::Table {
            // The Admin API mode does not need the topic.
            return;
        }
        let Some(partitions) = partitions else { return self.check_absent_log() };
        self.cluster.set_fault(Fault::Describe, None, self.writer.clock());
        self.cluster.set_health(|health| health.shards = i32::try_from(partitions).ok());
    }

    /// Requests the topic by name, and lists groups if the topic does not exist.
    fn check_absent_log(&mut self) {
        let Ok(metadata) = self.client.metadata(Some(OFFSETS_TOPIC), self.settings.request_timeout) else { return };
        let topic = metadata.topics().iter().find(|topic| topic.name() == OFFSETS_TOPIC);
        match topic.and_then(MetadataTopic::error) {
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                self.report_denied_log(rights::cannot_describe(&self.cluster.config));
            }
            // The topic was created since the metadata request, or is being created.
            None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {}
            Some(_) => self.request_groups(),
        }
    }

    fn request_groups(&mut self) {
        if self.pending.values().any(|pending| pending.kind == RequestKind::Groups) {
            return;
        }
        self.next_number += 1;
        let sent = (self.writer.clock().ticks(), self.writer.clock().now());
        self.admin.list_groups(self.next_number, self.settings.request_timeout);
        self.pending.insert(self.next_number, Pending { kind: RequestKind::Groups, leader: -1, sent });
    }

    /// Applies the listing of groups: if there are groups, the topic is hidden; if there are none, no group has
    /// committed yet.
    pub(super) fn apply_groups(&mut self, reply: Reply) {
        let listed = match reply.content {
            Ok(ReplyContent::Groups(listed)) => listed,
            Ok(_) => return,
            Err(_) => ListedGroups { groups: vec![], errors: vec![reply.code] },
        };
        if self.cluster.ends.current().is_listed(OFFSETS_TOPIC) {
            return;
        }
        match conclude(&listed) {
            Conclusion::Unknown => {}
            Conclusion::Groups => self.report_denied_log(rights::log_hidden(&self.cluster.config, listed.groups.len())),
            Conclusion::Denied(error) => {
                self.report_denied_log(rights::cannot_list_groups(&self.cluster.config, &error.to_string()));
            }
            Conclusion::NoGroups => self.report_no_log(),
        }
    }

    /// Reports that the topic may not be described. Data that was read before stays visible, since the topic still
    /// exists.
    fn report_denied_log(&self, reason: String) {
        self.cluster.ends.set_refused(&OFFSETS_TOPIC.into(), true, self.writer.clock().ticks());
        self.cluster.set_fault(Fault::Describe, Some(reason), self.writer.clock());
    }

    fn report_no_log(&mut self) {
        self.cluster.ends.set_refused(&OFFSETS_TOPIC.into(), false, self.writer.clock().ticks());
        self.cluster.set_fault(Fault::Describe, None, self.writer.clock());
        if self.cluster.health().shards.is_none() {
            tracing::info!(
                cluster = &*self.cluster.name,
                "no group has committed yet: there is no topic {OFFSETS_TOPIC}, and brokers list no groups"
            );
            // The cluster counts as loaded only after the next requests for log starts.
            self.due.low = now();
        }
        self.cluster.set_health(|health| health.shards = Some(0));
    }
}

/// The conclusion from a listing of groups.
#[derive(Debug, PartialEq)]
enum Conclusion {
    /// Some broker did not answer, so there is no conclusion.
    Unknown,
    /// There are groups.
    Groups,
    /// The user may not list groups.
    Denied(RDKafkaErrorCode),
    /// There are no groups.
    NoGroups,
}

fn conclude(listed: &ListedGroups) -> Conclusion {
    let refused = |error: &&RDKafkaErrorCode| {
        matches!(error, RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed)
    };
    // An old broker without this request counts as one without groups.
    let fails = |error: &RDKafkaErrorCode| {
        !matches!(error, RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion)
    };
    if !listed.groups.is_empty() {
        Conclusion::Groups
    } else if let Some(error) = listed.errors.iter().find(refused) {
        Conclusion::Denied(*error)
    } else if listed.errors.iter().any(fails) {
        Conclusion::Unknown
    } else {
        Conclusion::NoGroups
    }
}

/// Maximum number of topics to check after one metadata refresh. Each check is a request of its own.
const MAX_CHECKS: usize = 20;
/// Time during which the result of a check is valid.
const VALID_FOR: Duration = Duration::from_secs(300);

/// The missing topics, and the time of the last check of each.
#[derive(Debug, Default)]
pub(super) struct MissingTopics(HashMap<Name, Instant>);

impl MissingTopics {
    /// Checks some of the missing topics for missing permissions.
    pub(super) fn check(&mut self, client: &Client, cluster: &Cluster, settings: &config::Lag, ticks: Ticks) {
        let missing = missing(cluster);
        let now = now();
        self.0.retain(|name, asked| missing.contains(name) && now.duration_since(*asked) < VALID_FOR);
        let due: Vec<Name> = missing.into_iter().filter(|name| !self.0.contains_key(name)).take(MAX_CHECKS).collect();
        for name in due {
            let Ok(metadata) = client.metadata(Some(&name), settings.request_timeout) else { return };
            let error = metadata.topics().iter().find(|topic| *topic.name() == *name).and_then(|topic| topic.error());
            let refused = error == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
            cluster.ends.set_refused(&name, refused, ticks);
            self.0.insert(name, now);
        }
    }
}

/// Returns the topics with committed offsets that the last metadata did not contain.
fn missing(cluster: &Cluster) -> HashSet<Name> {
    let ends = cluster.ends.current();
    let mut missing = HashSet::new();
    for shard in cluster.sources().iter().flat_map(|source| source.shards()) {
        for group in shard.pin().groups.iter() {
            let names = group.topic_counts().map(|(name, _)| name);
            missing.extend(names.filter(|name| !ends.is_listed(name)).cloned());
        }
    }
    missing
}

#[cfg(test)]
mod tests;
