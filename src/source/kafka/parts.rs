//! The parts that read one cluster, each with a thread and clients of its own.
//!
//! Clients of librdkafka keep what they know of a cluster (topic ids, leader epochs, offsets), and do not let go of it
//! when another cluster answers at the same addresses. So the parts end when one of them notices, all clients go, what
//! is known of the cluster is dropped, and new parts start as after the start of the process.

use std::{sync::Arc, thread};

use tokio_util::sync::CancellationToken;

use super::{ends::Poller, identity::Identity, listener::Listener, overlay::Overlay, tail::Tails};
use crate::{
    config,
    store::{Store, cluster::Cluster},
};

/// What the parts need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Log ends, and markers of transactions.
    pub lag: config::Lag,
    /// Commits behind open transactions.
    pub transactions: config::Transactions,
}

/// A part that runs, and its name.
type Running = (&'static str, thread::JoinHandle<Result<(), String>>);

/// Reads one cluster, whichever answers at its addresses.
#[derive(Debug)]
pub struct Source {
    store: Arc<Store>,
    cluster: Arc<Cluster>,
    settings: Settings,
    /// Cancelled when the parts are to end.
    stop: CancellationToken,
    parts: Parts,
}

#[derive(Debug)]
struct Parts {
    identity: Arc<Identity>,
    poller: Poller,
    listener: Listener,
    overlay: Option<Overlay>,
    tails: Option<Tails>,
}

impl Source {
    /// A source that reads until `stop` is cancelled, and the client configuration checked.
    ///
    /// # Errors
    /// What librdkafka says of the configuration.
    pub fn new(
        store: Arc<Store>,
        cluster: Arc<Cluster>,
        settings: Settings,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let parts = Parts::new(&store, &cluster, &settings, stop.child_token())?;
        Ok(Self { store, cluster, settings, stop, parts })
    }

    /// Reads until the token given to [`Source::new`] is cancelled. Blocks: give it a thread.
    ///
    /// # Errors
    /// A part that died.
    pub fn run(self) -> Result<(), String> {
        let Self { store, cluster, settings, stop, mut parts } = self;
        loop {
            let identity = Arc::clone(&parts.identity);
            parts.run()?;
            if stop.is_cancelled() {
                return Ok(());
            }
            let Some((before, now)) = identity.change() else { return Err("a part ended".to_owned()) };
            tracing::warn!(
                cluster = &*cluster.name,
                before,
                now,
                "another Kafka cluster answers; dropping what was read of the one before, and loading anew"
            );
            store.forget(&cluster, format!("another Kafka cluster answers: id {now:?}, before {before:?}; loading it"));
            parts = Parts::new(&store, &cluster, &settings, stop.child_token())?;
        }
    }
}

impl Parts {
    fn new(
        store: &Arc<Store>,
        cluster: &Arc<Cluster>,
        settings: &Settings,
        stop: CancellationToken,
    ) -> Result<Self, String> {
        let identity = Arc::new(Identity::new(stop));
        let poller = Poller::new(Arc::clone(store), Arc::clone(cluster), settings.lag.clone(), Arc::clone(&identity))?;
        let listener = Listener::new(Arc::clone(store), Arc::clone(cluster), Arc::clone(&identity))?;
        let transactions = &settings.transactions;
        let overlay = transactions.enabled.then(|| poller.overlay(transactions.clone()));
        let tails = settings.lag.look_for_markers.then(|| Tails::new(Arc::clone(cluster)));
        Ok(Self { identity, poller, listener, overlay, tails })
    }

    /// Runs until the parts are told to end, or one ends: then all do, and their clients are gone.
    fn run(self) -> Result<(), String> {
        let Self { identity, poller, listener, overlay, tails } = self;
        let stop = identity.stop();
        let mut threads = vec![
            start("listener", stop, move |stop| listener.run(stop))?,
            start("poller", stop, move |stop| {
                poller.run(stop);
                Ok(())
            })?,
        ];
        if let Some(overlay) = overlay {
            threads.push(start("overlay", stop, move |stop| {
                overlay.run(stop);
                Ok(())
            })?);
        }
        if let Some(tails) = tails {
            threads.push(start("tails", stop, move |stop| {
                tails.run(stop);
                Ok(())
            })?);
        }
        let ended = threads.into_iter().map(|(name, thread)| match thread.join() {
            Ok(result) => result.map_err(|error| format!("{name}: {error}")),
            Err(_) => Err(format!("{name} panicked")),
        });
        // All are joined, whatever the first says.
        ended.collect::<Vec<_>>().into_iter().collect()
    }
}

/// Starts a part on a thread of its own. When it ends, also by a panic, the others are told to.
fn start(
    name: &'static str,
    stop: &CancellationToken,
    part: impl FnOnce(&CancellationToken) -> Result<(), String> + Send + 'static,
) -> Result<Running, String> {
    let stop = stop.clone();
    let run = move || {
        let _end = stop.clone().drop_guard();
        part(&stop)
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    Ok((name, thread.map_err(|error| format!("cannot start a thread: {error}"))?))
}
