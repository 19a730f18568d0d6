//! GetActiveConsumer: active groups and the edges of their graph.

use offsetd::rpc::proto::{ConsumerEdge, GetActiveConsumerRequest, GetActiveConsumerResponse};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::{LATELY, LONG_AGO, assert_fails, shop};
use crate::mock::Commit;
use crate::support::Lab;

fn get(lab: &Lab, request: GetActiveConsumerRequest) -> Result<GetActiveConsumerResponse, Status> {
    lab.block_on(lab.client().get_active_consumer(request)).map(tonic::Response::into_inner)
}

fn within(millis: i64) -> GetActiveConsumerRequest {
    let nanos = i32::try_from(millis % 1000).unwrap() * 1_000_000;
    let within = Some(prost_types::Duration { seconds: millis / 1000, nanos });
    GetActiveConsumerRequest { within, ..GetActiveConsumerRequest::default() }
}

fn ids(answer: &GetActiveConsumerResponse) -> String {
    answer.consumers.iter().map(|consumer| &*consumer.group_id).collect::<Vec<_>>().join(" ")
}

/// Group, topic, owner, partitions, lag.
type Edge<'a> = (&'a str, &'a str, &'a str, &'a [i32], Option<i64>);

fn edge(edge: &ConsumerEdge) -> Edge<'_> {
    let owner = edge.owner.as_ref().map_or("", |owner| &*owner.client_id);
    (&edge.group_id, &edge.topic, owner, &edge.partitions, edge.lag)
}

#[test]
fn edges_lead_from_the_group_over_the_topic_to_the_owner() {
    let lab = shop();
    let answer = get(&lab, GetActiveConsumerRequest::default()).unwrap();
    assert_eq!(ids(&answer), "audit billing gone members-only");
    let edges: Vec<_> = answer.edges.iter().map(edge).collect();
    let expected: [Edge<'_>; 5] = [
        ("audit", "orders", "", &[0], Some(0)),
        ("billing", "orders", "c1", &[0, 1], Some(10)),
        ("billing", "payments", "", &[0], Some(6)),
        ("gone", "vanished", "", &[0], None),
        ("members-only", "payments", "c3", &[1], None),
    ];
    assert_eq!(edges, expected);
    let committed: Vec<_> = answer.edges.iter().map(|edge| edge.last_committed_at.is_some()).collect();
    assert_eq!(committed, [true, true, true, true, false]);
    let owner = answer.edges[1].owner.as_ref().unwrap();
    assert_eq!((&*owner.member_id, &*owner.client_host), ("c1-id", "/10.0.0.1"));
    assert!(answer.edges.iter().all(|edge| edge.cluster == "default"));
}

#[test]
fn the_view_active_consumers_has_the_same_edges() {
    let lab = shop();
    let sql = "SELECT group_id, topic, coalesce(member_id, '') AS member_id, coalesce(instance_id, '') AS instance_id, \
               coalesce(client_id, '') AS client_id, coalesce(client_host, '') AS client_host, partitions, lag, \
               CAST(last_committed_at AS BIGINT) / 1000000 AS committed FROM active_consumers ORDER BY 1, 2, 3";
    let of_view: Vec<_> = lab.sql(sql).rows.iter().map(|row| row.as_object().unwrap().clone()).collect();
    let answer = get(&lab, GetActiveConsumerRequest::default()).unwrap();
    let of_call: Vec<_> = answer.edges.iter().map(of_edge).collect();
    assert_eq!(of_view, of_call);
    assert_eq!(of_call.len(), 5);
}

/// Returns an edge with the columns of the view.
fn of_edge(edge: &ConsumerEdge) -> serde_json::Map<String, Value> {
    let owner = edge.owner.clone().unwrap_or_default();
    let committed = edge.last_committed_at.as_ref().map(|at| at.seconds * 1000 + i64::from(at.nanos) / 1_000_000);
    let row = json!({
        "group_id": edge.group_id, "topic": edge.topic, "member_id": owner.member_id,
        "instance_id": owner.instance_id.unwrap_or_default(), "client_id": owner.client_id,
        "client_host": owner.client_host, "partitions": edge.partitions.len(), "lag": edge.lag, "committed": committed,
    });
    row.as_object().unwrap().clone()
}

#[test]
fn within_says_how_long_a_commit_counts_and_members_always_do() {
    let lab = shop();
    assert_eq!(ids(&get(&lab, within(LATELY / 2)).unwrap()), "billing members-only");
    assert_eq!(ids(&get(&lab, within(0)).unwrap()), "billing members-only");
    let all = "audit billing gone idle members-only";
    assert_eq!(ids(&get(&lab, within(LONG_AGO * 2)).unwrap()), all);
    assert_eq!(ids(&get(&lab, within(i64::MAX)).unwrap()), all);
}

#[test]
fn relations_that_are_over_are_no_edges() {
    let lab = shop();
    // The groups are active on other topics; these they left long ago. A commit time ahead of the clock does not keep
    // an edge.
    let long_ago = lab.clock.now() - LONG_AGO;
    for (group, topic, partition) in [("audit", "payments", 1), ("billing", "orders", 2)] {
        lab.writer.commit(&Commit::new(group, topic, partition, 2, long_ago)).unwrap();
    }
    lab.settle();
    let edges = |request| -> Vec<(String, String, String)> {
        let edges = get(&lab, request).unwrap().edges;
        let parts = |of: &ConsumerEdge| {
            let (group, topic, owner, ..) = edge(of);
            (group.to_owned(), topic.to_owned(), owner.to_owned())
        };
        edges.iter().map(parts).filter(|(group, ..)| group == "audit" || group == "billing").collect()
    };
    let all = [
        ("audit", "orders", ""),
        ("audit", "payments", ""),
        ("billing", "orders", ""),
        ("billing", "orders", "c1"),
        ("billing", "payments", ""),
    ];
    let all = all.map(|(group, topic, owner)| (group.to_owned(), topic.to_owned(), owner.to_owned()));
    let active = [0, 3, 4].map(|at| all[at].clone());
    assert_eq!(edges(GetActiveConsumerRequest::default()), active);
    assert_eq!(edges(within(LONG_AGO * 2)), all);
    assert_eq!(edges(within(LATELY / 2)), [all[3].clone()], "an owner keeps the edge, however old its commit is");
    let view = |name: &str| {
        let sql = format!(
            "SELECT group_id, topic, coalesce(client_id, '') AS client FROM {name} \
                           WHERE group_id IN ('audit', 'billing') ORDER BY 1, 2, 3"
        );
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        let rows = lab.sql(&sql).rows;
        rows.iter().map(|row| (text(row, "group_id"), text(row, "topic"), text(row, "client"))).collect::<Vec<_>>()
    };
    assert_eq!((view("active_consumers"), view("relations")), (active.to_vec(), all.to_vec()));
}

#[test]
fn a_negative_within_is_invalid() {
    let lab = shop();
    for (seconds, nanos) in [(-1, 0), (0, -1)] {
        let within = Some(prost_types::Duration { seconds, nanos });
        let answer = get(&lab, GetActiveConsumerRequest { within, ..GetActiveConsumerRequest::default() });
        assert_fails(answer, Code::InvalidArgument, &["within", "negative"]);
    }
}

#[test]
fn pages_hold_the_edges_of_their_own_groups() {
    let lab = shop();
    let whole = get(&lab, GetActiveConsumerRequest::default()).unwrap();
    let mut request = GetActiveConsumerRequest { page_size: 1, ..GetActiveConsumerRequest::default() };
    let (mut groups, mut edges) = (vec![], vec![]);
    loop {
        let page = get(&lab, request.clone()).unwrap();
        assert_eq!(page.consumers.len(), 1);
        assert!(page.edges.iter().all(|edge| edge.group_id == page.consumers[0].group_id));
        groups.push(page.consumers[0].group_id.clone());
        edges.extend(page.edges);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!((groups.join(" "), edges), (ids(&whole), whole.edges));
    let other = GetActiveConsumerRequest { search: "x".to_owned(), ..request };
    assert_fails(get(&lab, other), Code::InvalidArgument, &["page_token"]);
}

#[test]
fn a_search_finds_groups_and_topics() {
    let lab = shop();
    let search = |text: &str| GetActiveConsumerRequest { search: text.to_owned(), ..Default::default() };
    assert_eq!(ids(&get(&lab, search("payments")).unwrap()), "billing members-only");
    assert_eq!(ids(&get(&lab, search("only")).unwrap()), "members-only");
    assert_eq!(ids(&get(&lab, search("idle")).unwrap()), "", "the group is found but not active");
}

#[test]
fn the_worst_groups_come_first_and_a_page_ends_before_too_many_edges() {
    let lab = shop();
    let request = |max_edges| GetActiveConsumerRequest {
        order_by: "status desc".to_owned(),
        max_edges,
        ..GetActiveConsumerRequest::default()
    };
    let whole = get(&lab, request(0)).unwrap();
    assert_eq!((ids(&whole), whole.total), ("gone members-only billing audit".to_owned(), 4));
    assert!(whole.next_page_token.is_empty());
    // billing has two edges: it does not fit on the first page, and alone on the second one, where nothing else does.
    let (mut pages, mut request) = (vec![], request(3));
    loop {
        let page = get(&lab, request.clone()).unwrap();
        assert_eq!(page.total, 4);
        pages.push((ids(&page), page.edges.len()));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(pages, [("gone members-only".to_owned(), 2), ("billing audit".to_owned(), 3)]);
    let one = GetActiveConsumerRequest { page_token: String::new(), max_edges: 1, ..request.clone() };
    let first = get(&lab, GetActiveConsumerRequest { search: "billing".to_owned(), ..one }).unwrap();
    assert_eq!((ids(&first), first.edges.len()), ("billing".to_owned(), 2), "a page has one group, however many edges");
    let unknown = GetActiveConsumerRequest { statuses: vec!["unknown".to_owned()], ..Default::default() };
    let unknown = get(&lab, unknown).unwrap();
    assert_eq!((ids(&unknown), unknown.total), ("gone members-only".to_owned(), 2));
    let negative = GetActiveConsumerRequest { max_edges: -1, ..Default::default() };
    assert_fails(get(&lab, negative), Code::InvalidArgument, &["max_edges", "negative"]);
}
