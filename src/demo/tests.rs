//! Tests of the scenario, and of the cluster that it runs on.

use std::collections::{BTreeMap, BTreeSet};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

use super::{cluster::KEPT_BYTES, scenario::BACKLOG, *};
use crate::{
    decode::{Record, decode, group, kind, schema::OffsetCommitKey, write_key},
    model::{OFFSETS_TOPIC, log_partition_for},
};

/// Maximum overhead in bytes of a batch and of a record.
const BATCH_BYTES: usize = 61;
const RECORD_BYTES: usize = 12;

/// The workload of the first cluster.
pub(super) fn workload() -> Workload {
    Workload::new(Scenario::load().unwrap().clusters.remove(0))
}

/// A partition of the mock: bytes so far, and the tick of the last batch.
#[derive(Clone, Default)]
struct Log {
    bytes: usize,
    tick: Option<u64>,
    batches: usize,
}

impl Log {
    fn append(&mut self, tick: u64, bytes: usize) {
        let is_new = self.tick != Some(tick);
        self.bytes += bytes + RECORD_BYTES + if is_new { BATCH_BYTES } else { 0 };
        self.batches += usize::from(is_new);
        self.tick = Some(tick);
    }
}

/// A key of the log: its last write, and the bounds so far.
struct Key {
    written_at: usize,
    log: usize,
    most_bytes_since: usize,
    commit: Option<(String, i32, i64, i64)>,
}

/// Runs the workload without a cluster and accounts for its writes.
struct Account {
    tick: u64,
    workload: Workload,
    logs: Vec<Log>,
    keys: BTreeMap<Vec<u8>, Key>,
    /// Log end, and the bytes written, per data partition.
    data: BTreeMap<(String, i32), (i64, Log)>,
    records: u64,
    /// Largest lag per group, in bytes of the data partition.
    most_lag_bytes: BTreeMap<String, usize>,
}

impl Account {
    fn new() -> Self {
        Self {
            tick: 0,
            workload: workload(),
            logs: vec![Log::default(); 50],
            keys: BTreeMap::new(),
            data: BTreeMap::new(),
            records: 0,
            most_lag_bytes: BTreeMap::new(),
        }
    }

    fn tick(&mut self) {
        for event in self.workload.tick(i64::try_from(self.tick * TICK_MS).unwrap()) {
            match event {
                Event::Log { key, value, .. } => self.write(key, value.as_deref()),
                Event::Data { topic, partition, count, bytes } => {
                    let (end, log) = self.data.entry((topic, partition)).or_default();
                    *end += i64::from(count);
                    log.append(self.tick, (8 + bytes) * count as usize);
                }
            }
        }
        self.tick += 1;
    }

    fn write(&mut self, key: Vec<u8>, value: Option<&[u8]>) {
        self.records += 1;
        let group = group(Some(&key)).unwrap();
        let log = usize::try_from(log_partition_for(group, 50).unwrap()).unwrap();
        self.logs[log].append(self.tick, key.len() + value.map_or(0, <[u8]>::len));
        let written_at = self.logs[log].bytes;
        let Some(value) = value else {
            assert!(self.keys.remove(&key).is_some(), "{group}: deletes a key that was not written");
            return;
        };
        let commit = match decode(Some(&key), Some(value)).unwrap() {
            Record::OffsetCommit { key, value: Some(value), .. } => {
                Some((key.topic.to_owned(), key.partition, value.value.offset, value.value.commit_timestamp))
            }
            _ => None,
        };
        let former = self.keys.get(&key);
        let since = former.map_or(0, |former| former.most_bytes_since.max(written_at - former.written_at));
        if let (Some((.., at)), Some((.., before))) = (&commit, former.and_then(|former| former.commit.as_ref())) {
            assert!(at >= before, "{group}: commit times decrease");
        }
        self.keys.insert(key, Key { written_at, log, most_bytes_since: since, commit });
    }

    /// Updates the largest lags, and the bytes written since each key was last written.
    fn take_stock(&mut self) {
        for (bytes, key) in &mut self.keys {
            key.most_bytes_since = key.most_bytes_since.max(self.logs[key.log].bytes - key.written_at);
            let Some((topic, partition, offset, _)) = &key.commit else { continue };
            let (end, log) = &self.data[&(topic.clone(), *partition)];
            let lag = usize::try_from(end - offset).expect("no group is ahead of the log");
            let lag_bytes = lag * log.bytes / usize::try_from(*end).unwrap();
            let most = self.most_lag_bytes.entry(group(Some(bytes)).unwrap().to_owned()).or_default();
            *most = lag_bytes.max(*most);
        }
    }
}

#[test]
fn a_day_of_the_demo_loses_nothing_that_a_later_reader_needs() {
    const DAY: u64 = 24 * 3_600_000 / TICK_MS;
    let mut account = Account::new();
    for tick in 0..DAY {
        account.tick();
        if tick % 1000 == 0 {
            account.take_stock();
        }
    }
    account.take_stock();
    // The limit after a day is an eighth of the retained bytes: a value that still grows then stays below the retention
    // for a week.
    for (bytes, key) in &account.keys {
        let group = group(Some(bytes)).unwrap();
        assert!(key.most_bytes_since < KEPT_BYTES / 8, "{group} {:?}: {}", key.commit, key.most_bytes_since);
    }
    for (group, bytes) in &account.most_lag_bytes {
        // One group loses records on purpose.
        assert_eq!(*bytes >= KEPT_BYTES / 8, group == "sensor-archiver", "{group}: {bytes}");
    }
    let per_second = account.records * 1000 / (DAY * TICK_MS);
    assert!((20..200).contains(&per_second), "{per_second}");
}

#[test]
fn the_group_that_rewinds_does_so_in_every_window_so_that_its_status_rests() {
    // Samples of a second, twenty of which are a window.
    const WINDOW: u64 = 20 * 1000 / TICK_MS;
    let mut account = Account::new();
    let mut key = vec![];
    write_key(1, &OffsetCommitKey { group: "inventory-projector", topic: "inventory", partition: 0 }, &mut key);
    let (mut before, mut rewound) = (0, 0);
    for tick in 0..HISTORY * 3 {
        account.tick();
        let offset = account.keys.get(&key).and_then(|key| key.commit.as_ref()).map_or(0, |commit| commit.2);
        if offset < before {
            rewound = tick;
        }
        before = offset;
        assert!(tick - rewound < WINDOW, "not since tick {rewound}, at {tick}");
    }
    assert!(rewound > 0);
}

#[test]
fn a_console_consumer_comes_under_a_new_name_with_a_member_and_is_deleted_when_it_leaves() {
    let mut account = Account::new();
    let (mut seen, mut most) = (BTreeSet::new(), 0);
    for _ in 0..HISTORY {
        account.tick();
        let described = |key: &&Vec<u8>| kind(Some(key)).unwrap() == 2;
        let groups = account.keys.keys().filter(described).map(|key| group(Some(key)).unwrap());
        let consoles: Vec<&str> = groups.filter(|group| group.starts_with("console-consumer")).collect();
        most = consoles.len().max(most);
        seen.extend(consoles.into_iter().map(str::to_owned));
    }
    assert_eq!(most, 1);
    assert!(seen.len() > 2, "{seen:?}");
    // The remaining keys belong to the console consumer that is still running.
    let left =
        account.keys.keys().filter_map(|key| group(Some(key))).filter(|group| group.starts_with("console-consumer"));
    assert!(left.collect::<BTreeSet<_>>().len() <= 1);
}

#[test]
fn the_same_ticks_write_the_same_records() {
    let run = || {
        let mut workload = workload();
        (0..2000).flat_map(|tick| workload.tick(tick * 250)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn groups_that_are_never_or_seldom_written_again_have_a_log_partition_to_themselves() {
    let spec = Scenario::load().unwrap().clusters.remove(0);
    let home = |group: &str| log_partition_for(group, spec.log_partitions);
    for quiet in ["loyalty-migration", "warehouse-sync"] {
        let shared = spec.groups.iter().filter(|group| home(&group.id) == home(quiet)).count();
        assert_eq!(shared, 1, "{quiet}");
    }
}

fn consumer(bootstrap_servers: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap_servers)
        // assign() requires a group id; nothing is committed.
        .set("group.id", "test")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap()
}

/// Returns partition, key and value of all records of `__consumer_offsets`.
fn read_all(kafka: &MockKafka, partitions: i32) -> Vec<(i32, Vec<u8>, Option<Vec<u8>>)> {
    let consumer = consumer(kafka.bootstrap_servers());
    let mut assigned = TopicPartitionList::new();
    for partition in 0..partitions {
        assigned.add_partition_offset(OFFSETS_TOPIC, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assigned).unwrap();
    let (mut records, mut ended) = (vec![], 0);
    while ended < partitions {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => {
                let key = record.key().unwrap_or_default().to_vec();
                records.push((record.partition(), key, record.payload().map(<[u8]>::to_vec)));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => panic!("{error}"),
            None => (),
        }
    }
    records
}

#[test]
fn what_is_written_to_the_cluster_is_read_back_in_the_partition_of_its_group() {
    let kafka = MockKafka::start(1).unwrap();
    let mut key = vec![];
    write_key(1, &OffsetCommitKey { group: "g1", topic: "orders", partition: 3 }, &mut key);
    assert!(matches!(kafka.log(&key, None, None), Err(DemoError::NoOffsetsTopic)));
    kafka.create_offsets_topic(50).unwrap();
    kafka.create_topic("orders", 4).unwrap();
    kafka.log(&key, Some(b"value"), Some(7)).unwrap();
    kafka.log(&key, None, None).unwrap();
    kafka.produce("orders", 3, 5, 0).unwrap();
    kafka.flush().unwrap();

    assert_eq!(read_all(&kafka, 50), [(42, key.clone(), Some(b"value".to_vec())), (42, key, None)]);
    let ends = consumer(kafka.bootstrap_servers()).fetch_watermarks("orders", 3, Duration::from_secs(30)).unwrap();
    assert_eq!(ends, (0, 5));
}

#[test]
fn every_record_of_the_demo_decodes_and_stands_where_kafka_puts_it() {
    let stop = CancellationToken::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let mut demo = Demo::start(stop.clone()).unwrap();
    let (mut records, mut groups, mut tombstones) = (0, 0, 0);
    for (spec, (_, kafka)) in Scenario::load().unwrap().clusters.iter().zip(&demo.clusters) {
        for (partition, key, value) in read_all(kafka, spec.log_partitions) {
            let record = decode(Some(&key), value.as_deref()).unwrap();
            assert_eq!(log_partition_for(group(Some(&key)).unwrap(), spec.log_partitions), Some(partition));
            records += 1;
            groups += u32::from(record.kind() == 2);
            tombstones += u32::from(value.is_none());
        }
    }
    assert!(records > 5000 && groups > 50 && tombstones > 5, "{records} {groups} {tombstones}");
    // The log start of a partition with 5 MiB of newer records has moved, so that a group has lost records.
    let readings = consumer(demo.bootstrap_servers()).fetch_watermarks("sensor-readings", 0, Duration::from_secs(30));
    assert!(readings.unwrap().0 > BACKLOG);
    stop.cancel();
    runtime.block_on(demo.ended()).unwrap();
}

#[test]
fn a_group_id_occurs_in_both_clusters_and_one_topic_has_no_group() {
    let clusters = Scenario::load().unwrap().clusters;
    let ids = |cluster: &ClusterSpec| cluster.groups.iter().map(|group| group.id.clone()).collect::<BTreeSet<_>>();
    let [first, second] = &*clusters else { panic!("{clusters:?}") };
    assert_eq!(ids(first).intersection(&ids(second)).collect::<Vec<_>>(), ["search-indexer"]);
    let is_read = |name: &String| first.groups.iter().any(|group| group.topics.contains(name));
    let unread: Vec<&String> = first.topics.iter().map(|topic| &topic.name).filter(|name| !is_read(name)).collect();
    assert_eq!(unread, ["dead-letters"]);
    let has_topic = |cluster: &ClusterSpec, name: &String| cluster.topics.iter().any(|topic| topic.name == *name);
    for cluster in &clusters {
        assert!(cluster.groups.iter().flat_map(|group| &group.topics).all(|topic| has_topic(cluster, topic)));
    }
}
