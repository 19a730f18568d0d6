//! The calls of librdkafka that rust-rdkafka does not wrap. The only `unsafe` of the project.
//!
//! * Reading: `rd_kafka_consume_start_queue` needs no consumer group (with a `group.id` librdkafka
//!   looks for a coordinator, which needs an ACL and creates `__consumer_offsets` on a fresh
//!   cluster); `rd_kafka_consume_batch_queue` hands over thousands of messages a call.
//! * Asking: `rd_kafka_ListOffsets` and `rd_kafka_DescribeTopics`, asynchronously: answers come to
//!   a queue, so that a slow broker delays only its own.
//!
//! Every pointer is owned by one type here, whose `Drop` gives it back.

#![allow(unsafe_code, reason = "C API; see each SAFETY comment")]

use std::{
    ffi::{CStr, CString, c_char, c_void},
    fmt,
    ptr::NonNull,
    time::Duration,
};

use rdkafka::{bindings as sys, consumer::Consumer as _, error::RDKafkaErrorCode, types::RDKafkaRespErr};

use super::client::Client;

fn handle(client: &Client) -> *mut sys::rd_kafka_t {
    client.client().native_ptr()
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// Text of librdkafka, which lives as long as its owner; copied. Empty for null.
fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings end in a zero byte; the caller holds their owner.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// Broker id of the controller, if metadata named one already.
pub(super) fn controller(client: &Client) -> Option<i32> {
    // SAFETY: the handle is live; a timeout of 0 only looks at what is known.
    let id = unsafe { sys::rd_kafka_controllerid(handle(client), 0) };
    (id >= 0).then_some(id)
}

/// librdkafka's text for an error code.
pub(super) fn describe(error: RDKafkaRespErr) -> String {
    // SAFETY: returns a static string for any code.
    text(unsafe { sys::rd_kafka_err2str(error) })
}

struct Queue {
    pointer: NonNull<sys::rd_kafka_queue_t>,
    // Queues must go before their client.
    client: Client,
}

impl Queue {
    fn new(client: &Client) -> Self {
        // SAFETY: the handle is live; the call allocates and does not fail.
        let pointer = unsafe { sys::rd_kafka_queue_new(handle(client)) };
        // NonNull::dangling is never used: librdkafka aborts the process when out of memory.
        Self { pointer: NonNull::new(pointer).unwrap_or(NonNull::dangling()), client: client.clone() }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: owned, and destroyed once.
        unsafe { sys::rd_kafka_queue_destroy(self.pointer.as_ptr()) };
    }
}

/// Reads partitions of one topic into one queue, without a consumer group.
pub(super) struct Fetcher {
    queue: Queue,
    topic: NonNull<sys::rd_kafka_topic_t>,
    buffer: Vec<*mut sys::rd_kafka_message_t>,
    started: Vec<i32>,
}

// SAFETY: librdkafka's handles may be used from any thread; the buffer is empty between calls.
unsafe impl Send for Fetcher {}

impl Fetcher {
    /// A fetcher that hands over at most `batch` messages a call. `None` when the topic cannot be
    /// named (librdkafka's own limits).
    pub(super) fn new(client: &Client, topic: &str, batch: usize) -> Option<Self> {
        let name = CString::new(topic).ok()?;
        // SAFETY: the handle is live; a null configuration means the client's defaults.
        let pointer = unsafe { sys::rd_kafka_topic_new(handle(client), name.as_ptr(), std::ptr::null_mut()) };
        Some(Self {
            topic: NonNull::new(pointer)?,
            queue: Queue::new(client),
            buffer: vec![std::ptr::null_mut(); batch],
            started: vec![],
        })
    }

    /// Starts a partition at its first offset.
    ///
    /// # Errors
    /// librdkafka's reason.
    pub(super) fn start(&mut self, partition: i32) -> Result<(), String> {
        let beginning = i64::from(sys::RD_KAFKA_OFFSET_BEGINNING);
        // SAFETY: topic and queue are live and of one client.
        let result = unsafe {
            sys::rd_kafka_consume_start_queue(self.topic.as_ptr(), partition, beginning, self.queue.pointer.as_ptr())
        };
        if result == -1 {
            // SAFETY: reads a thread-local.
            return Err(describe(unsafe { sys::rd_kafka_last_error() }));
        }
        self.started.push(partition);
        Ok(())
    }

    /// Stops a partition, and drops what is queued of it.
    pub(super) fn stop(&mut self, partition: i32) {
        if self.started.contains(&partition) {
            // SAFETY: the topic is live, and the partition was started.
            unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), partition) };
            self.started.retain(|started| *started != partition);
        }
    }

    /// Waits for messages and events of all started partitions, at most `timeout`.
    pub(super) fn fetch(&mut self, timeout: Duration) -> Batch<'_> {
        // SAFETY: the buffer has room for as many pointers as the call is told; those it fills are
        // ours, and the batch destroys them.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.queue.pointer.as_ptr(),
                millis(timeout),
                self.buffer.as_mut_ptr(),
                self.buffer.len(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0).min(self.buffer.len());
        let filled = self.buffer.get_mut(..count).unwrap_or_default();
        // SAFETY: Message is a transparent NonNull, and the call fills in no nulls.
        let messages = unsafe { std::slice::from_raw_parts_mut(filled.as_mut_ptr().cast::<Message>(), filled.len()) };
        Batch { messages }
    }

    /// Serves logs and errors of the client, without waiting.
    pub(super) fn serve(&self) {
        // Only a group's consumer gets messages this way; ours come through the queue.
        while self.queue.client.poll(Duration::ZERO).is_some() {}
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        for partition in std::mem::take(&mut self.started) {
            // SAFETY: the topic is live, and the partition was started.
            unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), partition) };
        }
        // SAFETY: owned, and destroyed once.
        unsafe { sys::rd_kafka_topic_destroy(self.topic.as_ptr()) };
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").field("started", &self.started).finish_non_exhaustive()
    }
}

/// What one fetch gave. Lives until the next one.
pub(super) struct Batch<'a> {
    messages: &'a mut [Message],
}

impl Batch<'_> {
    pub(super) fn messages(&self) -> &[Message] {
        self.messages
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in &*self.messages {
            // SAFETY: ours, and destroyed once: the batch is the only owner.
            unsafe { sys::rd_kafka_message_destroy(message.0.as_ptr()) };
        }
    }
}

/// A message, or an event of a partition.
#[repr(transparent)]
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

/// What a [`Message`] is.
pub(super) enum Content<'a> {
    Record {
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
    },
    /// The reader is at the end: the next offset is the message's.
    End,
    /// The next offset is not in the log (any more).
    Reset,
    Failure(RDKafkaRespErr),
}

impl Message {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: live until its batch is dropped, which borrows it.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn partition(&self) -> i32 {
        self.raw().partition
    }

    pub(super) fn offset(&self) -> i64 {
        self.raw().offset
    }

    /// Time of the record, in ms.
    pub(super) fn timestamp(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is live; the call writes the kind.
        let at = unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &raw mut kind) };
        (at >= 0).then_some(at)
    }

    pub(super) fn content(&self) -> Content<'_> {
        let raw = self.raw();
        match raw.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                Content::Record { key: bytes(raw.key, raw.key_len), value: bytes(raw.payload, raw.len) }
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Content::End,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
            | RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => Content::Reset,
            error => Content::Failure(error),
        }
    }
}

/// `None` for null; an empty value is not null.
fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: librdkafka gives so many bytes, which live as long as the message.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}

/// Which offsets [`Admin::list_offsets`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spec {
    Earliest,
    /// The high watermark.
    Latest,
    /// The last stable offset.
    LatestCommitted,
}

/// Asks questions; each has a number that comes back with its answer.
pub(super) struct Admin {
    queue: Queue,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Admin {}

/// An answer of [`Admin::poll`].
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) number: usize,
    pub(super) content: Result<ReplyContent, String>,
}

#[derive(Debug)]
pub(super) enum ReplyContent {
    Offsets(Vec<ListedOffset>),
    /// Topic ids, as Kafka's 16 bytes.
    TopicIds(Vec<(String, [u8; 16])>),
}

/// An offset; `Err` where the partition failed. An offset below 0 is a failure whatever the code.
#[derive(Debug)]
pub(super) struct ListedOffset {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) result: Result<(i64, i32), RDKafkaErrorCode>,
}

impl Admin {
    pub(super) fn new(client: &Client) -> Self {
        Self { queue: Queue::new(client) }
    }

    /// Asks for offsets. The cost in librdkafka is quadratic: ask for at most some 500 partitions
    /// at once, of one leader.
    pub(super) fn list_offsets(&self, number: usize, spec: Spec, partitions: &[(&CStr, i32)], timeout: Duration) {
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
    pub(super) fn topic_ids(&self, number: usize, topics: &[&CStr], timeout: Duration) {
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

    /// Waits for an answer, at most `timeout`. Serves logs and errors of the client, too.
    pub(super) fn poll(&self, timeout: Duration) -> Option<Reply> {
        while self.queue.client.poll(Duration::ZERO).is_some() {}
        // SAFETY: the queue is live; the event is ours, and destroyed by its owner's drop.
        let event =
            Event(NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.queue.pointer.as_ptr(), millis(timeout)) })?);
        // SAFETY: the event is live. The opaque is the number that we set.
        let number = unsafe { sys::rd_kafka_event_opaque(event.0.as_ptr()) } as usize;
        Some(Reply { number, content: event.content() })
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

struct Options(NonNull<sys::rd_kafka_AdminOptions_t>);

impl Options {
    fn new(client: &Client, operation: sys::rd_kafka_admin_op_t) -> Self {
        // SAFETY: the handle is live; the call allocates and does not fail.
        let pointer = unsafe { sys::rd_kafka_AdminOptions_new(handle(client), operation) };
        Self(NonNull::new(pointer).unwrap_or(NonNull::dangling()))
    }

    fn set(&self, number: usize, timeout: Duration) {
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

struct Event(NonNull<sys::rd_kafka_event_t>);

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
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Err(RDKafkaErrorCode::RequestTimedOut),
                        error => Err(error.into()),
                    };
                    ListedOffset { topic: text(found.topic), partition: found.partition, result }
                })
                .collect()
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
unsafe fn array<'a, T>(pointer: *mut T, count: usize) -> &'a [T] {
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
