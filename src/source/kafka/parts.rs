//! The parts that read one cluster, each with a thread and clients of its own.
//!
//! Clients of librdkafka keep what they know of a cluster (topic ids, leader epochs, offsets), and do not let go of it
//! when another cluster answers at the same addresses. So the parts end when one of them notices, all clients go, what
//! is known of the cluster is dropped, and new parts start as after the start of the process.

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

/// What the parts need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Log ends, and markers of transactions.
    pub lag: config::Lag,
    /// Commits behind open transactions.
    pub transactions: config::Transactions,
    /// Cancelled at the end of the process, when clients are left to it.
    pub ending: CancellationToken,
}

/// A part of a source ended that should not.
#[derive(Debug, thiserror::Error)]
#[error("{cluster}/{part}: {cause}")]
pub struct PartError {
    /// Name of the cluster.
    pub cluster: Name,
    /// Name of the part, as `listener`.
    pub part: &'static str,
    /// Why it ended.
    pub cause: PartFault,
}

/// Reads one cluster, whichever answers at its addresses.
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
    /// Looks whether offsets are to be read in the other way.
    switch: Option<Decider>,
}

impl KafkaSource {
    /// Makes a source that reads until `stop` is cancelled, and checks the client configuration. Where the cluster was read before, by a source that failed, its data stays until it is loaded again.
    ///
    /// # Errors
    /// The part whose client cannot be made.
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
                "another Kafka cluster answers; dropping what was read of the one before, and loading anew"
            );
            let reason = format!("another Kafka cluster answers: id {now:?}, before {before:?}; loading it");
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
            if settings.transactions.enabled {
                let clients = (poller.client(), &connector, &identity);
                let requests = log.requests.open();
                reader.overlay = Some(Overlay::new((writer, log), clients, &settings.transactions, requests));
            }
            log.set_live(Arc::new(Live::new(poller.client().clone(), connector)));
        }
        Ok(Self { cluster: Name::clone(&cluster.name), identity, poller, reader, tails, switch })
    }

    /// Runs until the parts are told to end, or one ends: then all do, and their clients are gone.
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
        // All are joined, whatever the first says.
        for (name, thread) in running {
            let is_switched = || switched.as_ref().is_some_and(|switched| switched.get().is_some());
            let is_told = || end.is_cancelled() || identity.change().is_some() || is_switched();
            let ended = threads::join(thread).and_then(|()| if is_told() { Ok(()) } else { Err(PartFault::Exited) });
            failed.extend(ended.err().map(|fault| (name, fault)));
        }
        // A part that failed is the reason why the others exited.
        match failed.into_iter().min_by_key(|(_, fault)| matches!(fault, PartFault::Exited)) {
            None => Ok(()),
            Some((part, cause)) => Err(PartError { cluster, part, cause }),
        }
    }
}
