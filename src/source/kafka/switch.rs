//! Switches between the log and the Admin API in `mode = "auto"`: to the Admin API when the log is not readable, and back
//! when it is.

use std::{
    ops::ControlFlow,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{
    Log,
    client::Connector,
    ffi::{Admin, ReplyContent},
    log, now,
};
use crate::{
    clock::Clock,
    model::SourceKind,
    store::cluster::{Cluster, Fault},
};

/// How often health is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the log is tried again that could not be read.
const TRY_AGAIN: Duration = Duration::from_secs(600);

/// The reason for a switch; set when it happens.
pub(super) type Switched = Arc<OnceLock<String>>;

/// How long brokers have to list groups.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often groups are asked for while the log may not be read.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Decides when to switch, and ends the parts then.
#[derive(Debug)]
pub(super) struct Switch {
    cluster: Arc<Cluster>,
    connector: Connector,
    switched: Switched,
}

impl Switch {
    /// For the way in which the cluster is read now.
    pub(super) fn new(cluster: Arc<Cluster>, connector: Connector) -> Self {
        Self { cluster, connector, switched: Switched::default() }
    }

    /// Where the result is to be found.
    pub(super) fn result(&self) -> Switched {
        Arc::clone(&self.switched)
    }

    /// Looks until the token is cancelled, and cancels it. Blocks: give it a thread.
    pub(super) fn run(self, stop: &CancellationToken) {
        let (mut next_try, mut next_look) = (now() + TRY_AGAIN, now());
        while !stop.is_cancelled() {
            let reason = match self.cluster.own.kind() {
                SourceKind::Log if now() >= next_look => {
                    let refusal = self.refusal();
                    if refusal.is_some() {
                        next_look = now() + ASK_AGAIN;
                    }
                    refusal.filter(|_| self.sees_groups())
                }
                SourceKind::Log => None,
                SourceKind::Table if now() >= next_try => {
                    next_try = now() + TRY_AGAIN;
                    self.is_log_readable().then(|| "the log can be read again".to_owned())
                }
                SourceKind::Table => None,
            };
            if let Some(reason) = reason {
                // Only this thread sets it.
                let _ = self.switched.set(reason);
                return stop.cancel();
            }
            thread::park_timeout(TICK);
        }
    }

    /// Why the log may not be read, if so.
    fn refusal(&self) -> Option<String> {
        let health = self.cluster.health();
        [Fault::Describe, Fault::Read].iter().find_map(|fault| health.faults.get(fault).cloned())
    }

    /// Whether brokers list a group. Without the right to describe any they list none, as if there were none.
    fn sees_groups(&self) -> bool {
        let Ok(client) = self.connector.connect() else { return false };
        let (admin, until) = (Admin::new(&client), now() + TIMEOUT);
        admin.list_groups(0, TIMEOUT);
        while now() < until {
            match admin.poll(TICK).map(|reply| reply.content) {
                Some(Ok(ReplyContent::Groups(listed))) => return !listed.groups.is_empty(),
                Some(_) => return false,
                None => {}
            }
        }
        false
    }

    /// Whether records come out of the log.
    fn is_log_readable(&self) -> bool {
        let mut has_records = false;
        let read = log::read(&self.cluster.config, log::Scope::default(), |records| {
            has_records = records.next().is_some();
            if has_records { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        read.is_ok() && has_records
    }
}

/// Switches to the other mode, and drops everything read before.
pub(super) fn to_other(cluster: &Cluster, log: &Arc<Log>, reason: String, clock: &Clock) {
    let (kind, name) = match cluster.own.kind() {
        SourceKind::Log => (SourceKind::Table, "the Admin API"),
        SourceKind::Table => (SourceKind::Log, "the log"),
    };
    tracing::warn!(cluster = &*cluster.name, reason, "committed offsets are read by {name} from now on");
    let (kind, latest) = log.reading(kind);
    cluster.own.read_anew(kind, latest, format!("{reason}; reading by {name}"), clock);
    cluster.set_health(|health| health.mode_reason = Some(reason));
}
