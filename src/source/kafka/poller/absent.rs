//! Why a listing of topics does not show `__consumer_offsets`, or a topic that groups committed to.
//!
//! A listing leaves out topics that the user may not describe, so a missing right looks like a missing topic. Asked by
//! name, the broker says which it is: UNKNOWN_TOPIC_OR_PARTITION or TOPIC_AUTHORIZATION_FAILED. Brokers of some services
//! hide `__consumer_offsets` even then: groups without the topic that keeps their commits tell so.

use std::time::{Duration, Instant};

use hashbrown::{HashMap, HashSet};
use rdkafka::{error::RDKafkaErrorCode, metadata::MetadataTopic, types::RDKafkaRespErr};

use super::{
    super::{
        client::Client,
        ffi::{ListedGroups, Reply, ReplyContent},
        now, rights,
    },
    Pending, Poller, Question,
};
use crate::{
    clock::Ticks,
    config,
    model::{Name, OFFSETS_TOPIC, SourceKind},
    store::cluster::{Cluster, Fault},
};

impl Poller {
    /// Notes how many partitions `__consumer_offsets` has, or asks why the listing does not show it.
    pub(super) fn look_for_log(&mut self, partitions: Option<usize>) {
        if self.cluster.own.kind() == SourceKind::Table {
            // Committed offsets are read by the Admin API.
            return;
        }
        let Some(partitions) = partitions else { return self.look_for_absent_log() };
        self.cluster.set_fault(Fault::Describe, None, self.writer.clock());
        self.cluster.set_health(|health| health.shards = i32::try_from(partitions).ok());
    }

    /// Asks for the topic by name, and for groups where there is none.
    fn look_for_absent_log(&mut self) {
        let Ok(metadata) = self.client.metadata(Some(OFFSETS_TOPIC), self.settings.request_timeout) else { return };
        let topic = metadata.topics().iter().find(|topic| topic.name() == OFFSETS_TOPIC);
        match topic.and_then(MetadataTopic::error) {
            Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => {
                self.refuse_log(rights::cannot_describe(&self.cluster.config));
            }
            // Made since the listing, or about to be.
            None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => {}
            Some(_) => self.ask_groups(),
        }
    }

    fn ask_groups(&mut self) {
        if self.pending.values().any(|pending| pending.kind == Question::Groups) {
            return;
        }
        self.next_number += 1;
        let sent = (self.writer.clock().ticks(), self.writer.clock().now());
        self.admin.list_groups(self.next_number, self.settings.request_timeout);
        self.pending.insert(self.next_number, Pending { kind: Question::Groups, leader: -1, sent });
    }

    /// There is no topic of that name: with groups it is hidden, without any no group has committed yet.
    pub(super) fn take_groups(&mut self, reply: Reply) {
        let listed = match reply.content {
            Ok(ReplyContent::Groups(listed)) => listed,
            Ok(_) => return,
            Err(_) => ListedGroups { groups: vec![], errors: vec![reply.code] },
        };
        if self.cluster.ends.current().is_listed(OFFSETS_TOPIC) {
            return;
        }
        match judge(&listed) {
            Found::Nothing => {}
            Found::Groups => self.refuse_log(rights::hidden(&self.cluster.config, listed.groups.len())),
            Found::Refused(error) => {
                self.refuse_log(rights::cannot_list_groups(&self.cluster.config, &error.to_string()));
            }
            Found::Fresh => self.note_no_log(),
        }
    }

    /// What was read before stays, as the last that is known: nothing says that it is gone.
    fn refuse_log(&self, reason: String) {
        self.cluster.ends.set_refused(&OFFSETS_TOPIC.into(), true, self.writer.clock().ticks());
        self.cluster.set_fault(Fault::Describe, Some(reason), self.writer.clock());
    }

    fn note_no_log(&mut self) {
        self.cluster.ends.set_refused(&OFFSETS_TOPIC.into(), false, self.writer.clock().ticks());
        self.cluster.set_fault(Fault::Describe, None, self.writer.clock());
        if self.cluster.health().shards.is_none() {
            tracing::info!(
                cluster = &*self.cluster.name,
                "no group has committed yet: there is no topic {OFFSETS_TOPIC}, and brokers list no groups"
            );
            // What it waits for to be loaded.
            self.due.low = now();
        }
        self.cluster.set_health(|health| health.shards = Some(0));
    }
}

/// What brokers say when they are asked for groups.
#[derive(Debug, PartialEq)]
enum Found {
    /// Not all have answered.
    Nothing,
    Groups,
    Refused(RDKafkaErrorCode),
    Fresh,
}

fn judge(listed: &ListedGroups) -> Found {
    let refused = |error: &&RDKafkaErrorCode| {
        matches!(error, RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed)
    };
    // A broker that knows no such request cannot say more.
    let fails = |error: &RDKafkaErrorCode| {
        !matches!(error, RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion)
    };
    if !listed.groups.is_empty() {
        Found::Groups
    } else if let Some(error) = listed.errors.iter().find(refused) {
        Found::Refused(*error)
    } else if listed.errors.iter().any(fails) {
        Found::Nothing
    } else {
        Found::Fresh
    }
}

/// Topics asked for after one listing: each is a request of its own.
const AT_ONCE: usize = 20;
/// How long an answer holds.
const HOLDS: Duration = Duration::from_secs(300);

/// When each missing topic was last asked for.
#[derive(Debug, Default)]
pub(super) struct Missing(HashMap<Name, Instant>);

impl Missing {
    /// Asks for some of the topics that are missing.
    pub(super) fn check(&mut self, client: &Client, cluster: &Cluster, settings: &config::Lag, ticks: Ticks) {
        let missing = missing(cluster);
        let now = now();
        self.0.retain(|name, asked| missing.contains(name) && now.duration_since(*asked) < HOLDS);
        let due: Vec<Name> = missing.into_iter().filter(|name| !self.0.contains_key(name)).take(AT_ONCE).collect();
        for name in due {
            let Ok(metadata) = client.metadata(Some(&name), settings.request_timeout) else { return };
            let error = metadata.topics().iter().find(|topic| *topic.name() == *name).and_then(|topic| topic.error());
            let refused = error == Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
            cluster.ends.set_refused(&name, refused, ticks);
            self.0.insert(name, now);
        }
    }
}

/// Topics with commits that the last listing did not show.
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
