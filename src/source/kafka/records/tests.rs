use super::*;
use crate::model::Uuid;

#[test]
fn a_negative_committed_offset_is_a_deletion() {
    let key = OffsetCommitKey { group: "g", topic: "t", partition: 3 };
    let value = |offset| OffsetCommitValue {
        offset,
        leader_epoch: 4,
        metadata: "m",
        commit_timestamp: 5,
        expire_timestamp: -1,
        topic_id: Uuid::ZERO,
    };
    let is_deletion = |value: Option<&OffsetCommitValue<'_>>| match offset_event(&key, value) {
        EventKind::Delete { topic, partition } => (topic, partition) == ("t", 3),
        _ => false,
    };
    for offset in [-1, -2, i64::MIN] {
        assert!(is_deletion(Some(&value(offset))), "{offset}");
    }
    assert!(is_deletion(None));
    let EventKind::Commit { commit, .. } = offset_event(&key, Some(&value(0))) else { panic!("no commit") };
    assert_eq!((commit.committed_offset, commit.committed_at), (0, 5));
}
