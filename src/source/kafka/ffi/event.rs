//! Replies of the cluster, parsed from librdkafka's events.

use std::ptr::NonNull;

use rdkafka::{bindings as sys, error::RDKafkaErrorCode, types::RDKafkaRespErr};

use super::text;
use crate::source::kafka::live_source::{Committed, RequestError};

/// A reply to a request of an `Admin`.
#[derive(Debug)]
pub(in super::super) struct Reply {
    pub(in super::super) number: usize,
    pub(in super::super) content: Result<ReplyContent, RequestError>,
    /// The error code of a failed request.
    pub(in super::super) code: RDKafkaErrorCode,
}

#[derive(Debug)]
pub(in super::super) enum ReplyContent {
    Offsets(Vec<ListedOffset>),
    /// Topic ids, each as 16 bytes in Kafka's order.
    TopicIds(Vec<(String, [u8; 16])>),
    /// The committed offsets of a group.
    Committed(Vec<CommittedOffset>),
    Groups(ListedGroups),
    Described(Vec<(String, Result<DescribedGroup, RDKafkaErrorCode>)>),
}

/// The groups that brokers list, and the errors of brokers that failed. librdkafka 2.12 omits groups with a protocol
/// type other than empty or `consumer` (`rd_kafka_ListConsumerGroupsResponse_parse`).
#[derive(Debug)]
pub(in super::super) struct ListedGroups {
    pub(in super::super) groups: Vec<ListedGroup>,
    pub(in super::super) errors: Vec<RDKafkaErrorCode>,
}

/// A group, as listed by a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ListedGroup {
    pub(in super::super) id: String,
    /// The state, as Kafka spells it; `Unknown` for the states of KIP-848 that librdkafka 2.12 does not know.
    pub(in super::super) state: String,
}

/// A group, as described by its coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct DescribedGroup {
    /// The state, as Kafka spells it, or `Unknown` as in [`ListedGroup`].
    pub(in super::super) state: String,
    /// Whether the group is of KIP-848 instead of the classic protocol.
    pub(in super::super) is_next_generation: bool,
    /// Whether its members, if any, use no protocol, so that the group only has offsets.
    pub(in super::super) is_simple: bool,
    pub(in super::super) assignor: String,
    pub(in super::super) members: Vec<DescribedMember>,
}

/// A member, as described by the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct DescribedMember {
    pub(in super::super) member_id: String,
    pub(in super::super) instance_id: Option<String>,
    pub(in super::super) client_id: String,
    pub(in super::super) host: String,
    pub(in super::super) assigned: Vec<(String, i32)>,
    /// The target assignment, which only KIP-848 groups have.
    pub(in super::super) target: Option<Vec<(String, i32)>>,
}

/// An offset with its leader epoch, or the error of its partition. An offset below 0 is an error, whatever the code.
#[derive(Debug)]
pub(in super::super) struct ListedOffset {
    pub(in super::super) topic: String,
    pub(in super::super) partition: i32,
    pub(in super::super) result: Result<(i64, i32), RDKafkaErrorCode>,
}

/// The committed offset of a key, as returned by the coordinator.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CommittedOffset {
    pub(in super::super) topic: String,
    pub(in super::super) partition: i32,
    /// The commit, `None` if the key has none, or the error of the key.
    pub(in super::super) result: Result<Option<Committed>, RDKafkaErrorCode>,
}

/// An event that we own and must destroy.
pub(super) struct Event(pub(super) NonNull<sys::rd_kafka_event_t>);

impl Event {
    pub(super) fn content(&self) -> Result<ReplyContent, RequestError> {
        let event = self.0.as_ptr();
        // SAFETY: the event is live; results are read only from events of their type.
        unsafe {
            if sys::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(RequestError::broker(text(sys::rd_kafka_event_error_string(event))));
            }
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_LISTOFFSETS_RESULT => Ok(ReplyContent::Offsets(self.offsets())),
                sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT => Ok(ReplyContent::TopicIds(self.topic_ids())),
                sys::RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT => self.committed().map(ReplyContent::Committed),
                sys::RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT => Ok(ReplyContent::Groups(self.groups())),
                sys::RD_KAFKA_EVENT_DESCRIBECONSUMERGROUPS_RESULT => Ok(ReplyContent::Described(self.described())),
                _ => Err(RequestError::UnexpectedResponse),
            }
        }
    }

    /// Must be called on events of type LISTOFFSETS_RESULT only.
    unsafe fn offsets(&self) -> Vec<ListedOffset> {
        let mut count = 0;
        // SAFETY: the result and its array live as long as the event; the call writes the count.
        unsafe {
            let result = sys::rd_kafka_event_ListOffsets_result(self.0.as_ptr());
            let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            array(infos, count)
                .iter()
                .map(|info| {
                    let partition = sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info);
                    let found = &*partition;
                    let epoch = sys::rd_kafka_topic_partition_get_leader_epoch(partition);
                    let result = match found.err {
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR if found.offset >= 0 => Ok((found.offset, epoch)),
                        // If the leader failed, librdkafka returns the offset -1001 without an error.
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Err(RDKafkaErrorCode::OperationTimedOut),
                        error => Err(error.into()),
                    };
                    ListedOffset { topic: text(found.topic), partition: found.partition, result }
                })
                .collect()
        }
    }

    /// Must be called on events of type LISTCONSUMERGROUPOFFSETS_RESULT only.
    unsafe fn committed(&self) -> Result<Vec<CommittedOffset>, RequestError> {
        let mut count = 0;
        // SAFETY: the result, its groups and their partitions live as long as the event; the call writes the count.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(self.0.as_ptr());
            let groups = array(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count), count);
            let group = *groups.first().ok_or(RequestError::UnexpectedResponse)?;
            let error = sys::rd_kafka_group_result_error(group);
            if !error.is_null() {
                return Err(RequestError::broker(text(sys::rd_kafka_error_string(error))));
            }
            let list = sys::rd_kafka_group_result_partitions(group);
            if list.is_null() {
                return Ok(vec![]);
            }
            let count = usize::try_from((*list).cnt).unwrap_or(0);
            Ok(array((*list).elems, count).iter().map(|element| committed(element)).collect())
        }
    }

    /// Must be called on events of type LISTCONSUMERGROUPS_RESULT only.
    unsafe fn groups(&self) -> ListedGroups {
        let (mut count, mut failures) = (0, 0);
        // SAFETY: the result and its arrays live as long as the event; the calls write the counts.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroups_result(self.0.as_ptr());
            let listed = sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut count);
            let groups = array(listed, count).iter().map(|group| ListedGroup {
                id: text(sys::rd_kafka_ConsumerGroupListing_group_id(*group)),
                state: state(sys::rd_kafka_ConsumerGroupListing_state(*group)),
            });
            let errors = sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut failures);
            let errors = array(errors, failures).iter().map(|error| sys::rd_kafka_error_code(*error).into()).collect();
            ListedGroups { groups: groups.collect(), errors }
        }
    }

    /// Must be called on events of type DESCRIBECONSUMERGROUPS_RESULT only.
    unsafe fn described(&self) -> Vec<(String, Result<DescribedGroup, RDKafkaErrorCode>)> {
        let mut count = 0;
        // SAFETY: the result, its groups and their members live as long as the event; the call writes the count.
        unsafe {
            let result = sys::rd_kafka_event_DescribeConsumerGroups_result(self.0.as_ptr());
            let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            let describe = |group: &*const sys::rd_kafka_ConsumerGroupDescription_t| {
                let error = sys::rd_kafka_error_code(sys::rd_kafka_ConsumerGroupDescription_error(*group));
                let result = match error {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(described(*group)),
                    error => Err(error.into()),
                };
                (text(sys::rd_kafka_ConsumerGroupDescription_group_id(*group)), result)
            };
            array(groups, count).iter().map(describe).collect()
        }
    }

    /// Must be called on events of type DESCRIBETOPICS_RESULT only.
    unsafe fn topic_ids(&self) -> Vec<(String, [u8; 16])> {
        let mut count = 0;
        // SAFETY: the result and its array live as long as the event; the call writes the count.
        unsafe {
            let result = sys::rd_kafka_event_DescribeTopics_result(self.0.as_ptr());
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            array(topics, count)
                .iter()
                .filter_map(|topic| {
                    let id = NonNull::new(sys::rd_kafka_TopicDescription_topic_id(*topic).cast_mut())?;
                    let high = sys::rd_kafka_Uuid_most_significant_bits(id.as_ptr());
                    let low = sys::rd_kafka_Uuid_least_significant_bits(id.as_ptr());
                    let mut bytes = [0; 16];
                    let (first, second) = bytes.split_at_mut(8);
                    first.copy_from_slice(&high.to_be_bytes());
                    second.copy_from_slice(&low.to_be_bytes());
                    Some((text(sys::rd_kafka_TopicDescription_name(*topic)), bytes))
                })
                .collect()
        }
    }
}

/// Returns a C array as a slice; an empty one for a null pointer.
pub(super) unsafe fn array<'a, T>(pointer: *mut T, count: usize) -> &'a [T] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: the caller got pointer and count from one call, and keeps their owner alive.
    unsafe { std::slice::from_raw_parts(pointer, count) }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned, and destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// Converts an element of a list, which must be live.
unsafe fn committed(element: &sys::rd_kafka_topic_partition_t) -> CommittedOffset {
    // SAFETY: the caller keeps the list alive to which the element, its topic and its metadata belong.
    let (topic, metadata, epoch) = unsafe {
        let metadata = array(element.metadata.cast::<u8>(), element.metadata_size);
        let epoch = sys::rd_kafka_topic_partition_get_leader_epoch(element);
        (text(element.topic), String::from_utf8_lossy(metadata).into_owned(), epoch)
    };
    let found = Committed { offset: element.offset, leader_epoch: epoch, metadata };
    let result = match element.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok((element.offset >= 0).then_some(found)),
        error => Err(error.into()),
    };
    CommittedOffset { topic, partition: element.partition, result }
}

/// Returns Kafka's name of a group state.
unsafe fn state(state: sys::rd_kafka_consumer_group_state_t) -> String {
    // SAFETY: returns a static string for any state.
    text(unsafe { sys::rd_kafka_consumer_group_state_name(state) })
}

/// Converts the description of a group, which must be live.
unsafe fn described(group: *const sys::rd_kafka_ConsumerGroupDescription_t) -> DescribedGroup {
    // SAFETY: the caller keeps the event alive to which the group and its members belong. Member indices are below the
    // count.
    unsafe {
        let next_generation = sys::rd_kafka_consumer_group_type_t::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER;
        let members = (0..sys::rd_kafka_ConsumerGroupDescription_member_count(group)).map(|number| {
            let member = sys::rd_kafka_ConsumerGroupDescription_member(group, number);
            let instance_id = sys::rd_kafka_MemberDescription_group_instance_id(member);
            DescribedMember {
                member_id: text(sys::rd_kafka_MemberDescription_consumer_id(member)),
                instance_id: (!instance_id.is_null()).then(|| text(instance_id)),
                client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
                host: text(sys::rd_kafka_MemberDescription_host(member)),
                assigned: partitions(sys::rd_kafka_MemberDescription_assignment(member)).unwrap_or_default(),
                target: partitions(sys::rd_kafka_MemberDescription_target_assignment(member)),
            }
        });
        DescribedGroup {
            state: state(sys::rd_kafka_ConsumerGroupDescription_state(group)),
            is_simple: sys::rd_kafka_ConsumerGroupDescription_is_simple_consumer_group(group) != 0,
            is_next_generation: sys::rd_kafka_ConsumerGroupDescription_type(group) == next_generation,
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(group)),
            members: members.collect(),
        }
    }
}

/// Returns the partitions of an assignment, which must be live, or `None` for a null pointer.
unsafe fn partitions(assignment: *const sys::rd_kafka_MemberAssignment_t) -> Option<Vec<(String, i32)>> {
    if assignment.is_null() {
        return None;
    }
    // SAFETY: the caller keeps the event alive to which the assignment belongs.
    unsafe {
        let list = sys::rd_kafka_MemberAssignment_partitions(assignment).as_ref()?;
        let count = usize::try_from(list.cnt).unwrap_or(0);
        let elements = array(list.elems, count).iter();
        Some(elements.map(|element| (text(element.topic), element.partition)).collect())
    }
}
