//! Why a listing of topics does not show `__consumer_offsets`.
//!
//! A listing leaves out topics that the user may not describe, so a missing right looks like a fresh cluster. Asked by
//! name, the broker says which it is. Brokers of some services hide the topic even then: groups without the topic that
//! keeps their commits tell so.

use rdkafka::{consumer::Consumer as _, error::RDKafkaErrorCode, metadata::MetadataTopic, types::RDKafkaRespErr};

use super::{Pending, Poller, Question, Reply, ReplyContent};
use crate::{
    model::OFFSETS_TOPIC,
    source::kafka::{ffi::ListedGroups, now, rights},
    store::impediment::Impediment,
};

impl Poller {
    /// Notes how many partitions `__consumer_offsets` has, or asks why the listing does not show it.
    pub(super) fn look_for_log(&mut self, partitions: Option<usize>) {
        let Some(partitions) = partitions else { return self.look_for_absent_log() };
        self.cluster.impede(Impediment::Describe, None, &self.store.clock);
        self.cluster.set_health(|health| health.log_partitions = i32::try_from(partitions).ok());
    }

    /// Asks for the topic by name, and for groups where there is none.
    fn look_for_absent_log(&mut self) {
        // Not created by asking: allow.auto.create.topics is false.
        let Ok(metadata) = self.client.fetch_metadata(Some(OFFSETS_TOPIC), self.settings.request_timeout) else {
            return;
        };
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
        let sent = (self.store.clock.ticks(), self.store.clock.now());
        self.admin.list_groups(self.next_number, self.settings.request_timeout);
        self.pending.insert(self.next_number, Pending { kind: Question::Groups, leader: -1, sent });
    }

    /// There is no topic of that name: with groups it is hidden, without any no group has committed yet.
    pub(super) fn take_groups(&mut self, reply: Reply) {
        let listed = match reply.content {
            Ok(ReplyContent::Groups(listed)) => listed,
            Ok(_) => return,
            Err(_) => ListedGroups { groups: 0, errors: vec![reply.code] },
        };
        if self.cluster.ends.current().is_listed(OFFSETS_TOPIC) {
            return;
        }
        match judge(&listed) {
            Found::Nothing => {}
            Found::Groups => self.refuse_log(rights::hidden(&self.cluster.config, listed.groups)),
            Found::Refused(error) => {
                self.refuse_log(rights::cannot_list_groups(&self.cluster.config, &error.to_string()));
            }
            Found::Fresh => self.note_no_log(),
        }
    }

    /// What was read before stays, as the last that is known: nothing says that it is gone.
    fn refuse_log(&self, reason: String) {
        self.cluster.ends.set_refused(&OFFSETS_TOPIC.into(), true, self.store.clock.ticks());
        self.cluster.impede(Impediment::Describe, Some(reason), &self.store.clock);
    }

    fn note_no_log(&mut self) {
        self.cluster.ends.set_refused(&OFFSETS_TOPIC.into(), false, self.store.clock.ticks());
        self.cluster.impede(Impediment::Describe, None, &self.store.clock);
        if self.cluster.health().log_partitions.is_none() {
            tracing::info!(
                cluster = &*self.cluster.name,
                "no group has committed yet: there is no topic {OFFSETS_TOPIC}, and brokers list no groups"
            );
            // What it waits for to be loaded.
            self.due.low = now();
        }
        self.cluster.set_health(|health| health.log_partitions = Some(0));
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
    if listed.groups > 0 {
        Found::Groups
    } else if let Some(error) = listed.errors.iter().find(refused) {
        Found::Refused(*error)
    } else if listed.errors.iter().any(fails) {
        Found::Nothing
    } else {
        Found::Fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_topic_is_a_fresh_cluster_only_where_all_brokers_list_no_group() {
        let judge = |groups, errors: &[RDKafkaErrorCode]| judge(&ListedGroups { groups, errors: errors.to_vec() });
        assert_eq!(judge(0, &[]), Found::Fresh);
        assert_eq!(judge(0, &[RDKafkaErrorCode::UnsupportedFeature]), Found::Fresh, "a broker without the request");
        for error in [RDKafkaErrorCode::BrokerTransportFailure, RDKafkaErrorCode::CoordinatorLoadInProgress] {
            assert_eq!(judge(0, &[error]), Found::Nothing, "{error:?}");
            assert_eq!(judge(2, &[error]), Found::Groups, "{error:?}");
        }
        let refused = RDKafkaErrorCode::ClusterAuthorizationFailed;
        assert_eq!(judge(0, &[RDKafkaErrorCode::OperationTimedOut, refused]), Found::Refused(refused));
    }
}
