use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    clock::Clock,
    model::{Revision, SourceId, SourceKind},
    store::{
        event::ShardKey,
        group::{Commit, Extras, ShardContext},
        shard::{Groups, Limits},
    },
};

/// Commits to consecutive partitions of a topic, or their deletion.
#[derive(Clone, Debug)]
struct Step {
    group: usize,
    topic: usize,
    partitions: std::ops::Range<i32>,
    metadata: bool,
    deleted: bool,
    pinned: bool,
}

fn step() -> impl Strategy<Value = Step> {
    (0..3_usize, 0..3_usize, 0..250_i32, 1..120_i32, 0..10_u8, any::<bool>()).prop_map(
        |(group, topic, from, length, kind, pinned)| Step {
            group,
            topic,
            partitions: from..from + length,
            metadata: kind == 0,
            deleted: kind == 1,
            pinned,
        },
    )
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn events(steps: &[Step]) -> Vec<Event<'static>> {
    let all = steps.iter().flat_map(|step| step.partitions.clone().map(move |partition| (step, partition)));
    let event = |(revision, (step, partition)): (i64, (&Step, i32))| {
        let topic = NAMES[step.topic];
        let commit = Commit {
            committed_offset: revision * 10,
            committed_at: revision * revision % 977,
            leader_epoch: partition,
            metadata: if step.metadata { "m" } else { "" },
            expires_at: None,
            topic_id: None,
            first_seen_at: None,
        };
        let kind = match step.deleted {
            true => EventKind::Delete { topic, partition },
            false => EventKind::Commit { topic, partition, commit },
        };
        Event { revision: Revision(revision), at: 0, group: NAMES[step.group], kind }
    };
    (0..).zip(all).map(event).collect()
}

fn shard() -> Shard {
    let source = SourceId { cluster: "c".into(), name: "own".into() };
    let key = ShardKey { source, kind: SourceKind::Log, number: 0 };
    let limits = Limits { commits_kept: 0, watch_queue: 1 };
    Shard::new(key, ShardContext::default(), Arc::default(), Clock::manual(1_000), limits)
}

type Contents = BTreeMap<(String, String, i32), ([i64; 5], Option<Extras>)>;

fn contents(groups: &Groups) -> Contents {
    let entries = groups.iter().flat_map(|group| group.entries().map(|entry| (group.id.to_string(), entry)));
    let of = |(group, entry): (String, crate::store::group::Entry<'_>)| {
        let row = *entry.row;
        let what =
            [row.committed_offset, row.committed_at, row.revision.0, row.leader_epoch.into(), row.interval_ms.into()];
        ((group, entry.topic.to_string(), row.partition), (what, entry.extras.cloned()))
    };
    entries.map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_load_has_the_same_result_as_single_commits(steps in prop::collection::vec(step(), 1..40), run in 1..300_usize) {
        let (loaded, live) = (shard(), shard());
        let all = events(&steps);
        all.iter().for_each(|event| live.apply(std::slice::from_ref(event), Revision(0)));
        let mut pins = vec![];
        for (run, step) in all.chunks(run).zip(steps.iter().cycle()) {
            loaded.apply(run, Revision(i64::MAX));
            if step.pinned {
                let pin = loaded.pin();
                pins.push((contents(&pin.groups), pin));
            }
        }
        let (loaded, live) = (loaded.pin(), live.pin());
        prop_assert_eq!(contents(&loaded.groups), contents(&live.groups));
        prop_assert_eq!(loaded.groups.offsets(), live.groups.offsets());
        prop_assert_eq!(loaded.groups.offsets(), loaded.groups.iter().map(|group| group.len()).sum::<usize>());
        prop_assert_eq!((loaded.sequence, loaded.last), (live.sequence, live.last));
        for (then, pin) in pins {
            prop_assert_eq!(contents(&pin.groups), then);
        }
    }
}
