//! The server of the browser tests, on a mock Kafka that the tests write to: groups with strange ids, one with very
//! many partitions, and a given number of further groups.
//!
//! Usage: `stage ADDRESS_FILE GROUPS`, then one command per line on stdin; each is answered by a line when it is done:
//! `commit PARTITION OFFSET TOPIC GROUP` (separated by tabs, the group as JSON), `down` and `up` (stop and start the
//! brokers), `stop` and `start` (the server, on the same port), `freeze LOG_PARTITION` and `thaw LOG_PARTITION` (mark
//! the partition as blocked by a transaction that has been open for an hour, and undo it), `source` (add another source
//! of offsets, until the server stops). The process ends with its stdin.

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{BufRead as _, Write as _, stdin, stdout},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use offsetd::{
    app::{App, AppError},
    clock::Clock,
    config::{Config, Flags, Layers},
    demo::cluster::adapt_config,
    source::{
        Source as _, add_table,
        polled::{Listing, ListingRound, PolledSource, Rejected, StoredOffset},
    },
    store::{Store, latest::SourceError},
};
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

#[path = "../mock.rs"]
mod mock;

use mock::{Commit, GroupDescription, Member, MockKafka, assignment, subscription};

type Failure = Box<dyn Error>;

const LOG_PARTITIONS: i32 = 10;
/// Number of partitions of the topic that one group reads completely.
const WIDE: i32 = 10_000;

/// Group ids that are hard to render.
const STRANGE_IDS: [&str; 10] = [
    "a/b/../c?d=e&f#g",
    "..",
    "with spaces  and\ttab",
    "two\nlines",
    "🚀 émoji ∑ 日本語",
    "<img src=x onerror=alert(1)>",
    "<script>document.title='broken'</script>",
    "'; DROP TABLE groups; --",
    "\"quoted\" \\ back%2Fslash %",
    "rtl \u{202e}gnirts",
];

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address_file), Some(groups)) = (arguments.next(), arguments.next()) else {
        return Err("usage: stage ADDRESS_FILE GROUPS".into());
    };
    let kafka = MockKafka::start(1)?;
    kafka.create_offsets_topic(LOG_PARTITIONS)?;
    for (topic, partitions) in [("orders", 6), ("wide", WIDE), ("unread-topic", 2)] {
        kafka.create_topic(topic, partitions)?;
    }
    let clock = Clock::system();
    let writer = kafka.writer();
    fill(&writer, groups.parse()?, clock.now())?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut server = Some(Server::start(&runtime, &kafka, "127.0.0.1:0")?);
    let address = server.as_ref().map(|server| server.address.to_string()).unwrap_or_default();
    fs::write(format!("{address_file}.new"), &address)?;
    fs::rename(format!("{address_file}.new"), &address_file)?;
    for line in stdin().lock().lines() {
        let line = line?;
        match line.split('\t').collect::<Vec<_>>().as_slice() {
            ["commit", partition, offset, topic, group] => {
                let group: String = serde_json::from_str(group)?;
                writer.commit(&Commit::new(&group, topic, partition.parse()?, offset.parse()?, clock.now()))?;
                writer.flush()?;
            }
            [what @ ("freeze" | "thaw"), partition] => {
                let since = (*what == "freeze").then(|| clock.now() - 3_600_000);
                server.as_ref().map_or(Ok(()), |server| server.freeze(partition.parse()?, since))?;
            }
            ["source"] => {
                writer.write_group(&described("job", clock.now(), vec![member("worker", &[0, 1])]), 3)?;
                writer.flush()?;
                server.as_ref().map_or(Ok(()), |server| server.add_source(&clock))?;
            }
            ["down"] => kafka.mock()?.broker_down(1)?,
            ["up"] => kafka.mock()?.broker_up(1)?,
            ["stop"] => server.take().map_or(Ok(()), |server| server.stop(&runtime))?,
            ["start"] => server = Some(Server::start(&runtime, &kafka, &address)?),
            _ => return Err(format!("unknown command {line:?}").into()),
        }
        writeln!(stdout(), "done")?;
    }
    server.map_or(Ok(()), |server| server.stop(&runtime))
}

/// Writes the groups. The offset of each group states its lag, with 1000 records per partition.
fn fill(writer: &MockKafka, groups: i32, now: i64) -> Result<(), Failure> {
    let long = "long-".repeat(40);
    for partition in 0..6 {
        writer.produce("orders", partition, 1000)?;
    }
    for (group, offset) in STRANGE_IDS.iter().copied().chain([long.as_str()]).zip(900..) {
        writer.commit(&Commit::new(group, "orders", 0, offset, now))?;
    }
    for group in STRANGE_IDS {
        let members = vec![member("<b>one</b>", &[0, 1, 2]), member("two", &[3, 4, 5])];
        writer.write_group(&described(group, now, members), 3)?;
    }
    for partition in 0..WIDE {
        writer.commit(&Commit::new("wide-reader", "wide", partition, 0, now))?;
    }
    for group in 0..groups {
        let id = format!("group-{group:05}");
        writer.commit(&Commit::new(&id, "orders", group % 6, i64::from(group % 1000), now))?;
    }
    Ok(writer.flush()?)
}

/// Returns a member that reads these partitions of orders.
fn member(name: &str, partitions: &[i32]) -> Member {
    Member {
        id: format!("{name}-id"),
        instance_id: None,
        client_id: name.to_owned(),
        client_host: "/10.0.0.1".to_owned(),
        rebalance_timeout_ms: 300_000,
        session_timeout_ms: 45_000,
        subscription: subscription(1, &["orders"]),
        assignment: assignment(1, &[("orders", partitions)]),
    }
}

/// Returns the description of a group; the first member is the leader.
fn described(group: &str, at: i64, members: Vec<Member>) -> GroupDescription {
    GroupDescription {
        group: group.to_owned(),
        protocol_type: "consumer".to_owned(),
        generation: 1,
        protocol: Some("range".to_owned()),
        leader: members.first().map(|member| member.id.clone()),
        at,
        members,
    }
}

/// The content of another source: a group that Kafka has as well, a group with members in Kafka only, and a key that is
/// not an offset.
#[derive(Debug)]
struct OtherStore;

impl Listing for OtherStore {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        for (group, committed_offset) in [("..", 500), ("job", 400)] {
            let (topic, partition) = ("orders", 0);
            round.found(&StoredOffset { group, topic, partition, committed_offset, ..StoredOffset::default() });
        }
        round.reject(Rejected::Malformed, "orders:broken");
        Ok(true)
    }
}

struct Server {
    address: SocketAddr,
    store: Arc<Store>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), AppError>>,
}

impl Server {
    fn start(runtime: &Runtime, kafka: &MockKafka, listen: &str) -> Result<Self, Failure> {
        let quick = [
            ("OFFSETD_LAG_POLL_INTERVAL", "1s"),
            ("OFFSETD_LAG_SAMPLE_INTERVAL", "500ms"),
            ("OFFSETD_LAG_REQUEST_TIMEOUT", "5s"),
            ("OFFSETD_LAG_METADATA_INTERVAL", "5s"),
        ];
        let env: BTreeMap<_, _> = quick.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let flags = Flags {
            bootstrap_servers: Some(kafka.bootstrap_servers().to_owned()),
            cluster_name: Some("stage".to_owned()),
            listen: Some(listen.to_owned()),
            ..Flags::default()
        };
        let mut config = Config::load(Layers { flags: &flags, env: &env, check_property: None })
            .map_err(|errors| errors.to_string())?
            .config;
        adapt_config(&mut config, "10");
        config.server.shutdown_grace = Duration::from_secs(1);
        for cluster in &mut config.clusters {
            cluster.kafka.insert("reconnect.backoff.max.ms".to_owned(), "200".to_owned());
        }
        let stop = CancellationToken::new();
        let app = runtime.block_on(App::build(config, Clock::system(), stop.clone()))?;
        Ok(Self { address: app.address(), store: Arc::clone(app.store()), stop, running: runtime.spawn(app.run()) })
    }

    fn add_source(&self, clock: &Clock) -> Result<(), Failure> {
        let polled = PolledSource::new(OtherStore, Duration::from_secs(1));
        let clusters = self.store.clusters();
        let cluster = clusters.first().ok_or("no cluster")?;
        let writer = add_table((&self.store, cluster), ("redis", "redis"), &polled, clock);
        let stop = self.stop.clone();
        std::thread::spawn(move || Box::new(polled).run(writer, &stop));
        Ok(())
    }

    fn freeze(&self, log_partition: i32, since: Option<i64>) -> Result<(), Failure> {
        let clusters = self.store.clusters();
        let shards = clusters.iter().flat_map(|cluster| cluster.own.shards());
        let shard = shards.into_iter().find(|shard| shard.key.number == log_partition);
        shard.ok_or("no such log partition")?.progress.set_open_transaction_since(since);
        Ok(())
    }

    fn stop(self, runtime: &Runtime) -> Result<(), Failure> {
        self.stop.cancel();
        Ok(runtime.block_on(self.running)??)
    }
}
