//! Commits that no normal consumer writes, in every interface: an offset below 0, and times that no calendar has.

use offsetd::rpc::proto::{
    GetActiveConsumerRequest, GetConsumerRequest, GetOffsetRequest, OffsetChange, WatchRequest, WatchResponse,
};
use serde_json::{Value, json};
use tonic::{Code, Streaming};

use super::{assert_fails, shop};
use crate::mock::Commit;
use crate::program::{offsetd, stdout};
use crate::support::{LIMIT, Lab};

/// A watch that has returned the current entries.
struct Watch(Streaming<WatchResponse>);

impl Watch {
    fn start(lab: &Lab) -> Self {
        let request = WatchRequest { include_current: true, ..WatchRequest::default() };
        let mut watch = Self(lab.block_on(lab.client().watch(request)).unwrap().into_inner());
        while !watch.next(lab).current_complete {}
        watch
    }

    fn next(&mut self, lab: &Lab) -> WatchResponse {
        let message = lab.block_on(async { tokio::time::timeout(LIMIT, self.0.message()).await });
        message.expect("a message within the limit").unwrap().expect("the watch is still open")
    }

    /// Returns the next change of a group.
    fn change(&mut self, lab: &Lab, group: &str) -> OffsetChange {
        let of = |change: &OffsetChange| change.new.as_ref().or(change.old.as_ref()).unwrap().group_id == group;
        loop {
            if let Some(change) = self.next(lab).changes.into_iter().find(of) {
                return change;
            }
        }
    }
}

#[test]
fn a_committed_offset_below_zero_removes_the_offset() {
    let lab = shop();
    let mut watch = Watch::start(&lab);
    for (group, partition, offset) in [("billing", 0, -1), ("never", 0, -1), ("billing", 1, i64::MIN)] {
        lab.writer.commit(&Commit::new(group, "orders", partition, offset, lab.clock.now())).unwrap();
    }
    lab.settle();
    let deleted = watch.change(&lab, "billing");
    assert_eq!((deleted.old.map(|old| old.committed_offset), deleted.new), (Some(90), None));
    for group in ["billing", "never"] {
        assert_fails(lab.query(group, "orders", 0), Code::NotFound, &[group]);
    }
    let left = json!([{"topic": "payments", "committed_offset": 4, "lag": 6}]);
    let statement = "SELECT topic, committed_offset, lag FROM lag WHERE group_id IN ('billing', 'never')";
    assert_eq!(Value::from(lab.sql(statement).rows), left);
    let group = "SELECT partitions, lag, status FROM groups WHERE group_id = 'billing'";
    assert_eq!(Value::from(lab.sql(group).rows), json!([{"partitions": 1, "lag": 6, "status": "ok"}]));
    let commits = "SELECT group_id, partition, kind, committed_offset, previous_offset, \
                   committed_at >= now() - INTERVAL '1 hour' AS dated FROM commits ORDER BY partition";
    let tombstone = |partition: i32, previous: i32| {
        json!({"group_id": "billing", "partition": partition, "kind": "tombstone", "committed_offset": null,
               "previous_offset": previous, "dated": true})
    };
    assert_eq!(Value::from(lab.sql(commits).rows), json!([tombstone(0, 90), tombstone(1, 50)]));
    // The next commit is reported as a commit.
    lab.commit("billing", "orders", 0, 95);
    lab.settle();
    let entry = lab.entry("billing", "orders", 0);
    assert_eq!((entry.committed_offset, entry.lag), (95, Some(5)));
}

#[test]
fn a_time_that_sql_cannot_show_is_shown_by_no_interface() {
    let lab = shop();
    let mut watch = Watch::start(&lab);
    // Year 2262, year 58882, the maximum of the type, and values that Kafka treats as no time.
    for at in [9_223_372_036_855, 1_796_000_000_000_000, i64::MAX, 0, -1, i64::MIN] {
        let odd =
            Commit { version: 1, leader_epoch: -1, expires_at: Some(at), ..Commit::new("odd", "orders", 0, 7, at) };
        lab.writer.commit(&odd).unwrap();
        lab.settle();
        let change = watch.change(&lab, "odd");
        assert_eq!(change.new.unwrap().committed_at, None, "Watch: {at}");

        let (entry, shown) =
            (lab.entry("odd", "orders", 0), lab.get("/v1/query?group_id=odd&topic=orders&partition=0"));
        assert_eq!((entry.committed_at, entry.expires_at), (None, None), "Query: {at}");
        assert_eq!(shown.json()["entry"]["committed_at"], Value::Null, "/v1/query: {at}");
        let entries = lab.block_on(lab.client().get_offset(GetOffsetRequest::default())).unwrap().into_inner().entries;
        let entry = entries.iter().find(|entry| entry.group_id == "odd").unwrap();
        assert_eq!(entry.committed_at, None, "GetOffset: {at}");
        let groups = lab.block_on(lab.client().get_consumer(GetConsumerRequest::default())).unwrap().into_inner();
        let group = groups.consumers.iter().find(|group| group.group_id == "odd").unwrap();
        assert_eq!((group.last_committed_at, group.active), (None, true), "GetConsumer: {at}");
        let active = GetActiveConsumerRequest::default();
        let edges = lab.block_on(lab.client().get_active_consumer(active)).unwrap().into_inner().edges;
        let edge = edges.iter().find(|edge| edge.group_id == "odd").unwrap();
        assert_eq!(edge.last_committed_at, None, "GetActiveConsumer: {at}");

        for (table, column) in [
            ("offsets", "committed_at"),
            ("offsets", "expires_at"),
            ("lag", "committed_at"),
            ("commits", "committed_at"),
            ("groups", "last_committed_at"),
            ("relations", "last_committed_at"),
        ] {
            let rows = lab.sql(&format!("SELECT DISTINCT {column} AS at FROM {table} WHERE group_id = 'odd'")).rows;
            assert_eq!(Value::from(rows), json!([{"at": null}]), "{table}.{column}: {at}");
        }
        let page = lab.get("/metrics");
        let of_group = |line: &&str| line.contains("group_id=\"odd\"");
        let lines: Vec<&str> = page.text().lines().filter(of_group).collect();
        assert!(lines.iter().any(|line| line.starts_with("offsetd_consumer_committed_offset")), "{lines:?}");
        assert!(!lines.iter().any(|line| line.starts_with("offsetd_consumer_committed_timestamp")), "{at}: {lines:?}");
    }
    let query = stdout(&offsetd(&["query", "odd", "orders", "0", "--server", &lab.url("")], ""));
    assert!(!query.contains("committed_at: "), "{query}");
    // Other partitions of the group show their times.
    lab.commit("odd", "orders", 1, 7);
    lab.settle();
    let last = "SELECT last_committed_at IS NOT NULL AS known FROM groups WHERE group_id = 'odd'";
    assert_eq!(Value::from(lab.sql(last).rows), json!([{"known": true}]));
}
