use super::*;
use crate::{
    clock::Clock,
    model::{SourceId, SourceKind},
    store::{event::ShardKey, group::ShardContext, shard::Limits},
};

fn shard(number: i32) -> Arc<Shard> {
    let source = SourceId { cluster: "c".into(), name: "kafka".into() };
    let key = ShardKey { source, kind: SourceKind::Log, number };
    let limits = Limits { commits_kept: 1, watch_queue: 1 };
    Arc::new(Shard::new(key, ShardContext::default(), Arc::default(), Clock::manual(0), limits))
}

#[test]
fn a_load_without_progress_for_30_s_is_reported_as_stalled() {
    let (still, moving) = (shard(0), shard(1));
    let both = [Arc::clone(&still), Arc::clone(&moving)];
    let (start, mut loads) = (now(), LoadProgress::default());
    let mut stalled_at = |seconds| {
        moving.set_applied(Revision(i64::try_from(seconds).unwrap()));
        let stalled = loads.update(&both, start + Duration::from_secs(seconds));
        stalled.iter().map(|shard| shard.key.number).collect::<Vec<_>>()
    };
    assert_eq!((stalled_at(0), stalled_at(29)), (vec![], vec![]));
    assert_eq!(stalled_at(30), [0]);
    assert_eq!(stalled_at(59), [0_i32; 0], "reported once in 30 s");
    assert_eq!(stalled_at(60), [0]);
    still.set_applied(Revision(7));
    assert_eq!((stalled_at(91), stalled_at(120)), (vec![], vec![]), "it made progress");
}
