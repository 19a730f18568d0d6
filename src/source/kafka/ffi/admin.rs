//! Questions to the cluster, answered through a queue.

use std::{
    ffi::{CStr, c_char, c_void},
    fmt,
    ptr::NonNull,
    time::Duration,
};

use rdkafka::{bindings as sys, error::RDKafkaErrorCode, types::RDKafkaRespErr};

use super::{super::client::Client, CommittedOffset, Queue, handle, millis, text};

/// Which offsets [`Admin::list_offsets`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Spec {
    Earliest,
    /// The high watermark.
    Latest,
    /// The last stable offset.
    LatestCommitted,
}

/// Asks questions; each has a number that comes back with its answer.
pub(in super::super) struct Admin {
    pub(super) queue: Queue,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Admin {}

/// An answer of [`Admin::poll`].
#[derive(Debug)]
pub(in super::super) struct Reply {
    pub(in super::super) number: usize,
    pub(in super::super) content: Result<ReplyContent, String>,
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

/// What brokers say when they are asked for groups: how many, and the errors of those that do not tell.
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

impl Admin {
    pub(in super::super) fn new(client: &Client) -> Self {
        Self { queue: Queue::new(client) }
    }

    /// Asks for offsets. The cost in librdkafka is quadratic: ask for at most some 500 partitions
    /// at once, of one leader.
    pub(in super::super) fn list_offsets(
        &self,
        number: usize,
        spec: Spec,
        partitions: &[(&CStr, i32)],
        timeout: Duration,
    ) {
        let options = Options::new(&self.queue.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS);
        options.set(number, timeout);
        let (offset, isolation) = match spec {
            Spec::Earliest => (-2, sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED),
            Spec::Latest => (-1, sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED),
            Spec::LatestCommitted => (-1, sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED),
        };
        let size = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        // SAFETY: options and queue are live; the list is ours, copied by the call and destroyed
        // here; an element that `add` returns is live while the list is.
        unsafe {
            sys::rd_kafka_AdminOptions_set_isolation_level(options.0.as_ptr(), isolation);
            let list = sys::rd_kafka_topic_partition_list_new(size);
            for (topic, partition) in partitions {
                let element = sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition);
                (*element).offset = offset;
            }
            sys::rd_kafka_ListOffsets(
                handle(&self.queue.client),
                list,
                options.0.as_ptr(),
                self.queue.pointer.as_ptr(),
            );
            sys::rd_kafka_topic_partition_list_destroy(list);
        }
    }

    /// Asks for topic ids. The mock cluster never answers, old brokers have none.
    pub(in super::super) fn topic_ids(&self, number: usize, topics: &[&CStr], timeout: Duration) {
        let options = Options::new(&self.queue.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        options.set(number, timeout);
        let mut names: Vec<*const c_char> = topics.iter().map(|topic| topic.as_ptr()).collect();
        // SAFETY: as above; the collection copies the names.
        unsafe {
            let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            sys::rd_kafka_DescribeTopics(
                handle(&self.queue.client),
                collection,
                options.0.as_ptr(),
                self.queue.pointer.as_ptr(),
            );
            sys::rd_kafka_TopicCollection_destroy(collection);
        }
    }

    /// Asks all brokers for the groups that they coordinate and the user may describe.
    pub(in super::super) fn list_groups(&self, number: usize, timeout: Duration) {
        let options = Options::new(&self.queue.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
        options.set(number, timeout);
        // SAFETY: client, options and queue are live.
        unsafe {
            sys::rd_kafka_ListConsumerGroups(
                handle(&self.queue.client),
                options.0.as_ptr(),
                self.queue.pointer.as_ptr(),
            );
        }
    }

    /// Waits for an answer, at most `timeout`. Serves logs and errors of the client, too.
    pub(in super::super) fn poll(&self, timeout: Duration) -> Option<Reply> {
        self.queue.client.serve();
        // SAFETY: the queue is live; the event is ours, and destroyed by its owner's drop.
        let event =
            Event(NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.queue.pointer.as_ptr(), millis(timeout)) })?);
        // SAFETY: the event is live. The opaque is the number that we set.
        let number = unsafe { sys::rd_kafka_event_opaque(event.0.as_ptr()) } as usize;
        // SAFETY: the event is live.
        let code = unsafe { sys::rd_kafka_event_error(event.0.as_ptr()) }.into();
        Some(Reply { number, content: event.content(), code })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// librdkafka 2.12 may handle a question twice, and touch what it has freed, when the time is up in the very moment in
/// which the leaders become known (`rd_kafka_topic_partition_list_query_leaders_async_worker`): a matter of milliseconds.
const LEAST_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) struct Options(pub(super) NonNull<sys::rd_kafka_AdminOptions_t>);

impl Options {
    pub(super) fn new(client: &Client, operation: sys::rd_kafka_admin_op_t) -> Self {
        // SAFETY: the handle is live; the call allocates and does not fail.
        let pointer = unsafe { sys::rd_kafka_AdminOptions_new(handle(client), operation) };
        Self(NonNull::new(pointer).unwrap_or(NonNull::dangling()))
    }

    pub(super) fn set(&self, number: usize, timeout: Duration) {
        let timeout = timeout.max(LEAST_TIMEOUT);
        // SAFETY: the options are live. A timeout out of range leaves the default; no text wanted.
        unsafe {
            sys::rd_kafka_AdminOptions_set_opaque(self.0.as_ptr(), number as *mut c_void);
            sys::rd_kafka_AdminOptions_set_request_timeout(self.0.as_ptr(), millis(timeout), std::ptr::null_mut(), 0);
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: owned, and destroyed once.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) };
    }
}

pub(super) struct Event(pub(super) NonNull<sys::rd_kafka_event_t>);

impl Event {
    fn content(&self) -> Result<ReplyContent, String> {
        let event = self.0.as_ptr();
        // SAFETY: the event is live; results are read only from events of their type.
        unsafe {
            if sys::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(text(sys::rd_kafka_event_error_string(event)));
            }
            match sys::rd_kafka_event_type(event) {
                sys::RD_KAFKA_EVENT_LISTOFFSETS_RESULT => Ok(ReplyContent::Offsets(self.offsets())),
                sys::RD_KAFKA_EVENT_DESCRIBETOPICS_RESULT => Ok(ReplyContent::TopicIds(self.topic_ids())),
                sys::RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT => self.committed().map(ReplyContent::Committed),
                sys::RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT => Ok(ReplyContent::Groups(self.groups())),
                other => Err(format!("unexpected event {other}")),
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
