//! Change notifications of Redis: `CLIENT TRACKING ON BCAST`, from Redis 6.
//!
//! Redis reports the names of changed, expired and evicted keys. It reports a flush as a change of everything.

use std::{collections::HashSet, time::Duration};

use redis::{PushKind, RedisError, Value};

use super::{
    address::Node,
    connection::{Connector, Server},
};

/// Maximum number of changed keys that are remembered. Above it, all keys are read again.
const REMEMBERED: usize = 100_000;
/// Minimum time to wait for one server.
const SHORTEST: Duration = Duration::from_millis(1);

/// Connections that receive the notifications, one per server.
pub(super) struct Tracking(Vec<Server>);

/// The changes on one server.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Names of the changed keys.
    pub(super) keys: HashSet<Vec<u8>>,
    /// Whether any other key may have changed too.
    pub(super) all: bool,
}

impl Tracking {
    /// Enables notifications of keys with this prefix on all servers.
    ///
    /// # Errors
    /// Returns an error if a server does not support them, or does not permit them to this user.
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

    /// Waits at most `patience` for notifications, and adds them to `changed`, by server.
    ///
    /// # Errors
    /// Returns an error if a connection is lost: notifications may be lost with it.
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
                // A flush has no names of keys.
                _ => self.all = true,
            }
        }
        if self.keys.len() > REMEMBERED {
            (self.keys, self.all) = (HashSet::new(), true);
        }
    }
}
