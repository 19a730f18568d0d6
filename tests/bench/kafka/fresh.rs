//! The delay until a commit is visible, compared with a bare consumer that reads the same log, also after a restart of
//! the broker; and the cost of LATEST, compared with the single request to the broker that it needs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use offsetd::decode::{Record, decode};
use offsetd::model::log_partition_for;
use offsetd::rpc::proto::{
    Freshness, GetOffsetRequest, OffsetFilter, QueryRequest, StringFilter, WatchRequest, string_filter::Match,
};
use rdkafka::Message as _;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::broker::Broker;
use super::calls::{Clients, nothing};
use super::fill::{Counting, LOG_PARTITIONS, Load, OFFSETS, client, commit_of};
use super::floor;
use super::now;
use super::served::Served;
use crate::measure::{Goal, Report, quantile};
use crate::mock::Commit;

const COMMITS_PER_SECOND: u64 = 20_000;
/// One commit in this many is measured.
const PROBE_EVERY: u64 = 20;
const PROBE: &str = "bench-probe";
const FOR: Duration = Duration::from_secs(10);
const LIMIT: Duration = Duration::from_secs(60);
/// Number of calls of each kind.
const CALLS: usize = 500;

pub(super) fn run(report: &mut Report, load: &Load, broker: &mut Broker) {
    let servers = broker.bootstrap_servers();
    let served = Served::start(&servers, &[]);
    let clients = Clients::new(&served.address);
    latest(report, load, &servers, &clients);
    let of = |what: &str| format!("{}: {what}, at {COMMITS_PER_SECOND} commits/s", load.name);
    let trial = Trial::new(load);
    thread::scope(|scope| {
        scope.spawn(|| trial.write(&servers));
        scope.spawn(|| trial.consume(&servers));
        scope.spawn(|| trial.watch(&clients));
        trial.measure(report, &of("commit to visible"));
        broker.stop();
        broker.start();
        trial.measure(report, &of("commit to visible, after the broker was restarted"));
        trial.stop.store(true, Ordering::Relaxed);
    });
    served.stop();
}

/// Commits of many groups, of which some are measured: by number, with the time when each was sent and when each reader
/// saw it.
struct Trial<'a> {
    load: &'a Load,
    started: Instant,
    stop: AtomicBool,
    sent: Mutex<Vec<Instant>>,
    consumed: Seen,
    watched: Seen,
}

/// The observations of a reader: the newest number, and the delay of each measured commit.
#[derive(Default)]
struct Seen {
    newest: AtomicU64,
    took: Mutex<Vec<Duration>>,
}

impl<'a> Trial<'a> {
    fn new(load: &'a Load) -> Self {
        let (stop, sent, consumed, watched) = Default::default();
        Self { load, started: Instant::now(), stop, sent, consumed, watched }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Writes with a producer that waits a little for its batches. Thousands of requests per second would mostly
    /// measure the broker, which shares the machine with all the others.
    fn write(&self, servers: &str) {
        let mut settings = client(servers, &[("client.id", "__admin_client"), ("acks", "1"), ("linger.ms", "10")]);
        settings.set("queue.buffering.max.messages", "1000000").set("message.timeout.ms", "300000");
        let producer: ThreadedProducer<Counting> = settings.create_with_context(Counting::default()).unwrap();
        let mut number = 0;
        while !self.is_over() {
            let due = u64::try_from(self.started.elapsed().as_micros()).unwrap() * COMMITS_PER_SECOND / 1_000_000;
            (number..due).for_each(|number| self.commit(&producer, number));
            number = due;
            thread::sleep(Duration::from_millis(1));
        }
        producer.flush(LIMIT).unwrap();
    }

    fn commit(&self, producer: &ThreadedProducer<Counting>, number: u64) {
        let mut sent = self.sent.lock().unwrap();
        let is_probe = number.is_multiple_of(PROBE_EVERY);
        let group =
            if is_probe { PROBE.to_owned() } else { Load::group(usize::try_from(number).unwrap() % self.load.groups) };
        let offset = i64::try_from(sent.len()).unwrap();
        let commit = Commit::new(&group, "probe", 0, offset, now());
        let (key, value) = (commit.key(), commit.value().unwrap());
        let log_partition = log_partition_for(&group, LOG_PARTITIONS).unwrap();
        let record = BaseRecord::to(OFFSETS).partition(log_partition).key(&key).payload(&value);
        // The queue may fill while the broker is down; records that do not fit are dropped.
        if producer.send(record).is_ok() && is_probe {
            sent.push(Instant::now());
        }
    }

    fn see(&self, seen: &Seen, number: i64) {
        let number = u64::try_from(number).unwrap();
        let took = self.sent.lock().unwrap()[usize::try_from(number).unwrap()].elapsed();
        seen.took.lock().unwrap().push(took);
        seen.newest.store(number, Ordering::Relaxed);
    }

    /// Runs the bare consumer: the server's settings, and the records are discarded.
    fn consume(&self, servers: &str) {
        // librdkafka assigns no partitions without a group.
        let group = [("group.id", PROBE), ("enable.auto.commit", "false")];
        let settings = client(servers, &floor::settings().chain(group).collect::<Vec<_>>());
        let consumer: BaseConsumer = settings.create().unwrap();
        let mut all = TopicPartitionList::new();
        for partition in 0..LOG_PARTITIONS {
            all.add_partition_offset(OFFSETS, partition, rdkafka::Offset::End).unwrap();
        }
        consumer.assign(&all).unwrap();
        while !self.is_over() {
            let Some(Ok(message)) = consumer.poll(Duration::from_millis(10)) else { continue };
            if let Ok(Record::OffsetCommit { key, value: Some(value), .. }) = decode(message.key(), message.payload())
                && key.group == PROBE
            {
                self.see(&self.consumed, value.value.offset);
            }
        }
    }

    fn watch(&self, clients: &Clients) {
        let exact = StringFilter { r#match: Some(Match::Exact(PROBE.to_owned())) };
        let filter = OffsetFilter { group_id: Some(exact), ..OffsetFilter::default() };
        let request = WatchRequest { filter: Some(filter), ..WatchRequest::default() };
        clients.runtime.block_on(async {
            let mut events = clients.stub().watch(request).await.unwrap().into_inner();
            while !self.is_over() {
                let next = tokio::time::timeout(Duration::from_millis(100), events.message()).await;
                let Ok(Ok(Some(message))) = next else { continue };
                for entry in message.changes.into_iter().filter_map(|change| change.new) {
                    self.see(&self.watched, entry.committed_offset);
                }
            }
        });
    }

    /// Waits until both readers see current commits, and then measures for a while.
    fn measure(&self, report: &mut Report, what: &str) {
        let from = self.sent.lock().unwrap().len() as u64;
        let (consumed, watched) = (&self.consumed, &self.watched);
        let caught_up = |seen: &Seen| seen.newest.load(Ordering::Relaxed) > from;
        let end = Instant::now() + LIMIT;
        while !(caught_up(consumed) && caught_up(watched)) {
            assert!(Instant::now() < end, "commits do not become visible");
            thread::sleep(Duration::from_millis(10));
        }
        [consumed, watched].iter().for_each(|seen| seen.took.lock().unwrap().clear());
        thread::sleep(FOR);
        for (name, part, goal) in [("p50", 0.5, Goal::None), ("p99", 0.99, Goal::AtMost(1.5))] {
            let [ours, reference] =
                [watched, consumed].map(|seen| quantile(&mut seen.took.lock().unwrap(), part).as_secs_f64());
            report.row(&format!("{what}, {name}"), "s", ours, reference, ours / reference, goal);
        }
    }
}

/// The baseline of LATEST is one request for the end of one partition, which every such read needs, plus the RPC that
/// carries the answer.
fn latest(report: &mut Report, load: &Load, servers: &str, clients: &Clients) {
    let group = Load::group(1);
    let (topic, log_partition) =
        (Load::topic(load.topics_of(1).next().unwrap()), log_partition_for(&group, LOG_PARTITIONS).unwrap());
    let asking: BaseConsumer = client(servers, &[]).create().unwrap();
    let producer = super::fill::producer(servers, true);
    let commit = |round: usize| {
        let (key, value) = commit_of(load, &group, &topic, 0, i64::try_from(round % 10).unwrap(), now());
        super::fill::send(&producer, OFFSETS, log_partition, now(), &key, &value);
    };
    let query = || {
        let request = QueryRequest {
            group_id: group.clone(),
            topic: topic.clone(),
            freshness: Freshness::Latest.into(),
            ..QueryRequest::default()
        };
        clients.runtime.block_on(clients.stub().query(request)).unwrap();
    };
    let all = || {
        let request =
            GetOffsetRequest { page_size: 1, freshness: Freshness::Latest.into(), ..GetOffsetRequest::default() };
        clients.runtime.block_on(clients.stub().get_offset(request)).unwrap();
    };
    let ask = || assert!(asking.fetch_watermarks(OFFSETS, log_partition, LIMIT).unwrap().1 > 0);
    let carry = || clients.runtime.block_on(nothing(clients.channel(), 0));
    for (what, part, goal, commits, ours) in [
        ("LATEST Query, p50", 0.5, 1.3, false, &query as &dyn Fn()),
        ("LATEST Query with a commit in flight, p99", 0.99, 2.0, true, &query),
        ("LATEST of all groups, p50", 0.5, 2.0, false, &all),
    ] {
        let (mut took, mut reference, mut carried) = (vec![], vec![], vec![]);
        for round in 0..CALLS {
            for (run, times) in [(ours, &mut took), (&ask, &mut reference), (&carry, &mut carried)] {
                if commits {
                    commit(round);
                }
                let started = Instant::now();
                run();
                times.push(started.elapsed());
            }
        }
        let times = [&mut took, &mut reference, &mut carried];
        let [ours, reference, carried] = times.map(|times| quantile(times, part).as_secs_f64());
        let what = format!("{}: {what}, vs one ListOffsets", load.name);
        report.row(&what, "s", ours, reference, ours / reference, Goal::AtMost(goal));
        let least = reference + carried;
        report.row(&format!("{what} and an empty RPC"), "s", ours, least, ours / least, Goal::None);
    }
}
