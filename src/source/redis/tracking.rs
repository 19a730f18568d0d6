//! Change notifications of Redis: `CLIENT TRACKING ON BCAST`, from Redis 6.
//!
//! Redis reports the names of changed, expired and evicted keys. It reports a flush as a change of everything.

use std::{collections::HashSet, time::Duration};

use redis::{PushKind, RedisError, Value};

use super::connection::{Connector, Server};
use crate::source::node::Node;

/// Maximum number of changed keys that are remembered. Above it, all keys are read again.
const MAX_KEYS: usize = 100_000;
/// Minimum time to wait for one server.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// Connections that receive the notifications, one per server.
pub(super) struct Tracking(Vec<Server>);

/// The changes on one server.
#[derive(Debug, Default)]
pub(super) struct ServerChanges {
    /// Names of the changed keys.
    pub(super) keys: HashSet<Vec<u8>>,
    /// Whether any other key may have changed too.
    pub(super) other_keys: bool,
}

impl Tracking {
    /// Enables notifications of keys with this prefix on all servers.
    ///
    /// # Errors
    /// Returns an error if a server does not support them, or does not permit them to this user.
    pub(super) fn start(connector: &Connector, nodes: &[Node], prefix: &str) -> Result<Self, RedisError> {
        let start = |node: &Node| {
            let mut server = connector.connect_for_push(node)?;
            let mut command = redis::cmd("CLIENT");
            command.arg("TRACKING").arg("ON").arg("BCAST");
            if !prefix.is_empty() {
                command.arg("PREFIX").arg(prefix);
            }
            server.query_one(command)?;
            Ok(server)
        };
        nodes.iter().map(start).collect::<Result<_, _>>().map(Self)
    }

    /// Waits at most `timeout` for notifications, and adds them to `changed`, by server.
    ///
    /// # Errors
    /// Returns an error if a connection is lost: notifications may be lost with it.
    pub(super) fn wait(&mut self, timeout: Duration, changed: &mut Vec<ServerChanges>) -> Result<(), RedisError> {
        changed.resize_with(self.0.len(), ServerChanges::default);
        let servers = u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
        let mut wait = (timeout / servers).max(MIN_WAIT);
        for (server, changed) in self.0.iter_mut().zip(changed) {
            while let Some(message) = server.next_push(wait)? {
                changed.record(message);
                wait = MIN_WAIT;
            }
        }
        Ok(())
    }
}

impl ServerChanges {
    fn record(&mut self, message: Value) {
        let Value::Push { kind: PushKind::Invalidate, data } = message else { return };
        for keys in data {
            match keys {
                Value::Array(keys) => self.keys.extend(keys.into_iter().filter_map(|key| match key {
                    Value::BulkString(name) => Some(name),
                    _ => None,
                })),
                // A flush has no names of keys.
                _ => self.other_keys = true,
            }
        }
        if self.keys.len() > MAX_KEYS {
            (self.keys, self.other_keys) = (HashSet::new(), true);
        }
    }
}
