//! Asks the coordinators of groups what is committed, for a caller that waits.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{
    client::{self, Client},
    ffi::{Admin, ReplyContent},
};
use crate::{
    config,
    store::audit::{CommittedKey, Coordinator},
};

const TICK: Duration = Duration::from_millis(50);

/// The coordinators of one cluster. Connects when first asked, which is when there are groups: before, looking for a
/// coordinator would create `__consumer_offsets`.
#[derive(Debug)]
pub(super) struct Coordinators {
    config: config::Cluster,
    client: Mutex<Option<Client>>,
}

impl Coordinators {
    /// Not connected yet.
    #[must_use]
    pub(super) fn new(config: config::Cluster) -> Self {
        Self { config, client: Mutex::default() }
    }

    fn client(&self) -> Result<Client, String> {
        let mut client = self.client.lock();
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        Ok(client.insert(client::connect_asking(&self.config)?).clone())
    }
}

impl Coordinator for Coordinators {
    fn rest(&self) {
        // Nor should it go on looking for its coordinator, which makes `__consumer_offsets` where it was deleted.
        let client = self.client.lock().take();
        drop(client);
    }

    fn committed(&self, group: &str, timeout: Duration) -> Result<Vec<CommittedKey>, String> {
        // See Admin::committed.
        self.ask(group, timeout).inspect_err(|_| self.rest())
    }
}

impl Coordinators {
    #[expect(clippy::disallowed_methods, reason = "when to give up is not part of any answer")]
    fn ask(&self, group: &str, timeout: Duration) -> Result<Vec<CommittedKey>, String> {
        let admin = Admin::new(&self.client()?);
        if !admin.committed(0, group, None, false) {
            return Err("the group cannot be named".to_owned());
        }
        let deadline = Instant::now() + timeout;
        loop {
            match admin.poll(TICK).map(|reply| reply.content) {
                Some(Ok(ReplyContent::Committed(answer))) => {
                    let mut keys = vec![];
                    for key in answer {
                        match key.result {
                            Ok(Some(committed)) => keys.push((key.topic, key.partition, committed)),
                            Ok(None) => {}
                            Err(error) => return Err(error.to_string()),
                        }
                    }
                    return Ok(keys);
                }
                Some(Ok(_)) => return Err("no offsets in the answer".to_owned()),
                Some(Err(error)) => return Err(error),
                None if Instant::now() > deadline => return Err("no answer in time".to_owned()),
                None => {}
            }
        }
    }
}
