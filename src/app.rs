//! The server: built, run and stopped in order.
//!
//! [`App::build`] checks everything that can be wrong before anything runs, and binds the port.
//! [`App::run`] starts the parts, and ends when asked or when a part dies. A clean stop goes from
//! the outside in: no new connections, streams end, then the readers, then the store is let go.

use std::{fmt::Write as _, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::ListenerExt as _};
use futures::{FutureExt as _, future::BoxFuture};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    audit,
    clock::{Clock, ticks},
    config::Config,
    history::{
        self, Sampler,
        archive::{self, Archive},
    },
    rpc::{self, Health, Service},
    source::kafka::parts::{self, PartError, Source},
    sql::Engine,
    store::{Store, cluster::Cluster, cut::Settings},
    web::{self, Web},
};

/// Why the server cannot start, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration is wrong in a way that only librdkafka knows.
    #[error("cluster {cluster:?}: {reason}")]
    Cluster {
        /// Which cluster.
        cluster: String,
        /// What librdkafka says.
        reason: String,
    },
    /// Tokens or certificates cannot be used.
    #[error("{0}")]
    Access(String),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}{hint}")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        error: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The address file cannot be written.
    #[error("cannot write the address to {path}: {error}")]
    AddressFile {
        /// Where to.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A part of the server died.
    #[error("{part} ended: {reason}")]
    Part {
        /// Which.
        part: String,
        /// Why.
        reason: String,
    },
}

/// A server that is bound, but does not run yet.
#[derive(Debug)]
pub struct App {
    config: Config,
    store: Arc<Store>,
    archive: Option<Arc<Archive>>,
    listener: TcpListener,
    address: SocketAddr,
    access: Access,
    router: Router,
    health: Health,
    sources: Vec<Source>,
    stop_sources: CancellationToken,
    stop: CancellationToken,
}

impl App {
    /// Checks the configuration against librdkafka, and binds the port.
    ///
    /// # Errors
    /// What is wrong, in words for the operator.
    pub async fn build(config: Config, clock: Clock, stop: CancellationToken) -> Result<Self, AppError> {
        let access = Access::new(&config.server).map_err(AppError::Access)?;
        let clusters: Vec<_> =
            config.clusters.iter().map(|cluster| Arc::new(Cluster::new(cluster.clone(), &clock))).collect();
        let settings = Settings {
            window: ticks(config.lag.sample_interval) * u32::try_from(config.lag.window).unwrap_or(10),
            active_within: i64::try_from(config.lag.active_within.as_millis()).unwrap_or(i64::MAX),
            commits_kept: config.server.commits_kept,
            watch_queue: config.server.watch_queue,
        };
        let store = Arc::new(Store::new(clusters, clock, settings));
        let part = |part: &str, reason: String| AppError::Part { part: part.to_owned(), reason };
        let archive =
            Archive::new(config.history.clone()).map_err(|error| part("the store of history", error.to_string()))?;
        // Ends after the front, so that calls under way still see a live store.
        let stop_sources = CancellationToken::new();
        let mut sources = vec![];
        for cluster in store.clusters() {
            archive.iter().for_each(|archive| cluster.set_older(Box::new(Arc::clone(archive))));
            let bad = |error: PartError| AppError::Cluster {
                cluster: cluster.name.to_string(),
                reason: error.cause.to_string(),
            };
            let settings = parts::Settings { lag: config.lag.clone(), transactions: config.transactions.clone() };
            let source = Source::new(Arc::clone(&store), Arc::clone(cluster), settings, stop_sources.clone());
            sources.push(source.map_err(bad)?);
        }
        let part = |reason| part("the SQL engine", reason);
        let engine = Engine::new(Arc::clone(&store), config.sql.clone()).map_err(|error| part(error.to_string()))?;
        let engine = Arc::new(engine);
        let service = Service::new(Arc::clone(&engine), config.server.clone(), config.history.step, stop.clone());
        let (grpc, health) = rpc::routes(service.clone()).map_err(part)?;
        let web = Web::new(engine, service, config.server.ready_after, stop.clone());
        let router = access.protect(grpc.merge(web::routes(web)));
        let (listener, address) = bind(&config.server.listen).await?;
        Ok(Self { config, store, archive, listener, address, access, router, health, sources, stop_sources, stop })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tokens and TLS.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// What it serves.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Runs until the token given to [`App::build`] is cancelled.
    ///
    /// # Errors
    /// The part that died.
    pub async fn run(self) -> Result<(), AppError> {
        let stop = self.stop;
        // Bound already: who comes now waits. First, since what is started below must be stopped again.
        write_address(self.config.server.address_file.as_deref(), self.address)?;
        let stop_readers = self.stop_sources;
        let mut parts = Parts::default();
        for source in self.sources {
            let run = move || source.run().map_err(|error| error.to_string());
            parts.spawn_blocking("the source of a cluster", run);
        }
        let settings = history::Settings::new(&self.config.history, &self.config.lag);
        let sampler = |cluster| Sampler::new(Arc::clone(&self.store), Arc::clone(cluster), settings);
        let samplers = self.store.clusters().iter().map(sampler).collect();
        parts.spawn("the sampler", sample(samplers, self.config.lag.sample_interval, stop_readers.clone()));
        if let Some(archive) = self.archive {
            let (writer, stop) = (archive::Writer::new(archive, Arc::clone(&self.store)), stop_readers.clone());
            parts.spawn_blocking("the writer of history", move || {
                writer.run_until(&stop).map_err(|error| error.to_string())
            });
        }
        for cluster in self.store.clusters() {
            let (store, cluster) = (Arc::clone(&self.store), Arc::clone(cluster));
            let audit = audit::run(store, cluster, self.config.audit.clone(), stop_readers.clone());
            parts.spawn("the audit", async {
                audit.await;
                Ok(())
            });
        }
        let health = self.health.run(Arc::clone(&self.store), self.config.server.ready_after, stop.clone());
        parts.spawn("the health service", async {
            health.await;
            Ok(())
        });
        parts.spawn("the look at tokens and certificates", self.access.clone().follow(stop_readers.clone()));
        let server = serve(&self.access, self.listener, self.router, stop.clone());
        parts.spawn("the server", async { server.await.map_err(|error| error.to_string()) });
        say_listening(&self.access, self.address);

        let died = parts.until(&stop).await;
        stop.cancel();
        let grace = self.config.server.shutdown_grace;
        parts.drain(&["the server", "the health service"], grace).await;
        stop_readers.cancel();
        parts.drain(&[], grace).await;
        died
    }
}

/// Serves until it is stopped and the requests under way have ended.
fn serve(
    access: &Access,
    tcp: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> BoxFuture<'static, io::Result<()>> {
    match access.listener(tcp) {
        Ok(tls) => axum::serve(tls, router).with_graceful_shutdown(stop.cancelled_owned()).into_future().boxed(),
        Err(tcp) => {
            // Answers are small: do not wait for more to send.
            let tcp = tcp.tap_io(|stream| drop(stream.set_nodelay(true)));
            axum::serve(tcp, router).with_graceful_shutdown(stop.cancelled_owned()).into_future().boxed()
        }
    }
}

fn say_listening(access: &Access, address: SocketAddr) {
    tracing::info!(%address, tls = access.encrypts(), "listening");
    if is_exposed(access, address) {
        tracing::warn!(%address, "whoever reaches this address can read every offset; `server.auth.tokens_file` wants tokens");
    }
}

/// Whether others than this machine's may ask everything.
fn is_exposed(access: &Access, address: SocketAddr) -> bool {
    access.is_open() && !address.ip().to_canonical().is_loopback()
}

async fn bind(listen: &str) -> Result<(TcpListener, SocketAddr), AppError> {
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another server has the port: stop it, or choose one with --listen (0 takes a free one)"
            }
            io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges: choose another with --listen",
            _ => "; --listen takes host:port",
        };
        AppError::Listen { address: listen.to_owned(), error, hint }
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn write_address(path: Option<&std::path::Path>, address: SocketAddr) -> Result<(), AppError> {
    let Some(path) = path else { return Ok(()) };
    // Written aside and renamed: who waits for the file never reads half of it.
    let aside = path.with_extension("new");
    std::fs::write(&aside, address.to_string())
        .and_then(|()| std::fs::rename(&aside, path))
        .map_err(|error| AppError::AddressFile { path: path.display().to_string(), error })
}

/// Takes samples of all clusters that are loaded.
async fn sample(mut samplers: Vec<Sampler>, interval: Duration, stop: CancellationToken) -> Result<(), String> {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let look = tokio::task::spawn_blocking(move || {
            let loaded = samplers.iter_mut().filter(|sampler| sampler.cluster().health().ready);
            loaded.for_each(Sampler::sample);
            samplers
        });
        samplers = look.await.map_err(|error| error.to_string())?;
    }
}

/// The parts of the server, by name.
#[derive(Default)]
struct Parts {
    running: JoinSet<(&'static str, Result<(), String>)>,
    pending: Vec<&'static str>,
}

impl Parts {
    fn spawn(&mut self, name: &'static str, part: impl Future<Output = Result<(), String>> + Send + 'static) {
        self.pending.push(name);
        self.running.spawn(async move { (name, part.await) });
    }

    fn spawn_blocking(&mut self, name: &'static str, part: impl FnOnce() -> Result<(), String> + Send + 'static) {
        self.pending.push(name);
        self.running.spawn_blocking(move || (name, part()));
    }

    fn ended(&mut self, name: &'static str) {
        if let Some(at) = self.pending.iter().position(|pending| *pending == name) {
            self.pending.remove(at);
        }
    }

    /// Until a stop is asked for, or a part ends that should not.
    async fn until(&mut self, stop: &CancellationToken) -> Result<(), AppError> {
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = self.running.join_next() => ended,
        };
        let (part, reason) = match ended {
            Some(Ok((name, result))) => {
                self.ended(name);
                (name, result.err().unwrap_or_else(|| "it should run for ever".to_owned()))
            }
            Some(Err(error)) => ("a part", error.to_string()),
            None => ("everything", "no part runs".to_owned()),
        };
        // A stop that came at the same moment is the reason, not an accident.
        if stop.is_cancelled() {
            return Ok(());
        }
        Err(AppError::Part { part: part.to_owned(), reason })
    }

    /// Waits for the named parts (none named: all), at most `grace`, and names who did not end.
    async fn drain(&mut self, names: &[&str], grace: Duration) {
        let waited = |pending: &[&'static str]| {
            pending.iter().filter(|name| names.is_empty() || names.contains(name)).copied().collect::<Vec<_>>()
        };
        let drained = tokio::time::timeout(grace, async {
            while !waited(&self.pending).is_empty() {
                match self.running.join_next().await {
                    Some(Ok((name, result))) => {
                        self.ended(name);
                        if let Err(error) = result {
                            tracing::warn!(part = name, error, "ended badly");
                        }
                    }
                    Some(Err(error)) => tracing::warn!(%error, "a part panicked"),
                    None => break,
                }
            }
        });
        if drained.await.is_err() {
            let mut late = String::new();
            for name in waited(&self.pending) {
                let _ = write!(late, "{}{name}", if late.is_empty() { "" } else { ", " });
            }
            tracing::warn!(late, "did not end within the grace period (setting `server.shutdown_grace`)");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{Flags, Server, Sources};

    #[test]
    fn a_server_that_others_reach_and_that_wants_nothing_of_them_is_exposed() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = dir.path().join("tokens");
        std::fs::write(&tokens, "token-of-the-tests").unwrap();
        let flags = Flags { bootstrap_servers: Some("127.0.0.1:1".to_owned()), ..Flags::default() };
        let sources = Sources { flags: &flags, env: &BTreeMap::new(), check_property: None };
        let mut server = Config::load(sources).unwrap().config.server;
        let exposed =
            |server: &Server, address: &str| is_exposed(&Access::new(server).unwrap(), address.parse().unwrap());
        for (address, others) in [
            ("127.0.0.1:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
        ] {
            assert_eq!(exposed(&server, address), others, "{address}");
        }
        server.auth.tokens_file = Some(tokens);
        assert!(!exposed(&server, "0.0.0.0:1"));
    }
}
