//! Runs a real single-broker KRaft Kafka from the jars that `tests/broker/prepare` fetched.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{Process, wait_for};

const LIMIT: Duration = Duration::from_secs(120);
/// Cluster id of a broker that was not formatted again.
pub(crate) const CLUSTER_ID: &str = "b2Zmc2V0ZC10ZXN0LW9uZQ";

/// A prepared Kafka release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Release(&'static str);

impl Release {
    /// Returns the release of a line such as `4.1`; fetches and compiles missing files.
    pub(crate) fn of(line: &str) -> Self {
        static PREPARED: OnceLock<()> = OnceLock::new();
        PREPARED.get_or_init(|| {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broker/prepare");
            let out = Command::new(&script).env("KAFKA_DIR", kafka_dir()).output();
            let out = out.unwrap_or_else(|e| panic!("{}: {e}", script.display()));
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        });
        let version = include_str!("../../broker/versions").lines().find(|v| v.starts_with(line));
        Self(version.unwrap_or_else(|| panic!("no Kafka {line} in tests/broker/versions")))
    }

    pub(crate) fn version(self) -> &'static str {
        self.0
    }

    /// Returns the folder of its jars and classes.
    pub(crate) fn dir(self) -> PathBuf {
        kafka_dir().join(self.0)
    }

    pub(crate) fn java(self, class: &str) -> Command {
        let dir = self.dir();
        let path = format!("{0}/classes:{0}/libs/*", dir.display());
        let mut java = Command::new("java");
        // Options for short-lived processes that share few cores: a fast start and little memory.
        java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        // Kafka 4 reads OAUTHBEARER keys only from URLs that are allowed.
        java.arg(format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={}", keys_url()));
        java.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &path, class]);
        java
    }
}

/// Returns the URL of the public keys that verify tokens.
pub(crate) fn keys_url() -> String {
    format!("file://{}/tests/fixtures/oauth/jwks.json", env!("CARGO_MANIFEST_DIR"))
}

/// Returns the folder of the prepared releases. It lies in cargo's target folder, which is derived from `OUT_DIR`
/// (`TARGET/PROFILE/build/PACKAGE/out`).
fn kafka_dir() -> PathBuf {
    let target = Path::new(env!("OUT_DIR")).ancestors().nth(4);
    target.expect("OUT_DIR lies in cargo's target folder").join("kafka")
}

/// A broker and its data. It is down until started, and keeps its ports over restarts.
pub(crate) struct Broker {
    pub(crate) release: Release,
    // Declared before the data, so that the process ends before its files are removed.
    process: Option<Process>,
    dir: TempDir,
    port: u16,
    /// Port of the listener where users log in, see [`Broker::with_users`].
    users_port: Option<u16>,
    _slot: Option<Slot>,
}

/// Three brokers that replicate each other's partitions.
pub(crate) struct Cluster(pub(crate) Vec<Broker>);

impl Cluster {
    pub(crate) fn started(release: Release) -> Self {
        Self::started_with(release, "")
    }

    /// Starts the brokers with additional properties.
    pub(crate) fn started_with(release: Release, more_properties: &str) -> Self {
        // A cluster takes all broker slots.
        let mut slots = vec![None, Some(Slot::take()), Some(Slot::take())];
        let ports: Vec<[u16; 2]> = (0..3).map(|_| [free_port(), free_port()]).collect();
        let voters: Vec<String> =
            ports.iter().zip(1..).map(|([_, controller], id)| format!("{id}@127.0.0.1:{controller}")).collect();
        let mut brokers = vec![];
        for (ports, id) in ports.into_iter().zip(1..) {
            let properties = format!(
                "node.id={id}
controller.quorum.voters={}
offsets.topic.replication.factor=3
min.insync.replicas=2
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
leader.imbalance.check.interval.seconds=2
{more_properties}",
                voters.join(",")
            );
            brokers.push(Broker::formatted(release, ports, slots.pop().flatten(), &properties, &[]));
        }
        // No broker accepts connections before there is a quorum: the first waits for the second.
        brokers.iter_mut().for_each(Broker::launch);
        brokers.iter_mut().for_each(Broker::wait_started);
        Self(brokers)
    }

    pub(crate) fn bootstrap_servers(&self) -> String {
        self.0.iter().map(Broker::bootstrap_servers).collect::<Vec<_>>().join(",")
    }
}

impl Broker {
    /// Creates a broker with formatted, empty data.
    pub(crate) fn down(release: Release, more_properties: &str) -> Self {
        let slot = Some(Slot::take());
        Self::formatted(release, [free_port(), free_port()], slot, more_properties, &[])
    }

    /// Creates a broker with share and streams groups, which are a preview in 4.1.
    pub(crate) fn with_every_protocol(release: Release) -> Self {
        let properties = "group.coordinator.rebalance.protocols=classic,consumer,share,streams
unstable.api.versions.enable=true
unstable.feature.versions.enable=true
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=3
group.consumer.heartbeat.interval.ms=500
group.consumer.min.heartbeat.interval.ms=500
group.streams.initial.rebalance.delay.ms=0
";
        let features = ["--feature", "share.version=1", "--feature", "streams.version=1"];
        let slot = Some(Slot::take());
        let mut broker = Self::formatted(release, [free_port(), free_port()], slot, properties, &features);
        broker.start();
        broker
    }

    /// Starts a broker with a listener for users with SASL/PLAIN. The password of each user is its name, and users have
    /// only rights that are granted. Clients of [`Broker::bootstrap_servers`] may do everything.
    pub(crate) fn with_users(release: Release, users: &[&str]) -> Self {
        let [port, controller, users_port] = [free_port(), free_port(), free_port()];
        let users: String = users.iter().map(|user| format!(" user_{user}=\"{user}\"")).collect();
        let properties = format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},USERS://127.0.0.1:{users_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},USERS://127.0.0.1:{users_port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,USERS:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.users.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required{users};
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"
        );
        let mut broker = Self::formatted(release, [port, controller], Some(Slot::take()), &properties, &[]);
        broker.users_port = Some(users_port);
        broker.start();
        broker
    }

    /// Creates a broker with the listeners that `properties` names; PLAINTEXT on `port` is among them.
    pub(crate) fn with_listeners(
        release: Release,
        ports: [u16; 2],
        properties: &str,
        format_arguments: &[&str],
    ) -> Self {
        let mut broker = Self::formatted(release, ports, Some(Slot::take()), properties, format_arguments);
        broker.start();
        broker
    }

    /// Returns a section `[clusters.c]` for a server that logs in as this user.
    pub(crate) fn cluster_of_user(&self, user: &str) -> String {
        format!(
            "[clusters.c]\nbootstrap_servers = \"127.0.0.1:{}\"\n[clusters.c.kafka]\n\
             \"security.protocol\" = \"SASL_PLAINTEXT\"\n\"sasl.mechanism\" = \"PLAIN\"\n\
             \"sasl.username\" = {user:?}\n\"sasl.password\" = {user:?}\n",
            self.users_port.unwrap()
        )
    }

    fn formatted(
        release: Release,
        [port, controller]: [u16; 2],
        slot: Option<Slot>,
        more_properties: &str,
        format_arguments: &[&str],
    ) -> Self {
        let dir = TempDir::new().unwrap();
        // If a property occurs twice, Java uses the later line.
        let properties = properties(port, controller, dir.path()) + more_properties;
        fs::write(dir.path().join("properties"), properties).unwrap();
        let broker = Self { release, process: None, dir, port, users_port: None, _slot: slot };
        broker.format(CLUSTER_ID, format_arguments);
        broker
    }

    fn format(&self, cluster_id: &str, more: &[&str]) {
        let format = self
            .release
            .java("kafka.tools.StorageTool")
            .args(["format", "--cluster-id", cluster_id, "--config"])
            .arg(self.dir.path().join("properties"))
            .args(more)
            .output()
            .unwrap_or_else(|e| panic!("java: {e}"));
        assert!(format.status.success(), "{}", String::from_utf8_lossy(&format.stderr));
    }

    /// Erases all data and formats the broker for the cluster with this id (22 characters of base64), on the same port
    /// and with additional properties. The broker must be down.
    pub(crate) fn reformat(&self, cluster_id: &str, more_properties: &str) {
        assert!(self.process.is_none(), "the broker is running");
        fs::remove_dir_all(self.dir.path().join("data")).unwrap();
        let path = self.dir.path().join("properties");
        let properties = fs::read_to_string(&path).unwrap() + more_properties;
        fs::write(&path, properties).unwrap();
        self.format(cluster_id, &[]);
    }

    pub(crate) fn started(release: Release) -> Self {
        Self::started_with(release, "")
    }

    /// Starts a broker with additional properties.
    pub(crate) fn started_with(release: Release, more_properties: &str) -> Self {
        let mut broker = Self::down(release, more_properties);
        broker.start();
        broker
    }

    /// Starts a broker that advertises `proxy` as its address; returns it with an address that bypasses the proxy.
    pub(crate) fn started_behind(release: Release, proxy: &str) -> (Self, String) {
        let [port, controller, direct] = [free_port(), free_port(), free_port()];
        let properties = format!(
            "listeners=PLAINTEXT://127.0.0.1:{port},DIRECT://127.0.0.1:{direct},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{proxy},DIRECT://127.0.0.1:{direct}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=DIRECT
"
        );
        let mut broker = Self::formatted(release, [port, controller], Some(Slot::take()), &properties, &[]);
        broker.start();
        (broker, format!("127.0.0.1:{direct}"))
    }

    /// Starts the broker and waits until it accepts connections.
    pub(crate) fn start(&mut self) {
        self.launch();
        self.wait_started();
    }

    fn launch(&mut self) {
        let mut command = self.release.java("Broker");
        command.arg(self.dir.path().join("properties"));
        let log = self.dir.path().join("log");
        self.process = Some(Process::spawn("Kafka", &command, None, log));
    }

    fn wait_started(&mut self) {
        let (process, port) = (self.process.as_mut().unwrap(), self.port);
        wait_for("Kafka to accept connections", LIMIT, || {
            process.check_alive().unwrap_or_else(|e| panic!("{e}"));
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(_) => Ok(()),
                Err(e) => Err(format!("{e}\n{}", process.log_tail())),
            }
        });
    }

    /// Shuts the broker down cleanly.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        process.wait_exit(LIMIT); // closes the process's stdin, see Broker.java
    }

    /// Kills the process, as in a crash.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Deletes a partition's log, as a failed disk would. The broker must be down.
    pub(crate) fn lose(&self, topic: &str, partition: i32) {
        assert!(self.process.is_none(), "the broker is running");
        fs::remove_dir_all(self.dir.path().join(format!("data/{topic}-{partition}"))).unwrap();
    }

    /// Returns the process id; the broker must be up.
    #[allow(dead_code, reason = "benchmarks use it")]
    pub(crate) fn pid(&mut self) -> u32 {
        self.process.as_mut().unwrap().child().id()
    }

    /// Returns the bootstrap servers.
    pub(crate) fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn properties(port: u16, controller: u16, dir: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=3
# small machines
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
num.io.threads=4
num.network.threads=2
",
        dir.display()
    )
}

/// Returns an unused port. It is below the range of ephemeral ports, so that no outgoing connection (least of all a
/// client's connection to the broker) can occupy the port of a broker that is down.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 12_000 + (std::process::id() % 16_000) as u16;
    let free = std::iter::repeat_with(|| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .take(4_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.unwrap_or_else(|| panic!("no free port from {first} on"))
}

/// Permission to run a broker: at most two run at the same time, whatever number of tests is running.
struct Slot;

static SLOTS: Mutex<usize> = Mutex::new(2);
static FREED: Condvar = Condvar::new();

impl Slot {
    fn take() -> Self {
        let slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slots = FREED.wait_while(slots, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *slots -= 1;
        Self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *SLOTS.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        FREED.notify_one();
    }
}
