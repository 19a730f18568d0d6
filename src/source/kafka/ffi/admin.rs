//! Asynchronous requests to the cluster, with their replies through a queue.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    fmt,
    ptr::NonNull,
    time::Duration,
};

use rdkafka::bindings as sys;

use super::{
    super::{client::Client, live_source::RequestError},
    NamedGroup, Queue, describe,
    event::{Event, Reply, array},
    handle, millis, text,
};
use crate::model::Name;

/// The offsets that [`Admin::list_offsets`] requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Spec {
    Earliest,
    /// The high watermark.
    Latest,
    /// The last stable offset.
    LatestCommitted,
}

/// A sender of requests. Each request has a number that its reply repeats.
pub(in super::super) struct Admin {
    queue: Queue,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl Send for Admin {}

impl Admin {
    pub(in super::super) fn new(client: &Client) -> Self {
        Self { queue: Queue::new(client) }
    }

    /// Requests offsets. The cost in librdkafka is quadratic, so that a request should contain at most 500 partitions,
    /// all of one leader.
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
        // SAFETY: options and queue are live. We own the list, which the call copies and which is destroyed here. An
        // element that `add` returns lives as long as the list.
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

    /// Requests topic ids. librdkafka's mock cluster never replies, and old brokers have no topic ids.
    pub(in super::super) fn topic_ids(&self, number: usize, topics: &[&CStr], timeout: Duration) {
        let options = Options::new(&self.queue.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        options.set(number, timeout);
        let mut names: Vec<*const c_char> = topics.iter().map(|topic| topic.as_ptr()).collect();
        // SAFETY: options and queue are live; the collection copies the names and is destroyed here.
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

    /// Requests from all brokers the groups that they coordinate and that the user may describe.
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

    /// Returns the groups of all protocols, unlike [`Admin::list_groups`]. librdkafka requests from each broker its
    /// groups, and then describes all of them in one request (ListGroups and DescribeGroups, version 0). Blocks.
    pub(in super::super) fn all_groups(&self, timeout: Duration) -> Result<Vec<NamedGroup>, RequestError> {
        let mut list = std::ptr::null();
        // SAFETY: the handle is live. The call writes the list, which we must destroy even if only some brokers
        // replied.
        unsafe {
            let client = handle(&self.queue.client);
            let error = sys::rd_kafka_list_groups(client, std::ptr::null(), &raw mut list, millis(timeout));
            let Some(listed) = list.as_ref() else { return Err(RequestError::broker(describe(error))) };
            let count = usize::try_from(listed.group_cnt).unwrap_or(0);
            let group = |group: &sys::rd_kafka_group_info| NamedGroup {
                id: text(group.group),
                protocol_type: text(group.protocol_type),
                state: text(group.state),
            };
            let groups = array(listed.groups, count).iter().map(group).collect();
            sys::rd_kafka_group_list_destroy(list);
            Ok(groups)
        }
    }

    /// Requests the states and members of groups from their coordinators. The timeout is unlimited, with the same
    /// consequences for the client as in [`Admin::committed`]. Returns false if a name contains a zero byte.
    pub(in super::super) fn describe_groups(&self, number: usize, groups: &[&str]) -> bool {
        let names: Result<Vec<CString>, _> = groups.iter().map(|group| CString::new(*group)).collect();
        let Ok(names) = names else { return false };
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let options =
            Options::new(&self.queue.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
        options.set(number, UNLIMITED);
        // SAFETY: client, options and queue are live; the call copies the names.
        unsafe {
            sys::rd_kafka_DescribeConsumerGroups(
                handle(&self.queue.client),
                pointers.as_mut_ptr(),
                pointers.len(),
                options.0.as_ptr(),
                self.queue.pointer.as_ptr(),
            );
        }
        true
    }

    /// Requests the committed offsets of a group from its coordinator: of some keys, or of all (`None`). With `stable`,
    /// a key with a pending transaction fails with UNSTABLE_OFFSET_COMMIT. Returns false if a name contains a zero
    /// byte.
    ///
    /// The client must have a group of its own, see `Connector::connect_with_group`. The request has no timeout. The
    /// caller drops the client when it has waited long enough, and whenever a coordinator fails, because librdkafka
    /// would keep sending requests to that broker.
    pub(in super::super) fn committed(
        &self,
        number: usize,
        group: &str,
        keys: Option<&[(Name, i32)]>,
        stable: bool,
    ) -> bool {
        let Ok(group) = CString::new(group) else { return false };
        let keys = keys.map(|keys| {
            keys.iter()
                .filter_map(|(topic, partition)| Some((CString::new(&**topic).ok()?, *partition)))
                .collect::<Vec<_>>()
        });
        if keys.as_ref().is_some_and(Vec::is_empty) {
            return false;
        }
        let options =
            Options::new(&self.queue.client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
        options.set(number, UNLIMITED);
        // SAFETY: options and queue are live. We own the list, which `new` copies, and the request, which the call
        // copies; both are destroyed here, as is an error of the option.
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
            let mut request = sys::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), list);
            if !list.is_null() {
                sys::rd_kafka_topic_partition_list_destroy(list);
            }
            sys::rd_kafka_ListConsumerGroupOffsets(
                handle(&self.queue.client),
                &raw mut request,
                1,
                options.0.as_ptr(),
                self.queue.pointer.as_ptr(),
            );
            sys::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        }
        true
    }

    /// Waits at most `timeout` for a reply. Also handles logs and errors of the client.
    pub(in super::super) fn poll(&self, timeout: Duration) -> Option<Reply> {
        self.queue.client.serve();
        // SAFETY: the queue is live. We own the event, and its wrapper destroys it.
        let event =
            Event(NonNull::new(unsafe { sys::rd_kafka_queue_poll(self.queue.pointer.as_ptr(), millis(timeout)) })?);
        // SAFETY: the event is live. Its opaque value is the request's number.
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

/// Minimum timeout of a request. librdkafka 2.12 may handle a request twice and use freed memory if the timeout expires
/// at the moment in which the leaders become known, which takes milliseconds
/// (`rd_kafka_topic_partition_list_query_leaders_async_worker`).
const MIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The longest timeout that librdkafka accepts. librdkafka 2.12 aborts the process if a request times out before its
/// coordinator is found and the coordinator is found later (`rd_kafka_admin_coord_request` uses freed memory). A broker
/// that is down for longer than the timeout is enough to cause that.
const UNLIMITED: Duration = Duration::from_secs(3600);

pub(super) struct Options(pub(super) NonNull<sys::rd_kafka_AdminOptions_t>);

impl Options {
    pub(super) fn new(client: &Client, operation: sys::rd_kafka_admin_op_t) -> Self {
        // SAFETY: the handle is live; the call allocates and does not fail.
        let pointer = unsafe { sys::rd_kafka_AdminOptions_new(handle(client), operation) };
        Self(NonNull::new(pointer).unwrap_or(NonNull::dangling()))
    }

    pub(super) fn set(&self, number: usize, timeout: Duration) {
        let timeout = timeout.max(MIN_TIMEOUT);
        // SAFETY: the options are live. A timeout out of range leaves the default; no error text is requested.
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
