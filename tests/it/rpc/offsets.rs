//! GetOffset: filtered, ordered, paged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use offsetd::rpc::proto::{Freshness, GetOffsetRequest, GetOffsetResponse, OffsetFilter};
use tonic::{Code, Status};

use super::{assert_fails, exact, of_group, prefix, regex, shop};
use crate::mock::Commit;
use crate::support::{Lab, Setup, kafka};

type Key = (String, String, i32);

fn get(lab: &Lab, request: GetOffsetRequest) -> Result<GetOffsetResponse, Status> {
    lab.block_on(lab.client().get_offset(request)).map(tonic::Response::into_inner)
}

fn keys(answer: &GetOffsetResponse) -> Vec<Key> {
    answer.entries.iter().map(|entry| (entry.group_id.clone(), entry.topic.clone(), entry.partition)).collect()
}

fn key(group: &str, topic: &str, partition: i32) -> Key {
    (group.to_owned(), topic.to_owned(), partition)
}

fn filtered(lab: &Lab, filter: OffsetFilter) -> Vec<Key> {
    keys(&get(lab, GetOffsetRequest { filter: Some(filter), ..GetOffsetRequest::default() }).unwrap())
}

/// Starts a server with one topic and the groups g0, g1, …, with commits on each partition.
fn many(groups: i32, partitions: i32) -> Lab {
    let kafka = kafka(5);
    let (writer, setup) = (kafka.writer(), Setup::default());
    for group in 0..groups {
        for partition in 0..partitions {
            let group = format!("g{group}");
            writer.commit(&Commit::new(&group, "t", partition, 1, setup.clock.now())).unwrap();
        }
    }
    writer.flush().unwrap();
    setup.ready(&kafka)
}

/// Returns all pages, one after the other; `between` runs after each.
fn walk(lab: &Lab, request: &GetOffsetRequest, mut between: impl FnMut(usize)) -> Vec<GetOffsetResponse> {
    let mut pages: Vec<GetOffsetResponse> = vec![];
    loop {
        let page_token = pages.last().map_or_else(String::new, |page| page.next_page_token.clone());
        let page = get(lab, GetOffsetRequest { page_token, ..request.clone() }).unwrap();
        let more = !page.next_page_token.is_empty();
        pages.push(page);
        if !more {
            return pages;
        }
        between(pages.len());
    }
}

#[test]
fn entries_are_ordered_by_group_topic_and_partition_and_hold_what_query_gives() {
    let lab = shop();
    let answer = get(&lab, GetOffsetRequest::default()).unwrap();
    let expected = [
        key("audit", "orders", 0),
        key("billing", "orders", 0),
        key("billing", "orders", 1),
        key("billing", "payments", 0),
        key("gone", "vanished", 0),
        key("idle", "orders", 2),
    ];
    assert_eq!(keys(&answer), expected);
    assert_eq!((&*answer.next_page_token, answer.incomplete_clusters.len()), ("", 0));
    let snapshot = answer.snapshot.unwrap();
    assert!(!snapshot.id.is_empty() && snapshot.clusters[0].complete);
    for mut entry in answer.entries {
        let mut point = lab.entry(&entry.group_id, &entry.topic, entry.partition);
        // These values grow with the time of the call.
        (entry.lag_seconds, point.lag_seconds) = (None, None);
        assert_eq!(entry, point);
    }
}

#[test]
fn a_filter_takes_names_exactly_by_prefix_or_by_regex_and_numbers_from_a_list() {
    let lab = shop();
    let any = OffsetFilter::default;
    let billing = [key("billing", "orders", 0), key("billing", "orders", 1), key("billing", "payments", 0)];
    assert_eq!(filtered(&lab, of_group("billing").unwrap()), billing);
    assert_eq!(filtered(&lab, OffsetFilter { group_id: prefix("bil"), ..any() }), billing);
    assert_eq!(filtered(&lab, OffsetFilter { group_id: regex("l{2}ing$"), ..any() }), billing);
    assert_eq!(filtered(&lab, OffsetFilter { group_id: exact("bil"), ..any() }), []);
    let topic = OffsetFilter { topic: regex("^(payments|vanished)$"), ..any() };
    assert_eq!(filtered(&lab, topic), [key("billing", "payments", 0), key("gone", "vanished", 0)]);
    let partitions = OffsetFilter { partitions: vec![2, 1], ..any() };
    assert_eq!(filtered(&lab, partitions), [key("billing", "orders", 1), key("idle", "orders", 2)]);
    assert_eq!(filtered(&lab, OffsetFilter { sources: vec!["kafka".to_owned()], ..any() }).len(), 6);
    assert_eq!(filtered(&lab, OffsetFilter { sources: vec!["redis".to_owned()], ..any() }), []);
    let both = OffsetFilter { cluster: exact("default"), group_id: prefix("b"), topic: exact("payments"), ..any() };
    assert_eq!(filtered(&lab, both), [key("billing", "payments", 0)]);
    assert_eq!(filtered(&lab, OffsetFilter { cluster: prefix("x"), ..any() }), []);
    let elsewhere = Some(OffsetFilter { cluster: exact("x"), ..any() });
    let named = get(&lab, GetOffsetRequest { filter: elsewhere, ..GetOffsetRequest::default() });
    assert_fails(named, Code::NotFound, &["\"x\"", "\"default\""]);
}

#[test]
fn with_lag_only_leaves_out_no_lag_and_unknown_lag() {
    let lab = shop();
    let keys = filtered(&lab, OffsetFilter { with_lag_only: true, ..OffsetFilter::default() });
    assert_eq!(keys, [key("billing", "orders", 0), key("billing", "payments", 0), key("idle", "orders", 2)]);
}

#[test]
fn a_bad_filter_or_size_or_token_is_invalid() {
    let lab = shop();
    let request = GetOffsetRequest::default;
    let bad = Some(OffsetFilter { topic: regex("a("), ..OffsetFilter::default() });
    let answer = get(&lab, GetOffsetRequest { filter: bad, ..request() });
    assert_fails(answer, Code::InvalidArgument, &["filter.topic.regex", "a("]);
    let huge = Some(OffsetFilter { topic: regex("(a{1000}){1000}"), ..OffsetFilter::default() });
    let answer = get(&lab, GetOffsetRequest { filter: huge, ..request() });
    assert_fails(answer, Code::InvalidArgument, &["filter.topic.regex"]);
    let answer = get(&lab, GetOffsetRequest { page_size: -1, ..request() });
    assert_fails(answer, Code::InvalidArgument, &["page_size", "-1"]);
    let answer = get(&lab, GetOffsetRequest { freshness: 7, ..request() });
    assert_fails(answer, Code::InvalidArgument, &["freshness", "7"]);
    for token in ["garbage", "%%%", "e30"] {
        let answer = get(&lab, GetOffsetRequest { page_token: token.to_owned(), ..request() });
        assert_fails(answer, Code::InvalidArgument, &["page_token"]);
    }
}

#[test]
fn a_token_serves_its_own_request_only() {
    let lab = shop();
    let first = get(&lab, GetOffsetRequest { page_size: 2, ..GetOffsetRequest::default() }).unwrap();
    let token = first.next_page_token;
    let other = GetOffsetRequest { filter: of_group("billing"), page_token: token.clone(), ..Default::default() };
    assert_fails(get(&lab, other), Code::InvalidArgument, &["page_token", "another request"]);
    let larger = GetOffsetRequest { page_size: 3, page_token: token, ..GetOffsetRequest::default() };
    assert_eq!(keys(&get(&lab, larger).unwrap()).len(), 3, "the page size may change");
}

#[test]
fn pages_of_any_size_together_are_the_whole() {
    let lab = shop();
    let whole = keys(&get(&lab, GetOffsetRequest::default()).unwrap());
    for page_size in 1..=7 {
        let pages = walk(&lab, &GetOffsetRequest { page_size, ..GetOffsetRequest::default() }, |_| ());
        let (last, full) = pages.split_last().unwrap();
        let size = usize::try_from(page_size).unwrap();
        assert!(full.iter().all(|page| page.entries.len() == size) && (1..=size).contains(&last.entries.len()));
        assert_eq!(pages.iter().flat_map(keys).collect::<Vec<_>>(), whole);
    }
}

#[test]
fn a_page_has_a_thousand_entries_by_default_and_ten_thousand_at_most() {
    let lab = many(11, 1000);
    let size = |page_size| {
        let answer = get(&lab, GetOffsetRequest { page_size, ..GetOffsetRequest::default() }).unwrap();
        assert!(!answer.next_page_token.is_empty());
        answer.entries.len()
    };
    assert_eq!((size(0), size(10_000), size(10_001), size(i32::MAX)), (1000, 10_000, 10_000, 10_000));
}

#[test]
fn a_walk_gives_each_key_that_is_there_throughout_once_while_others_come_and_go() {
    let lab = many(20, 10);
    let stop = AtomicBool::new(false);
    let pages = std::thread::scope(|scope| {
        // Keys that stay are committed repeatedly.
        scope.spawn(|| {
            let mut offset = 1;
            while !stop.load(Ordering::Relaxed) {
                offset += 1;
                for group in 0..20 {
                    (0..10).for_each(|partition| lab.commit(&format!("g{group}"), "t", partition, offset));
                }
                lab.writer.flush().unwrap();
            }
        });
        let request = GetOffsetRequest { page_size: 7, ..GetOffsetRequest::default() };
        let pages = walk(&lab, &request, |page| {
            // Other keys are added before and after the reader's position, and are removed again.
            let group = format!("g{}", page % 20);
            lab.commit(&group, "s", 0, 1);
            lab.commit(&format!("{group}-new"), "t", 0, 1);
            if page > 3 {
                lab.writer.delete_offset(&format!("g{}", (page - 3) % 20), "s", 0).unwrap();
            }
            lab.writer.flush().unwrap();
        });
        stop.store(true, Ordering::Relaxed);
        pages
    });
    let found: Vec<Key> = pages.iter().flat_map(keys).collect();
    assert!(found.is_sorted(), "all pages are in order");
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "no key twice");
    let stayed = |key: &&Key| key.1 == "t" && !key.0.ends_with("-new");
    assert_eq!(found.iter().filter(stayed).count(), 200, "no key missing");
}

#[test]
fn names_are_ordered_by_their_bytes() {
    let lab = Lab::new(5);
    for group in ["ä", "z", "a", "B", "a-b", "a.b", ""] {
        lab.commit(group, "t", 0, 1);
        lab.commit(group, "T", 10, 1);
        lab.commit(group, "T", 9, 1);
    }
    lab.settle();
    let found = keys(&get(&lab, GetOffsetRequest::default()).unwrap());
    assert_eq!(found.len(), 21);
    assert!(found.is_sorted(), "{found:?}");
    let pages = walk(&lab, &GetOffsetRequest { page_size: 2, ..GetOffsetRequest::default() }, |_| ());
    assert_eq!(pages.iter().flat_map(keys).collect::<Vec<_>>(), found);
}

#[test]
fn the_latest_for_who_cannot_wait_is_a_matter_of_the_deadline() {
    // The default limit would close a connection on which this many calls are cancelled within a second.
    let lab = Setup::default().with("SERVER_LIMITS_HTTP2_MAX_RESETS", "1000").ready(&kafka(3));
    lab.commit("g", "orders", 0, 5);
    lab.settle();
    let mut late = 0;
    for call in 0..300_u64 {
        let request = GetOffsetRequest { freshness: Freshness::Latest.into(), ..GetOffsetRequest::default() };
        let mut request = tonic::Request::new(request);
        // From no time at all to just enough.
        request.set_timeout(Duration::from_micros(call * 10));
        if let Err(status) = lab.block_on(lab.client().get_offset(request)) {
            // Cancelled: the client's deadline passed first.
            assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
            late += 1;
        }
    }
    assert!(late > 0);
    lab.settle();
}

#[test]
fn latest_covers_every_log_partition() {
    let lab = Lab::new(5);
    for round in 1..=5 {
        (0..20).for_each(|group| lab.commit(&format!("g{group}"), "t", 0, round));
        lab.writer.flush().unwrap();
        let request = GetOffsetRequest { freshness: Freshness::Latest.into(), ..GetOffsetRequest::default() };
        let answer = get(&lab, request).unwrap();
        let offsets: BTreeMap<_, _> = answer.entries.iter().map(|of| (&of.group_id, of.committed_offset)).collect();
        assert_eq!(offsets.len(), 20);
        assert!(offsets.values().all(|offset| *offset == round), "round {round}: {offsets:?}");
    }
}
