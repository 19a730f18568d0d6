//! Builds, runs and stops the server.
//!
//! [`App::build`] validates the whole configuration before anything runs, and binds the port. [`App::run`] starts the
//! tasks and returns when the server is stopped or a task fails. A clean stop proceeds from the outside in: it accepts
//! no new connections, then ends the streams, then the readers, and drops the store last. One grace period covers all
//! steps.

use std::{
    fs::{self, OpenOptions},
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::FutureExt as _;
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

mod clusters;
mod reload;
mod supervise;

pub use reload::{Load, Reload};
pub use supervise::TaskFailure;

use crate::{
    access::{Access, AccessError},
    clock::{Clock, ticks},
    config::Config,
    history::parquet_store::{ParquetStore, SampleWriter},
    listen,
    metrics::Connections,
    rpc::{self, Health, RoutesError, Service},
    sql::Engine,
    store::{Store, cut::Settings},
    web::{self, Web},
};
use clusters::{ActiveClusters, Dependencies};
use reload::{Change, Follower};
use supervise::{EndedTask, Supervisor, on_thread};

/// Name of the task that serves connections.
const CONNECTIONS: &str = "connections";
/// Name of the task that reports readiness to the gRPC health service.
const HEALTH: &str = "health";

/// The reason why the server cannot start, or why it stopped running.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting that only librdkafka can validate is wrong.
    #[error("cluster {cluster:?}: {reason}")]
    Cluster {
        /// Name of the cluster.
        cluster: String,
        /// Error message of librdkafka.
        reason: String,
    },
    /// Tokens or certificates cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The server cannot listen on its address.
    #[error("cannot listen on {address}: {error}{hint}")]
    Listen {
        /// Address from the setting `server.listen`.
        address: String,
        /// Cause reported by the operating system.
        #[source]
        error: io::Error,
        /// Advice that is appended to the message.
        hint: &'static str,
    },
    /// The address file cannot be written.
    #[error("cannot write the address to {}: {error}", path.display())]
    AddressFile {
        /// Path of the address file.
        path: PathBuf,
        /// Cause reported by the operating system.
        #[source]
        error: io::Error,
    },
    /// Threads cannot be started.
    #[error("cannot start the threads of {task}: {error}")]
    Threads {
        /// Task that needs the threads.
        task: &'static str,
        /// Cause reported by the operating system.
        #[source]
        error: io::Error,
    },
    /// The gRPC services cannot be built.
    #[error(transparent)]
    Routes(#[from] RoutesError),
    /// A task of the server, or of the only cluster, ended.
    #[error("task {task:?} {fault}")]
    Task {
        /// Name of the task, such as `east/listener`.
        task: String,
        /// Reason why it ended.
        #[source]
        fault: TaskFailure,
    },
}

/// A server that has bound its port and does not run yet.
#[derive(Debug)]
pub struct App {
    store: Arc<Store>,
    clusters: ActiveClusters,
    reload: Option<Reload>,
    address: SocketAddr,
    access: Access,
    server: listen::Server,
    health: Health,
    stop: CancellationToken,
}

impl App {
    /// Checks the configuration against librdkafka, and binds the port.
    /// Validates the configuration, including what only librdkafka can validate, and binds the port.
    ///
    /// # Errors
    /// The first problem that was found, in words for the operator.
    pub async fn build(config: Config, clock: Clock, stop: CancellationToken) -> Result<Self, AppError> {
        let access = Access::new(&config.server)?;
        let settings = Settings {
            window: ticks(config.lag.sample_interval) * u32::try_from(config.lag.window).unwrap_or(10),
            active_within: i64::try_from(config.lag.active_within.as_millis()).unwrap_or(i64::MAX),
            commits_kept: config.server.commits_kept,
            watch_queue: config.server.watch_queue,
        };
        let store = Arc::new(Store::new(vec![], clock, settings));
        let threads = |task| move |error| AppError::Threads { task, error };
        let history_store = ParquetStore::new(config.history.clone()).map_err(threads("the history store"))?;
        // Cancelled after `stop`, so that running calls still read a live store.
        let stop_sources = CancellationToken::new();
        let dependencies =
            Dependencies { store: Arc::clone(&store), history_store, config: config.clone(), stop: stop_sources };
        let mut clusters = ActiveClusters::new(dependencies);
        clusters.set(&config.clusters, &config.sources)?;
        store.set_config_loaded(config.queries);
        let engine = Engine::new(Arc::clone(&store), config.sql.clone()).map_err(threads("SQL"))?;
        let engine = Arc::new(engine);
        let service = Service::new(Arc::clone(&engine), config.server.clone(), config.history.step, stop.clone());
        let (grpc, health) = rpc::routes(service.clone())?;
        let connections = Arc::new(Connections::default());
        let web = Web::new(engine, service, &config.server, Arc::clone(&connections), stop.clone());
        let router = access.protect(grpc.merge(web::routes(web)));
        let (tcp, address) = bind(&config.server.listen).await?;
        let limits = config.server.limits.clone();
        let server = listen::Server::new(tcp, access.clone(), router, limits, connections, stop.clone());
        Ok(Self { store, clusters, reload: None, address, access, server, health, stop })
    }

    /// Also follows the configuration file: clusters and sources are added and removed when it changes.
    #[must_use]
    pub fn with_reload(self, reload: Reload) -> Self {
        Self { reload: Some(reload), ..self }
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the access rules: tokens, TLS and allowed origins.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Returns the store that the server reads from.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Runs until the token given to [`App::build`] is cancelled.
    ///
    /// # Errors
    /// The address file cannot be written, or a task ended.
    pub async fn run(self) -> Result<(), AppError> {
        let Self { store, mut clusters, reload, address, access, server, health, stop } = self;
        let Dependencies { config, history_store, stop: stop_sources, .. } = &clusters.dependencies;
        let (config, history_store, stop_sources) =
            (config.server.clone(), history_store.clone(), stop_sources.clone());
        // The port is bound, so new clients wait in the backlog. The file is written first: if that fails, no task has
        // to be stopped.
        write_address(config.address_file.as_deref(), address)?;
        let mut tasks = Supervisor::new(store.clock.clone());
        clusters.start(&mut tasks);
        if let Some(history_store) = history_store {
            let (writer, stop) = (SampleWriter::new(history_store, Arc::clone(&store)), stop_sources.clone());
            tasks.start("history", on_thread("history", move || writer.run_until(&stop).map_err(TaskFailure::failed)));
        }
        tasks.start(HEALTH, health.run(Arc::clone(&store), config.ready_after, stop.clone()).map(Ok));
        let files = access.clone().follow(stop_sources.clone());
        tasks.start("tokens and certificates", async { files.await.map_err(TaskFailure::failed) });
        let follower = reload.as_ref().map(|reload| Follower::new(reload, &store));
        let mut changes = follower.map(|(follower, changes)| {
            tasks.start("configuration", follower.run(stop_sources.clone()));
            changes
        });
        tasks.start(CONNECTIONS, server.run().map(Ok));
        log_listening(&access, address);

        let mut effective = reload.map(|reload| reload.effective).unwrap_or_default();
        let ended = loop {
            tokio::select! {
                ended = tasks.wait_for_end(&stop) => break ended,
                Some((loaded, applied)) = next_change(&mut changes) => {
                    let result = reload::apply(&mut clusters, &mut effective, loaded);
                    clusters.start(&mut tasks);
                    // The follower may have stopped already.
                    let _ = applied.send(result);
                }
            }
        };
        stop.cancel();
        // Ends the follower's wait for the result of a change.
        drop(changes);
        let (now, grace) = (Instant::now(), config.shutdown_grace);
        // Clients that do not disconnect must leave a quarter of the grace period to the readers.
        tasks.drain(&[CONNECTIONS, HEALTH], now + grace * 3 / 4).await;
        stop_sources.cancel();
        tasks.drain(&[], now + grace).await;
        match ended {
            None => Ok(()),
            Some(EndedTask { task, result, .. }) => {
                let fault = result.err().unwrap_or(TaskFailure::Exited);
                Err(AppError::Task { task: fault.task().unwrap_or(task), fault })
            }
        }
    }
}

/// Returns the next configuration; never returns if no file is followed.
async fn next_change(changes: &mut Option<mpsc::Receiver<Change>>) -> Option<Change> {
    match changes {
        Some(changes) => changes.recv().await,
        None => std::future::pending().await,
    }
}

fn log_listening(access: &Access, address: SocketAddr) {
    tracing::info!(%address, tls = access.encrypts(), "listening");
    if is_exposed(access, address) {
        tracing::warn!(%address, "listening on a public address without authentication; set `server.auth.tokens_file`");
    }
}

/// Returns whether clients on other machines can read everything without authentication.
fn is_exposed(access: &Access, address: SocketAddr) -> bool {
    access.is_open() && !address.ip().to_canonical().is_loopback()
}

async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), AppError> {
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another process uses the port: stop it, or choose another port with --listen (0: any free port)"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose another port with --listen",
            _ => "; --listen expects host:port",
        };
        AppError::Listen { address: listen.to_owned(), error, hint }
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Writes the address to a temporary file and renames it, so that no reader sees a partial file. The temporary name is
/// random and the file must not exist, so that a symbolic link planted by another user is not followed.
fn write_address(path: Option<&Path>, address: SocketAddr) -> Result<(), AppError> {
    let Some(path) = path else { return Ok(()) };
    let aside = path.with_extension(format!("{:016x}", RandomState::new().hash_one(std::process::id())));
    let written = OpenOptions::new().write(true).create_new(true).open(&aside).and_then(|mut file| {
        let renamed = file.write_all(address.to_string().as_bytes()).and_then(|()| fs::rename(&aside, path));
        renamed.inspect_err(|_| drop(fs::remove_file(&aside)))
    });
    written.map_err(|error| AppError::AddressFile { path: path.to_owned(), error })
}

#[cfg(test)]
mod tests;
