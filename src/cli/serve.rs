//! `offsetd serve` and `offsetd demo`: arguments → configuration → server.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, IsTerminal as _, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::{
    access::Access,
    app::{App, AppError, Load, Reload},
    clock::Clock,
    config::{CheckProperty, Config, ConfigErrors, Flags, Known, Loaded, Property, Sources},
    demo::{Demo, cluster},
    source::{self, kafka},
};

pub(super) const DEMO_EXAMPLES: &str = "\
Examples:
  offsetd demo
  offsetd demo --listen 127.0.0.1:0 --address-file /tmp/offsetd.address

Then, in another terminal:
  offsetd sql \"SELECT group_id, topic, sum(lag) FROM lag GROUP BY 1, 2 ORDER BY 3 DESC\"
  offsetd group payment-reconciler
  offsetd watch";

pub(super) const SERVE_EXAMPLES: &str = "\
Every setting is also an environment variable, as OFFSETD_SQL_TIMEOUT for sql.timeout; a flag goes before it, and it \
before the file. `offsetd check-config` shows what is in force, `offsetd check-config --example` every setting. Without \
--config and --bootstrap-servers, and their variables, /etc/offsetd/offsetd.toml is read if it exists.

Examples:
  offsetd serve --bootstrap-servers localhost:9092
  offsetd serve --bootstrap-servers kafka:9093 -X security.protocol=SSL -X ssl.ca.location=/etc/ssl/kafka.pem
  offsetd serve --config offsetd.toml --listen 0.0.0.0:8088";

/// Arguments of `demo`.
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// Address to serve on. Port 0: any free port.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// File to write the bound address to, once connections are accepted.
    #[arg(long, value_name = "PATH")]
    pub address_file: Option<PathBuf>,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// What makes the configuration.
    #[command(flatten)]
    pub config: ClusterArgs,
}

/// The arguments that make a configuration.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// Kafka brokers to start from, of the only cluster [env: OFFSETD_BOOTSTRAP_SERVERS].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap_servers: Option<String>,
    /// Name of that cluster [env: OFFSETD_CLUSTER_NAME] [default: default].
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Configuration file, for several clusters and everything else [env: OFFSETD_CONFIG] [default:
    /// /etc/offsetd/offsetd.toml, if it exists and no --bootstrap-servers are given].
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Address to serve on [env: OFFSETD_SERVER_LISTEN] [default: 127.0.0.1:8088]. Port 0: any free port.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// File to write the bound address to, once connections are accepted.
    #[arg(long, value_name = "PATH")]
    pub address_file: Option<PathBuf>,
    /// Property of librdkafka, for every cluster. Others can see it in the list of processes: give passwords in the
    /// file or by OFFSETD_CLUSTERS_DEFAULT_KAFKA_SASL_PASSWORD.
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub kafka: Vec<Property>,
}

impl ClusterArgs {
    /// The configuration file: that which is named, or else that of the machine, if there is one.
    fn file(&self, env: &BTreeMap<String, String>) -> Option<PathBuf> {
        let named = env.get("OFFSETD_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or(named).or_else(|| self.system_file(env, Path::new(SYSTEM_FILE)))
    }

    /// The configuration that these arguments, the environment and the file make.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load(&self, env: &BTreeMap<String, String>) -> Result<Loaded, ConfigErrors> {
        self.load_text(env, None)
    }

    /// The same, with the text of the file where it was read already.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load_text(&self, env: &BTreeMap<String, String>, file: Option<&str>) -> Result<Loaded, ConfigErrors> {
        let Self { bootstrap_servers, cluster_name, config, listen, address_file, kafka } = self.clone();
        let config = config.or_else(|| self.system_file(env, Path::new(SYSTEM_FILE)));
        let flags = Flags { config, bootstrap_servers, cluster_name, listen, address_file, kafka };
        let known = Known { kinds: &source::forms(), file };
        Config::load_with(Sources { flags: &flags, env, check_property: check_property() }, known)
    }

    /// The configuration of the machine, if it exists and neither a file nor brokers are given.
    fn system_file(&self, env: &BTreeMap<String, String>, file: &Path) -> Option<PathBuf> {
        let given = self.config.is_some() || self.bootstrap_servers.is_some();
        let given = given || ["OFFSETD_CONFIG", "OFFSETD_BOOTSTRAP_SERVERS"].iter().any(|name| env.contains_key(*name));
        (!given && file.is_file()).then(|| file.to_owned())
    }
}

/// The configuration of the machine.
const SYSTEM_FILE: &str = "/etc/offsetd/offsetd.toml";

impl DemoArgs {
    /// The configuration of the demo: one cluster, `demo`. The environment sets limits, but no other cluster and no
    /// file, so that the demo runs where a real server is configured.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load(&self, env: &BTreeMap<String, String>, bootstrap_servers: &str) -> Result<Loaded, ConfigErrors> {
        let ours = ["OFFSETD_SERVER_", "OFFSETD_SQL_", "OFFSETD_LAG_", "OFFSETD_HISTORY_"];
        let limits = env.iter().filter(|(name, _)| ours.iter().any(|prefix| name.starts_with(prefix)));
        let env = limits.map(|(name, value)| (name.clone(), value.clone())).collect();
        let flags = Flags {
            bootstrap_servers: Some(bootstrap_servers.to_owned()),
            cluster_name: Some("demo".to_owned()),
            listen: self.listen.clone(),
            address_file: self.address_file.clone(),
            ..Flags::default()
        };
        Config::load(Sources { flags: &flags, env: &env, check_property: None })
    }
}

/// librdkafka's opinion of a property.
fn check_property() -> Option<&'static CheckProperty> {
    Some(&kafka::check_property)
}

/// Runs the server until it is stopped.
pub(super) fn serve(args: &ServeArgs, env: &BTreeMap<String, String>) -> Result<ExitCode, Failure> {
    if let Some(file) = args.config.system_file(env, Path::new(SYSTEM_FILE)) {
        tracing::info!(file = %file.display(), "reading the configuration of this machine, since no --config is given");
    }
    let file = args.config.file(env);
    let text = file.as_ref().and_then(|path| fs::read_to_string(path).ok());
    let loaded = args.config.load_text(env, text.as_deref())?;
    let (arguments, env) = (args.config.clone(), env.clone());
    let load: Arc<Load> = Arc::new(move |text| arguments.load_text(&env, Some(text)));
    let reload = file.zip(text).map(|(path, text)| Reload { path, text, effective: loaded.effective, load });
    run(async {
        let stop = stop_on_signal()?;
        let app = App::build(loaded.config, Clock::system(), stop).await?;
        let app = match reload {
            Some(reload) => app.following(reload),
            None => app,
        };
        if io::stdout().is_terminal() {
            // Without a reader of stdout the server runs all the same.
            let _ = writeln!(io::stdout(), "Dashboard: {}", dashboard(app.access(), app.address()));
        }
        app.run().await.map_err(Failure::from)
    })
}

/// Runs the mock cluster, its workload, and the server on it, until it is stopped.
pub(super) fn demo(args: &DemoArgs, env: &BTreeMap<String, String>) -> Result<ExitCode, Failure> {
    run(async {
        let stop = stop_on_signal()?;
        // Ends after the server, which would otherwise complain that its Kafka is gone.
        let stop_workload = CancellationToken::new();
        let workload = stop_workload.clone();
        let demo = tokio::task::spawn_blocking(move || Demo::start(workload)).await.map_err(internal)?;
        let mut demo = demo.map_err(internal)?;
        let mut config = args.load(env, demo.bootstrap_servers())?.config;
        cluster::suit(&mut config, "100");
        // So that what groups do shows within seconds.
        config.lag.sample_interval = config.lag.sample_interval.min(DEMO_SAMPLE_INTERVAL);
        config.lag.window = config.lag.window.max(DEMO_WINDOW);
        config.lag.poll_interval = config.lag.poll_interval.min(DEMO_POLL_INTERVAL);
        let app = App::build(config, Clock::system(), stop.clone()).await?;
        let said = say_what_to_try(app.access(), app.address(), &mut io::stdout());
        // Without a reader of stdout the demo runs all the same.
        drop(said);
        let mut server = std::pin::pin!(app.run());
        let ended = tokio::select! {
            ended = &mut server => ended.map_err(Failure::from),
            died = demo.ended() => {
                stop.cancel();
                server.await?;
                died.map_err(internal)
            }
        };
        stop_workload.cancel();
        tokio::task::spawn_blocking(move || drop(demo)).await.map_err(internal)?;
        ended
    })
}

const DEMO_SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Several commits of a group that commits every five seconds, also where the machine has more to do.
const DEMO_WINDOW: usize = 20;
/// Each sample finds new log ends: with old ones, a commit would look as if the group caught up.
const DEMO_POLL_INTERVAL: Duration = Duration::from_millis(400);

/// The URL of the dashboard, for a browser on this machine where the server listens on all addresses.
fn dashboard(access: &Access, mut address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    format!("{}://{address}/", if access.encrypts() { "https" } else { "http" })
}

fn say_what_to_try(access: &Access, address: SocketAddr, out: &mut impl Write) -> io::Result<()> {
    let dashboard = dashboard(access, address);
    let url = dashboard.trim_end_matches('/');
    let program = std::env::args().next().unwrap_or_else(|| "offsetd".to_owned());
    let server =
        if address.port() == DEFAULT_PORT && !access.encrypts() { String::new() } else { format!(" --server {url}") };
    writeln!(out, "Dashboard: {dashboard}\n")?;
    writeln!(
        out,
        "The data is that of a mock Kafka cluster. gRPC, HTTP and /metrics have the same address. Ctrl-C stops it.\n"
    )?;
    let needed = [(access.wants_tokens(), "OFFSETD_TOKEN"), (access.encrypts(), "OFFSETD_CA_CERT")];
    let needed: Vec<&str> = needed.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect();
    let with = if needed.is_empty() { String::new() } else { format!(", with {} set", needed.join(" and ")) };
    writeln!(out, "Try in another terminal{with}:\n")?;
    let sql = "SELECT group_id, lag, max_lag_seconds, status, active_members FROM consumers ORDER BY lag DESC LIMIT 10";
    writeln!(out, "  {program} sql{server} \"{sql}\"")?;
    writeln!(out, "  {program} group{server} payment-reconciler")?;
    writeln!(out, "  {program} watch{server}\n")?;
    out.flush()
}

/// Of the default address.
const DEFAULT_PORT: u16 = 8088;

/// Time that work on other threads has to end after the server.
const LEFTOVERS: Duration = Duration::from_secs(1);

/// Runs the server. What does not end with it is left behind: the process must end.
fn run(server: impl Future<Output = Result<(), Failure>>) -> Result<ExitCode, Failure> {
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::Internal(error.into()))?;
    let ended = runtime.block_on(server);
    runtime.shutdown_timeout(LEFTOVERS);
    ended.map(|()| ExitCode::SUCCESS)
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Internal(error.into())
}

/// A token that SIGINT and SIGTERM cancel. The second signal ends the process at once.
fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let stop = CancellationToken::new();
    let token = stop.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut signal = async || {
            tokio::select! {
                _ = terminate.recv() => SignalKind::terminate(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            }
        };
        signal().await;
        tracing::info!("stopping; a second signal ends the process at once");
        token.cancel();
        let again = signal().await;
        tracing::warn!("second signal: ending at once");
        // As shells report a process that a signal ended.
        std::process::exit(128 + again.as_raw_value());
    });
    Ok(stop)
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Cluster { .. } | AppError::Access(_) => Self::Usage(error.to_string()),
            AppError::Listen { .. } | AppError::AddressFile { .. } => Self::Command(error.to_string()),
            AppError::Threads { .. } | AppError::Routes(_) | AppError::Part { .. } => internal(error),
        }
    }
}

#[cfg(test)]
mod tests;
