//! A second source of offsets in addition to Kafka's own: the same group id in it is a different group, in every
//! interface.

use std::sync::Arc;
use std::time::Duration;

use offsetd::clock::Clock;
use offsetd::metrics::{Parameters, Scrape};
use offsetd::model::{Revision, log_partition_for};
use offsetd::rpc::Service;
use offsetd::rpc::proto::{self, offset_service_server::OffsetService as _};
use offsetd::source::polled::{Listing, ListingRound, PolledSource, Rejected, StoredOffset};
use offsetd::source::{Source as _, add_table};
use offsetd::sql::{Engine, Statement};
use offsetd::store::Store;
use offsetd::store::event::{Event, EventKind};
use offsetd::store::group::Commit;
use offsetd::store::latest::SourceError;
use offsetd::store::membership::{Assigned, GroupDescription, GroupKind, GroupState, MemberDescription, TopicRef};
use offsetd::store::writer::SourceWriter;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::pushdown::lines;
use crate::support::until;
use crate::synthetic::{self, Committed};

const NOW: i64 = 1_767_225_600_000;

/// A store with the same groups as Kafka, a group of its own, and a malformed key.
#[derive(Debug)]
struct StoreListing;

impl Listing for StoreListing {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        for (group, partition, committed_offset) in
            [("both", 0, 40), ("both", 1, 41), ("elsewhere", 0, 42), ("job", 0, 43)]
        {
            let topic = "orders";
            round.found(&StoredOffset {
                group,
                topic,
                partition,
                committed_offset,
                metadata: "m",
                ..StoredOffset::default()
            });
        }
        round.reject(Rejected::Malformed, "offset:orders:broken");
        Ok(true)
    }
}

/// Adds a member to a group in Kafka, which reads partitions of orders.
fn join(store: &Arc<Store>, group: &str, partitions: &[i32]) {
    let member = MemberDescription {
        member_id: format!("{group}-1").into(),
        instance_id: None,
        client_id: "reader".into(),
        client_host: "/10.0.0.1".into(),
        subscribed_topics: None,
        assigned: vec![Assigned { topic: TopicRef::Name("orders".into()), partitions: partitions.into() }],
        target: None,
    };
    let told = GroupDescription {
        kind: GroupKind::Classic,
        state: GroupState::Stable,
        protocol_type: None,
        protocol: None,
        members: Some(vec![member]),
    };
    apply(store, group, EventKind::Classic(Some(Arc::new(told.membership(Revision(0))))));
}

/// Applies an event of a group in Kafka.
fn apply(store: &Arc<Store>, group: &str, kind: EventKind<'_>) {
    let cluster = &store.clusters()[0];
    let number = log_partition_for(group, 4).unwrap();
    let shard = SourceWriter::own(store, cluster).shard(number).unwrap();
    let revision = shard.applied().max(Revision(0));
    shard.apply(&[Event { revision, at: NOW, group, kind }], Revision(0));
    shard.reached(revision.next());
}

struct Lab {
    clock: Clock,
    store: Arc<Store>,
    runtime: Runtime,
    engine: Arc<Engine>,
    stop: CancellationToken,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.stop.cancel();
        let ended = self.reading.take().map(std::thread::JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()));
    }
}

impl Lab {
    fn new() -> Self {
        let clock = Clock::manual(NOW);
        let store: Arc<Store> = synthetic::store(&["east"], 4, clock.clone());
        let cluster = &store.clusters()[0];
        synthetic::ends(cluster, &[("orders".to_owned(), 2)], |_, _| 100, &clock);
        let of_kafka = |group: &str, partition, offset| Committed {
            group: group.to_owned(),
            topic: "orders".to_owned(),
            partition,
            offset,
            at: NOW,
            metadata: "",
        };
        synthetic::commit(
            &store,
            cluster,
            &[of_kafka("both", 0, 90), of_kafka("both", 1, 91), of_kafka("g", 0, 92)],
            true,
        );
        join(&store, "both", &[0]);
        join(&store, "job", &[0, 1]);
        let polled = PolledSource::new(StoreListing, Duration::from_secs(10));
        let writer = add_table((&store, cluster), ("redis", "redis"), &polled, &clock);
        let source = Arc::clone(writer.source());
        let stop = CancellationToken::new();
        let token = stop.clone();
        let reading = std::thread::spawn(move || Box::new(polled).run(writer, &token).unwrap());
        until("the store to be read", || source.health().ready);
        let engine = Arc::new(Engine::new(Arc::clone(&store), synthetic::config().sql).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { clock, store, runtime, engine, stop, reading: Some(reading) }
    }

    fn service(&self) -> Service {
        Service::new(Arc::clone(&self.engine), synthetic::config().server, Duration::from_secs(10), self.stop.clone())
    }

    /// Returns the response of a call.
    fn call<'a, T>(&self, call: impl Future<Output = Result<Response<T>, Status>> + 'a) -> T {
        self.runtime.block_on(call).unwrap().into_inner()
    }

    /// Returns the rows in the order in which they were received.
    fn rows(&self, sql: &str) -> Vec<String> {
        self.runtime.block_on(async {
            let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
            let mut answer = self.engine.run(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let mut batches = vec![];
            while let Some(batch) = answer.next().await {
                batches.push(batch.unwrap_or_else(|error| panic!("{sql}: {error}")));
            }
            if batches.is_empty() { vec![] } else { lines(&batches) }
        })
    }

    fn sorted(&self, sql: &str) -> Vec<String> {
        let mut rows = self.rows(sql);
        rows.sort();
        rows
    }
}

#[test]
fn a_group_of_two_sources_is_two_groups_in_every_table() {
    let lab = Lab::new();
    let groups = "SELECT source, group_id, partitions, lag FROM groups";
    assert_eq!(
        lab.sorted(groups),
        [
            "|kafka|both|2|19|",
            "|kafka|g|1|8|",
            "|kafka|job|0||",
            "|redis|both|2|119|",
            "|redis|elsewhere|1|58|",
            "|redis|job|1|57|"
        ]
    );
    assert_eq!(lab.sorted("SELECT source, lag FROM consumers WHERE group_id = 'both'"), ["|kafka|19|", "|redis|119|"]);
    assert_eq!(lab.rows("SELECT count(*) FROM offsets"), ["|7|"]);
    assert_eq!(lab.sorted("SELECT cluster FROM clusters"), ["|east|"]);
    assert_eq!(lab.sorted("SELECT count(*) FROM partitions"), ["|2|"]);
    assert_eq!(lab.rows("SELECT groups FROM topics"), ["|5|"], "topics count the groups of all sources");
}

#[test]
fn rows_of_two_sources_come_in_the_order_that_is_asked_for() {
    let lab = Lab::new();
    let sql = "SELECT partition, source, committed_offset FROM offsets WHERE group_id = 'both' \
               ORDER BY cluster, group_id, topic, partition, source";
    assert_eq!(lab.rows(sql), ["|0|kafka|90|", "|0|redis|40|", "|1|kafka|91|", "|1|redis|41|"]);
    let sql = "SELECT topic, partition FROM lag WHERE group_id = 'both' ORDER BY topic, partition";
    assert_eq!(lab.rows(sql), ["|orders|0|", "|orders|0|", "|orders|1|", "|orders|1|"]);
}

#[test]
fn offsets_of_one_partition_in_two_sources_are_compared() {
    let lab = Lab::new();
    let sql = "SELECT group_id, topic, partition, source, committed_offset, other_source, other_committed_offset, difference \
               FROM source_differences";
    assert_eq!(lab.sorted(sql), ["|both|orders|0|kafka|90|redis|40|50|", "|both|orders|1|kafka|91|redis|41|50|"]);
    let newer =
        "SELECT DISTINCT newer_source, committed_at IS NULL, other_committed_at IS NULL FROM source_differences";
    assert_eq!(lab.rows(newer), ["||false|true|"], "the commit and the read of Redis are of the same time");
    let commit = Commit {
        committed_offset: 92,
        committed_at: NOW + 1,
        leader_epoch: -1,
        metadata: "",
        expires_at: None,
        topic_id: None,
        first_seen_at: None,
    };
    apply(&lab.store, "both", EventKind::Commit { topic: "orders", partition: 1, commit });
    let newer = "SELECT partition, newer_source FROM source_differences";
    assert_eq!(lab.sorted(newer), ["|0||", "|1|kafka|"]);
}

#[test]
fn where_a_log_alone_knows_a_value_others_have_none() {
    let lab = Lab::new();
    let log = "SELECT DISTINCT source, log_partition IS NULL, log_offset IS NULL, committed_at IS NULL, \
               observed_at IS NULL FROM offsets";
    assert_eq!(lab.sorted(log), ["|kafka|false|false|false|true|", "|redis|true|true|true|false|"]);
    let source = "SELECT kind, mode, log_partition, state, entries, malformed, last_rejected, interval_seconds \
                  FROM sources WHERE source = 'redis'";
    assert_eq!(lab.rows(source), ["|redis|||live|4|1|offset:orders:broken|10.0|"]);
    assert_eq!(lab.rows("SELECT DISTINCT kind, mode, entries FROM sources WHERE source = 'kafka'"), ["|kafka|log||"]);
}

#[test]
fn rows_of_a_source_that_knows_no_owners_take_them_from_the_same_group_of_the_cluster() {
    let lab = Lab::new();
    // Long after all commits, only groups with an owner are active.
    lab.clock.advance(3_600_000);
    let owners = "SELECT source, group_id, partition, member_id, client_id, client_host, owner_source, active FROM lag";
    assert_eq!(
        lab.sorted(owners),
        [
            "|kafka|both|0|both-1|reader|/10.0.0.1||true|",
            "|kafka|both|1|||||false|",
            "|kafka|g|0|||||false|",
            "|redis|both|0|both-1|reader|/10.0.0.1|kafka|true|",
            "|redis|both|1|||||false|",
            "|redis|elsewhere|0|||||false|",
            "|redis|job|0|job-1|reader|/10.0.0.1|kafka|true|",
        ]
    );
    let groups = "SELECT source, group_id, members, active, offsets_kept_in FROM groups";
    assert_eq!(
        lab.sorted(groups),
        [
            "|kafka|both|1|true||",
            "|kafka|g|0|false||",
            "|kafka|job|1|true|redis|",
            "|redis|both||true||",
            "|redis|elsewhere||false||",
            "|redis|job||true||",
        ]
    );
    assert_eq!(
        lab.sorted("SELECT source, active_members, offsets_kept_in FROM consumers WHERE group_id = 'job'"),
        ["|kafka|1|redis|", "|redis|||"]
    );
    let edges = "SELECT source, group_id, topic, partitions, member_id, client_host, lag FROM active_consumers";
    assert_eq!(
        lab.sorted(edges),
        [
            "|kafka|both|orders|1|both-1|/10.0.0.1|10|",
            "|kafka|job|orders|2|job-1|/10.0.0.1||",
            "|redis|both|orders|1|both-1|/10.0.0.1|60|",
            "|redis|job|orders|1|job-1|/10.0.0.1|57|",
        ]
    );
    assert_eq!(lab.rows("SELECT groups, active_groups FROM topics"), ["|5|3|"]);
}

#[test]
fn calls_tell_whose_members_own_what_another_source_keeps() {
    let lab = Lab::new();
    let service = lab.service();
    let owner = |entry: proto::OffsetEntry| entry.owner.map(|owner| (owner.member_id, owner.source));
    let lent = Some(("job-1".to_owned(), Some("kafka".to_owned())));
    let (group_id, topic) = ("job".to_owned(), "orders".to_owned());
    let query = proto::QueryRequest { group_id, topic, ..<_>::default() };
    let found = lab.call(service.query(Request::new(query))).entry.unwrap();
    assert_eq!((&*found.source, found.committed_offset), ("redis", 43));
    assert!(found.observed_at.is_some());
    assert_eq!(owner(found), lent);
    let entries = lab.call(service.get_offset(Request::new(<_>::default()))).entries;
    let owners: Vec<_> = entries.into_iter().map(|entry| (entry.source.clone(), owner(entry))).collect();
    let own = Some(("both-1".to_owned(), None));
    assert!(owners.contains(&("redis".to_owned(), lent)) && owners.contains(&("kafka".to_owned(), own)), "{owners:?}");
    let sources = vec!["redis".to_owned()];
    let request = proto::GetConsumerRequest { sources: sources.clone(), ..<_>::default() };
    let chosen = lab.call(service.get_consumer(Request::new(request)));
    let told: Vec<_> = chosen.consumers.iter().map(|of| (&*of.group_id, of.members, of.active)).collect();
    assert_eq!(
        (chosen.total, &*told),
        (3, &[("both", None, true), ("elsewhere", None, true), ("job", None, true)][..])
    );
    let request = proto::GetActiveConsumerRequest { sources, ..<_>::default() };
    let chosen = lab.call(service.get_active_consumer(Request::new(request)));
    assert!(chosen.consumers.len() == 3 && chosen.edges.iter().all(|edge| edge.source == "redis"));
    let consumers = lab.call(service.get_consumer(Request::new(<_>::default()))).consumers;
    let kept: Vec<_> =
        consumers.into_iter().filter_map(|of| Some((of.source, of.group_id, of.offsets_kept_in?))).collect();
    assert_eq!(kept, [("kafka".to_owned(), "job".to_owned(), "redis".to_owned())]);
    lab.clock.advance(3_600_000);
    let edges = lab.call(service.get_active_consumer(Request::new(<_>::default()))).edges;
    let of_redis = edges.into_iter().filter(|edge| edge.source == "redis");
    let sources: Vec<_> = of_redis.map(|edge| (edge.group_id, edge.owner.unwrap().source.unwrap())).collect();
    assert_eq!(sources, [("both".to_owned(), "kafka".to_owned()), ("job".to_owned(), "kafka".to_owned())]);
}

#[test]
fn status_and_metrics_tell_of_each_source() {
    let lab = Lab::new();
    let clusters = lab.call(lab.service().get_status(Request::new(proto::GetStatusRequest {}))).clusters;
    let told: Vec<_> = clusters[0]
        .sources
        .iter()
        .map(|of| (&*of.source, &*of.kind, of.mode.as_deref(), &*of.state, of.groups, of.offsets, of.malformed))
        .collect();
    // Nothing was loaded, so no log partition has a target.
    let kafka = ("kafka", "kafka", Some("log"), "loading", 3, 3, None);
    assert_eq!(told, [kafka, ("redis", "redis", None, "live", 3, 4, Some(1))]);
    let cancel = offsetd::work::CancelHandle::default();
    let mut page = String::new();
    let scrape = Scrape::new(&lab.store, Parameters::default(), false).unwrap();
    scrape.write(&lab.store, &scrape.pin(&lab.store, &cancel), &mut |text| {
        page.push_str(&text);
        true
    });
    for line in [
        "offsetd_groups{cluster=\"east\",source=\"kafka\"} 3",
        "offsetd_groups{cluster=\"east\",source=\"redis\"} 3",
        "offsetd_offsets{cluster=\"east\",source=\"redis\"} 4",
        "offsetd_source_ready{cluster=\"east\",source=\"redis\"} 1",
        "offsetd_source_malformed{cluster=\"east\",source=\"redis\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} not in\n{page}");
    }
    assert!(!page.contains("offsetd_source_malformed{cluster=\"east\",source=\"kafka\"}"), "a log has no such reads");
}

#[test]
fn dialects_of_peers_show_the_cluster_alone_unless_a_source_is_named() {
    let lab = Lab::new();
    let page = |source: Option<&str>| {
        let dialect = Some("kminion".to_owned());
        let parameters = Parameters { dialect, source: source.map(str::to_owned), ..Parameters::default() };
        let scrape = Scrape::new(&lab.store, parameters, false).unwrap();
        let mut page = String::new();
        scrape.write(&lab.store, &scrape.pin(&lab.store, &offsetd::work::CancelHandle::default()), &mut |text| {
            page.push_str(&text);
            true
        });
        page
    };
    let (own, redis) = (page(None), page(Some("redis")));
    let has = |page: &str, group: &str| page.contains(&format!("group_id=\"{group}\""));
    assert!(has(&own, "g") && !has(&own, "elsewhere"), "{own}");
    assert!(has(&redis, "elsewhere") && !has(&redis, "g"), "{redis}");
}

#[test]
fn a_watch_that_runs_notices_a_source_that_is_added() {
    use futures::StreamExt as _;
    let lab = Lab::new();
    let request = proto::WatchRequest { include_current: true, ..<_>::default() };
    let mut changes = lab.call(lab.service().watch(Request::new(request)));
    let mut next = |wanted: &str| {
        lab.runtime.block_on(async {
            loop {
                let response = changes.next().await.unwrap().unwrap();
                let new = response.changes.into_iter().filter_map(|change| change.new);
                let found: Vec<_> = new.filter(|entry| entry.source == wanted).map(|entry| entry.group_id).collect();
                if !found.is_empty() {
                    break found;
                }
            }
        })
    };
    assert!(next("redis").contains(&"elsewhere".to_owned()));
    let polled = PolledSource::new(StoreListing, Duration::from_secs(10));
    let cluster = &lab.store.clusters()[0];
    let writer = add_table((&lab.store, cluster), ("later", "redis"), &polled, &lab.clock);
    let token = lab.stop.clone();
    let reading = std::thread::spawn(move || Box::new(polled).run(writer, &token).unwrap());
    assert!(!next("later").is_empty());
    lab.stop.cancel();
    reading.join().unwrap();
}
