use super::*;
use crate::{
    clock::Clock,
    model::{SourceId, SourceKind},
    store::{event::ShardKey, group::Kit, shard::Limits},
};

fn shard(number: i32) -> Arc<Shard> {
    let source = SourceId { cluster: "c".into(), name: "kafka".into() };
    let key = ShardKey { source, kind: SourceKind::Log, number };
    let limits = Limits { commits_kept: 1, watch_queue: 1 };
    Arc::new(Shard::new(key, Kit::default(), Arc::default(), Clock::manual(0), limits))
}

#[test]
fn a_load_that_does_not_move_for_half_a_minute_is_told_and_one_that_moves_is_not() {
    let (still, moving) = (shard(0), shard(1));
    let both = [Arc::clone(&still), Arc::clone(&moving)];
    let (start, mut loads) = (now(), Loads::default());
    let mut told = |seconds| {
        moving.set_applied(Revision(i64::try_from(seconds).unwrap()));
        let stalled = loads.note(&both, start + Duration::from_secs(seconds));
        stalled.iter().map(|shard| shard.key.number).collect::<Vec<_>>()
    };
    assert_eq!((told(0), told(29)), (vec![], vec![]));
    assert_eq!(told(30), [0]);
    assert_eq!(told(59), [0_i32; 0], "reported once in 30 s");
    assert_eq!(told(60), [0]);
    still.set_applied(Revision(7));
    assert_eq!((told(91), told(120)), (vec![], vec![]), "it made progress");
}
