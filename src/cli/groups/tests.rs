use super::*;
use crate::rpc::proto::{Owner, TopicPartitions};

fn list() -> GroupList {
    let group = Consumer {
        cluster: "demo".to_owned(),
        group_id: "orders\u{7}".to_owned(),
        kind: "classic".to_owned(),
        state: "Stable".to_owned(),
        topics: vec![TopicPartitions { topic: "events".to_owned(), partitions: 4 }],
        members: Some(1),
        lag: Some(12),
        unknown_lag_partitions: 1,
        status: "ok".to_owned(),
        ..Consumer::default()
    };
    let owner = Owner {
        member_id: "m1".to_owned(),
        client_id: "c1".to_owned(),
        client_host: "/h".to_owned(),
        ..Owner::default()
    };
    let owned = ConsumerEdge {
        topic: "events".to_owned(),
        owner: Some(owner),
        partitions: vec![2, 0, 1, 7],
        ..ConsumerEdge::default()
    };
    let free = ConsumerEdge { topic: "old".to_owned(), partitions: vec![3], lag: Some(5), ..ConsumerEdge::default() };
    let incomplete_clusters = vec!["late".to_owned()];
    GroupList { groups: vec![group], edges: vec![owned, free], incomplete_clusters, snapshot: None }
}

#[test]
fn groups_and_edges_show_known_values() {
    let mut out = Vec::new();
    write_text(&mut out, &list(), true, TableLayout::default()).unwrap();
    let text = String::from_utf8(out).unwrap();
    let words = |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(words(2), ["orders\\u{7}", "classic", "Stable", "ok", "1", "1", "4", "≥12", "-", "-"]);
    assert_eq!(words(6), ["events", "c1", "/h", "0-2,7", "-", "m1"]);
    assert_eq!(words(7), ["old", "-", "-", "3", "5", "-"]);
    let last = "(1 group of cluster demo); late is not included, since it is not loaded yet";
    assert_eq!(text.lines().last(), Some(last));
}

#[tokio::test]
async fn all_pages_are_fetched() {
    use crate::{cli::tests::fake::Fake, rpc::proto::GetConsumerResponse};
    let page = |token: &str| GetConsumerResponse {
        consumers: list().groups,
        next_page_token: token.to_owned(),
        ..GetConsumerResponse::default()
    };
    let mut client = Fake { groups: vec![page("1"), page("2"), page("")], ..Fake::default() }.client(None).await;
    let server = ServerArgs::default();
    let (search, cluster, order_by) = Default::default();
    let args = GroupsArgs {
        search,
        active: false,
        within: None,
        cluster,
        order_by,
        wide: false,
        format: OutputFormat::Text,
        server,
    };
    assert_eq!(fetch_groups(&mut client, &args).await.unwrap().groups.len(), 3);
}

#[test]
fn edges_are_in_the_json_of_active_groups_only() {
    assert_eq!(list().to_json(true)["edges"][0]["owner"]["client_id"], "c1");
    assert_eq!(list().to_json(false).get("edges"), None);
    assert_eq!(list().to_json(false)["consumers"][0]["lag"], 12);
}

#[test]
fn tables_fit_a_terminal_of_80_columns_and_keep_lag_and_status() {
    let mut list = list();
    list.groups[0].group_id = "a-group-with-a-long-name-indeed".to_owned();
    list.groups[0].last_committed_at = Some(prost_types::Timestamp::default());
    list.edges[0].owner.as_mut().unwrap().member_id = "m".repeat(50);
    let shown = |layout: TableLayout| {
        let mut out = Vec::new();
        write_text(&mut out, &list, true, layout).unwrap();
        String::from_utf8(out).unwrap()
    };
    for width in [80, 120] {
        let text = shown(TableLayout { width: Some(width), ..TableLayout::default() });
        assert!(text.lines().all(|line| crate::cli::text::width(line) <= width), "{text}");
        assert!(text.contains("≥12") && text.contains("ok"), "{text}");
    }
    let text = shown(TableLayout { width: Some(80), expanded: Expanded::Off, ..TableLayout::default() });
    assert!(text.contains("cluster") && text.contains("member_id"), "{text}");
}
