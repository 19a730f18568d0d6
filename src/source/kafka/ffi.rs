//! Safe wrappers for librdkafka functions that rust-rdkafka does not wrap. The only `unsafe` code of the project.
//!
//! - Reading: `rd_kafka_consume_start_queue` needs no consumer group. With a `group.id`, librdkafka finds a
//!   coordinator, which needs an ACL and creates `__consumer_offsets` on a fresh cluster.
//!   `rd_kafka_consume_batch_queue` returns thousands of messages per call.
//! - Requests: `rd_kafka_ListOffsets`, `rd_kafka_DescribeTopics`, `rd_kafka_ListConsumerGroups` and
//!   `rd_kafka_ListConsumerGroupOffsets` are asynchronous. Replies arrive in a queue, so that a slow broker delays only
//!   its own replies.
//!
//! Every pointer is owned by one type of this module, which releases it in `Drop`.

#![allow(unsafe_code, reason = "C API; see each SAFETY comment")]

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    fmt,
    ptr::NonNull,
    time::Duration,
};

use rdkafka::{bindings as sys, consumer::Consumer as _, types::RDKafkaRespErr};

use super::client::Client;
use crate::source::kafka::live_source::RequestError;

mod admin;
mod operations;
mod event;
mod token;

pub(super) use admin::{Admin, Spec};
#[cfg(test)]
pub(super) use event::ListedGroup;
pub(super) use event::{
    CommittedOffset, DescribedGroup, DescribedMember, ListedGroups, ListedOffset, Reply, ReplyContent,
};
pub(super) use operations::may_describe_cluster;
pub(super) use token::{Bearer, set_token, set_token_failure};

fn handle(client: &Client) -> *mut sys::rd_kafka_t {
    client.client().native_ptr()
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// Copies a string of librdkafka. Returns an empty string for a null pointer.
fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka's strings end in a zero byte; the caller holds their owner.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// Returns the broker id of the controller, or `None` if no metadata with it has arrived yet.
pub(super) fn controller(client: &Client) -> Option<i32> {
    // SAFETY: the handle is live; a timeout of 0 sends no request.
    let id = unsafe { sys::rd_kafka_controllerid(handle(client), 0) };
    (id >= 0).then_some(id)
}

/// Returns librdkafka's text for an error code.
pub(super) fn describe(error: RDKafkaRespErr) -> String {
    // SAFETY: returns a static string for any code.
    text(unsafe { sys::rd_kafka_err2str(error) })
}

/// A group of any protocol, as listed by a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamedGroup {
    pub(super) id: String,
    /// The protocol type: `consumer`, `connect`, `share`, `streams`, …; empty if the group only commits offsets.
    pub(super) protocol_type: String,
    pub(super) state: String,
}

unsafe extern "C" {
    fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
}

/// The value of `OPENSSL_INIT_NO_ATEXIT`.
const NO_CLEANUP_AT_EXIT: u64 = 0x0008_0000;

/// Disables OpenSSL's cleanup at the end of the process, since clients that are not destroyed may still use
/// connections. Has an effect only before the first use of OpenSSL.
pub(super) fn keep_openssl_at_exit() {
    // SAFETY: may be called from any thread, at any time; no settings are given.
    unsafe { OPENSSL_init_crypto(NO_CLEANUP_AT_EXIT, std::ptr::null()) };
}

struct Queue {
    pointer: NonNull<sys::rd_kafka_queue_t>,
    // A queue must be destroyed before its client.
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

/// A reader of partitions of one topic through one queue, without a consumer group.
pub(super) struct Fetcher {
    queue: Queue,
    topic: NonNull<sys::rd_kafka_topic_t>,
    buffer: Vec<*mut sys::rd_kafka_message_t>,
    started: Vec<i32>,
}

// SAFETY: librdkafka's handles may be used from any thread; the buffer is empty between calls.
unsafe impl Send for Fetcher {}

impl Fetcher {
    /// Creates a fetcher that returns at most `batch` messages per call.
    ///
    /// # Errors
    /// Returns an error if librdkafka rejects the topic name.
    pub(super) fn new(client: &Client, topic: &str, batch: usize) -> Result<Self, RequestError> {
        let refused = || RequestError::Client { reason: format!("librdkafka refuses the topic {topic:?}") };
        let name = CString::new(topic).map_err(|_| refused())?;
        // SAFETY: the handle is live; a null configuration means the client's defaults.
        let pointer = unsafe { sys::rd_kafka_topic_new(handle(client), name.as_ptr(), std::ptr::null_mut()) };
        Ok(Self {
            topic: NonNull::new(pointer).ok_or_else(refused)?,
            queue: Queue::new(client),
            buffer: vec![std::ptr::null_mut(); batch],
            started: vec![],
        })
    }

    /// Starts reading a partition at its first offset.
    pub(super) fn start(&mut self, partition: i32) -> Result<(), RequestError> {
        self.start_at(partition, i64::from(sys::RD_KAFKA_OFFSET_BEGINNING))
    }

    /// Starts reading a partition at an offset.
    pub(super) fn start_at(&mut self, partition: i32, offset: i64) -> Result<(), RequestError> {
        // SAFETY: topic and queue are live and of one client.
        let result = unsafe {
            sys::rd_kafka_consume_start_queue(self.topic.as_ptr(), partition, offset, self.queue.pointer.as_ptr())
        };
        if result == -1 {
            // SAFETY: reads a thread-local.
            return Err(RequestError::broker(describe(unsafe { sys::rd_kafka_last_error() })));
        }
        self.started.push(partition);
        Ok(())
    }

    /// Returns whether a partition was started and not stopped since.
    pub(super) fn is_started(&self, partition: i32) -> bool {
        self.started.contains(&partition)
    }

    /// Stops reading a partition and drops its queued messages.
    pub(super) fn stop(&mut self, partition: i32) {
        if self.is_started(partition) {
            // SAFETY: the topic is live, and the partition was started.
            unsafe { sys::rd_kafka_consume_stop(self.topic.as_ptr(), partition) };
            self.started.retain(|started| *started != partition);
        }
    }

    /// Waits at most `timeout` for messages and events of the started partitions, and returns them.
    pub(super) fn fetch(&mut self, timeout: Duration) -> Batch<'_> {
        // The call waits for a full batch until the timeout. Therefore the first message is fetched alone, and then all
        // messages that are already queued.
        let mut count = self.fill(0, 1, timeout);
        if count > 0 {
            count += self.fill(count, self.buffer.len() - count, Duration::ZERO);
        }
        let filled = self.buffer.get_mut(..count).unwrap_or_default();
        // SAFETY: Message is a transparent NonNull, and the call fills in no nulls.
        let messages = unsafe { std::slice::from_raw_parts_mut(filled.as_mut_ptr().cast::<Message>(), filled.len()) };
        Batch { messages }
    }

    /// Fills the buffer from index `from` with at most `room` messages. Returns their number.
    fn fill(&mut self, from: usize, room: usize, timeout: Duration) -> usize {
        let buffer = self.buffer.get_mut(from..).unwrap_or_default();
        let room = room.min(buffer.len());
        // SAFETY: the buffer has room for as many pointers as the call may write. The messages that it writes are owned
        // by us, and the batch destroys them.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(self.queue.pointer.as_ptr(), millis(timeout), buffer.as_mut_ptr(), room)
        };
        usize::try_from(count).unwrap_or(0).min(room)
    }

    /// Handles logs and errors of the client, without blocking.
    pub(super) fn serve(&self) {
        // Polling the client returns no messages, because it has joined no group; they arrive through the queue.
        self.queue.client.serve();
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

/// The messages of one fetch. Must be dropped before the next fetch.
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
            // SAFETY: the batch is the only owner of the message, and destroys it once.
            unsafe { sys::rd_kafka_message_destroy(message.0.as_ptr()) };
        }
    }
}

/// A message, or an event of a partition.
#[repr(transparent)]
pub(super) struct Message(NonNull<sys::rd_kafka_message_t>);

/// The content of a [`Message`].
pub(super) enum Content<'a> {
    Record {
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
    },
    /// The end of the partition is reached; the message's offset is the next one.
    End,
    /// The next offset is not in the log, or not any more.
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

    /// Returns the timestamp of the record in milliseconds.
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

/// Returns the bytes, or `None` for a null pointer. An empty value is not null.
fn bytes<'a>(pointer: *const c_void, length: usize) -> Option<&'a [u8]> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: librdkafka provides `length` bytes, which live as long as the message.
    Some(unsafe { std::slice::from_raw_parts(pointer.cast(), length) })
}
