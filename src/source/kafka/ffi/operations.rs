//! The operations that the user may perform on the cluster.

use std::{ptr::NonNull, time::Duration};

use rdkafka::{bindings as sys, types::RDKafkaRespErr};

use super::{
    super::client::Client,
    Queue,
    admin::Options,
    event::{Event, array},
    handle, millis, text,
};
use crate::source::kafka::RequestError;

/// Returns whether the user may describe the cluster. Blocks, and handles neither logs nor errors meanwhile.
///
/// # Errors
/// Returns an error if there is no reply in time.
pub(in super::super) fn may_describe_cluster(client: &Client, timeout: Duration) -> Result<bool, RequestError> {
    let queue = Queue::new(client);
    let options = Options::new(client, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER);
    options.set(0, timeout);
    // SAFETY: client, options and queue are live. We own an error of the option, and the event, which its wrapper
    // destroys. The result and its array live as long as the event; the call writes the count.
    unsafe {
        let error = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options.0.as_ptr(), 1);
        if !error.is_null() {
            sys::rd_kafka_error_destroy(error);
        }
        sys::rd_kafka_DescribeCluster(handle(client), options.0.as_ptr(), queue.pointer.as_ptr());
        let event = sys::rd_kafka_queue_poll(queue.pointer.as_ptr(), millis(timeout));
        let event = Event(NonNull::new(event).ok_or(RequestError::UnexpectedResponse)?);
        let pointer = event.0.as_ptr();
        if sys::rd_kafka_event_error(pointer) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(RequestError::broker(text(sys::rd_kafka_event_error_string(pointer))));
        }
        let result = sys::rd_kafka_event_DescribeCluster_result(pointer);
        if result.is_null() {
            return Err(RequestError::UnexpectedResponse);
        }
        let mut count = 0;
        let operations = sys::rd_kafka_DescribeCluster_result_authorized_operations(result, &raw mut count);
        let describe = sys::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_DESCRIBE as u32;
        Ok(array(operations.cast_mut(), count).iter().any(|operation| *operation as u32 == describe))
    }
}
