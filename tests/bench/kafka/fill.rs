//! Fills a broker's `__consumer_offsets` with the records that its coordinator would write.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use offsetd::model::{Millis, log_partition_for};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use crate::mock::{Commit, GroupDescription, Member, assignment, subscription};

pub(crate) const OFFSETS: &str = "__consumer_offsets";
pub(crate) const LOG_PARTITIONS: i32 = 50;
/// Number of records in each partition of the data topics.
const RECORDS: i64 = 100;
const LIMIT: Duration = Duration::from_secs(60);
/// Number of connections for a load in which each record is a request.
const CONNECTIONS: usize = 8;
/// As long as librdkafka keeps a record that it cannot send.
const FILL_LIMIT: Duration = Duration::from_secs(300);

/// The contents of `__consumer_offsets`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) groups: usize,
    /// Number of topics.
    pub(crate) topics: usize,
    /// Number of topics that a group has committed to.
    pub(crate) topics_read: usize,
    pub(crate) partitions: i32,
    /// Number of commits per key.
    pub(crate) rounds: i64,
    /// Whether each record is a batch of its own, as in a topic that has been compacted for long.
    pub(crate) single: bool,
}

impl Load {
    pub(crate) const fn keys(&self) -> u64 {
        self.groups as u64 * self.topics_read as u64 * self.partitions as u64
    }

    pub(crate) fn topic(number: usize) -> String {
        format!("bench-topic-{number}")
    }

    pub(crate) fn group(number: usize) -> String {
        format!("bench-consumer-group-{number}")
    }

    pub(crate) fn topics_of(&self, group: usize) -> impl Iterator<Item = usize> {
        let (read, all) = (self.topics_read, self.topics);
        (0..read).map(move |number| (group * read + number) % all)
    }
}

pub(crate) fn client(bootstrap_servers: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", bootstrap_servers);
    for (key, value) in more {
        settings.set(*key, *value);
    }
    settings
}

/// Counts delivered records; ends the process if the broker refuses a record.
#[derive(Debug, Default)]
pub(crate) struct Counting(AtomicU64);

impl rdkafka::ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "{:?}", result.as_ref().err().map(|(error, _)| error));
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Returns a producer that may write to internal topics, because of its client id (`KafkaApis`).
pub(crate) fn producer(bootstrap_servers: &str, single: bool) -> ThreadedProducer<Counting> {
    let mut settings = client(bootstrap_servers, &[("client.id", "__admin_client"), ("acks", "1"), ("linger.ms", "5")]);
    settings.set("queue.buffering.max.messages", "1000000").set("queue.buffering.max.kbytes", "262144");
    settings.set("batch.num.messages", if single { "1" } else { "1000" });
    settings.create_with_context(Counting::default()).unwrap()
}

pub(crate) fn send(
    producer: &ThreadedProducer<Counting>,
    topic: &str,
    partition: i32,
    at: Millis,
    key: &[u8],
    value: &[u8],
) {
    let mut record = BaseRecord::to(topic).partition(partition).timestamp(at).key(key).payload(value);
    while let Err((error, back)) = producer.send(record) {
        assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
        producer.poll(Duration::from_millis(10));
        record = back;
    }
}

/// Returns the value of a group's commit in a round.
pub(crate) fn commit_of(
    load: &Load,
    group: &str,
    topic: &str,
    partition: i32,
    round: i64,
    at: Millis,
) -> (Vec<u8>, Vec<u8>) {
    let behind = (i64::try_from(group.len()).unwrap() * 7 + i64::from(partition)) % 11;
    let offset = (RECORDS * (round + 1) / load.rounds - behind).max(0);
    let commit = Commit::new(group, topic, partition, offset, at);
    (commit.key(), commit.value().unwrap())
}

/// Writes a load to existing topics; returns the number of records.
pub(crate) fn fill(bootstrap_servers: &str, load: &Load, now: Millis) -> u64 {
    // A record in its own batch is a request of its own, and a broker processes the requests of a connection one by
    // one.
    let producers: Vec<_> =
        (0..if load.single { CONNECTIONS } else { 1 }).map(|_| producer(bootstrap_servers, load.single)).collect();
    let of = |log_partition: i32| &producers[usize::try_from(log_partition).unwrap() % producers.len()];
    for round in 0..load.rounds {
        let at = now - (load.rounds - 1 - round) * 60_000;
        for number in 0..load.groups {
            let group = Load::group(number);
            let log_partition = log_partition_for(&group, LOG_PARTITIONS).unwrap();
            if round == 0 {
                let described = describe(load, number, at);
                send(
                    of(log_partition),
                    OFFSETS,
                    log_partition,
                    at,
                    &GroupDescription::key(&group),
                    &described.value(3).unwrap(),
                );
            }
            for topic in load.topics_of(number).map(Load::topic) {
                for partition in 0..load.partitions {
                    let (key, value) = commit_of(load, &group, &topic, partition, round, at);
                    send(of(log_partition), OFFSETS, log_partition, at, &key, &value);
                }
            }
        }
    }
    producers.iter().for_each(|producer| producer.flush(FILL_LIMIT).unwrap());
    producers.iter().map(|producer| producer.context().0.load(Ordering::Relaxed)).sum()
}

/// Returns a group description: every other group is empty, the others have one to three members that share the
/// partitions.
fn describe(load: &Load, number: usize, at: Millis) -> GroupDescription {
    let count = if number.is_multiple_of(2) { 0 } else { 1 + number / 2 % 3 };
    let topics: Vec<String> = load.topics_of(number).map(Load::topic).collect();
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let member = |member: usize| {
        let mine: Vec<i32> =
            (0..load.partitions).filter(|partition| usize::try_from(*partition).unwrap() % count == member).collect();
        let assigned: Vec<(&str, &[i32])> = names.iter().map(|name| (*name, mine.as_slice())).collect();
        Member {
            id: format!("bench-client-{number}-{member}-6d0f1c1e-0000-4000-8000-{number:012}"),
            client_id: format!("bench-client-{number}-{member}"),
            client_host: "/127.0.0.1".to_owned(),
            subscription: subscription(3, &names),
            assignment: assignment(3, &assigned),
            ..Member::default()
        }
    };
    let members: Vec<Member> = (0..count).map(member).collect();
    GroupDescription {
        group: Load::group(number),
        protocol_type: "consumer".to_owned(),
        generation: 1,
        protocol: (count > 0).then(|| "range".to_owned()),
        leader: members.first().map(|member| member.id.clone()),
        at,
        members,
    }
}

/// Creates the topics of a load, with records in them.
pub(crate) fn topics(bootstrap_servers: &str, load: &Load) {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap_servers, &[]).create().unwrap();
    let names: Vec<String> = (0..load.topics).map(Load::topic).collect();
    let one = || TopicReplication::Fixed(1);
    let mut wanted = vec![NewTopic::new(OFFSETS, LOG_PARTITIONS, one()).set("cleanup.policy", "compact")];
    wanted.extend(names.iter().map(|name| NewTopic::new(name, load.partitions, one())));
    for some in wanted.chunks(20) {
        let created = futures::executor::block_on(admin.create_topics(some, &AdminOptions::new())).unwrap();
        created.into_iter().for_each(|topic| drop(topic.unwrap()));
    }
    let producer: BaseProducer = client(bootstrap_servers, &[("acks", "1"), ("linger.ms", "5")]).create().unwrap();
    for name in &names {
        for partition in (0..load.partitions).flat_map(|partition| (0..RECORDS).map(move |_| partition)) {
            let mut record: BaseRecord<'_, (), str> = BaseRecord::to(name).partition(partition).payload("x");
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                producer.poll(Duration::from_millis(10));
                record = back;
            }
        }
    }
    producer.flush(LIMIT).unwrap();
}
