//! Tests of every dialect over a small store: names, labels and escapes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    model::Revision,
    source::kafka::Log,
    store::{
        cluster::Cluster,
        cut::Settings,
        ends::{OffsetAnswer, OffsetSpec, TopicMetadata},
        event::{Event, EventKind},
        group::Commit,
        placement::{Broker, Placement, Replicas},
        writer::SourceWriter,
    },
};

/// A group id that must be escaped in label values.
const EVIL: &str = "a\"b\\c\nd";

fn store(clusters: &[&str]) -> std::sync::Arc<Store> {
    let flags = Flags { bootstrap_servers: Some("127.0.0.1:9".to_owned()), ..Flags::default() };
    let config = Config::load(Layers { flags: &flags, env: &BTreeMap::new(), check_property: None }).unwrap().config;
    let clock = Clock::manual(1_700_000_000_000);
    let of = |name: &&str| {
        let config = crate::config::Cluster { name: (*name).to_owned(), ..config.clusters[0].clone() };
        Log::open(config, &clock).0
    };
    let settings = Settings { window: 1000, active_within: 1, commits_kept: 1, watch_queue: 16 };
    let store = std::sync::Arc::new(Store::new(clusters.iter().map(of).collect(), clock, settings));
    store.clusters().iter().for_each(|cluster| fill(&store, cluster));
    store
}

/// Fills a cluster with three groups of one topic with two partitions; only one partition has a log end.
fn fill(store: &std::sync::Arc<Store>, cluster: &std::sync::Arc<Cluster>) {
    cluster.set_health(|health| (health.ready, health.reachable) = (true, true));
    let brokers =
        [(7, "kafka"), (8, "fd00::8")].map(|(id, host)| Broker { id, host: host.to_owned(), port: 9092 }).into();
    let replicas = vec![Replicas { count: 3, in_sync: 2, is_preferred_leader: true }; 2];
    let topics = [("orders".into(), replicas)].into_iter().collect();
    cluster.placement.store(std::sync::Arc::new(Placement {
        cluster_id: Some("id".to_owned()),
        controller: Some(7),
        brokers,
        topics,
    }));
    let listed = vec![TopicMetadata { name: "orders".into(), leaders: vec![Some(7); 2] }];
    cluster.ends.set_topics(listed, 0, &BTreeMap::new());
    for (kind, offset) in [(OffsetSpec::Start, 1), (OffsetSpec::High, 100)] {
        let answers = [OffsetAnswer { slot: 0, result: Ok((offset, 0)) }];
        cluster.ends.observe(kind, &answers, 0, store.clock.now());
    }
    let writer = SourceWriter::own(store, cluster);
    let shard = writer.new_shard(0);
    writer.publish(&shard);
    for (revision, (group, partition, committed_offset)) in
        (0..).zip([("billing", 0, 90), ("billing", 1, 5), ("audit", 0, 100), (EVIL, 0, 40)])
    {
        let commit = Commit {
            committed_offset,
            committed_at: store.clock.now(),
            leader_epoch: -1,
            metadata: "",
            expires_at: None,
            topic_id: None,
            first_seen_at: None,
        };
        let kind = EventKind::Commit { topic: "orders", partition, commit };
        let event = Event { revision: Revision(revision), at: store.clock.now(), group, kind };
        shard.apply(&[event], Revision(0));
    }
}

fn parameters(dialect: &str) -> Parameters {
    Parameters { dialect: Some(dialect.to_owned()), ..Parameters::default() }
}

fn page(store: &Store, parameters: Parameters, is_open_metrics: bool) -> String {
    let scrape = Scrape::new(store, parameters, is_open_metrics).unwrap();
    let mut page = String::new();
    let cut = scrape.pin(store, &CancelHandle::within(Duration::MAX));
    scrape.write(store, &cut, &mut |chunk: String| {
        page.push_str(&chunk);
        true
    });
    page
}

/// The names and labels of each dialect, as in the exporter's source, in the order of its documentation.
const NAMES: &[(&str, &str)] = &[
    (
        "kminion",
        "kminion_exporter_up{version} kminion_exporter_offset_consumer_records_consumed_total \
         kminion_kafka_cluster_info{broker_count,cluster_id,cluster_version,controller_id} \
         kminion_kafka_broker_info{address,broker_id,is_controller,port,rack_id} \
         kminion_kafka_topic_info{topic_name,partition_count,replication_factor,cleanup_policy} \
         kminion_kafka_topic_partition_low_water_mark{topic_name,partition_id} \
         kminion_kafka_topic_partition_high_water_mark{topic_name,partition_id} \
         kminion_kafka_topic_low_water_mark_sum kminion_kafka_topic_high_water_mark_sum \
         kminion_kafka_consumer_group_info{group_id,protocol,protocol_type,state,coordinator_id} \
         kminion_kafka_consumer_group_members{group_id} kminion_kafka_consumer_group_empty_members{group_id} \
         kminion_kafka_consumer_group_topic_members{group_id,topic_name} \
         kminion_kafka_consumer_group_topic_assigned_partitions{group_id,topic_name} \
         kminion_kafka_consumer_group_topic_offset_sum{group_id,topic_name} \
         kminion_kafka_consumer_group_topic_lag{group_id,topic_name} \
         kminion_kafka_consumer_group_topic_partition_lag{group_id,topic_name,partition_id} \
         kminion_kafka_consumer_group_offset_commits_total{group_id}",
    ),
    (
        "kafka_exporter",
        "kafka_brokers kafka_broker_info{id,address} kafka_topic_partitions{topic} \
         kafka_topic_partition_current_offset{topic,partition} kafka_topic_partition_oldest_offset{topic,partition} \
         kafka_topic_partition_leader{topic,partition} kafka_topic_partition_replicas{topic,partition} \
         kafka_topic_partition_in_sync_replica{topic,partition} \
         kafka_topic_partition_leader_is_preferred{topic,partition} \
         kafka_topic_partition_under_replicated_partition{topic,partition} \
         kafka_consumergroup_current_offset{consumergroup,topic,partition} \
         kafka_consumergroup_lag{consumergroup,topic,partition} \
         kafka_consumergroup_current_offset_sum{consumergroup,topic} kafka_consumergroup_lag_sum{consumergroup,topic} \
         kafka_consumergroup_members{consumergroup} kafka_consumergroupzookeeper_lag_zookeeper",
    ),
    (
        "kafka_lag_exporter",
        "kafka_partition_latest_offset{cluster_name,topic,partition} \
         kafka_partition_earliest_offset{cluster_name,topic,partition} \
         kafka_consumergroup_group_offset{cluster_name,group,topic,partition,member_host,consumer_id,client_id} \
         kafka_consumergroup_group_lag{cluster_name,group,topic,partition,member_host,consumer_id,client_id} \
         kafka_consumergroup_group_lag_seconds{cluster_name,group,topic,partition,member_host,consumer_id,client_id} \
         kafka_consumergroup_group_max_lag{cluster_name,group} \
         kafka_consumergroup_group_max_lag_seconds{cluster_name,group} \
         kafka_consumergroup_group_sum_lag{cluster_name,group} \
         kafka_consumergroup_group_topic_sum_lag{cluster_name,group,topic} \
         kafka_consumergroup_poll_time_ms{cluster_name}",
    ),
    (
        "burrow",
        "burrow_kafka_consumer_lag_total{cluster,consumer_group} burrow_kafka_consumer_status{cluster,consumer_group} \
         burrow_kafka_topic_partition_status{cluster,consumer_group,topic,partition} \
         burrow_kafka_consumer_current_offset{cluster,consumer_group,topic,partition} \
         burrow_kafka_consumer_partition_lag{cluster,consumer_group,topic,partition} \
         burrow_kafka_topic_partition_offset{cluster,topic,partition}",
    ),
];

#[test]
fn every_name_of_every_dialect_is_there_with_its_labels() {
    let store = store(&["east"]);
    for (dialect, names) in NAMES {
        let page = page(&store, parameters(dialect), false);
        let mut typed = BTreeSet::new();
        for (name, labels) in names.split_whitespace().map(|name| name.split_once('{').unwrap_or((name, ""))) {
            assert!(page.contains(&format!("\n# TYPE {name} ")), "{dialect}: {name}");
            typed.insert(name);
            let sample = page.lines().find(|line| line.starts_with(&format!("{name}{{")));
            let labels: Vec<&str> = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()).collect();
            for label in &labels {
                assert!(sample.is_some_and(|line| line.contains(&format!("{label}=\""))), "{dialect}: {name} {label}");
            }
            if !labels.is_empty() {
                assert_eq!(sample.unwrap().matches("=\"").count(), labels.len(), "{sample:?}");
            }
        }
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        assert_eq!(types.collect::<BTreeSet<_>>(), typed, "{dialect}: no other names, and each name once");
    }
}

#[test]
fn values_are_those_of_the_dialect() {
    let store = store(&["east"]);
    let expected = [
        (
            "kminion",
            "kminion_kafka_topic_info{topic_name=\"orders\",partition_count=\"2\",replication_factor=\"3\",cleanup_policy=\"\"} 1",
        ),
        ("kminion", "kminion_kafka_consumer_group_topic_lag{group_id=\"billing\",topic_name=\"orders\"} 10"),
        ("kafka_exporter", "kafka_broker_info{id=\"7\",address=\"kafka:9092\"} 1"),
        ("kafka_exporter", "kafka_broker_info{id=\"8\",address=\"[fd00::8]:9092\"} 1"),
        ("kafka_exporter", "kafka_topic_partition_under_replicated_partition{topic=\"orders\",partition=\"0\"} 1"),
        ("kafka_exporter", "kafka_consumergroup_current_offset_sum{consumergroup=\"billing\",topic=\"orders\"} 95"),
        (
            "kafka_exporter",
            "kafka_consumergroup_lag{consumergroup=\"a\\\"b\\\\c\\nd\",topic=\"orders\",partition=\"0\"} 60",
        ),
        ("kafka_lag_exporter", "kafka_consumergroup_group_sum_lag{cluster_name=\"east\",group=\"audit\"} 0"),
        (
            "kafka_lag_exporter",
            "kafka_consumergroup_group_lag{cluster_name=\"east\",group=\"billing\",topic=\"orders\",partition=\"1\",\
             member_host=\"\",consumer_id=\"\",client_id=\"\"} NaN",
        ),
        ("burrow", "burrow_kafka_consumer_status{cluster=\"east\",consumer_group=\"audit\"} 1"),
        (
            "offsetd",
            "offsetd_consumer_lag{cluster=\"east\",source=\"kafka\",group_id=\"billing\",topic=\"orders\",partition=\"0\"} 10",
        ),
    ];
    for (dialect, line) in expected {
        let page = page(&store, parameters(dialect), false);
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    for dialect in ["kminion", "kafka_exporter", "burrow", "offsetd"] {
        let page = page(&store, parameters(dialect), false);
        let unknown = |line: &str| line.contains("_lag{") && line.contains("billing") && line.contains("=\"1\"");
        assert!(!page.lines().any(unknown), "{dialect}: an unknown value has no sample");
        assert!(!page.contains("NaN") && !page.contains("# EOF"));
    }
}

#[test]
fn open_metrics_names_counters_without_their_suffix_and_ends_with_eof() {
    let store = store(&["east"]);
    for dialect in DIALECTS {
        let page = page(&store, parameters(dialect.name), true);
        assert!(page.ends_with("\n# EOF\n"));
        assert!(!page.contains("_total gauge\n"), "{}", dialect.name);
        let counters = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
        for counter in counters {
            assert!(!counter.ends_with("_total"), "{counter}");
            let samples = page.lines().filter(|line| line.starts_with(counter));
            assert!(samples.into_iter().all(|line| line.starts_with(&format!("{counter}_total"))), "{counter}");
        }
    }
    let scrape = Scrape::new(&store, Parameters::default(), true).unwrap();
    assert!(scrape.content_type().starts_with("application/openmetrics-text; version=1.0.0"));
}

#[test]
fn a_scrape_can_be_narrowed() {
    let store = store(&["east", "west"]);
    let only = Parameters {
        cluster: Some("west".to_owned()),
        group: Some("^bill".to_owned()),
        topic: Some("order".to_owned()),
        ..parameters("burrow")
    };
    let narrowed = page(&store, only.clone(), false);
    assert!(narrowed.contains("consumer_group=\"billing\"") && narrowed.contains("cluster=\"west\""));
    assert!(!narrowed.contains("audit") && !narrowed.contains("east"), "{narrowed}");
    let none = page(&store, Parameters { topic: Some("^payments$".to_owned()), ..only }, false);
    assert!(!none.contains("orders"), "{none}");
}

#[test]
fn invalid_parameters_are_refused() {
    let store = store(&["east", "west"]);
    let error = |parameters| Scrape::new(&store, parameters, false).unwrap_err().to_string();
    let unknown = error(parameters("statsd"));
    for dialect in DIALECTS {
        assert!(unknown.contains(dialect.name), "{unknown}");
    }
    assert!(error(Parameters { group: Some("(".to_owned()), ..Parameters::default() }).starts_with("group: "));
    assert!(error(Parameters { cluster: Some("north".to_owned()), ..Parameters::default() }).contains("north"));
    assert!(error(parameters("kminion")).contains("name the cluster"), "its series have no cluster label");
    assert!(Scrape::new(&store, Parameters { cluster: Some("east".into()), ..parameters("kminion") }, false).is_ok());
}

#[test]
fn restarts_of_each_part_are_counted() {
    let store = store(&["east", "west"]);
    (0..2).for_each(|_| store.clusters()[0].own.count_restart("east/listener"));
    store.clusters()[1].own.count_restart("west/poller");
    let page = page(&store, Parameters::default(), false);
    let samples: Vec<&str> = page.lines().filter(|line| line.starts_with("offsetd_part_restarts_total")).collect();
    let expected = ["{part=\"east/listener\"} 2", "{part=\"west/poller\"} 1"];
    assert_eq!(samples, expected.map(|sample| format!("offsetd_part_restarts_total{sample}")));
}
