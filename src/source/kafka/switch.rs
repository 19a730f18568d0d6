//! Switches between the log and the Admin API in `mode = "auto"`: to the Admin API if the user may not read the log,
//! and back when the log becomes readable.
//!
//! The visible data stays, marked as stale, while the other mode loads into shards that readers do not see. Then all
//! data is replaced in one step. Readers see a replay: a watch gets a resync, no commits or deletions are reported, and
//! keys that were deleted meanwhile are missing.

use std::{
    ops::ControlFlow,
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant},
};

use rdkafka::error::RDKafkaErrorCode;
use tokio_util::sync::CancellationToken;

use super::{
    Log,
    client::Connector,
    ffi::{Admin, ReplyContent},
    identity::Identity,
    listener::ExistingShards,
    log, now,
    readers::OffsetReader,
    threads::{self, TaskFault},
};
use crate::{
    model::{OFFSETS_TOPIC, SourceKind},
    store::{
        homes::Homes as _,
        source::{Fault, Source},
        writer::SourceWriter,
    },
};

/// Interval at which the health of the source is checked.
const TICK: Duration = Duration::from_millis(100);
/// Timeout of a request for the listing of groups.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of attempts to switch to the Admin API while the log may not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The decision to switch to the other mode.
#[derive(Debug)]
pub(super) struct ModeSwitch {
    reason: String,
    /// The data that was loaded in the other mode; `None` if it is loaded after the switch, because there is no
    /// complete data to keep visible.
    loaded: Option<SourceWriter>,
}

/// The cell that receives the decision.
pub(super) type SwitchCell = Arc<OnceLock<ModeSwitch>>;

/// The part that decides when to switch, and then ends all parts of the current mode.
#[derive(Debug)]
pub(super) struct Decider {
    writer: SourceWriter,
    log: Arc<Log>,
    connector: Connector,
    identity: Arc<Identity>,
    switched: SwitchCell,
    next_attempt: Instant,
}

impl Decider {
    /// Makes a decider for the current mode.
    pub(super) fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        connector: Connector,
        identity: Arc<Identity>,
    ) -> Self {
        let next_attempt = match writer.source().kind() {
            SourceKind::Log => now(),
            SourceKind::Table => now() + writer.cluster().config.admin.log_interval,
        };
        let (writer, log) = (writer.clone(), Arc::clone(log));
        Self { writer, log, connector, identity, switched: SwitchCell::default(), next_attempt }
    }

    /// Returns the cell that receives the decision.
    pub(super) fn result(&self) -> SwitchCell {
        Arc::clone(&self.switched)
    }

    /// Checks for a reason to switch until the token is cancelled, and cancels the token after a decision. Blocks; run
    /// it on its own thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            if let Some(switch) = self.reason().and_then(|reason| self.switch(reason, stop)) {
                // Only this thread sets it.
                let _ = self.switched.set(switch);
                return stop.cancel();
            }
            thread::park_timeout(TICK);
        }
    }

    fn source(&self) -> &Arc<Source> {
        self.writer.source()
    }

    /// Returns the reason to switch, if there is one and the other mode is possible.
    fn reason(&mut self) -> Option<String> {
        let is_log = self.source().kind() == SourceKind::Log;
        let refusal = if is_log { Some(self.refusal()?) } else { None };
        if now() < self.next_attempt {
            return None;
        }
        self.next_attempt =
            now() + if is_log { RETRY_INTERVAL } else { self.writer.cluster().config.admin.log_interval };
        let Some(refusal) = refusal else {
            return self.is_log_readable().then(|| "the log is readable again".to_owned());
        };
        match self.lists_groups() {
            Some(true) => return Some(refusal),
            // Neither mode is permitted, or there are no groups.
            Some(false) => self.source().set_health(|health| health.ready = false),
            None => {}
        }
        None
    }

    /// Loads the other mode if there is data to keep visible meanwhile. Returns `None` if the load failed.
    fn switch(&self, reason: String, stop: &CancellationToken) -> Option<ModeSwitch> {
        if !self.source().health().ready {
            return Some(ModeSwitch { reason, loaded: None });
        }
        let kind = other_mode(self.source().kind());
        tracing::info!(
            cluster = &*self.writer.cluster().name,
            reason,
            "loading committed offsets from {}",
            mode_name(kind)
        );
        match self.load_other_mode(kind, stop) {
            Ok(loaded) => loaded.map(|loaded| ModeSwitch { reason, loaded: Some(loaded) }),
            Err(error) => {
                tracing::warn!(cluster = &*self.writer.cluster().name, %error, "cannot load offsets in the other mode");
                None
            }
        }
    }

    /// Reads in the other mode until all data is loaded. Returns `None` if the switch became unnecessary or the other
    /// mode is denied.
    fn load_other_mode(&self, kind: SourceKind, stop: &CancellationToken) -> Result<Option<SourceWriter>, TaskFault> {
        let (access, latest) = self.log.kind_and_latest(kind);
        let (aside, stop) = (self.writer.aside(access, latest), stop.child_token());
        if kind == SourceKind::Log {
            // Earlier verdicts of coordinators may be outdated.
            self.log.homes.forget();
        }
        let reader = OffsetReader::new(
            (&aside, &self.log),
            &self.connector,
            &self.identity,
            ExistingShards::Reload,
            self.log.requests.closed(),
        )?;
        let mut threads = vec![];
        for (part, run) in reader.tasks() {
            let name = format!("{}/aside-{part}", self.writer.cluster().name);
            threads.push(threads::spawn(name, &stop, run)?);
        }
        while !stop.is_cancelled() && !aside.source().health().ready && self.is_needed(aside.source()) {
            self.copy_health(aside.source());
            thread::park_timeout(TICK);
        }
        stop.cancel();
        // Join all threads, even if the first one failed, because a shard must have only one reader.
        threads.into_iter().map(threads::join).collect::<Vec<_>>().into_iter().collect::<Result<(), _>>()?;
        Ok(aside.source().health().ready.then_some(aside))
    }

    /// Returns whether the switch is still necessary and permitted.
    fn is_needed(&self, aside: &Source) -> bool {
        !aside.health().is_refused() && (aside.kind() == SourceKind::Log || self.refusal().is_some())
    }

    /// Copies the poller's results to the source that is being loaded.
    fn copy_health(&self, aside: &Source) {
        let is_reachable = self.source().health().reachable;
        let partitions = match aside.kind() {
            SourceKind::Table => Some(1),
            SourceKind::Log => {
                // If the last metadata lacks the topic, the number of its partitions is unknown, not 0.
                let ends = self.writer.cluster().ends.current();
                let topic = ends.topic(OFFSETS_TOPIC).filter(|_| ends.is_listed(OFFSETS_TOPIC));
                topic.and_then(|topic| i32::try_from(topic.partitions.len()).ok()).filter(|count| *count > 0)
            }
        };
        aside.set_health(|health| (health.reachable, health.shards) = (is_reachable, partitions));
    }

    /// Returns why the log may not be read, or `None` if it may.
    fn refusal(&self) -> Option<String> {
        let health = self.source().health();
        [Fault::Describe, Fault::Read].iter().find_map(|fault| health.faults.get(fault).cloned())
    }

    /// Returns whether brokers list any group, or `None` if they do not answer. Without permission to describe any
    /// group, the listing is empty.
    fn lists_groups(&self) -> Option<bool> {
        let client = self.connector.connect().ok()?;
        let (admin, until) = (Admin::new(&client), now() + TIMEOUT);
        admin.list_groups(0, TIMEOUT);
        while now() < until {
            match admin.poll(TICK).map(|reply| reply.content) {
                Some(Ok(ReplyContent::Groups(listed))) => {
                    let has_groups = !listed.groups.is_empty();
                    return (has_groups || listed.errors.iter().all(is_refusal)).then_some(has_groups);
                }
                Some(_) => return None,
                None => {}
            }
        }
        None
    }

    /// Returns whether at least one record can be read from the log.
    fn is_log_readable(&self) -> bool {
        let mut has_records = false;
        let read = log::read(&self.writer.cluster().config, log::LogScope::default(), |records| {
            has_records = records.next().is_some();
            if has_records { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        read.is_ok() && has_records
    }
}

impl ModeSwitch {
    /// Switches the source to the other mode.
    pub(super) fn apply(&self, writer: &SourceWriter, log: &Arc<Log>) {
        let (source, reason) = (writer.source(), self.reason.clone());
        let kind = other_mode(source.kind());
        let name = mode_name(kind);
        tracing::warn!(cluster = &*writer.cluster().name, reason, "committed offsets are now read from {name}");
        if let Some(loaded) = &self.loaded {
            return writer.adopt(loaded, reason);
        }
        let (kind, latest) = log.kind_and_latest(kind);
        source.switch_mode(kind, latest, format!("{reason}; reading from {name}"), writer.clock());
        source.set_health(|health| health.mode_reason = Some(reason));
    }

    /// Returns how the parts of the new mode treat the visible shards.
    pub(super) fn shards(&self) -> ExistingShards {
        if self.loaded.is_some() { ExistingShards::Continue } else { ExistingShards::Reload }
    }
}

fn is_refusal(error: &RDKafkaErrorCode) -> bool {
    matches!(error, RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed)
}

fn other_mode(kind: SourceKind) -> SourceKind {
    match kind {
        SourceKind::Log => SourceKind::Table,
        SourceKind::Table => SourceKind::Log,
    }
}

fn mode_name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Log => "the log",
        SourceKind::Table => "the Admin API",
    }
}
