//! The tasks that read one cluster, each with its own thread and clients.
//!
//! librdkafka clients cache facts about a cluster (topic ids, leader epochs, offsets) and keep them when another
//! cluster answers at the same addresses. When a task notices another cluster, all tasks end, all clients are closed,
//! the data of the cluster is dropped, and new tasks start as after a start of the process.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use super::threads::TaskFault;
use super::{
    ffi,
    identity::Identity,
    listener::ExistingShards,
    live::LiveClient,
    markers::MarkerReader,
    oauth,
    overlay::Overlay,
    poller::Poller,
    readers::{OffsetReader, Task, infallible},
    switch::Decider,
    threads,
};
use crate::{
    config::{self, ReadMode},
    model::{Name, SourceKind},
    source::{
        Source,
        kafka::{Log, live_source::RequestError},
    },
    store::{cluster::Fault, latest::LatestOffsets, writer::SourceWriter},
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
#[error("{cluster}/{task}: {cause}")]
pub struct TaskError {
    /// Name of the cluster.
    pub cluster: Name,
    /// Name of the task, such as `listener`.
    pub task: &'static str,
    /// Why the task ended.
    pub cause: TaskFault,
}

/// A source that reads the Kafka cluster at the configured addresses.
#[derive(Debug)]
pub struct KafkaSource {
    log: Arc<Log>,
    settings: Settings,
    tasks: ClusterTasks,
}

#[derive(Debug)]
struct ClusterTasks {
    cluster: Name,
    identity: Arc<Identity>,
    poller: Poller,
    reader: OffsetReader,
    tails: Option<MarkerReader>,
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
    ) -> Result<Self, TaskError> {
        ffi::keep_openssl_at_exit();
        let tasks = ClusterTasks::new((writer, &log), &settings, ExistingShards::Reload, stop)?;
        Ok(Self { log, settings, tasks })
    }
}

impl Source for KafkaSource {
    type Error = TaskError;

    fn latest(&self) -> Arc<dyn LatestOffsets> {
        self.log.latest()
    }

    fn run(self: Box<Self>, writer: SourceWriter, stop: &CancellationToken) -> Result<(), TaskError> {
        let Self { log, settings, mut tasks } = *self;
        let cluster = Arc::clone(writer.cluster());
        loop {
            let (identity, switched) = (Arc::clone(&tasks.identity), tasks.switch.as_ref().map(Decider::result));
            writer.failed(Fault::Restart, None);
            tasks.run(stop)?;
            if stop.is_cancelled() {
                return Ok(());
            }
            if let Some(switch) = switched.as_ref().and_then(|switched| switched.get()) {
                switch.apply(&writer, &log);
                tasks = ClusterTasks::new((&writer, &log), &settings, switch.shards(), stop)?;
                continue;
            }
            let Some((before, now)) = identity.change() else {
                return Err(TaskError {
                    cluster: Name::clone(&cluster.name),
                    task: "source",
                    cause: TaskFault::Exited,
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
            tasks = ClusterTasks::new((&writer, &log), &settings, ExistingShards::Reload, stop)?;
        }
    }
}

impl ClusterTasks {
    fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        settings: &Settings,
        known: ExistingShards,
        stop: &CancellationToken,
    ) -> Result<Self, TaskError> {
        let cluster = writer.cluster();
        let failed = |task| {
            move |error: RequestError| TaskError { cluster: Name::clone(&cluster.name), task, cause: error.into() }
        };
        let (identity, connector) =
            (Arc::new(Identity::new(stop.child_token())), oauth::connector(&cluster.config, settings.ending.clone()));
        let connector = connector.until_removed(stop.clone());
        let poller = Poller::new(writer.clone(), settings.lag.clone(), &connector, Arc::clone(&identity));
        let poller = poller.map_err(failed("poller"))?;
        let tails = settings.lag.look_for_markers.then(|| MarkerReader::new(Arc::clone(cluster), connector.clone()));
        let is_auto = cluster.config.mode == ReadMode::Auto;
        let switch = is_auto.then(|| Decider::new((writer, log), connector.clone(), Arc::clone(&identity)));
        let is_log = writer.source().kind() == SourceKind::Log;
        writer.source().set_health(|health| health.has_other_mode = is_auto && is_log);
        let requests = log.requests.open();
        let reader = OffsetReader::new((writer, log), &connector, &identity, known, requests);
        let mut reader = reader.map_err(failed("listener"))?;
        if let OffsetReader::Log(reader) = &mut reader {
            if settings.transactions.enabled {
                let clients = (poller.client(), &connector, &identity);
                let requests = log.requests.open();
                reader.overlay = Some(Overlay::new((writer, log), clients, &settings.transactions, requests));
            }
            log.set_live(Arc::new(LiveClient::new(poller.client().clone(), connector)));
        }
        Ok(Self { cluster: Name::clone(&cluster.name), identity, poller, reader, tails, switch })
    }

    /// Runs the tasks until they are stopped or one ends. Then all end, and their clients are closed.
    fn run(self, end: &CancellationToken) -> Result<(), TaskError> {
        let Self { cluster, identity, poller, reader, tails, switch } = self;
        let (stop, switched) = (identity.stop(), switch.as_ref().map(Decider::result));
        let mut tasks: Vec<(&'static str, Task)> = vec![("poller", infallible(move |stop| poller.run(stop)))];
        tasks.extend(reader.tasks());
        tasks.extend(switch.map(|switch| ("mode", infallible(move |stop| switch.run(stop)))));
        tasks.extend(tails.map(|tails| ("tails", infallible(move |stop| tails.run(stop)))));
        let (mut running, mut failed) = (vec![], vec![]);
        for (name, task) in tasks {
            match threads::spawn(format!("{cluster}/{name}"), stop, task) {
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
            let is_expected = || end.is_cancelled() || identity.change().is_some() || is_switched();
            let ended =
                threads::join(thread).and_then(|()| if is_expected() { Ok(()) } else { Err(TaskFault::Exited) });
            failed.extend(ended.err().map(|fault| (name, fault)));
        }
        // If one task failed, the others exited because of it.
        match failed.into_iter().min_by_key(|(_, fault)| matches!(fault, TaskFault::Exited)) {
            None => Ok(()),
            Some((task, cause)) => Err(TaskError { cluster, task, cause }),
        }
    }
}
