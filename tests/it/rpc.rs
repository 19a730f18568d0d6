//! Every call of the gRPC interface, on an in-process server with the mock Kafka.

mod active;
mod commits;
mod consumers;
pub(crate) mod flight;
mod history;
mod offsets;
mod parameters;
mod query;
mod readiness;
mod sql;
mod transport;
mod watch;

use offsetd::rpc::proto::{OffsetFilter, StringFilter, string_filter::Match};
use tonic::{Code, Status};

use crate::mock::Commit;
use crate::support::{Lab, Setup, kafka, stable_group};

/// Milliseconds since a commit that counts as active.
pub(crate) const LATELY: i64 = 60_000;
/// Milliseconds since a commit, longer than the usual interval that is assumed if none is known.
pub(crate) const LONG_AGO: i64 = 5_400_000;

/// Starts a loaded server on a small shop:
///
/// | group | | topic/partition: committed of end |
/// |---|---|---|
/// | audit | simple, version 1 | orders/0: 100 of 100 |
/// | billing | member c1 has orders 0 and 1, c2 nothing | orders/0: 90 of 100, orders/1: 50 of 50, payments/0: 4 of 10 |
/// | gone | simple | vanished/0: 5 of a topic that does not exist |
/// | idle | without members, long ago | orders/2: 3 of 20 |
/// | members-only | member c3 has payments 1 | |
pub(crate) fn shop() -> Lab {
    let kafka = kafka(5);
    kafka.create_topic("orders", 3).unwrap();
    kafka.create_topic("payments", 2).unwrap();
    let (writer, setup) = (kafka.writer(), Setup::default());
    for (topic, partition, records) in [("orders", 0, 100), ("orders", 1, 50), ("orders", 2, 20), ("payments", 0, 10)] {
        writer.produce(topic, partition, records).unwrap();
    }
    let now = setup.clock.now();
    let lately = now - LATELY;
    for commit in [
        Commit { leader_epoch: 3, ..Commit::new("billing", "orders", 0, 90, lately) },
        Commit::new("billing", "orders", 1, 50, lately),
        Commit::new("billing", "payments", 0, 4, lately - 1),
        Commit {
            version: 1,
            leader_epoch: -1,
            metadata: "checkpoint 7",
            expires_at: Some(now + LONG_AGO),
            ..Commit::new("audit", "orders", 0, 100, lately)
        },
        Commit::new("gone", "vanished", 0, 5, lately),
        Commit::new("idle", "orders", 2, 3, now - LONG_AGO),
    ] {
        writer.commit(&commit).unwrap();
    }
    writer.write_group(&stable_group("billing", 4, &[("c1", &[("orders", &[0, 1])]), ("c2", &[])]), 3).unwrap();
    writer.write_group(&stable_group("idle", 2, &[]), 3).unwrap();
    writer.write_group(&stable_group("members-only", 1, &[("c3", &[("payments", &[1])])]), 3).unwrap();
    writer.flush().unwrap();
    setup.ready(&kafka)
}

pub(crate) fn exact(text: &str) -> Option<StringFilter> {
    Some(StringFilter { r#match: Some(Match::Exact(text.to_owned())) })
}

fn prefix(text: &str) -> Option<StringFilter> {
    Some(StringFilter { r#match: Some(Match::Prefix(text.to_owned())) })
}

fn regex(text: &str) -> Option<StringFilter> {
    Some(StringFilter { r#match: Some(Match::Regex(text.to_owned())) })
}

/// Returns a filter for a single group.
fn of_group(group: &str) -> Option<OffsetFilter> {
    Some(OffsetFilter { group_id: exact(group), ..OffsetFilter::default() })
}

/// Asserts the code, and that the message contains each of the words.
#[track_caller]
pub(crate) fn assert_fails<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, words: &[&str]) -> Status {
    let status = answer.expect_err("the call fails");
    assert_eq!(status.code(), code, "{status}");
    for word in words {
        assert!(status.message().contains(word), "{word:?} is not in {:?}", status.message());
    }
    status
}
