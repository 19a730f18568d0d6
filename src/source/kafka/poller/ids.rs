//! Polls topic ids, which show that a topic was deleted and created again.

use std::{ffi::CStr, time::Duration};

use hashbrown::HashMap;

use super::{Pending, Poller, Reply, ReplyContent, RequestKind, now};
use crate::{
    clock::Ticks,
    model::{Name, Uuid},
    store::{ends::IdsSeen, event::AppliedRevisions},
};

/// Maximum number of topics per request.
const ID_CHUNK: usize = 1000;
/// Time until the next request after a failure. Old brokers do not support the request.
const ID_INTERVAL_FAILING: Duration = Duration::from_secs(300);

/// The last two rounds of requests with responses. A round may have several responses, since topics are requested in
/// chunks.
#[derive(Debug, Default)]
pub(super) struct IdRounds {
    before: IdsSeen,
    last: IdsSeen,
}

impl IdRounds {
    /// Records a response to a request sent at `asked`. Returns the round before the one of that request.
    pub(super) fn answered(&mut self, asked: Ticks, applied: AppliedRevisions) -> &IdsSeen {
        if self.last.asked != Some(asked) {
            self.before = std::mem::replace(&mut self.last, IdsSeen { asked: Some(asked), applied });
        }
        &self.before
    }
}

impl Poller {
    pub(super) fn request_ids(&mut self) {
        if self.pending.values().any(|pending| pending.kind == RequestKind::Ids) {
            return;
        }
        let sent = (self.writer.clock().ticks(), self.writer.clock().now());
        for topics in self.plan.topics.chunks(ID_CHUNK) {
            self.next_number += 1;
            let topics: Vec<&CStr> = topics.iter().map(|topic| &**topic).collect();
            self.admin.topic_ids(self.next_number, &topics, self.settings.request_timeout);
            self.pending.insert(self.next_number, Pending { kind: RequestKind::Ids, leader: -1, sent });
        }
    }

    pub(super) fn apply_ids(&mut self, reply: Reply, asked: Ticks) {
        let Ok(ReplyContent::TopicIds(ids)) = reply.content else {
            self.due.ids = now() + ID_INTERVAL_FAILING;
            return;
        };
        let ids: HashMap<Name, Uuid> = ids
            .into_iter()
            .filter_map(|(topic, id)| Some((self.writer.names().intern(&topic), Uuid(id).known()?)))
            .collect();
        let before = self.ids.answered(asked, self.writer.applied());
        if self.cluster.ends.set_ids(&ids, before, self.writer.clock().ticks()) {
            let now = now();
            (self.due.high, self.due.low) = (now, now);
        }
    }
}
