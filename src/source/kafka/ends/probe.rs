//! The present ends of log partitions, for a caller that waits.

use std::{ffi::CStr, time::Duration};

use super::{
    super::{
        client::Client,
        ffi::{Admin, ReplyContent, Spec},
    },
    RETRY, TICK, now,
};
use crate::store::LogEnds;

/// Asks for the ends of log partitions on behalf of a caller that waits.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) client: Client,
}

impl LogEnds for Probe {
    fn log_ends(&self, log_partitions: &[i32], timeout: Duration) -> Result<Vec<(i32, i64)>, String> {
        log_ends(&self.client, Spec::LatestCommitted, log_partitions, timeout)
    }
}

/// Asks for offsets of partitions of `__consumer_offsets`, and waits.
pub(in super::super) fn log_ends(
    client: &Client,
    spec: Spec,
    log_partitions: &[i32],
    timeout: Duration,
) -> Result<Vec<(i32, i64)>, String> {
    let admin = Admin::new(client);
    let partitions: Vec<(&CStr, i32)> = log_partitions.iter().map(|number| (c"__consumer_offsets", *number)).collect();
    admin.list_offsets(0, spec, &partitions, timeout);
    let deadline = now() + timeout + RETRY;
    loop {
        if let Some(reply) = admin.poll(TICK) {
            let ReplyContent::Offsets(listed) = reply.content? else {
                return Err("no offsets in the answer".to_owned());
            };
            return listed
                .into_iter()
                .map(|offset| match offset.result {
                    Ok((end, _)) => Ok((offset.partition, end)),
                    Err(error) => Err(format!("log partition {}: {error}", offset.partition)),
                })
                .collect();
        }
        if now() > deadline {
            return Err("no answer from the cluster in time".to_owned());
        }
    }
}
