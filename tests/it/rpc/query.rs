//! Query: one committed offset.

use std::fs;

use offsetd::clock::Clock;
use offsetd::rpc::proto::{Freshness, LagUnknown, QueryRequest};
use tempfile::TempDir;
use tonic::Code;

use super::{LATELY, assert_fails, shop};
use crate::mock::{Commit, MockKafka};
use crate::process::wait_for;
use crate::support::{Assigned, LIMIT, Lab, Setup, kafka};

#[test]
fn an_entry_says_all_that_is_known_of_an_offset() {
    let lab = shop();
    let answer = lab.query("billing", "orders", 0).unwrap();
    let entry = answer.entry.unwrap();
    assert_eq!((&*entry.cluster, &*entry.source), ("default", "kafka"));
    assert_eq!((&*entry.group_id, &*entry.topic, entry.partition), ("billing", "orders", 0));
    assert_eq!((entry.committed_offset, entry.log_start_offset, entry.log_end_offset), (90, Some(0), Some(100)));
    assert_eq!((entry.lag, entry.lag_unknown()), (Some(10), LagUnknown::Unspecified));
    assert_eq!((entry.leader_epoch, &*entry.metadata, entry.expires_at), (Some(3), "", None));
    assert_eq!(entry.log_partition, Some(lab.writer.log_partition("billing").unwrap()));
    assert!(entry.log_offset.is_some_and(|offset| offset >= 0));
    assert_eq!(entry.topic_id, None, "a zero topic id means unknown");
    let committed_at = entry.committed_at.unwrap();
    let age = lab.clock.now() - (committed_at.seconds * 1000 + i64::from(committed_at.nanos) / 1_000_000);
    assert!((LATELY..LATELY + 600_000).contains(&age), "{age}");
    let owner = entry.owner.expect("the partition has an owner");
    assert_eq!((&*owner.member_id, &*owner.client_id, &*owner.client_host), ("c1-id", "c1", "/10.0.0.1"));
    assert_eq!(owner.instance_id.as_deref(), Some("c1-instance"));
    let snapshot = answer.snapshot.unwrap();
    assert!(!snapshot.id.is_empty() && snapshot.taken_at.is_some());
    assert_eq!(snapshot.clusters.len(), 1);
    assert!(snapshot.clusters[0].complete && snapshot.clusters[0].newest_record_at.is_some());
    assert_eq!(snapshot.clusters[0].stale_since, None);
}

#[test]
fn what_is_not_known_is_unset() {
    let lab = shop();
    let entry = lab.entry("gone", "vanished", 0);
    assert_eq!((entry.log_start_offset, entry.log_end_offset, entry.lag, entry.lag_seconds), (None, None, None, None));
    assert_eq!((entry.lag_unknown(), &*entry.status), (LagUnknown::EndUnknown, "unknown"));
    assert_eq!(entry.owner, None);
    let entry = lab.entry("audit", "orders", 0);
    assert_eq!((entry.leader_epoch, &*entry.metadata), (None, "checkpoint 7"));
    assert!(entry.expires_at.is_some(), "version 1 has its own retention time");
    assert_eq!((entry.lag, entry.lag_seconds, &*entry.status), (Some(0), Some(0.0), "ok"));
}

#[test]
fn a_group_that_has_not_committed_for_longer_than_usual_is_stopped_if_it_has_lag() {
    let lab = shop();
    let entry = lab.entry("idle", "orders", 2);
    assert_eq!((entry.lag, &*entry.status), (Some(17), "stopped"));
}

#[test]
fn not_found_says_which_of_cluster_group_topic_and_partition() {
    let lab = shop();
    assert_fails(lab.query("missing", "orders", 0), Code::NotFound, &["no group", "\"missing\""]);
    assert_fails(lab.query("billing", "nothing", 0), Code::NotFound, &["topic \"nothing\"", "billing"]);
    assert_fails(lab.query("billing", "orders", 2), Code::NotFound, &["partition 2", "\"orders\"", "billing"]);
    assert_fails(lab.query("billing", "orders", -1), Code::NotFound, &["partition -1"]);
    let of = |cluster: &str, source: &str| QueryRequest {
        cluster: cluster.to_owned(),
        source: source.to_owned(),
        group_id: "billing".to_owned(),
        topic: "orders".to_owned(),
        ..QueryRequest::default()
    };
    let query = |request| lab.block_on(lab.client().query(request));
    assert_fails(query(of("elsewhere", "")), Code::NotFound, &["\"elsewhere\"", "\"default\""]);
    assert_fails(query(of("", "zookeeper")), Code::NotFound, &["source", "\"zookeeper\""]);
    assert_eq!(query(of("default", "kafka")).unwrap().into_inner().entry.unwrap().committed_offset, 90);
}

#[test]
fn a_tombstone_removes_the_offset_and_the_group_with_its_last() {
    let lab = shop();
    lab.writer.delete_offset("billing", "payments", 0).unwrap();
    lab.writer.delete_offset("audit", "orders", 0).unwrap();
    lab.settle();
    assert_fails(lab.query("billing", "payments", 0), Code::NotFound, &["topic \"payments\""]);
    assert_fails(lab.query("audit", "orders", 0), Code::NotFound, &["no group"]);
    assert_eq!(lab.entry("billing", "orders", 0).committed_offset, 90);
}

#[test]
fn a_group_without_members_keeps_its_offsets() {
    let lab = shop();
    lab.writer.delete_group("billing").unwrap();
    lab.settle();
    let entry = lab.entry("billing", "orders", 0);
    assert_eq!((entry.committed_offset, entry.owner), (90, None));
}

#[test]
fn latest_always_sees_a_commit_that_was_acknowledged_before() {
    let lab = Lab::new(3);
    for offset in 1..=10 {
        lab.commit("eager", "t", 0, offset);
        lab.writer.flush().unwrap();
        let request = QueryRequest {
            group_id: "eager".to_owned(),
            topic: "t".to_owned(),
            freshness: Freshness::Latest.into(),
            ..QueryRequest::default()
        };
        let answer = lab.block_on(lab.client().query(request)).unwrap().into_inner();
        assert_eq!(answer.entry.unwrap().committed_offset, offset);
    }
}

#[test]
fn lag_follows_commits_and_log_ends() {
    let kafka = kafka(1);
    kafka.create_topic("t", 1).unwrap();
    let lab = Setup::default().ready(&kafka);
    lab.writer.produce("t", 0, 5).unwrap();
    lab.commit("g", "t", 0, 2);
    lab.wait_entry(("g", "t", 0), |entry| entry.lag == Some(3));
    lab.writer.produce("t", 0, 4).unwrap();
    lab.wait_entry(("g", "t", 0), |entry| entry.lag == Some(7) && entry.log_end_offset == Some(9));
    lab.commit("g", "t", 0, 9);
    lab.wait_entry(("g", "t", 0), |entry| entry.lag == Some(0) && entry.lag_seconds == Some(0.0));
    // No log end that was observed after the commit reaches it.
    lab.commit("g", "t", 0, 1000);
    lab.wait_entry(("g", "t", 0), |entry| entry.lag.is_none() && entry.lag_unknown() == LagUnknown::AheadOfLog);
}

#[test]
fn the_owner_is_that_of_the_newest_membership() {
    let lab = shop();
    let members: [(&str, &[Assigned<'_>]); 1] = [("c9", &[("orders", &[0])])];
    lab.writer.write_group(&crate::support::stable_group("billing", 5, &members), 3).unwrap();
    let entry = wait_for("the new owner", LIMIT, || {
        let entry = lab.entry("billing", "orders", 0);
        let owner = entry.owner.clone().map(|owner| owner.client_id);
        if owner.as_deref() == Some("c9") { Ok(entry) } else { Err(format!("{owner:?}")) }
    });
    assert_eq!(entry.lag, Some(10));
    assert_eq!(lab.entry("billing", "orders", 1).owner, None);
}

#[test]
fn two_snapshots_of_different_data_have_different_ids() {
    // With a manual clock, all snapshots have the same millisecond.
    let setup = Setup { clock: Clock::manual(1_800_000_000_000), ..Setup::default() };
    let lab = setup.ready(&kafka(1));
    let id = |offset| {
        lab.commit("g", "t", 0, offset);
        lab.settle();
        let answer = lab.query("g", "t", 0).unwrap();
        assert_eq!(answer.entry.unwrap().committed_offset, offset);
        answer.snapshot.unwrap().id
    };
    assert_ne!(id(1), id(2));
}

/// Starts a server with the clusters `east` and `west`: the group `both` is in both, `west-only` in one.
fn two_clusters() -> (Lab, [MockKafka; 2], TempDir) {
    let clusters = [("east", &["both"][..]), ("west", &["both", "west-only"])].map(|(name, groups)| {
        let kafka = kafka(2);
        kafka.create_topic("orders", 2).unwrap();
        for group in groups {
            kafka.commit(&Commit::new(group, "orders", 0, 5, 1_700_000_000_000)).unwrap();
        }
        kafka.flush().unwrap();
        (name, kafka)
    });
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("offsetd.toml");
    let section = |(name, kafka): &(&str, MockKafka)| {
        format!("[clusters.{name}]\nbootstrap_servers = \"{}\"\n", kafka.bootstrap_servers())
    };
    fs::write(&file, clusters.iter().map(section).collect::<String>()).unwrap();
    let [(_, east), (_, west)] = clusters;
    let lab = Setup { config_file: Some(file), ..Setup::default() }.ready(&east);
    (lab, [east, west], dir)
}

#[test]
fn without_a_cluster_the_only_one_that_has_the_offset_answers() {
    let (lab, [east, _west], _dir) = two_clusters();
    let request = |group: &str, partition, freshness: Freshness| QueryRequest {
        group_id: group.to_owned(),
        topic: "orders".to_owned(),
        partition,
        freshness: freshness.into(),
        ..QueryRequest::default()
    };
    let query = |request| lab.block_on(lab.client().query(request)).map(|answer| answer.into_inner().entry.unwrap());
    for freshness in [Freshness::Unspecified, Freshness::Latest] {
        let entry = query(request("west-only", 0, freshness)).unwrap();
        assert_eq!((&*entry.cluster, entry.committed_offset), ("west", 5));
        let several = ["cluster: several clusters have this offset, name one of them: east, west"];
        assert_fails(query(request("both", 0, freshness)), Code::InvalidArgument, &several);
        let none = ["no group \"missing\" in clusters \"east\", \"west\""];
        assert_fails(query(request("missing", 0, freshness)), Code::NotFound, &none);
        let other = ["group \"both\" has no offset for partition 1 of topic \"orders\""];
        assert_fails(query(request("both", 1, freshness)), Code::NotFound, &other);
    }
    // A commit that was acknowledged before the call is part of the answer, whichever cluster has it.
    east.commit(&Commit::new("new", "orders", 1, 7, 1_700_000_000_000)).unwrap();
    east.flush().unwrap();
    let entry = query(request("new", 1, Freshness::Latest)).unwrap();
    assert_eq!((&*entry.cluster, entry.committed_offset), ("east", 7));
    let named = QueryRequest { cluster: "west".to_owned(), ..request("both", 0, Freshness::Unspecified) };
    assert_eq!(query(named).unwrap().cluster, "west");
}
