//! Questions to the coordinator of a group.

use std::{ffi::CString, time::Duration};

use rdkafka::{bindings as sys, error::RDKafkaErrorCode, types::RDKafkaRespErr};

use super::{
    admin::{Admin, Event, Options, array},
    handle, text,
};

/// What the coordinator has of a key.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct CommittedOffset {
    pub(in super::super) topic: String,
    pub(in super::super) partition: i32,
    /// `None`: nothing is committed.
    pub(in super::super) result: Result<Option<Committed>, RDKafkaErrorCode>,
}

pub(in super::super) use crate::store::overlay::Committed;

/// The longest timeout that librdkafka takes. librdkafka 2.12 aborts the process when a question has timed out before its
/// coordinator was found, and the coordinator is found afterwards (`rd_kafka_admin_coord_request` then uses what it has
/// freed): a broker that is away for longer than a timeout is enough.
const UNLIMITED: Duration = Duration::from_secs(3600);

impl Admin {
    /// Asks the group's coordinator what is committed: of some keys, or of all (`None`). `stable`: a key with a
    /// transaction under way fails with UNSTABLE_OFFSET_COMMIT. Returns false for names that C cannot take.
    ///
    /// The client must have a group of its own, see `client::connect_asking`. It sets no limit to the time: the caller
    /// drops the client when it has waited for long enough, and whenever a coordinator fails, since librdkafka would go on
    /// asking that broker.
    pub(in super::super) fn committed(
        &self,
        number: usize,
        group: &str,
        keys: Option<&[(&str, i32)]>,
        stable: bool,
    ) -> bool {
        let Ok(group) = CString::new(group) else { return false };
        let keys = keys.map(|keys| {
            keys.iter()
                .filter_map(|(topic, partition)| Some((CString::new(*topic).ok()?, *partition)))
                .collect::<Vec<_>>()
        });
        if keys.as_ref().is_some_and(Vec::is_empty) {
            return false;
        }
        let options =
            Options::new(&self.queue.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        options.set(number, UNLIMITED);
        // SAFETY: options and queue are live; the list is ours, copied by `new` and destroyed here; the question is
        // ours, copied by the call and destroyed here. An error of the option would be ours, too.
        unsafe {
            let error = sys::rd_kafka_AdminOptions_set_require_stable_offsets(options.0.as_ptr(), i32::from(stable));
            if !error.is_null() {
                sys::rd_kafka_error_destroy(error);
            }
            let mut list = std::ptr::null_mut();
            if let Some(keys) = &keys {
                list = sys::rd_kafka_topic_partition_list_new(i32::try_from(keys.len()).unwrap_or(i32::MAX));
                for (topic, partition) in keys {
                    sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition);
                }
            }
            let mut question = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list);
            if !list.is_null() {
                sys::rd_kafka_topic_partition_list_destroy(list);
            }
            sys::rd_kafka_ListConsumerGroupOffsets(
                handle(&self.queue.client),
                &raw mut question,
                1,
                options.0.as_ptr(),
                self.queue.pointer.as_ptr(),
            );
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(question);
        }
        true
    }
}

impl Event {
    /// For events of type LISTCONSUMERGROUPOFFSETS_RESULT.
    pub(super) unsafe fn committed(&self) -> Result<Vec<CommittedOffset>, String> {
        let mut count = 0;
        // SAFETY: the result, its groups and their partitions live as long as the event; the call writes the count.
        unsafe {
            let result = sys::rd_kafka_event_ListConsumerGroupOffsets_result(self.0.as_ptr());
            let groups = array(sys::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count), count);
            let group = *groups.first().ok_or("no group in the answer")?;
            let error = sys::rd_kafka_group_result_error(group);
            if !error.is_null() {
                return Err(text(sys::rd_kafka_error_string(error)));
            }
            let list = sys::rd_kafka_group_result_partitions(group);
            if list.is_null() {
                return Ok(vec![]);
            }
            let count = usize::try_from((*list).cnt).unwrap_or(0);
            Ok(array((*list).elems, count).iter().map(|element| committed(element)).collect())
        }
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
