//! What Redis tells of changed keys: `CLIENT TRACKING ON BCAST`, from Redis 6 on.
//!
//! It tells names only, also of keys that expired or were evicted, and of a flush as of everything.

use std::{collections::HashSet, time::Duration};

use redis::{PushKind, RedisError, Value};

use super::{
    address::Node,
    connection::{Connector, Server},
};

/// Changed keys that are remembered. With more, everything is read again.
const REMEMBERED: usize = 100_000;
/// The least that is waited for one server.
const SHORTEST: Duration = Duration::from_millis(1);

/// Connections that changes come by, one for each server.
pub(super) struct Tracking(Vec<Server>);

/// What changed on one server.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Names of keys.
    pub(super) keys: HashSet<Vec<u8>>,
    /// More than their names tell.
    pub(super) all: bool,
}

impl Tracking {
    /// Asks servers to tell of keys that begin so.
    ///
    /// # Errors
    /// A server cannot, or may not tell this user.
    pub(super) fn start(connector: &Connector, nodes: &[Node], prefix: &str) -> Result<Self, RedisError> {
        let start = |node: &Node| {
            let mut server = connector.telling(node)?;
            let mut command = redis::cmd("CLIENT");
            command.arg("TRACKING").arg("ON").arg("BCAST");
            if !prefix.is_empty() {
                command.arg("PREFIX").arg(prefix);
            }
            server.ask_one(command)?;
            Ok(server)
        };
        nodes.iter().map(start).collect::<Result<_, _>>().map(Self)
    }

    /// Waits at most so long for what they tell, and adds it to `changed`, by server.
    ///
    /// # Errors
    /// A connection is lost: something may have changed that was not told.
    pub(super) fn wait(&mut self, patience: Duration, changed: &mut Vec<Changed>) -> Result<(), RedisError> {
        changed.resize_with(self.0.len(), Changed::default);
        let servers = u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
        let mut wait = (patience / servers).max(SHORTEST);
        for (server, changed) in self.0.iter_mut().zip(changed) {
            while let Some(told) = server.told(wait)? {
                changed.take(told);
                wait = SHORTEST;
            }
        }
        Ok(())
    }
}

impl Changed {
    fn take(&mut self, told: Value) {
        let Value::Push { kind: PushKind::Invalidate, data } = told else { return };
        for keys in data {
            match keys {
                Value::Array(keys) => self.keys.extend(keys.into_iter().filter_map(|key| match key {
                    Value::BulkString(name) => Some(name),
                    _ => None,
                })),
                // A flush.
                _ => self.all = true,
            }
        }
        if self.keys.len() > REMEMBERED {
            (self.keys, self.all) = (HashSet::new(), true);
        }
    }
}
