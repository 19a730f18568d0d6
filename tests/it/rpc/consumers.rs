//! GetConsumer: groups, searched, ordered and paged.

use std::collections::{BTreeMap, BTreeSet};

use offsetd::clock::Clock;
use offsetd::rpc::proto::{Consumer, GetConsumerRequest, GetConsumerResponse};
use tonic::{Code, Status};

use super::{assert_fails, shop};
use crate::support::{Lab, Setup, kafka};

/// The columns of the SQL table `groups`.
const COLUMNS: &str = "cluster, source, group_id, kind, state, protocol_type, protocol, epoch, leader_member_id, members, topics, \
                       partitions, lag, max_lag, max_lag_seconds, unknown_lag_partitions, last_committed_at, active, status, members_stale_since, coordinator, offsets_kept_in";

fn get(lab: &Lab, request: GetConsumerRequest) -> Result<GetConsumerResponse, Status> {
    lab.block_on(lab.client().get_consumer(request)).map(tonic::Response::into_inner)
}

fn ids(answer: &GetConsumerResponse) -> Vec<&str> {
    answer.consumers.iter().map(|consumer| &*consumer.group_id).collect()
}

fn ordered(order_by: &str) -> GetConsumerRequest {
    GetConsumerRequest { order_by: order_by.to_owned(), ..GetConsumerRequest::default() }
}

fn searched(search: &str) -> GetConsumerRequest {
    GetConsumerRequest { search: search.to_owned(), ..GetConsumerRequest::default() }
}

/// Starts a server with groups g00, g01, …; the number of a group is its lag.
fn lagging(setup: Setup, groups: i32) -> Lab {
    let kafka = kafka(5);
    kafka.create_topic("t", 1).unwrap();
    let lab = setup.start(&kafka);
    lab.writer.produce("t", 0, 100).unwrap();
    (0..groups).for_each(|group| lab.commit(&format!("g{group:02}"), "t", 0, i64::from(100 - group)));
    lab.wait_ready();
    lab.settle();
    let last = groups - 1;
    lab.wait_entry((&format!("g{last:02}"), "t", 0), |entry| entry.lag == Some(i64::from(last)));
    lab
}

#[test]
fn groups_are_chosen_by_status_kind_activity_and_id() {
    let lab = shop();
    let chosen = |request: GetConsumerRequest| {
        let answer = get(&lab, request).unwrap();
        assert_eq!(answer.total, i64::try_from(answer.consumers.len()).unwrap());
        ids(&answer).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = || GetConsumerRequest::default();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(chosen(GetConsumerRequest { statuses: names(&["unknown"]), ..all() }), ["gone", "members-only"]);
    assert_eq!(chosen(GetConsumerRequest { statuses: names(&["nonsense"]), ..all() }), [""; 0]);
    let classic = chosen(GetConsumerRequest { kinds: names(&["classic", "share"]), ..all() });
    assert!(classic.contains(&"billing".to_owned()) && !classic.contains(&"audit".to_owned()), "{classic:?}");
    let ids = || names(&["billing", "audit", "missing"]);
    assert_eq!(chosen(GetConsumerRequest { group_ids: ids(), ..all() }), ["audit", "billing"]);
    assert_eq!(chosen(GetConsumerRequest { group_ids: ids(), kinds: names(&["simple"]), ..all() }), ["audit"]);
    let active = chosen(GetConsumerRequest { active: Some(true), ..all() });
    let idle = chosen(GetConsumerRequest { active: Some(false), ..all() });
    assert_eq!(active.len() + idle.len(), 5, "{active:?} {idle:?}");
    assert!(active.contains(&"billing".to_owned()), "{active:?}");
}

#[test]
fn a_group_is_told_with_its_topics_members_and_sums() {
    let lab = shop();
    let answer = get(&lab, GetConsumerRequest::default()).unwrap();
    assert_eq!(ids(&answer), ["audit", "billing", "gone", "idle", "members-only"]);
    assert_eq!((answer.total, &*answer.next_page_token, answer.incomplete_clusters.len()), (5, "", 0));
    assert!(answer.snapshot.unwrap().clusters[0].complete);
    let [audit, billing, gone, idle, members_only]: [Consumer; 5] = answer.consumers.try_into().unwrap();
    assert_eq!(
        (&*billing.kind, &*billing.state, billing.members, billing.active),
        ("classic", "Stable", Some(2), true)
    );
    assert_eq!((billing.protocol_type.as_deref(), billing.protocol.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!((billing.epoch, billing.lag, billing.max_lag), (Some(4), Some(16), Some(10)));
    let topics: Vec<_> = billing.topics.iter().map(|of| (&*of.topic, of.partitions)).collect();
    assert_eq!(topics, [("orders", 2), ("payments", 1)]);
    assert!(billing.last_committed_at.is_some());
    assert_eq!((&*audit.kind, &*audit.state, audit.members, audit.active), ("simple", "Empty", Some(0), true));
    assert_eq!((audit.lag, audit.max_lag_seconds, &*audit.status), (Some(0), Some(0.0), "ok"));
    assert_eq!((audit.epoch, audit.protocol_type, audit.protocol), (None, None, None));
    assert_eq!((gone.lag, gone.max_lag, gone.unknown_lag_partitions, &*gone.status), (None, None, 1, "unknown"));
    assert_eq!((&*idle.kind, &*idle.state, idle.active, &*idle.status), ("classic", "Empty", false, "stopped"));
    assert_eq!((idle.protocol, idle.lag), (None, Some(17)));
    assert_eq!((members_only.members, members_only.active, members_only.topics.len()), (Some(1), true, 0));
    assert_eq!((members_only.lag, members_only.last_committed_at), (None, None));
}

#[test]
fn a_search_finds_parts_of_the_group_id_and_of_topics() {
    let lab = shop();
    let found = |search| {
        let answer = get(&lab, searched(search)).unwrap();
        assert_eq!(usize::try_from(answer.total).unwrap(), answer.consumers.len());
        ids(&answer).join(" ")
    };
    assert_eq!(found("ill"), "billing");
    assert_eq!(found("rder"), "audit billing idle");
    assert_eq!(found("payments"), "billing members-only", "assigned topics count as well as committed ones");
    assert_eq!(found("vanished"), "gone");
    assert_eq!(
        (found("BILL"), found("Payments")),
        ("billing".to_owned(), "billing members-only".to_owned()),
        "searches ignore case"
    );
    assert_eq!(found("b.lling"), "");
    assert_eq!(found("%"), "");
}

#[test]
fn any_column_of_groups_orders_and_unknown_comes_last() {
    let lab = shop();
    let by = |order_by: &str| ids(&get(&lab, ordered(order_by)).unwrap()).join(" ");
    assert_eq!(by(""), by("group_id"));
    assert_eq!(by("group_id desc"), "members-only idle gone billing audit");
    assert_eq!(by("lag"), "audit billing idle gone members-only");
    assert_eq!(by("lag desc"), "idle billing audit gone members-only");
    assert_eq!(by("lag DESC"), by(" lag  desc "));
    assert_eq!(by("members desc"), "billing members-only audit gone idle");
    assert_eq!(by("kind"), "billing idle members-only audit gone");
    assert_eq!(by("epoch desc"), "billing idle members-only audit gone");
    assert_eq!(by("last_committed_at"), "idle audit billing gone members-only");
    assert!(by("status desc").starts_with("idle gone"), "the worst first: {}", by("status desc"));
    for column in COLUMNS.split(", ") {
        for direction in ["", " asc", " desc"] {
            let answer = get(&lab, ordered(&format!("{column}{direction}"))).unwrap();
            assert_eq!(answer.consumers.len(), 5, "{column}{direction}");
        }
    }
}

#[test]
fn the_columns_that_order_are_those_of_the_table() {
    let lab = Lab::new(1);
    let rows = lab.sql("SELECT column_name AS name FROM columns WHERE table_name = 'groups' ORDER BY position").rows;
    let columns: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(columns.join(", "), COLUMNS);
}

#[test]
fn another_column_or_direction_is_invalid() {
    let lab = shop();
    assert_fails(get(&lab, ordered("lags")), Code::InvalidArgument, &["\"lags\"", "max_lag"]);
    assert_fails(get(&lab, ordered("lag down")), Code::InvalidArgument, &["\"down\"", "desc"]);
    assert_fails(get(&lab, ordered("lag desc, kind")), Code::InvalidArgument, &["order_by"]);
    let negative = GetConsumerRequest { page_size: -5, ..GetConsumerRequest::default() };
    assert_fails(get(&lab, negative), Code::InvalidArgument, &["page_size"]);
    let elsewhere = GetConsumerRequest { cluster: "x".to_owned(), ..GetConsumerRequest::default() };
    assert_fails(get(&lab, elsewhere), Code::NotFound, &["\"x\""]);
}

#[test]
fn a_walk_by_a_column_that_moves_keeps_the_order_of_its_start() {
    let lab = lagging(Setup::default(), 20);
    let mut request = GetConsumerRequest { page_size: 3, ..ordered("lag desc") };
    let mut found: Vec<String> = vec![];
    loop {
        let page = get(&lab, request.clone()).unwrap();
        assert_eq!(page.total, 20);
        found.extend(ids(&page).into_iter().map(ToOwned::to_owned));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // The last group gets the largest lag, and the first group gets none.
        lab.commit("g00", "t", 0, 1);
        lab.commit("g19", "t", 0, 100);
        lab.settle();
    }
    let expected: Vec<String> = (0..20).rev().map(|group| format!("g{group:02}")).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_walk_by_key_gives_each_group_once_while_others_come_and_go() {
    walk_by_key("");
    // The result of a search is cached and shared by several calls.
    walk_by_key("g");
}

fn walk_by_key(search: &str) {
    let lab = lagging(Setup::default(), 20);
    let mut request = GetConsumerRequest { page_size: 3, ..searched(search) };
    let mut found: Vec<String> = vec![];
    for page in 0.. {
        let answer = get(&lab, request.clone()).unwrap();
        found.extend(ids(&answer).into_iter().map(ToOwned::to_owned));
        if answer.next_page_token.is_empty() {
            break;
        }
        request.page_token = answer.next_page_token;
        lab.commit(&format!("a{page}"), "t", 0, 1);
        lab.commit(&format!("g{page:02}x"), "t", 0, 1);
        lab.writer.delete_offset(&format!("a{}", page - 1), "t", 0).unwrap();
        lab.settle();
    }
    assert!(found.is_sorted());
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len(), "no group twice: {found:?}");
    assert_eq!(
        found.iter().filter(|id| id.len() == 3 && id.starts_with('g')).count(),
        20,
        "no group missing: {found:?}"
    );
}

#[test]
fn a_walk_is_kept_for_a_minute_and_its_token_is_invalid_then() {
    let setup = Setup { clock: Clock::manual(1_800_000_000_000), ..Setup::default() };
    let lab = lagging(setup, 10);
    let request = GetConsumerRequest { page_size: 3, ..ordered("lag desc") };
    let first = get(&lab, request.clone()).unwrap();
    let next = GetConsumerRequest { page_token: first.next_page_token, ..request.clone() };
    lab.clock.advance(59_000);
    assert_eq!(ids(&get(&lab, next.clone()).unwrap()), ["g06", "g05", "g04"]);
    lab.clock.advance(2_000);
    assert_fails(get(&lab, next), Code::InvalidArgument, &["page_token", "60 s"]);
    // Pages in key order need no cached state.
    let by_key = GetConsumerRequest { page_size: 3, ..GetConsumerRequest::default() };
    let first = get(&lab, by_key.clone()).unwrap();
    lab.clock.advance(3_600_000);
    let next = GetConsumerRequest { page_token: first.next_page_token, ..by_key };
    assert_eq!(ids(&get(&lab, next).unwrap()), ["g03", "g04", "g05"]);
}

#[test]
fn answers_of_one_page_push_no_walk_out() {
    let lab = lagging(Setup::default(), 10);
    let request = GetConsumerRequest { page_size: 3, ..ordered("lag desc") };
    let first = get(&lab, request.clone()).unwrap();
    // Dashboards that refresh send such requests.
    (0..300).for_each(|_| drop(get(&lab, ordered("lag desc")).unwrap()));
    let next = GetConsumerRequest { page_token: first.next_page_token, ..request };
    assert_eq!(ids(&get(&lab, next).unwrap()), ["g06", "g05", "g04"]);
}

#[test]
fn a_token_serves_its_own_request_only() {
    let lab = shop();
    let first = get(&lab, GetConsumerRequest { page_size: 2, ..ordered("lag") }).unwrap();
    let token = first.next_page_token;
    let other = GetConsumerRequest { page_token: token.clone(), ..ordered("lag desc") };
    assert_fails(get(&lab, other), Code::InvalidArgument, &["page_token"]);
    let more = GetConsumerRequest { page_token: token, ..ordered("lag") };
    assert_eq!(ids(&get(&lab, more).unwrap()), ["idle", "gone", "members-only"]);
}

/// Returns the counts of a response, after a check that those of the requested statuses add up to its total.
fn counts(request: &GetConsumerRequest, answer: &GetConsumerResponse) -> Vec<(String, i64)> {
    let is_requested = |status: &String| request.statuses.is_empty() || request.statuses.contains(status);
    let requested = answer.status_counts.iter().filter(|of| is_requested(&of.status));
    assert_eq!(requested.map(|of| of.groups).sum::<i64>(), answer.total, "{request:?}");
    answer.status_counts.iter().map(|of| (of.status.clone(), of.groups)).collect()
}

#[test]
fn the_counts_by_status_agree_with_the_list_and_its_total() {
    let lab = shop();
    let all = GetConsumerRequest { with_status_counts: true, ..GetConsumerRequest::default() };
    let whole = get(&lab, all.clone()).unwrap();
    let of_list = whole.consumers.iter().fold(BTreeMap::<String, i64>::new(), |mut counts, consumer| {
        *counts.entry(consumer.status.clone()).or_default() += 1;
        counts
    });
    assert_eq!(counts(&all, &whole).into_iter().collect::<BTreeMap<_, _>>(), of_list);
    assert_eq!(whole.total, 5);
    for request in [
        GetConsumerRequest { order_by: "status desc".to_owned(), page_size: 2, ..all.clone() },
        GetConsumerRequest { statuses: vec!["unknown".to_owned()], ..all.clone() },
        GetConsumerRequest { statuses: vec!["nonsense".to_owned()], ..all.clone() },
    ] {
        let answer = get(&lab, request.clone()).unwrap();
        assert_eq!(counts(&request, &answer).into_iter().collect::<BTreeMap<_, _>>(), of_list, "{request:?}");
        if !answer.next_page_token.is_empty() {
            let next = GetConsumerRequest { page_token: answer.next_page_token, ..request };
            assert_eq!(get(&lab, next).unwrap().status_counts, [], "only the first page has counts");
        }
    }
    let searched = GetConsumerRequest { search: "payments".to_owned(), ..all };
    let answer = get(&lab, searched.clone()).unwrap();
    assert_eq!(counts(&searched, &answer).iter().map(|(_, groups)| groups).sum::<i64>(), 2);
    assert_eq!(get(&lab, GetConsumerRequest::default()).unwrap().status_counts, [], "they were not requested");
}

#[test]
fn counts_follow_a_status_that_changes_while_a_ranking_is_reused() {
    // The clock stands still, so the second call reuses the ranking of the first.
    let setup = Setup { clock: Clock::manual(1_800_000_000_000), ..Setup::default() };
    let lab = lagging(setup, 4);
    lab.commit("g03", "vanished", 0, 1);
    lab.wait_entry(("g03", "vanished", 0), |entry| entry.lag.is_none());
    let all = GetConsumerRequest { with_status_counts: true, ..ordered("status desc") };
    let unknown = GetConsumerRequest { statuses: vec!["unknown".to_owned()], ..all.clone() };
    let of = |status: &str, groups| (status.to_owned(), groups);
    let before = [of("unknown", 1), of("ok", 3)];
    assert_eq!(counts(&all, &get(&lab, all.clone()).unwrap()), before);
    assert_eq!(counts(&unknown, &get(&lab, unknown.clone()).unwrap()), before);
    lab.writer.delete_offset("g03", "vanished", 0).unwrap();
    lab.settle();
    let answer = get(&lab, all.clone()).unwrap();
    assert_eq!((counts(&all, &answer), answer.total), (vec![of("ok", 4)], 4));
    let answer = get(&lab, unknown.clone()).unwrap();
    assert_eq!((counts(&unknown, &answer), ids(&answer), answer.total), (vec![of("ok", 4)], vec![], 0));
}
