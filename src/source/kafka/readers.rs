//! The parts that read committed offsets: from the log, or by the Admin API.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    Log, admin,
    ask::AskError,
    client::Connector,
    homes,
    identity::Identity,
    listener::{Listener, Shards},
    overlay::Overlay,
    requests::Inbox,
    threads::PartFault,
};
use crate::{model::SourceKind, store::writer::SourceWriter};

/// A part: a loop that runs on a thread of its own until it is told to end.
pub(super) type Part = Box<dyn FnOnce(&CancellationToken) -> Result<(), PartFault> + Send>;

/// The parts that read committed offsets in the way that their source says.
#[derive(Debug)]
pub(super) enum Reader {
    Log(Box<LogReader>),
    Admin(Box<admin::Asker>),
}

#[derive(Debug)]
pub(super) struct LogReader {
    listener: Listener,
    homes: homes::Asker,
    pub(super) overlay: Option<Overlay>,
}

impl Reader {
    /// Makes the parts, and checks the client configuration. `known`: what becomes of shards that were read before.
    ///
    /// # Errors
    /// The client cannot be made.
    pub(super) fn new(
        (writer, log): (&SourceWriter, &Arc<Log>),
        connector: &Connector,
        identity: &Arc<Identity>,
        known: Shards,
        requests: Inbox,
    ) -> Result<Self, AskError> {
        match writer.source().kind() {
            SourceKind::Table => {
                let settings = writer.cluster().config.admin.clone();
                let written = admin::Writer::new(writer.clone());
                Ok(Self::Admin(Box::new(admin::Asker::new(connector.clone(), settings, written, requests))))
            }
            SourceKind::Log => {
                let both = (writer.clone(), Arc::clone(log));
                let listener = Listener::new(both, connector.clone(), Arc::clone(identity), known)?;
                let homes = homes::Asker::new((writer, log), connector.clone());
                Ok(Self::Log(Box::new(LogReader { listener, homes, overlay: None })))
            }
        }
    }

    /// The parts, each with its name.
    pub(super) fn parts(self) -> Vec<(&'static str, Part)> {
        match self {
            Self::Log(reader) => {
                let LogReader { listener, homes, overlay } = *reader;
                let listener: Part = Box::new(move |stop: &CancellationToken| listener.run(stop));
                let mut parts = vec![("listener", listener), ("homes", forever(move |stop| homes.run(stop)))];
                parts.extend(overlay.map(|overlay| ("overlay", forever(move |stop| overlay.run(stop)))));
                parts
            }
            Self::Admin(asker) => vec![("admin", forever(move |stop| asker.run(stop)))],
        }
    }
}

/// A part that tries again what goes wrong, and never fails.
pub(super) fn forever(run: impl FnOnce(&CancellationToken) + Send + 'static) -> Part {
    Box::new(move |stop: &CancellationToken| {
        run(stop);
        Ok(())
    })
}
