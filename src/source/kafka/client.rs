//! librdkafka clients: configuration, logs and errors.

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

use super::ask::AskError;
use crate::{config, model::OFFSETS_TOPIC};

/// What every client here is set to, below what the operator sets. Why, where it is not plain:
pub const CLIENT_DEFAULTS: &[(&str, &str)] = &[
    ("client.id", "offsetd"),
    ("enable.metrics.push", "false"),
    // Small fetches read as fast as large ones and need a quarter of the memory.
    ("fetch.max.bytes", "4194304"),
    ("fetch.message.max.bytes", "1048576"),
    // The end of a log behind a transaction's marker is told by an empty answer: LATEST waits for it.
    ("fetch.wait.max.ms", "100"),
    // Per partition, and there are 50. More reads no faster, and is what the memory of a load peaks with.
    ("queued.max.messages.kbytes", "512"),
    ("queued.min.messages", "1000000"),
    // The default makes a partition pause for a second once its queue is full.
    ("fetch.queue.backoff.ms", "5"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("topic.metadata.refresh.interval.ms", "30000"),
];

/// What no operator may change, since the reader is correct only with these values (`config` refuses others).
const FIXED: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "true"),
    ("isolation.level", "read_committed"),
];

/// What clients that log in by `[clusters.NAME.oauth]` are set to, below what the operator sets.
const OAUTH_DEFAULTS: &[(&str, &str)] = &[("security.protocol", "SASL_SSL"), ("sasl.mechanisms", "OAUTHBEARER")];

/// Whether librdkafka knows a property and takes its value.
///
/// # Errors
/// What librdkafka says.
pub fn check_property(key: &str, value: &str) -> Result<(), config::PropertyError> {
    let mut settings = ClientConfig::new();
    settings.set(key, value);
    settings.create_native_config().map(drop).map_err(|error| match error {
        KafkaError::ClientConfig(_, reason, ..) => config::PropertyError(reason),
        other => config::PropertyError(other.to_string()),
    })
}

/// Gives the clients of a cluster what they log in with.
pub(super) trait Login: fmt::Debug + Send + Sync {
    /// Gives it to a client, now and again whenever it changes, for as long as the client lives.
    ///
    /// # Errors
    /// It cannot be given at all.
    fn attach(&self, client: &Client) -> Result<(), AskError>;
}

/// Makes the clients of one source.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    config: Arc<config::Cluster>,
    ending: CancellationToken,
    removed: CancellationToken,
    /// For clusters whose clients do not log in by properties alone.
    login: Option<Arc<dyn Login>>,
}

impl Connector {
    /// Makes clients of a cluster. Once `ending` is cancelled, the process ends, and clients are left to it.
    pub(super) fn new(config: &config::Cluster, ending: CancellationToken) -> Self {
        Self { config: Arc::new(config.clone()), ending, removed: CancellationToken::new(), login: None }
    }

    /// Lets clients end with their requests once `removed` is cancelled, since the cluster is not read any more.
    pub(super) fn until_removed(self, removed: CancellationToken) -> Self {
        Self { removed, ..self }
    }

    /// Lets clients log in by `login`.
    pub(super) fn with_login(self, login: Arc<dyn Login>) -> Self {
        Self { login: Some(login), ..self }
    }

    /// A client.
    pub(super) fn connect(&self) -> Result<Client, AskError> {
        self.connect_with(&[])
    }

    /// A client that may ask coordinators. Only once `__consumer_offsets` exists: looking for a coordinator creates it.
    /// Without a group of its own, librdkafka crashes on the answer that the coordinator is another
    /// (`rd_kafka_handle_OffsetFetch` sends its group a note). It looks for the coordinator of that group, which writes
    /// nothing, and never joins it.
    pub(super) fn connect_asking(&self) -> Result<Client, AskError> {
        self.connect_with(&[("group.id", "offsetd")])
    }

    /// A client that reads what is not committed yet.
    pub(super) fn connect_uncommitted(&self) -> Result<Client, AskError> {
        self.connect_with(&[("isolation.level", "read_uncommitted")])
    }

    fn connect_with(&self, more: &[(&str, &str)]) -> Result<Client, AskError> {
        let mut settings = ClientConfig::new();
        settings.set_log_level(RDKafkaLogLevel::Info);
        let operator = self.config.kafka.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let fixed = FIXED.iter().chain(more).copied();
        let oauth = if self.config.oauth.is_used() { OAUTH_DEFAULTS } else { &[] }.iter().copied();
        for (key, value) in CLIENT_DEFAULTS.iter().copied().chain(oauth).chain(operator).chain(fixed) {
            settings.set(key, value);
        }
        settings.set("bootstrap.servers", &self.config.bootstrap_servers);
        let events = Events { cluster: self.config.name.clone(), ..Events::default() };
        let consumer: Result<BaseConsumer<Events>, _> = settings.create_with_context(events);
        let consumer = Arc::new(consumer.map_err(|error| AskError::Client { reason: error.to_string() })?);
        let (ending, removed) = (self.ending.clone(), self.removed.clone());
        let client = Client { consumer, ending, removed, _login: self.login.clone() };
        if let Some(login) = &self.login {
            login.attach(&client)?;
        }
        Ok(client)
    }
}

/// A client, shared. The last of its clones closes it.
#[derive(Clone)]
pub(super) struct Client {
    consumer: Arc<BaseConsumer<Events>>,
    ending: CancellationToken,
    removed: CancellationToken,
    /// Held, so that what the client logs in with is renewed until the client is gone.
    _login: Option<Arc<dyn Login>>,
}

/// A client that may be gone.
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

    /// Returns the client, unless it is gone.
    pub(super) fn upgrade(&self) -> Option<Client> {
        let (ending, removed) = (self.ending.clone(), self.removed.clone());
        Some(Client { consumer: self.consumer.upgrade()?, ending, removed, _login: None })
    }
}

impl Client {
    /// Returns a handle that does not keep the client.
    pub(super) fn downgrade(&self) -> WeakClient {
        let (ending, removed) = (self.ending.clone(), self.removed.clone());
        WeakClient { consumer: Arc::downgrade(&self.consumer), ending, removed }
    }

    /// Serves the logs and errors that wait, without waiting for more.
    pub(super) fn serve(&self) {
        loop {
            let before = self.context().served.load(Ordering::Relaxed);
            // A poll ends after each log line as if there were nothing more.
            let nothing = self.poll(Duration::ZERO).is_none();
            if nothing && self.context().served.load(Ordering::Relaxed) == before {
                return;
            }
        }
    }

    /// Metadata of one topic, or of all. Asking for one does not create it: allow.auto.create.topics is false, but brokers
    /// before 0.11 do not heed that.
    pub(super) fn metadata(&self, topic: Option<&str>, timeout: Duration) -> Result<Metadata, AskError> {
        self.fetch_metadata(topic, timeout).map_err(|error| {
            self.serve();
            AskError::broker(self.context().last_error().unwrap_or_else(|| error.to_string()))
        })
    }

    /// Lets the client look how many log partitions there are now. Returns how many.
    pub(super) fn refresh_log_metadata(&self, timeout: Duration) -> Result<usize, AskError> {
        let metadata = self.metadata(Some(OFFSETS_TOPIC), timeout)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == OFFSETS_TOPIC && topic.error().is_none());
        Ok(topic.map_or(0, |topic| topic.partitions().len()))
    }
}

/// At the end of the process, clients are not destroyed. While connections are lost, librdkafka 2.12 may abort there:
/// `rd_kafka_destroy` fails requests that still wait for a broker or coordinator, and such a request counts its holders
/// twice down (assertion `eonce->refcnt > 0`). Nothing is lost: clients here write nothing and are in no group. A cluster is
/// often removed because it is down, so that its clients are destroyed once no request can wait any more.
impl Drop for Client {
    fn drop(&mut self) {
        if self.ending.is_cancelled() {
            std::mem::forget(Arc::clone(&self.consumer));
        } else if self.removed.is_cancelled() && Arc::strong_count(&self.consumer) == 1 {
            close_later(Arc::clone(&self.consumer), self.ending.clone());
        }
    }
}

/// Seconds after which no request waits any more: each has a timeout, and is tried once.
const REQUESTS_END: u32 = 30;

/// Closes a client once its requests have ended; not at the end of the process.
fn close_later(consumer: Arc<BaseConsumer<Events>>, ending: CancellationToken) {
    let close = move || {
        for _ in 0..REQUESTS_END {
            std::thread::sleep(Duration::from_secs(1));
            if ending.is_cancelled() {
                std::mem::forget(consumer);
                return;
            }
        }
        drop(consumer);
    };
    // Without a thread it is closed at once.
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

/// What to do about errors that do not say it themselves: a part of librdkafka's text, and the advice.
const ADVICE: [(&str, &str); 5] = [
    (
        "invalid_token",
        "the broker refuses the token: check its audience, issuer, scope and expiry against the broker's settings",
    ),
    ("certificate verify failed", "check ssl.ca.location, and that the certificate is for this host"),
    ("alert bad certificate", CLIENT_CERTIFICATE),
    ("certificate required", CLIENT_CERTIFICATE),
    ("PLAINTEXT broker listener", "check security.protocol and the port"),
];
/// What to do where brokers close connections during the login without a word.
const CLOSED: &str = "check security.protocol and the port";
const CLIENT_CERTIFICATE: &str =
    "the broker wants another client certificate, or one at all: check ssl.certificate.location and ssl.key.location";

/// Takes librdkafka's logs and errors.
#[derive(Debug, Default)]
pub(super) struct Events {
    cluster: String,
    last_error: Mutex<Option<String>>,
    /// The last failure of a broker that was logged.
    last_logged: Mutex<Option<String>>,
    /// Why there is nothing to log in with.
    login_failure: Mutex<Option<String>>,
    /// Counts logs and errors.
    served: AtomicU64,
    /// Counts lost connections and other failures of brokers.
    failures: AtomicU64,
}

impl Events {
    /// The last thing that went wrong with a broker, as long as nothing succeeded since. librdkafka does not repeat it. Where
    /// there is nothing to log in with, this is the cause, whatever brokers say.
    pub(super) fn last_error(&self) -> Option<String> {
        let broker = self.last_error.lock().clone()?;
        if let Some(failure) = self.login_failure.lock().clone() {
            return Some(failure);
        }
        // A broker that closes a connection is logged, and is no error of its own.
        let logged = self.last_logged.lock().clone().filter(|_| broker.ends_with("brokers are down"));
        Some(match logged {
            None => broker,
            Some(logged) if has_worked(&logged) => format!("{broker}: {logged}"),
            Some(logged) => format!("{broker}: {logged}; {CLOSED}"),
        })
    }

    /// Notes why there is nothing to log in with, or that there is.
    pub(super) fn set_login_failure(&self, failure: Option<String>) {
        *self.login_failure.lock() = failure;
    }

    /// How often a broker has failed: a connection was lost, or could not be made. As of the last [`Client::serve`].
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self) {
        *self.last_error.lock() = None;
    }
}

/// Whether a logged failure is of a connection that had worked for a while, and so had the right protocol. A broker that
/// wants a login closes a connection without one a moment after it was made.
fn has_worked(logged: &str) -> bool {
    let up = logged.split_once("(after ").and_then(|(_, rest)| rest.split_once("ms in state UP"));
    up.and_then(|(millis, _)| millis.parse::<u64>().ok()).is_some_and(|millis| millis >= 1000)
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.served.fetch_add(1, Ordering::Relaxed);
        // A connection that the broker closed is logged and is no error.
        if facility == "FAIL" {
            self.failures.fetch_add(1, Ordering::Relaxed);
            *self.last_logged.lock() = Some(message.to_owned());
        }
        // librdkafka repeats a broker's failures; what matters of them is shown by `status`.
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
        // "All brokers down" says less than what went wrong with the last of them.
        let mut last = self.last_error.lock();
        let all_down = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if last.is_none() || !all_down {
            let advice = ADVICE.iter().find(|(part, _)| reason.contains(part)).map(|(_, advice)| *advice);
            *last = Some(advice.map_or_else(|| reason.to_owned(), |advice| format!("{reason}; {advice}")));
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
