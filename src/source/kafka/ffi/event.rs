//! Answers of the cluster, read from librdkafka's events.

use std::ptr::NonNull;

use rdkafka::{bindings as sys, error::RDKafkaErrorCode, types::RDKafkaRespErr};

use super::text;
use crate::source::kafka::ask::{AskError, Committed};

/// An answer to a request of an `Admin`.
#[derive(Debug)]
pub(in super::super) struct Reply {
    pub(in super::super) number: usize,
    pub(in super::super) content: Result<ReplyContent, AskError>,
    /// Of a failure.
    pub(in super::super) code: RDKafkaErrorCode,
}

#[derive(Debug)]
pub(in super::super) enum ReplyContent {
    Offsets(Vec<ListedOffset>),
    /// Topic ids, as Kafka's 16 bytes.
    TopicIds(Vec<(String, [u8; 16])>),
    /// What a group has committed.
    Committed(Vec<CommittedOffset>),
    Groups(ListedGroups),
}

/// The number of groups that brokers list, and the errors of those that do not tell.
#[derive(Debug)]
pub(in super::super) struct ListedGroups {
    pub(in super::super) groups: usize,
    pub(in super::super) errors: Vec<RDKafkaErrorCode>,
}

/// An offset; `Err` where the partition failed. An offset below 0 is a failure whatever the code.
#[derive(Debug)]
pub(in super::super) struct ListedOffset {
    pub(in super::super) topic: String,
    pub(in super::super) partition: i32,
    pub(in super::super) result: Result<(i64, i32), RDKafkaErrorCode>,
}

/// What the coordinator has of a key.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CommittedOffset {
    pub(in super::super) topic: String,
    pub(in super::super) partition: i32,
    /// `None`: nothing is committed.
    pub(in super::super) result: Result<Option<Committed>, RDKafkaErrorCode>,
}

/// An event that is ours to destroy.
pub(super) struct Event(pub(super) NonNull<sys::rd_kafka_event_t>);

impl Event {
    pub(super) fn content(&self) -> Result<ReplyContent, AskError> {
        let event = self.0.as_ptr();
        // SAFETY: the event is live; results are read only from events of their type.
        unsafe {
            if sys::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(AskError::broker(text(sys::rd_kafka_event_error_string(event))));
            }
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_LISTOFFSETS_RESULT => Ok(ReplyContent::Offsets(self.offsets())),
                sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT => Ok(ReplyContent::TopicIds(self.topic_ids())),
                sys::RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT => self.committed().map(ReplyContent::Committed),
                sys::RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT => Ok(ReplyContent::Groups(self.groups())),
                _ => Err(AskError::NoAnswer),
            }
        }
    }

    /// For events of type LISTOFFSETS_RESULT.
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
                        // A leader that failed leaves "no error" and offset -1001.
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Err(RDKafkaErrorCode::OperationTimedOut),
                        error => Err(error.into()),
                    };
                    ListedOffset { topic: text(found.topic), partition: found.partition, result }
                })
                .collect()
        }
    }

    /// For events of type LISTCONSUMERGROUPOFFSETS_RESULT.
    unsafe fn committed(&self) -> Result<Vec<CommittedOffset>, AskError> {
        let mut count = 0;
        // SAFETY: the result, its groups and their partitions live as long as the event; the call writes the count.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(self.0.as_ptr());
            let groups = array(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count), count);
            let group = *groups.first().ok_or(AskError::NoAnswer)?;
            let error = sys::rd_kafka_group_result_error(group);
            if !error.is_null() {
                return Err(AskError::broker(text(sys::rd_kafka_error_string(error))));
            }
            let list = sys::rd_kafka_group_result_partitions(group);
            if list.is_null() {
                return Ok(vec![]);
            }
            let count = usize::try_from((*list).cnt).unwrap_or(0);
            Ok(array((*list).elems, count).iter().map(|element| committed(element)).collect())
        }
    }

    /// For events of type LISTCONSUMERGROUPS_RESULT.
    unsafe fn groups(&self) -> ListedGroups {
        let (mut groups, mut failures) = (0, 0);
        // SAFETY: the result and its arrays live as long as the event; the calls write the counts.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroups_result(self.0.as_ptr());
            sys::rd_kafka_ListConsumerGroups_result_valid(result, &raw mut groups);
            let errors = sys::rd_kafka_ListConsumerGroups_result_errors(result, &raw mut failures);
            let errors = array(errors, failures).iter().map(|error| sys::rd_kafka_error_code(*error).into()).collect();
            ListedGroups { groups, errors }
        }
    }

    /// For events of type DESCRIBETOPICS_RESULT.
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

/// A C array as a slice; empty for null.
pub(super) unsafe fn array<'a, T>(pointer: *mut T, count: usize) -> &'a [T] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: the caller got pointer and count from one call, and holds their owner.
    unsafe { std::slice::from_raw_parts(pointer, count) }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned, and destroyed once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}

/// The element must be live.
unsafe fn committed(element: &sys::rd_kafka_topic_partition_t) -> CommittedOffset {
    // SAFETY: the caller holds the list that the element, its topic and its metadata belong to.
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
