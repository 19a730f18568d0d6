//! librdkafka clients: their configuration, logs and errors.

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    metadata::Metadata,
};
use tokio_util::sync::CancellationToken;

use super::live_source::RequestError;
use crate::{config, model::OFFSETS_TOPIC};

/// Default properties of every client, which the operator may override. Comments give the reason where it is not
/// obvious.
pub const CLIENT_DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "offsetd"),
    ("enable.metrics.push", "false"),
    // Small fetches read as fast as large ones and need a quarter of the memory.
    ("fetch.max.bytes", "4194304"),
    ("fetch.message.max.bytes", "1048576"),
    // librdkafka reports the end of a partition behind a transaction marker only after an empty fetch response.
    // Requests for the latest offsets wait for that report.
    ("fetch.wait.max.ms", "100"),
    // The limit is per partition, and the log has 50 by default. A larger queue reads no faster and raises the memory
    // peak of the initial load.
    ("queued.max.messages.kbytes", "512"),
    ("queued.min.messages", "1000000"),
    // By default, librdkafka pauses a partition for a second once its queue is full.
    ("fetch.queue.backoff.ms", "5"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// Properties that the operator may not change, because the reader is correct only with these values (`config` refuses
/// others).
const FIXED_PROPERTIES: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
];

/// Default properties of clients that log in by `[clusters.NAME.oauth]`, which the operator may override.
const OAUTH_DEFAULTS: &[(&str, &str)] = &[("security.protocol", "SASL_SSL"), ("sasl.mechanisms", "OAUTHBEARER")];

/// Checks that librdkafka knows a property and accepts its value.
///
/// # Errors
/// Returns librdkafka's error text.
pub fn check_property(key: &str, value: &str) -> Result<(), config::PropertyError> {
    let mut settings = ClientConfig::new();
    settings.set(key, value);
    settings.create_native_config().map(drop).map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, ..) => config::PropertyError(reason),
        other => config::PropertyError(other.to_string()),
    })
}

/// A provider of login credentials for the clients of a cluster.
pub(super) trait Login: fmt::Debug + Send + Sync {
    /// Gives the current credentials to a client, and renewed ones as long as the client lives.
    ///
    /// # Errors
    /// Returns an error if the credentials cannot be given.
    fn attach(&self, client: &Client) -> Result<(), RequestError>;
}

/// Creates the clients of one source.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    config: Arc<config::Cluster>,
    ending: CancellationToken,
    removed: CancellationToken,
    /// Provider of credentials, for clusters on which properties alone do not suffice.
    login: Option<Arc<dyn Login>>,
}

impl Connector {
    /// Creates a connector for a cluster. Once `ending` is cancelled, the process ends, and clients are not destroyed
    /// any more.
    pub(super) fn new(config: &config::Cluster, ending: CancellationToken) -> Self {
        Self { config: Arc::new(config.clone()), ending, removed: CancellationToken::new(), login: None }
    }

    /// Sets the token that is cancelled when the cluster is removed. From then on, clients are closed after their
    /// requests.
    pub(super) fn until_removed(self, removed: CancellationToken) -> Self {
        Self { removed, ..self }
    }

    /// Sets the provider of credentials.
    pub(super) fn with_login(self, login: Arc<dyn Login>) -> Self {
        Self { login: Some(login), ..self }
    }

    /// Creates a client.
    pub(super) fn connect(&self) -> Result<Client, RequestError> {
        self.connect_with(&[])
    }

    /// Creates a client that can query coordinators. Use it only once `__consumer_offsets` exists, since finding a
    /// coordinator creates that topic. The client has a `group.id`, because librdkafka crashes without one if a broker
    /// answers NOT_COORDINATOR (`rd_kafka_handle_OffsetFetch` then notifies the client's own group). librdkafka finds
    /// the coordinator of this group, which writes nothing, and never joins the group.
    pub(super) fn connect_with_group(&self) -> Result<Client, RequestError> {
        self.connect_with(&[("group.id", "offsetd")])
    }

    /// Creates a client that reads uncommitted records.
    pub(super) fn connect_uncommitted(&self) -> Result<Client, RequestError> {
        self.connect_with(&[("isolation.level", "read_uncommitted")])
    }

    fn connect_with(&self, more: &[(&str, &str)]) -> Result<Client, RequestError> {
        let mut settings = ClientConfig::new();
        settings.set_log_level(RDKafkaLogLevel::Info);
        let operator = self.config.kafka.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let fixed = FIXED_PROPERTIES.iter().chain(more).copied();
        let oauth = if self.config.oauth.is_used() { OAUTH_DEFAULTS } else { &[] }.iter().copied();
        for (key, value) in CLIENT_DEFAULTS.iter().copied().chain(oauth).chain(operator).chain(fixed) {
            settings.set(key, value);
        }
        settings.set("bootstrap.servers", &self.config.bootstrap_servers);
        let events = Events { cluster: self.config.name.clone(), ..Events::default() };
        let consumer: Result<BaseConsumer<Events>, _> = settings.create_with_context(events);
        let consumer = Arc::new(consumer.map_err(|error| RequestError::Client { reason: error.to_string() })?);
        let (ending, removed) = (self.ending.clone(), self.removed.clone());
        let client = Client { consumer, ending, removed, _login: self.login.clone() };
        if let Some(login) = &self.login {
            login.attach(&client)?;
        }
        Ok(client)
    }
}

/// A shared client. It is closed when its last clone is dropped.
#[derive(Clone)]
pub(super) struct Client {
    consumer: Arc<BaseConsumer<Events>>,
    ending: CancellationToken,
    removed: CancellationToken,
    /// Keeps the credentials renewed as long as the client lives.
    _login: Option<Arc<dyn Login>>,
}

/// A handle that does not keep its client alive.
#[derive(Debug)]
pub(super) struct WeakClient {
    consumer: Weak<BaseConsumer<Events>>,
    ending: CancellationToken,
    removed: CancellationToken,
}

impl WeakClient {
    /// Returns whether the client is still in use.
    pub(super) fn is_alive(&self) -> bool {
        self.consumer.strong_count() > 0
    }

    /// Returns the client, or `None` if it is closed.
    pub(super) fn upgrade(&self) -> Option<Client> {
        let (ending, removed) = (self.ending.clone(), self.removed.clone());
        Some(Client { consumer: self.consumer.upgrade()?, ending, removed, _login: None })
    }
}

impl Client {
    /// Returns a handle that does not keep the client alive.
    pub(super) fn downgrade(&self) -> WeakClient {
        let (ending, removed) = (self.ending.clone(), self.removed.clone());
        WeakClient { consumer: Arc::downgrade(&self.consumer), ending, removed }
    }

    /// Handles all pending logs and errors, without blocking.
    pub(super) fn serve(&self) {
        loop {
            let before = self.context().served.load(Ordering::Relaxed);
            // A poll returns after each log line as if nothing else were pending.
            let nothing = self.poll(Duration::ZERO).is_none();
            if nothing && self.context().served.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// Returns the metadata of one topic, or of all topics. Requesting one does not create it, since
    /// allow.auto.create.topics is false; brokers before 0.11 ignore that.
    pub(super) fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<Metadata, RequestError> {
        self.fetch_metadata(topic, timeout).map_err(|error| {
            self.serve();
            RequestError::broker(self.context().last_error().unwrap_or_else(|| error.to_string()))
        })
    }

    /// Refreshes the client's metadata of the log. Returns the number of log partitions.
    pub(super) fn refresh_log_metadata(&self, timeout: Duration) -> Result<usize, RequestError> {
        let metadata = self.metadata(Some(OFFSETS_TOPIC), timeout)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == OFFSETS_TOPIC && topic.error().is_none());
        Ok(topic.map_or(0, |topic| topic.partitions().len()))
    }
}

/// At the end of the process, clients are leaked instead of destroyed. While connections fail, `rd_kafka_destroy` of
/// librdkafka 2.12 may abort the process: it fails requests that still wait for a broker or coordinator, and such a
/// request releases its reference twice (assertion `eonce->refcnt > 0`). Nothing is lost, since these clients write
/// nothing and are in no group. A removed cluster is often down, so that its clients are destroyed only after all
/// requests have timed out.
impl Drop for Client {
    fn drop(&mut self) {
        if self.ending.is_cancelled() {
            std::mem::forget(Arc::clone(&self.consumer));
        } else if self.removed.is_cancelled() && Arc::strong_count(&self.consumer) == 1 {
            close_later(Arc::clone(&self.consumer), self.ending.clone());
        }
    }
}

/// Seconds after which no request is pending: each has a timeout and is not retried.
const MAX_PENDING_SECONDS: u32 = 30;

/// Closes a client after its requests have timed out, unless the process ends before.
fn close_later(consumer: Arc<BaseConsumer<Events>>, ending: CancellationToken) {
    let close = move || {
        for _ in 0..MAX_PENDING_SECONDS {
            std::thread::sleep(Duration::from_secs(1));
            if ending.is_cancelled() {
                std::mem::forget(consumer);
                return;
            }
        }
        drop(consumer);
    };
    // If no thread can be started, the client is closed immediately.
    let _ = std::thread::Builder::new().name("closing".to_owned()).spawn(close);
}

impl Deref for Client {
    type Target = BaseConsumer<Events>;

    fn deref(&self) -> &Self::Target {
        &self.consumer
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Remedies for errors that do not contain one: a part of librdkafka's text, and the remedy.
const REMEDIES: [(&str, &str); 5] = [
    (
        "invalid_token",
        "the broker refused the token: check its audience, issuer, scope and expiry against the broker's settings",
    ),
    ("certificate verify failed", "check ssl.ca.location, and that the certificate is for this host"),
    ("alert bad certificate", CLIENT_CERTIFICATE),
    ("certificate required", CLIENT_CERTIFICATE),
    ("PLAINTEXT broker listener", "check security.protocol and the port"),
];
/// Remedy if a broker closes connections during the login without an error.
const CLOSED_REMEDY: &str = "check security.protocol and the port";
const CLIENT_CERTIFICATE: &str =
    "the broker requires a client certificate that it trusts: check ssl.certificate.location and ssl.key.location";

/// Receiver of librdkafka's logs and errors.
#[derive(Debug, Default)]
pub(super) struct Events {
    cluster: String,
    last_error: Mutex<Option<String>>,
    /// The last logged failure of a broker.
    last_logged: Mutex<Option<String>>,
    /// The reason why no credentials are available.
    login_failure: Mutex<Option<String>>,
    /// Number of logs and errors received.
    served: AtomicU64,
    /// Number of lost connections and other failures of brokers.
    failures: AtomicU64,
}

impl Events {
    /// Returns the last error of a broker, unless a request succeeded since; librdkafka does not repeat errors. If no
    /// credentials are available, returns that reason instead, because it causes the errors of the brokers.
    pub(super) fn last_error(&self) -> Option<String> {
        let broker = self.last_error.lock().clone()?;
        if let Some(failure) = self.login_failure.lock().clone() {
            return Some(failure);
        }
        // A broker that closes a connection only causes a log line, not an error.
        let logged = self.last_logged.lock().clone().filter(|_| broker.ends_with("brokers are down"));
        Some(match logged {
            None => broker,
            Some(logged) if has_worked(&logged) => format!("{broker}: {logged}"),
            Some(logged) => format!("{broker}: {logged}; {CLOSED_REMEDY}"),
        })
    }

    /// Sets the reason why no credentials are available; `None` means that they are.
    pub(super) fn set_login_failure(&self, failure: Option<String>) {
        *self.login_failure.lock() = failure;
    }

    /// Returns how many times connections to brokers were lost or could not be made, as of the last [`Client::serve`].
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self) {
        *self.last_error.lock() = None;
    }
}

/// Returns whether a logged failure concerns a connection that was up for at least 1 s, so that its protocol is right.
/// A broker that requires a login closes a connection without one immediately.
fn has_worked(logged: &str) -> bool {
    let up = logged.split_once("(after ").and_then(|(_, rest)| rest.split_once("ms in state UP"));
    up.and_then(|(millis, _)| millis.parse::<u64>().ok()).is_some_and(|millis| millis >= 1000)
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.served.fetch_add(1, Ordering::Relaxed);
        // A broker that closes a connection only causes a log line, not an error.
        if facility == "FAIL" {
            self.failures.fetch_add(1, Ordering::Relaxed);
            *self.last_logged.lock() = Some(message.to_owned());
        }
        // librdkafka repeats the failures of brokers; `status` shows the relevant ones.
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(cluster = self.cluster, facility, "{message}");
            }
            RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => tracing::debug!(cluster = self.cluster, facility, "{message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        // "All brokers down" contains less information than the previous error.
        let mut last = self.last_error.lock();
        let all_down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if last.is_none() || !all_down {
            let remedy = REMEDIES.iter().find(|(part, _)| reason.contains(part)).map(|(_, remedy)| *remedy);
            *last = Some(remedy.map_or_else(|| reason.to_owned(), |remedy| format!("{reason}; {remedy}")));
        }
    }

    fn stats_raw(&self, _: &[u8]) {}
}

impl ConsumerContext for Events {
    fn main_queue_min_poll_interval(&self) -> rdkafka::util::Timeout {
        rdkafka::util::Timeout::After(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests;
