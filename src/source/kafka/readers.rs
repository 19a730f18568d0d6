//! The tasks that read committed offsets, either from the log or by the Admin API.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    Log, admin,
    client::Connector,
    homes,
    identity::Identity,
    listener::{ExistingShards, Listener},
    live_source::RequestError,
    overlay::Overlay,
    requests::Inbox,
    threads::TaskFault,
};
use crate::{model::SourceKind, store::writer::SourceWriter};

/// A task: a loop that runs on its own thread until it is stopped.
pub(super) type Task = Box<dyn FnOnce(&CancellationToken) -> Result<(), TaskFault> + Send>;

/// The tasks that read committed offsets in the mode of their source.
#[derive(Debug)]
pub(super) enum OffsetReader {
    /// Reads `__consumer_offsets`.
    Log(Box<LogReader>),
    /// Polls the Admin API.
    Admin(Box<admin::AdminPoller>),
}

/// The tasks that read the log.
#[derive(Debug)]
pub(super) struct LogReader {
    listener: Listener,
    homes: homes::HomePoller,
    pub(super) overlay: Option<Overlay>,
}

impl OffsetReader {
    /// Creates the tasks, which checks the client configuration. `known` decides about the shards that were read
    /// before.
    ///
    /// # Errors
    /// Returns an error if a client cannot be created.
    pub(super) fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        connector: &Connector,
        identity: &Arc<Identity>,
        known: ExistingShards,
        requests: Inbox,
    ) -> Result<Self, RequestError> {
        match writer.source().kind() {
            SourceKind::Table => {
                let settings = writer.cluster().config.admin.clone();
                let written = admin::AdminWriter::new(writer.clone());
                Ok(Self::Admin(Box::new(admin::AdminPoller::new(connector.clone(), settings, written, requests))))
            }
            SourceKind::Log => {
                let both = (writer.clone(), Arc::clone(log));
                let listener = Listener::new(both, connector.clone(), Arc::clone(identity), known)?;
                let homes = homes::HomePoller::new((writer, log), connector.clone());
                Ok(Self::Log(Box::new(LogReader { listener, homes, overlay: None })))
            }
        }
    }

    /// Returns the tasks with their names.
    pub(super) fn tasks(self) -> Vec<(&'static str, Task)> {
        match self {
            Self::Log(reader) => {
                let LogReader { listener, homes, overlay } = *reader;
                let listener: Task = Box::new(move |stop: &CancellationToken| listener.run(stop));
                let mut tasks = vec![("listener", listener), ("homes", infallible(move |stop| homes.run(stop)))];
                tasks.extend(overlay.map(|overlay| ("overlay", infallible(move |stop| overlay.run(stop)))));
                tasks
            }
            Self::Admin(poller) => vec![("admin", infallible(move |stop| poller.run(stop)))],
        }
    }
}

/// Makes a task from a loop that retries its failures and therefore never fails.
pub(super) fn infallible(run: impl FnOnce(&CancellationToken) + Send + 'static) -> Task {
    Box::new(move |stop: &CancellationToken| {
        run(stop);
        Ok(())
    })
}
