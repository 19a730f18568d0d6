//! `offsetd serve` and `offsetd demo`: load the configuration and run the server until a signal stops it.

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
    config::{CheckProperty, Config, ConfigErrors, Flags, Layers, LoadContext, LoadedConfig, Property},
    demo::{Demo, cluster},
    source::{self, kafka},
    sql,
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
Every setting can also be set by an environment variable, for example sql.timeout by OFFSETD_SQL_TIMEOUT. A flag takes \
precedence over the variable, and the variable over the file. `offsetd check-config` shows the effective values, \
`offsetd check-config --example` describes every setting. If neither --config nor --bootstrap-servers is given, as a \
flag or in the environment, /etc/offsetd/offsetd.toml is read if it exists.

Examples:
  offsetd serve --bootstrap-servers localhost:9092
  offsetd serve --bootstrap-servers kafka:9093 -X security.protocol=SSL -X ssl.ca.location=/etc/ssl/kafka.pem
  offsetd serve --config offsetd.toml --listen 0.0.0.0:8088";

/// Arguments of `demo`.
#[derive(Clone, Debug, Default, Args)]
pub struct DemoArgs {
    /// Configuration file with sections other than clusters. A source without a cluster belongs to the cluster demo.
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Address to listen on. Port 0 selects a free port.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// File to write the bound address to, once connections are accepted.
    #[arg(long, value_name = "PATH")]
    pub address_file: Option<PathBuf>,
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The arguments that define the configuration.
    #[command(flatten)]
    pub config: ClusterArgs,
}

/// The arguments that define the configuration of a server.
#[derive(Clone, Debug, Default, Args)]
pub struct ClusterArgs {
    /// Kafka brokers to connect to first; defines the only cluster [env: OFFSETD_BOOTSTRAP_SERVERS].
    #[arg(long, value_name = "HOST:PORT,…")]
    pub bootstrap_servers: Option<String>,
    /// Name of that cluster [env: OFFSETD_CLUSTER_NAME] [default: default].
    #[arg(long, value_name = "NAME")]
    pub cluster_name: Option<String>,
    /// Configuration file, for several clusters and everything else [env: OFFSETD_CONFIG] [default:
    /// /etc/offsetd/offsetd.toml, if it exists and no --bootstrap-servers are given].
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Address to listen on [env: OFFSETD_SERVER_LISTEN] [default: 127.0.0.1:8088]. Port 0 selects a free port.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// File to write the bound address to, once connections are accepted.
    #[arg(long, value_name = "PATH")]
    pub address_file: Option<PathBuf>,
    /// A librdkafka property, for every cluster. Other users of this machine can see it in the process list: set
    /// passwords in the file or by OFFSETD_CLUSTERS_DEFAULT_KAFKA_SASL_PASSWORD.
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    pub kafka: Vec<Property>,
}

impl ClusterArgs {
    /// Returns the configuration file: the one that `--config` or `OFFSETD_CONFIG` names, else [`DEFAULT_CONFIG_FILE`] if it is
    /// used.
    fn file(&self, env: &BTreeMap<String, String>) -> Option<PathBuf> {
        let named = env.get("OFFSETD_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or(named).or_else(|| self.default_config_file(env, Path::new(DEFAULT_CONFIG_FILE)))
    }

    /// Loads the configuration from these arguments, the environment and the file.
    ///
    /// # Errors
    /// Returns all errors of the configuration.
    pub fn load(&self, env: &BTreeMap<String, String>) -> Result<LoadedConfig, ConfigErrors> {
        self.load_text(env, None)
    }

    /// Like [`Self::load`], but uses `file` as the text of the file if the caller has already read it.
    ///
    /// # Errors
    /// Returns all errors of the configuration.
    pub fn load_text(&self, env: &BTreeMap<String, String>, file: Option<&str>) -> Result<LoadedConfig, ConfigErrors> {
        let Self { bootstrap_servers, cluster_name, config, listen, address_file, kafka } = self.clone();
        let config = config.or_else(|| self.default_config_file(env, Path::new(DEFAULT_CONFIG_FILE)));
        let flags = Flags { config, bootstrap_servers, cluster_name, listen, address_file, kafka };
        let context = LoadContext { kinds: &source::kinds(), check_statement: Some(sql::check_syntax), file };
        Config::load_with(Layers { flags: &flags, env, check_property: check_property() }, context)
    }

    /// Returns `file` if it exists and neither a configuration file nor brokers are given.
    fn default_config_file(&self, env: &BTreeMap<String, String>, file: &Path) -> Option<PathBuf> {
        let is_given = self.config.is_some() || self.bootstrap_servers.is_some();
        let is_given =
            is_given || ["OFFSETD_CONFIG", "OFFSETD_BOOTSTRAP_SERVERS"].iter().any(|name| env.contains_key(*name));
        (!is_given && file.is_file()).then(|| file.to_owned())
    }
}

/// The configuration file that is read if neither a file nor brokers are given.
const DEFAULT_CONFIG_FILE: &str = "/etc/offsetd/offsetd.toml";

impl DemoArgs {
    /// Loads the configuration of the demo with its first cluster, `demo`. Variables of clusters and of the
    /// configuration file are ignored, so that the demo also runs on a machine on which a real server is configured.
    ///
    /// # Errors
    /// Returns all errors of the configuration.
    pub fn load(&self, env: &BTreeMap<String, String>, bootstrap_servers: &str) -> Result<LoadedConfig, ConfigErrors> {
        let allowed = ["OFFSETD_SERVER_", "OFFSETD_SQL_", "OFFSETD_LAG_", "OFFSETD_HISTORY_"];
        let limits = env.iter().filter(|(name, _)| allowed.iter().any(|prefix| name.starts_with(prefix)));
        let env = limits.map(|(name, value)| (name.clone(), value.clone())).collect();
        let flags = Flags {
            bootstrap_servers: Some(bootstrap_servers.to_owned()),
            cluster_name: Some("demo".to_owned()),
            config: self.config.clone(),
            listen: self.listen.clone(),
            address_file: self.address_file.clone(),
            ..Flags::default()
        };
        let context =
            LoadContext { kinds: &source::kinds(), check_statement: Some(sql::check_syntax), ..LoadContext::default() };
        Config::load_with(Layers { flags: &flags, env: &env, check_property: None }, context)
    }
}

/// Returns the function that checks a property with librdkafka.
fn check_property() -> Option<&'static CheckProperty> {
    Some(&kafka::check_property)
}

/// Runs the server until a signal stops it.
pub(super) fn serve(args: &ServeArgs, env: &BTreeMap<String, String>) -> Result<ExitCode, Failure> {
    if let Some(file) = args.config.default_config_file(env, Path::new(DEFAULT_CONFIG_FILE)) {
        tracing::info!(file = %file.display(), "reading the default configuration file, since --config is not given");
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
            Some(reload) => app.with_reload(reload),
            None => app,
        };
        if io::stdout().is_terminal() {
            // The server runs even if stdout is closed.
            let _ = writeln!(io::stdout(), "Dashboard: {}", dashboard_url(app.access(), app.address()));
        }
        app.run().await.map_err(Failure::from)
    })
}

/// Runs mock clusters with a workload, and the server on them, until a signal stops it.
pub(super) fn demo(args: &DemoArgs, env: &BTreeMap<String, String>) -> Result<ExitCode, Failure> {
    run(async {
        let stop = stop_on_signal()?;
        // The workload ends after the server, which would otherwise report that its Kafka cluster is unreachable.
        let stop_workload = CancellationToken::new();
        let workload = stop_workload.clone();
        // Also ends it if the server cannot start.
        let stop_workload = stop_workload.drop_guard();
        let demo = tokio::task::spawn_blocking(move || Demo::start(workload)).await.map_err(internal)?;
        let mut demo = demo.map_err(internal)?;
        let mut config = args.load(env, demo.bootstrap_servers())?.config;
        demo.extend_config(&mut config);
        cluster::adapt_config(&mut config, "100");
        // With these settings, the status of a group changes within seconds.
        config.lag.sample_interval = config.lag.sample_interval.min(DEMO_SAMPLE_INTERVAL);
        config.lag.window = config.lag.window.max(DEMO_WINDOW);
        config.lag.poll_interval = config.lag.poll_interval.min(DEMO_POLL_INTERVAL);
        let app = App::build(config, Clock::system(), stop.clone()).await?;
        let printed = print_suggestions(app.access(), app.address(), &mut io::stdout());
        // The demo runs even if stdout is closed.
        drop(printed);
        let mut server = std::pin::pin!(app.run());
        let ended = tokio::select! {
            ended = &mut server => ended.map_err(Failure::from),
            workload_ended = demo.ended() => {
                stop.cancel();
                server.await?;
                workload_ended.map_err(internal)
            }
        };
        drop(stop_workload);
        tokio::task::spawn_blocking(move || drop(demo)).await.map_err(internal)?;
        ended
    })
}

/// Longest `lag.sample_interval` of the demo.
const DEMO_SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Smallest `lag.window` of the demo: it contains several commits of a group that commits every five seconds, even on a
/// busy machine.
const DEMO_WINDOW: usize = 20;
/// Longest `lag.poll_interval` of the demo. It is shorter than the sample interval, so that each sample has new log
/// ends: with old ones, a commit would look as if the group had caught up.
const DEMO_POLL_INTERVAL: Duration = Duration::from_millis(400);

/// Returns the URL of the dashboard. If the server listens on all addresses, it is the URL for a browser on this
/// machine.
fn dashboard_url(access: &Access, mut address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    format!("{}://{address}/", if access.encrypts() { "https" } else { "http" })
}

/// Writes the URL of the dashboard and three commands to try.
fn print_suggestions(access: &Access, address: SocketAddr, out: &mut impl Write) -> io::Result<()> {
    let dashboard = dashboard_url(access, address);
    let url = dashboard.trim_end_matches('/');
    let program = std::env::args().next().unwrap_or_else(|| "offsetd".to_owned());
    let server =
        if address.port() == DEFAULT_PORT && !access.encrypts() { String::new() } else { format!(" --server {url}") };
    writeln!(out, "Dashboard: {dashboard}\n")?;
    writeln!(
        out,
        "The data comes from two mock Kafka clusters, demo and demo-west, and three simulated stores of offsets \
         outside Kafka. gRPC, HTTP and /metrics use the same address. Ctrl-C ends it.\n"
    )?;
    let needed = [(access.requires_tokens(), "OFFSETD_TOKEN"), (access.encrypts(), "OFFSETD_CA_CERT")];
    let needed: Vec<&str> = needed.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect();
    let with = if needed.is_empty() { String::new() } else { format!(", with {} set", needed.join(" and ")) };
    writeln!(out, "Try in another terminal{with}:\n")?;
    let sql = "SELECT group_id, lag, max_lag_seconds, status, active_members FROM consumers ORDER BY lag DESC LIMIT 10";
    writeln!(out, "  {program} sql{server} \"{sql}\"")?;
    writeln!(out, "  {program} group{server} payment-reconciler")?;
    writeln!(out, "  {program} watch{server}\n")?;
    out.flush()
}

/// The port of the default address. The client commands need no `--server` for it.
const DEFAULT_PORT: u16 = 8088;

/// Time that blocking tasks get to end after the server has stopped.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the server on a multi-threaded runtime. Blocking tasks that have not ended after [`SHUTDOWN_TIMEOUT`] are abandoned,
/// so that the process ends.
fn run(server: impl Future<Output = Result<(), Failure>>) -> Result<ExitCode, Failure> {
    let runtime = Builder::new_multi_thread().enable_all().build().map_err(|error| Failure::Internal(error.into()))?;
    let ended = runtime.block_on(server);
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    ended.map(|()| ExitCode::SUCCESS)
}

fn internal(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Internal(error.into())
}

/// Returns a token that SIGINT and SIGTERM cancel. A second signal ends the process immediately.
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
        tracing::info!("stopping; a second signal ends the process immediately");
        token.cancel();
        let again = signal().await;
        tracing::warn!("received a second signal; ending immediately");
        // Shells report this exit code for a process that a signal has ended.
        std::process::exit(128 + again.as_raw_value());
    });
    Ok(stop)
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Cluster { .. } | AppError::Access(_) => Self::Usage(error.to_string()),
            AppError::Listen { .. } | AppError::AddressFile { .. } => Self::Command(error.to_string()),
            AppError::Threads { .. } | AppError::Routes(_) | AppError::Task { .. } => internal(error),
        }
    }
}

#[cfg(test)]
mod tests;
