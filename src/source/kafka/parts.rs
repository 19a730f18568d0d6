//! The tasks that read one cluster, each with its own thread and clients.
//!
//! librdkafka clients cache facts about a cluster (topic ids, leader epochs, offsets) and keep them when another
//! cluster answers at the same addresses. When a task notices another cluster, all tasks end, all clients are closed,
//! the data of the cluster is dropped, and new tasks start as after a start of the process.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use super::threads::PartFault;
use super::{
    ffi,
    identity::Identity,
    listener::Shards,
    live::Live,
    oauth,
    overlay::Overlay,
    poller::Poller,
    readers::{Part, Reader, forever},
    switch::Decider,
    tail::Tails,
    threads,
};
use crate::{
    config::{self, ReadMode},
    model::{Name, SourceKind},
    source::{
        Source,
        kafka::{Log, ask::AskError},
    },
    store::{cluster::Fault, latest::Latest, writer::SourceWriter},
};

/// Settings of the tasks.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Settings of log ends and transaction markers.
    pub lag: config::Lag,
    /// Settings of the transaction overlay.
    pub transactions: config::Transactions,
    /// Cancelled at the end of the process, when clients are not destroyed any more.
    pub ending: CancellationToken,
}

/// An unexpected end of a task.
#[derive(Debug, thiserror::Error)]
#[error("{cluster}/{part}: {cause}")]
pub struct PartError {
    /// Name of the cluster.
    pub cluster: Name,
    /// Name of the task, such as `listener`.
    pub part: &'static str,
    /// Why the task ended.
    pub cause: PartFault,
}

/// A source that reads the Kafka cluster at the configured addresses.
#[derive(Debug)]
pub struct KafkaSource {
    log: Arc<Log>,
    settings: Settings,
    parts: Parts,
}

#[derive(Debug)]
struct Parts {
    cluster: Name,
    identity: Arc<Identity>,
    poller: Poller,
    reader: Reader,
    tails: Option<Tails>,
    /// Decides whether to switch between reading the log and the Admin API.
    switch: Option<Decider>,
}

impl KafkaSource {
    /// Creates a source that reads until `stop` is cancelled, which checks the client configuration. If a failed source
    /// read the cluster before, its data stays until it is loaded again.
    ///
    /// # Errors
    /// Returns the task for which no client could be created.
    pub fn new(
        writer: &SourceWriter,
        log: Arc<Log>,
        settings: Settings,
        stop: &CancellationToken,
    ) -> Result<Self, PartError> {
        ffi::keep_openssl_at_exit();
        let parts = Parts::new((writer, &log), &settings, Shards::LoadAgain, stop)?;
        Ok(Self { log, settings, parts })
    }
}

impl Source for KafkaSource {
    type Error = PartError;

    fn latest(&self) -> Arc<dyn Latest> {
        self.log.latest()
    }

    fn run(self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), PartError> {
        let Self { log, settings, mut parts } = *self;
        let cluster = Arc::clone(writer.cluster());
        loop {
            let (identity, switched) = (Arc::clone(&parts.identity), parts.switch.as_ref().map(Decider::result));
            writer.failed(Fault::Restart, None);
            parts.run(stop)?;
            if stop.is_cancelled() {
                return Ok(());
            }
            if let Some(switch) = switched.as_ref().and_then(|switched| switched.get()) {
                switch.apply(&writer, &log);
                parts = Parts::new((&writer, &log), &settings, switch.shards(), stop)?;
                continue;
            }
            let Some((before, now)) = identity.change() else {
                return Err(PartError {
                    cluster: Name::clone(&cluster.name),
                    part: "source",
                    cause: PartFault::Exited,
                });
            };
            tracing::warn!(
                cluster = &*cluster.name,
                before,
                now,
                "another Kafka cluster answers; dropping the data of the previous one and reloading"
            );
            let reason = format!("another Kafka cluster answers: cluster id {now:?} instead of {before:?}; loading it");
            writer.forget_cluster(reason);
            parts = Parts::new((&writer, &log), &settings, Shards::LoadAgain, stop)?;
        }
    }
}

impl Parts {
    fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        settings: &Settings,
        known: Shards,
        stop: &CancellationToken,
    ) -> Result<Self, PartError> {
        let cluster = writer.cluster();
        let failed =
            |part| move |error: AskError| PartError { cluster: Name::clone(&cluster.name), part, cause: error.into() };
        let (identity, connector) =
            (Arc::new(Identity::new(stop.child_token())), oauth::connector(&cluster.config, settings.ending.clone()));
        let connector = connector.until_removed(stop.clone());
        let poller = Poller::new(writer.clone(), settings.lag.clone(), &connector, Arc::clone(&identity));
        let poller = poller.map_err(failed("poller"))?;
        let tails = settings.lag.look_for_markers.then(|| Tails::new(Arc::clone(cluster), connector.clone()));
        let is_auto = cluster.config.mode == ReadMode::Auto;
        let switch = is_auto.then(|| Decider::new((writer, log), connector.clone(), Arc::clone(&identity)));
        let is_log = writer.source().kind() == SourceKind::Log;
        writer.source().set_health(|health| health.has_other_way = is_auto && is_log);
        let requests = log.requests.open();
        let reader = Reader::new((writer, log), &connector, &identity, known, requests);
        let mut reader = reader.map_err(failed("listener"))?;
        if let Reader::Log(reader) = &mut reader {
            let mut requests = None;
            if settings.transactions.enabled {
                let clients = (poller.client(), connector.clone(), Arc::clone(&identity));
                let both = (writer.clone(), Arc::clone(log));
                let (part, sender) = Overlay::new(both, clients, settings.transactions.clone());
                (reader.overlay, requests) = (Some(part), Some(sender));
            }
            log.set_live(Arc::new(Live::new(poller.client().clone(), connector, requests)));
        }
        Ok(Self { cluster: Name::clone(&cluster.name), identity, poller, reader, tails, switch })
    }

    /// Runs the tasks until they are stopped or one ends. Then all end, and their clients are closed.
    fn run(self, end: &CancellationToken) -> Result<(), PartError> {
        let Self { cluster, identity, poller, reader, tails, switch } = self;
        let (stop, switched) = (identity.stop(), switch.as_ref().map(Decider::result));
        let mut parts: Vec<(&'static str, Part)> = vec![("poller", forever(move |stop| poller.run(stop)))];
        parts.extend(reader.parts());
        parts.extend(switch.map(|switch| ("mode", forever(move |stop| switch.run(stop)))));
        parts.extend(tails.map(|tails| ("tails", forever(move |stop| tails.run(stop)))));
        let (mut running, mut failed) = (vec![], vec![]);
        for (name, part) in parts {
            match threads::spawn(format!("{cluster}/{name}"), stop, part) {
                Ok(thread) => running.push((name, thread)),
                Err(fault) => {
                    stop.cancel();
                    failed.push((name, fault));
                }
            }
        }
        // All threads are joined, even if an early one failed.
        for (name, thread) in running {
            let is_switched = || switched.as_ref().is_some_and(|switched| switched.get().is_some());
            let is_told = || end.is_cancelled() || identity.change().is_some() || is_switched();
            let ended = threads::join(thread).and_then(|()| if is_told() { Ok(()) } else { Err(PartFault::Exited) });
            failed.extend(ended.err().map(|fault| (name, fault)));
        }
        // If one task failed, the others exited because of it.
        match failed.into_iter().min_by_key(|(_, fault)| matches!(fault, PartFault::Exited)) {
            None => Ok(()),
            Some((part, cause)) => Err(PartError { cluster, part, cause }),
        }
    }
}
