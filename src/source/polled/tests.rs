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
type Held = BTreeMap<(String, String, i32), i64>;

#[derive(Clone, Debug)]
enum Answer {
    Complete(Held),
    Partial(Held),
    /// Fails after these offsets were listed.
    Down(Held),
}

#[derive(Clone, Debug, Default)]
struct InMemory(Arc<Mutex<Option<Answer>>>);

impl Listing for InMemory {
    fn list(&mut self, round: &mut Round<'_>) -> Result<bool, SourceError> {
        let answer = self.0.lock().clone().unwrap_or(Answer::Complete(Held::new()));
        let (Answer::Complete(held) | Answer::Partial(held) | Answer::Down(held)) = &answer;
        for ((group, topic, partition), offset) in held {
            round.found(&Listed {
                group,
                topic,
                partition: *partition,
                committed_offset: *offset,
                committed_at: None,
                metadata: "",
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
    polled: Polled<InMemory>,
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
        let polled = Polled::new(listing.clone(), Duration::from_secs(10));
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

    fn held(&self) -> Held {
        let view = self.shard.pin();
        let rows = view.groups.iter().flat_map(|group| {
            group.entries().map(move |at| {
                ((group.id.to_string(), at.topic.to_string(), at.row.partition), at.row.committed_offset)
            })
        });
        rows.collect()
    }

    /// Returns the group and offset of each event since the load, in the order of revisions.
    fn news(&self) -> Vec<(String, Option<i64>)> {
        let view = self.shard.pin();
        let mut events: Vec<_> = view.commits.iter().collect();
        events.sort_by_key(|event| event.revision);
        events.iter().map(|event| (event.group.to_string(), event.committed_offset)).collect()
    }
}

fn held(keys: &[(&str, i32, i64)]) -> Held {
    keys.iter().map(|(group, partition, offset)| (((*group).to_owned(), "t".to_owned(), *partition), *offset)).collect()
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let key = ("[ab]", "[tu]", 0..3_i32).prop_map(|(group, topic, partition)| (group, topic, partition));
    let held = proptest::collection::btree_map(key, 0..4_i64, 0..8);
    let answer = (held, 0..4).prop_map(|(held, kind)| match kind {
        0 => Answer::Partial(held),
        1 => Answer::Down(held),
        _ => Answer::Complete(held),
    });
    proptest::collection::vec(answer, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(19), ..ProptestConfig::default() })]

    #[test]
    fn after_any_listings_the_shard_is_the_last_complete_one_and_what_was_seen_since(answers in answers()) {
        let mut lab = Lab::new();
        let (mut expected, mut before) = (Held::new(), Revision(0));
        for answer in answers {
            match &answer {
                Answer::Complete(held) => expected = held.clone(),
                Answer::Partial(held) | Answer::Down(held) => expected.extend(held.clone()),
            }
            let is_down = matches!(answer, Answer::Down(_));
            let reached = lab.poll(answer);
            prop_assert_eq!(reached.is_err(), is_down);
            prop_assert_eq!(lab.held(), expected.clone());
            prop_assert!(lab.shard.applied() >= before, "revisions never fall");
            before = lab.shard.applied();
        }
    }
}

#[test]
fn the_first_complete_listing_is_the_load_and_only_what_changes_later_is_news() {
    let mut lab = Lab::new();
    lab.poll(Answer::Partial(held(&[("g", 0, 1)]))).unwrap();
    assert!(!lab.writer.source().health().ready, "an incomplete listing does not end the load");
    lab.poll(Answer::Complete(held(&[("g", 0, 1), ("h", 0, 5)]))).unwrap();
    assert!(lab.writer.source().health().ready);
    assert_eq!(lab.news(), []);
    lab.poll(Answer::Complete(held(&[("g", 0, 1), ("h", 0, 5)]))).unwrap();
    assert_eq!(lab.news(), [], "nothing changed");
    lab.poll(Answer::Complete(held(&[("h", 0, 7)]))).unwrap();
    assert_eq!(lab.news(), [("h".to_owned(), Some(7)), ("g".to_owned(), None)]);
}

#[test]
fn rows_of_a_store_that_is_down_stay_and_are_stale_and_the_cluster_is_as_well_as_before() {
    let mut lab = Lab::new();
    lab.poll(Answer::Complete(held(&[("g", 0, 1)]))).unwrap();
    lab.poll(Answer::Down(Held::new())).unwrap_err();
    let health = lab.writer.source().health();
    assert!(health.stale_since.is_some() && health.ready && !health.reachable);
    assert_eq!(health.last_error.as_deref(), Some("redis: connection refused"));
    assert_eq!(lab.held(), held(&[("g", 0, 1)]));
    assert!(lab.cluster.health().reachable);
    lab.poll(Answer::Complete(held(&[("g", 0, 2)]))).unwrap();
    assert_eq!(lab.writer.source().health().stale_since, None);
}

#[test]
fn a_store_that_fails_is_asked_ever_more_seldom_and_a_slow_one_rests_longer_than_it_takes() {
    let mut lab = Lab::new();
    let down = Err(SourceError::Unreachable { reason: String::new() });
    let pauses: Vec<Ticks> = (1..=8)
        .map(|failures| {
            lab.polled.failures = failures;
            lab.polled.rest(0, &down)
        })
        .collect();
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 600, 600]);
    assert_eq!(lab.polled.rest(0, &Err(SourceError::Forbidden { reason: String::new() })), 600);
    assert_eq!((lab.polled.rest(1, &Ok(Revision(0))), lab.polled.rest(30, &Ok(Revision(0)))), (100, 600));
}

#[test]
fn what_is_no_row_is_counted_and_its_key_is_shown_within_bounds() {
    let lab = Lab::new();
    let mut round = Round::new(&lab.writer, &lab.shard, false);
    round.reject(Rejected::Malformed, "offset:t");
    round.reject(Rejected::Unmatched, &"\u{e9}".repeat(150));
    let seen = round.finish(true);
    assert_eq!((seen.unmatched, seen.malformed, seen.ambiguous, seen.forbidden), (1, 1, 0, 0));
    assert_eq!(seen.last_rejected.map(|key| key.len()), Some(200));
}

#[test]
fn a_listing_of_one_group_says_nothing_of_others_and_what_it_does_not_tell_stays_until_it_is_gone() {
    let mut lab = Lab::new();
    lab.poll(Answer::Complete(held(&[("g", 0, 1), ("g", 1, 2), ("g", 2, 3), ("h", 0, 5)]))).unwrap();
    let listed = |partition, committed_offset| Listed {
        group: "g",
        topic: "t",
        partition,
        committed_offset,
        committed_at: None,
        metadata: "",
    };
    let mut round = Round::of_group(&lab.writer, &lab.shard, "g", true);
    round.found(&listed(0, 1));
    round.not_told("g", "t", 1, Rejected::Forbidden);
    round.not_told("g", "other", 1, Rejected::Malformed);
    assert_eq!(round.missing(), [("g".into(), "t".into(), 2)]);
    let seen = round.finish(false);
    assert_eq!((seen.changes, seen.forbidden, seen.malformed), (0, 1, 1));
    assert_eq!(seen.last_rejected.as_deref(), Some("g/other/1"));

    let mut round = Round::of_group(&lab.writer, &lab.shard, "g", true);
    round.found(&listed(0, 4));
    round.gone("g", "t", 2);
    round.gone("g", "t", 9);
    let seen = round.finish(false);
    assert_eq!((seen.changes, seen.deletions), (2, 1));
    assert_eq!(lab.held(), held(&[("g", 0, 4), ("g", 1, 2), ("h", 0, 5)]));
    // The complete listing of group g shows no rows, so g's rows are deleted; rows of group h stay.
    lab.shard.reached(seen.reached);
    let seen = Round::of_group(&lab.writer, &lab.shard, "g", true).finish(true);
    assert_eq!((seen.deletions, lab.held()), (2, held(&[("h", 0, 5)])));
}

#[tokio::test]
async fn a_caller_that_wants_the_latest_gets_a_listing_that_began_after_it_asked() {
    let Lab { listing, polled, writer, store, cluster, .. } = Lab::new();
    *listing.0.lock() = Some(Answer::Complete(held(&[("g", 0, 1)])));
    let stop = CancellationToken::new();
    let token = stop.clone();
    let reading = std::thread::spawn(move || Box::new(polled).run(writer, &token));
    let source = cluster.source("redis").unwrap();
    source.latest().reach(&Scope::All).await.unwrap();
    *listing.0.lock() = Some(Answer::Complete(held(&[("g", 0, 2)])));
    for (number, revision) in source.latest().reach(&Scope::All).await.unwrap() {
        source.shard(number).unwrap().wait_applied(revision).await;
    }
    let found = source.shard_of_group("g").unwrap().get("g", "t", 0).unwrap();
    assert_eq!(found.entry.map(|entry| entry.row.committed_offset), Some(2));
    let cut = store.cut("", false).unwrap();
    let sources: Vec<&str> = cut.clusters.iter().map(|cut| &*cut.source.id.name).collect();
    assert_eq!(sources, ["kafka", "redis"]);
    stop.cancel();
    reading.join().unwrap().unwrap();
    assert!(source.latest().reach(&Scope::All).await.is_err(), "the source is no longer read");
}

#[test]
fn a_listing_of_a_part_deletes_nothing_of_the_rest() {
    let mut lab = Lab::new();
    let key = |group: &str, topic: &str, partition| (group.to_owned(), topic.to_owned(), partition);
    let keys = [key("g", "a", 0), key("g", "a", 1), key("g", "b", 0), key("h", "a", 0)];
    lab.poll(Answer::Complete(keys.iter().cloned().map(|key| (key, 1)).collect())).unwrap();
    let rows = |lab: &Lab| {
        keys.iter().filter(|key| lab.shard.get(&key.0, &key.1, key.2).is_some_and(|of| of.entry.is_some())).count()
    };
    assert_eq!(rows(&lab), 4);
    let parts = Parts { writer: &lab.writer, shard: &lab.shard };
    let of = |topic, partition| Part { group: "g", topic, partition };
    parts.read(&of(Some("a"), Some(1)), |_| Ok::<_, ()>(false)).unwrap();
    assert_eq!(rows(&lab), 4, "the listing was not complete");
    assert_eq!(parts.read(&of(Some("a"), Some(1)), |_| Err(())), Err(()));
    assert_eq!(rows(&lab), 4, "the listing failed");
    parts.read(&of(Some("a"), Some(1)), |_| Ok::<_, ()>(true)).unwrap();
    assert_eq!(rows(&lab), 3);
    parts.read(&of(Some("b"), None), |_| Ok::<_, ()>(true)).unwrap();
    assert_eq!(rows(&lab), 2);
    parts.read(&of(None, None), |_| Ok::<_, ()>(true)).unwrap();
    assert_eq!(rows(&lab), 1, "rows of another group stay");
}
