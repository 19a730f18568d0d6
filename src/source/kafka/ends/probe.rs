//! The present ends of log partitions, for a caller that waits.

use std::{ffi::CStr, time::Duration};

use super::{
    super::{
        client::{self, Client},
        ffi::{Admin, ListedOffset, ReplyContent, Spec},
    },
    RETRY, TICK, now,
};
use crate::store::{LogEnds, present::Ends};

/// Asks for the ends of log partitions on behalf of a caller that waits.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) client: Client,
}

impl LogEnds for Probe {
    fn log_ends(&self, log_partitions: &[i32], timeout: Duration) -> Result<Ends, String> {
        log_ends(&self.client, Spec::Latest, log_partitions, timeout)
    }

    fn log_partitions(&self, timeout: Duration) -> Result<Option<i32>, String> {
        client::refresh_log_metadata(&self.client, timeout).map(|count| i32::try_from(count).ok())
    }
}

/// Asks for offsets of partitions of `__consumer_offsets`, and waits.
pub(in super::super) fn log_ends(
    client: &Client,
    spec: Spec,
    log_partitions: &[i32],
    timeout: Duration,
) -> Result<Ends, String> {
    let admin = Admin::new(client);
    let partitions: Vec<(&CStr, i32)> = log_partitions.iter().map(|number| (c"__consumer_offsets", *number)).collect();
    admin.list_offsets(0, spec, &partitions, timeout);
    let deadline = now() + timeout + RETRY;
    loop {
        match admin.poll(TICK).map(|reply| reply.content) {
            Some(Ok(ReplyContent::Offsets(listed))) => {
                let end =
                    |of: ListedOffset| (of.partition, of.result.map(|(end, _)| end).map_err(|error| error.to_string()));
                return Ok(listed.into_iter().map(end).collect());
            }
            Some(Ok(_)) => return Err("no offsets in the answer".to_owned()),
            Some(Err(error)) => return Err(error),
            None if now() > deadline => return Err("no answer from the cluster in time".to_owned()),
            None => {}
        }
    }
}
