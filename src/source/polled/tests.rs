use std::collections::BTreeMap;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::{
    clock::Clock,
    config::{Config, Flags, Layers},
    source::{add_table, kafka::Log},
    store::{Store, cluster::Cluster, cut::Settings},
};

/// The content of a store: offsets by group, topic and partition.
type Content = BTreeMap<(String, String, i32), i64>;

#[derive(Clone, Debug)]
enum Answer {
    Complete(Content),
    Partial(Content),
    /// Fails after these offsets were listed.
    Down(Content),
}

#[derive(Clone, Debug, Default)]
struct InMemory(Arc<Mutex<Option<Answer>>>);

impl Listing for InMemory {
    fn list(&mut self, round: &mut ListingRound<'_>) -> Result<bool, SourceError> {
        let answer = self.0.lock().clone().unwrap_or(Answer::Complete(Content::new()));
        let (Answer::Complete(content) | Answer::Partial(content) | Answer::Down(content)) = &answer;
        for ((group, topic, partition), offset) in content {
            round.found(&StoredOffset {
                group,
                topic,
                partition: *partition,
                committed_offset: *offset,
                committed_at: None,
                metadata: "",
                ..StoredOffset::default()
            });
        }
        match answer {
            Answer::Complete(_) => Ok(true),
            Answer::Partial(_) => Ok(false),
            Answer::Down(_) => Err(SourceError::Unreachable { reason: "connection refused".to_owned() }),
        }
    }
}

struct Lab {
    clock: Clock,
    cluster: Arc<Cluster>,
    store: Arc<Store>,
    listing: InMemory,
    polled: PolledSource<InMemory>,
    writer: SourceWriter,
    shard: ShardWriter,
}

impl Lab {
    fn new() -> Self {
        let flags = Flags { bootstrap_servers: Some("h:1".to_owned()), ..Flags::default() };
        let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
        let config = Config::load(layers).unwrap().config.clusters.remove(0);
        let clock = Clock::manual(1_700_000_000_000);
        let (cluster, _) = Log::open(config, &clock);
        cluster.set_health(|health| (health.ready, health.reachable) = (true, true));
        let settings = Settings { window: 1, active_within: 1, commits_kept: 10_000, watch_queue: 16 };
        let store = Arc::new(Store::new(vec![Arc::clone(&cluster)], clock.clone(), settings));
        let listing = InMemory::default();
        let polled = PolledSource::new(listing.clone(), Duration::from_secs(10));
        let writer = add_table((&store, &cluster), ("redis", "redis"), &polled, &clock);
        let shard = writer.new_shard(SHARD);
        writer.publish(&shard);
        Self { clock, cluster, store, listing, polled, writer, shard }
    }

    fn poll(&mut self, answer: Answer) -> Result<Revision, SourceError> {
        *self.listing.0.lock() = Some(answer);
        self.clock.advance(1000);
        self.polled.poll(&self.writer, &self.shard)
    }

    fn content(&self) -> Content {
        let view = self.shard.pin();
        let rows = view.groups.iter().flat_map(|group| {
            group.entries().map(move |at| {
                ((group.id.to_string(), at.topic.to_string(), at.row.partition), at.row.committed_offset)
            })
        });
        rows.collect()
    }

    /// Returns the group and offset of each event since the load, in the order of revisions.
    fn changes(&self) -> Vec<(String, Option<i64>)> {
        let view = self.shard.pin();
        let mut events: Vec<_> = view.commits.iter().collect();
        events.sort_by_key(|event| event.revision);
        events.iter().map(|event| (event.group.to_string(), event.committed_offset)).collect()
    }
}

fn content(keys: &[(&str, i32, i64)]) -> Content {
    keys.iter().map(|(group, partition, offset)| (((*group).to_owned(), "t".to_owned(), *partition), *offset)).collect()
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let key = ("[ab]", "[tu]", 0..3_i32).prop_map(|(group, topic, partition)| (group, topic, partition));
    let content = proptest::collection::btree_map(key, 0..4_i64, 0..8);
    let answer = (content, 0..4).prop_map(|(content, kind)| match kind {
        0 => Answer::Partial(content),
        1 => Answer::Down(content),
        _ => Answer::Complete(content),
    });
    proptest::collection::vec(answer, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(19), ..ProptestConfig::default() })]

    #[test]
    fn the_shard_equals_the_last_complete_listing_plus_later_rows(answers in answers()) {
        let mut lab = Lab::new();
        let (mut expected, mut before) = (Content::new(), Revision(0));
        for answer in answers {
            match &answer {
                Answer::Complete(content) => expected = content.clone(),
                Answer::Partial(content) | Answer::Down(content) => expected.extend(content.clone()),
            }
            let is_down = matches!(answer, Answer::Down(_));
            let reached = lab.poll(answer);
            prop_assert_eq!(reached.is_err(), is_down);
            prop_assert_eq!(lab.content(), expected.clone());
            prop_assert!(lab.shard.applied() >= before, "revisions never fall");
            before = lab.shard.applied();
        }
    }
}

#[test]
fn the_first_complete_listing_is_the_load_and_later_changes_are_events() {
    let mut lab = Lab::new();
    lab.poll(Answer::Partial(content(&[("g", 0, 1)]))).unwrap();
    assert!(!lab.writer.source().health().ready, "an incomplete listing does not end the load");
    lab.poll(Answer::Complete(content(&[("g", 0, 1), ("h", 0, 5)]))).unwrap();
    assert!(lab.writer.source().health().ready);
    assert_eq!(lab.changes(), []);
    lab.poll(Answer::Complete(content(&[("g", 0, 1), ("h", 0, 5)]))).unwrap();
    assert_eq!(lab.changes(), [], "nothing changed");
    lab.poll(Answer::Complete(content(&[("h", 0, 7)]))).unwrap();
    assert_eq!(lab.changes(), [("h".to_owned(), Some(7)), ("g".to_owned(), None)]);
}

#[test]
fn rows_of_a_store_that_is_down_are_stale_and_the_cluster_stays_healthy() {
    let mut lab = Lab::new();
    lab.poll(Answer::Complete(content(&[("g", 0, 1)]))).unwrap();
    lab.poll(Answer::Down(Content::new())).unwrap_err();
    let health = lab.writer.source().health();
    assert!(health.stale_since.is_some() && health.ready && !health.reachable);
    assert_eq!(health.last_error.as_deref(), Some("redis: connection refused"));
    assert_eq!(lab.content(), content(&[("g", 0, 1)]));
    assert!(lab.cluster.health().reachable);
    lab.poll(Answer::Complete(content(&[("g", 0, 2)]))).unwrap();
    assert_eq!(lab.writer.source().health().stale_since, None);
}

#[test]
fn pauses_grow_with_failures_and_with_the_time_of_a_listing() {
    let mut lab = Lab::new();
    let down = Err(SourceError::Unreachable { reason: String::new() });
    let pauses: Vec<Ticks> = (1..=8)
        .map(|failures| {
            lab.polled.failures = failures;
            lab.polled.pause_after(0, &down)
        })
        .collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
    assert_eq!(lab.polled.pause_after(0, &Err(SourceError::Forbidden { reason: String::new() })), 300);
    assert_eq!((lab.polled.pause_after(1, &Ok(Revision(0))), lab.polled.pause_after(30, &Ok(Revision(0)))), (100, 600));
}

#[test]
fn rejected_entries_are_counted_and_the_shown_key_is_cut() {
    let lab = Lab::new();
    let mut round = ListingRound::new(&lab.writer, &lab.shard, false);
    round.reject(Rejected::Malformed, "offset:t");
    round.reject(Rejected::Unmatched, &"\u{e9}".repeat(150));
    let seen = round.finish(true);
    assert_eq!((seen.unmatched, seen.malformed, seen.ambiguous, seen.forbidden), (1, 1, 0, 0));
    assert_eq!(seen.last_rejected.map(|key| key.len()), Some(200));
}

#[test]
fn a_listing_of_one_group_changes_only_the_rows_that_it_shows_or_deletes() {
    let mut lab = Lab::new();
    lab.poll(Answer::Complete(content(&[("g", 0, 1), ("g", 1, 2), ("g", 2, 3), ("h", 0, 5)]))).unwrap();
    let listed = |partition, committed_offset| StoredOffset {
        group: "g",
        topic: "t",
        partition,
        committed_offset,
        committed_at: None,
        metadata: "",
        ..StoredOffset::default()
    };
    let mut round = ListingRound::of_group(&lab.writer, &lab.shard, "g", true);
    round.found(&listed(0, 1));
    round.keep_row("g", "t", 1, Rejected::Forbidden);
    round.keep_row("g", "other", 1, Rejected::Malformed);
    assert_eq!(round.missing(), [("g".into(), "t".into(), 2)]);
    let seen = round.finish(false);
    assert_eq!((seen.changes, seen.forbidden, seen.malformed), (0, 1, 1));
    assert_eq!(seen.last_rejected.as_deref(), Some("g/other/1"));

    let mut round = ListingRound::of_group(&lab.writer, &lab.shard, "g", true);
    round.found(&listed(0, 4));
    round.delete_row("g", "t", 2);
    round.delete_row("g", "t", 9);
    let seen = round.finish(false);
    assert_eq!((seen.changes, seen.deletions), (2, 1));
    assert_eq!(lab.content(), content(&[("g", 0, 4), ("g", 1, 2), ("h", 0, 5)]));
    // The complete listing of group g shows no rows, so g's rows are deleted; rows of group h stay.
    lab.shard.reached(seen.reached);
    let seen = ListingRound::of_group(&lab.writer, &lab.shard, "g", true).finish(true);
    assert_eq!((seen.deletions, lab.content()), (2, content(&[("h", 0, 5)])));
}

#[tokio::test]
async fn a_latest_request_waits_for_a_listing_that_began_after_it() {
    let Lab { listing, polled, writer, store, cluster, .. } = Lab::new();
    *listing.0.lock() = Some(Answer::Complete(content(&[("g", 0, 1)])));
    let stop = CancellationToken::new();
    let token = stop.clone();
    let reading = std::thread::spawn(move || Box::new(polled).run(writer, &token));
    let source = cluster.source("redis").unwrap();
    source.latest().required_revisions(&Scope::All).await.unwrap();
    *listing.0.lock() = Some(Answer::Complete(content(&[("g", 0, 2)])));
    for (number, revision) in source.latest().required_revisions(&Scope::All).await.unwrap() {
        source.shard(number).unwrap().wait_applied(revision).await;
    }
    let found = source.shard_of_group("g").unwrap().get("g", "t", 0).unwrap();
    assert_eq!(found.entry.map(|entry| entry.row.committed_offset), Some(2));
    let cut = store.cut("", false).unwrap();
    let sources: Vec<&str> = cut.sources.iter().map(|cut| &*cut.source.id.name).collect();
    assert_eq!(sources, ["kafka", "redis"]);
    stop.cancel();
    reading.join().unwrap().unwrap();
    assert!(source.latest().required_revisions(&Scope::All).await.is_err(), "the source is no longer read");
}

#[test]
fn a_listing_of_a_subset_deletes_no_other_rows() {
    let mut lab = Lab::new();
    let key = |group: &str, topic: &str, partition| (group.to_owned(), topic.to_owned(), partition);
    let keys = [key("g", "a", 0), key("g", "a", 1), key("g", "b", 0), key("h", "a", 0)];
    lab.poll(Answer::Complete(keys.iter().cloned().map(|key| (key, 1)).collect())).unwrap();
    let rows = |lab: &Lab| {
        keys.iter().filter(|key| lab.shard.get(&key.0, &key.1, key.2).is_some_and(|of| of.entry.is_some())).count()
    };
    assert_eq!(rows(&lab), 4);
    let subsets = SubsetReader { writer: &lab.writer, shard: &lab.shard };
    let of = |topic, partition| Subset { group: "g", topic, partition };
    subsets.read(&of(Some("a"), Some(1)), |_| Ok::<_, ()>(false)).unwrap();
    assert_eq!(rows(&lab), 4, "the listing was not complete");
    assert_eq!(subsets.read(&of(Some("a"), Some(1)), |_| Err(())), Err(()));
    assert_eq!(rows(&lab), 4, "the listing failed");
    subsets.read(&of(Some("a"), Some(1)), |_| Ok::<_, ()>(true)).unwrap();
    assert_eq!(rows(&lab), 3);
    subsets.read(&of(Some("b"), None), |_| Ok::<_, ()>(true)).unwrap();
    assert_eq!(rows(&lab), 2);
    subsets.read(&of(None, None), |_| Ok::<_, ()>(true)).unwrap();
    assert_eq!(rows(&lab), 1, "rows of another group stay");
}
