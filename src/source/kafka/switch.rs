//! Switches between the log and the Admin API in `mode = "auto"`: to the Admin API when the log may not be read, and back
//! when it may.
//!
//! What is shown stays, as stale, until the other way is loaded, aside; then all of it is replaced in one step. Readers
//! notice a replay: a watch gets a resync, no commit and no deletion is told, and keys that were deleted meanwhile are gone.

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
    listener::Shards,
    log, now,
    readers::Reader,
    threads::{self, PartFault},
};
use crate::{
    model::{OFFSETS_TOPIC, SourceKind},
    store::{
        homes::Homes as _,
        source::{Fault, Source},
        writer::SourceWriter,
    },
};

/// How often health is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long brokers have to list groups.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often groups are asked for while the log may not be read, and how soon a load aside that failed is repeated.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The switch, once it is decided.
#[derive(Debug)]
pub(super) struct Switch {
    reason: String,
    /// What was loaded in the other way. `None`: nothing is shown that is worth to be kept until it is.
    aside: Option<SourceWriter>,
}

/// Where the decision is to be found.
pub(super) type Switched = Arc<OnceLock<Switch>>;

/// Decides when to switch, and ends the parts then.
#[derive(Debug)]
pub(super) struct Decider {
    writer: SourceWriter,
    log: Arc<Log>,
    connector: Connector,
    identity: Arc<Identity>,
    switched: Switched,
    next_try: Instant,
}

impl Decider {
    /// For the way in which the cluster is read now.
    pub(super) fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        connector: Connector,
        identity: Arc<Identity>,
    ) -> Self {
        let next_try = match writer.source().kind() {
            SourceKind::Log => now(),
            SourceKind::Table => now() + writer.cluster().config.admin.log_interval,
        };
        let (writer, log) = (writer.clone(), Arc::clone(log));
        Self { writer, log, connector, identity, switched: Switched::default(), next_try }
    }

    /// Where the decision is to be found.
    pub(super) fn result(&self) -> Switched {
        Arc::clone(&self.switched)
    }

    /// Looks until the token is cancelled, and cancels it once it has decided. Blocks: give it a thread.
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

    /// Why the other way is to be taken, if it can be.
    fn reason(&mut self) -> Option<String> {
        let is_log = self.source().kind() == SourceKind::Log;
        let refusal = if is_log { Some(self.refusal()?) } else { None };
        if now() < self.next_try {
            return None;
        }
        self.next_try = now() + if is_log { ASK_AGAIN } else { self.writer.cluster().config.admin.log_interval };
        let Some(refusal) = refusal else {
            return self.is_log_readable().then(|| "the log can be read again".to_owned());
        };
        match self.sees_groups() {
            Some(true) => return Some(refusal),
            // Neither way is allowed, or nothing is there.
            Some(false) => self.source().set_health(|health| health.ready = false),
            None => {}
        }
        None
    }

    /// Loads the other way aside, where something is shown meanwhile. `None`: that failed.
    fn switch(&self, reason: String, stop: &CancellationToken) -> Option<Switch> {
        if !self.source().health().ready {
            return Some(Switch { reason, aside: None });
        }
        let kind = other(self.source().kind());
        tracing::info!(cluster = &*self.writer.cluster().name, reason, "loading committed offsets by {}", name(kind));
        match self.load_aside(kind, stop) {
            Ok(aside) => aside.map(|aside| Switch { reason, aside: Some(aside) }),
            Err(error) => {
                tracing::warn!(cluster = &*self.writer.cluster().name, %error, "cannot load committed offsets aside");
                None
            }
        }
    }

    /// Reads in another way until all is loaded, or that has become pointless or forbidden.
    fn load_aside(&self, kind: SourceKind, stop: &CancellationToken) -> Result<Option<SourceWriter>, PartFault> {
        let (access, latest) = self.log.reading(kind);
        let (aside, stop) = (self.writer.aside(access, latest), stop.child_token());
        if kind == SourceKind::Log {
            // What coordinators told before may hold no longer.
            self.log.homes.forget();
        }
        let reader = Reader::new(
            (&aside, &self.log),
            &self.connector,
            &self.identity,
            Shards::LoadAgain,
            self.log.requests.closed(),
        )?;
        let mut threads = vec![];
        for (part, run) in reader.parts() {
            let name = format!("{}/aside-{part}", self.writer.cluster().name);
            threads.push(threads::spawn(name, &stop, run)?);
        }
        while !stop.is_cancelled() && !aside.source().health().ready && self.is_wanted(aside.source()) {
            self.lend_health(aside.source());
            thread::park_timeout(TICK);
        }
        stop.cancel();
        // All are joined, whatever the first says: a shard has one reader.
        threads.into_iter().map(threads::join).collect::<Vec<_>>().into_iter().collect::<Result<(), _>>()?;
        Ok(aside.source().health().ready.then_some(aside))
    }

    /// Whether the other way is still to be taken, and allowed.
    fn is_wanted(&self, aside: &Source) -> bool {
        !aside.health().is_refused() && (aside.kind() == SourceKind::Log || self.refusal().is_some())
    }

    /// Lets parts that read aside know what the poller finds out.
    fn lend_health(&self, aside: &Source) {
        let is_reachable = self.source().health().reachable;
        let partitions = match aside.kind() {
            SourceKind::Table => Some(1),
            SourceKind::Log => {
                // Of a topic that the last listing did not show, nothing is known: not that it is empty.
                let ends = self.writer.cluster().ends.current();
                let topic = ends.topic(OFFSETS_TOPIC).filter(|_| ends.is_listed(OFFSETS_TOPIC));
                topic.and_then(|topic| i32::try_from(topic.partitions.len()).ok()).filter(|count| *count > 0)
            }
        };
        aside.set_health(|health| (health.reachable, health.shards) = (is_reachable, partitions));
    }

    /// Why the log may not be read, if so.
    fn refusal(&self) -> Option<String> {
        let health = self.source().health();
        [Fault::Describe, Fault::Read].iter().find_map(|fault| health.faults.get(fault).cloned())
    }

    /// Whether brokers list a group; `None` where they do not answer. Without the right to describe any they list none, as
    /// if there were none.
    fn sees_groups(&self) -> Option<bool> {
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

    /// Whether records come out of the log.
    fn is_log_readable(&self) -> bool {
        let mut has_records = false;
        let read = log::read(&self.writer.cluster().config, log::Scope::default(), |records| {
            has_records = records.next().is_some();
            if has_records { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        read.is_ok() && has_records
    }
}

impl Switch {
    /// Goes over to the other way.
    pub(super) fn apply(&self, writer: &SourceWriter, log: &Arc<Log>) {
        let (source, reason) = (writer.source(), self.reason.clone());
        let kind = other(source.kind());
        let name = name(kind);
        tracing::warn!(cluster = &*writer.cluster().name, reason, "committed offsets are read by {name} from now on");
        if let Some(aside) = &self.aside {
            return writer.adopt(aside, reason);
        }
        let (kind, latest) = log.reading(kind);
        source.read_anew(kind, latest, format!("{reason}; reading by {name}"), writer.clock());
        source.set_health(|health| health.mode_reason = Some(reason));
    }

    /// What becomes of the shards that are shown.
    pub(super) fn shards(&self) -> Shards {
        if self.aside.is_some() { Shards::GoOn } else { Shards::LoadAgain }
    }
}

fn is_refusal(error: &RDKafkaErrorCode) -> bool {
    matches!(error, RDKafkaErrorCode::ClusterAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed)
}

fn other(kind: SourceKind) -> SourceKind {
    match kind {
        SourceKind::Log => SourceKind::Table,
        SourceKind::Table => SourceKind::Log,
    }
}

fn name(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Log => "the log",
        SourceKind::Table => "the Admin API",
    }
}
