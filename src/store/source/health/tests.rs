use super::*;
use futures::{FutureExt as _, future::BoxFuture};
use std::sync::Arc;

use crate::{
    model::{Revision, SourceId},
    store::{
        latest::{LatestOffsets, Scope, SourceError},
        source::Kind,
        windows::Replaced,
    },
};

/// A source of the latest offsets that is not used.
#[derive(Debug)]
struct Silent;

impl LatestOffsets for Silent {
    fn required_revisions<'a>(&'a self, _: &'a Scope) -> BoxFuture<'a, Result<Vec<(i32, Revision)>, SourceError>> {
        async { Ok(vec![]) }.boxed()
    }
}

fn source(clock: &Clock) -> Source {
    let id = SourceId { cluster: "c".into(), name: "own".into() };
    Source::new((id, "test".into()), Kind::Table, Arc::new(Silent), clock)
}

#[test]
fn a_missing_right_makes_a_cluster_stale_and_not_ready() {
    let clock = Clock::manual(5);
    let source = source(&clock);
    source.succeeded(&clock);
    source.set_health(|health| health.ready = true);
    source.set_fault(Fault::Read, Some("may not read".to_owned()), &clock);
    source.set_fault(Fault::Describe, Some("may not describe".to_owned()), &clock);
    source.succeeded(&clock);
    let health = source.health();
    assert!(!health.ready && health.reachable && health.is_refused());
    assert_eq!((health.last_error.as_deref(), health.stale_since), (Some("may not describe"), Some(clock.now())));

    source.failed(Fault::Unreachable, "away".to_owned(), &clock);
    source.set_fault(Fault::Describe, None, &clock);
    assert_eq!(source.health().last_error.as_deref(), Some("poller: away"), "an unreachable cluster is shown first");
    source.succeeded(&clock);
    assert_eq!(source.health().last_error.as_deref(), Some("may not read"));

    source.set_fault(Fault::Read, None, &clock);
    let health = source.health();
    assert_eq!((health.last_error.as_deref(), health.stale_since, health.failing_since), (None, None, None));
    assert!(!health.ready, "ready only after the readers have caught up");
}

#[test]
fn a_task_neither_clears_nor_replaces_the_fault_of_another() {
    let clock = Clock::manual(5);
    let source = source(&clock);
    let shown = || source.health().last_error.clone();
    assert_eq!(shown().as_deref(), Some("not connected yet"));
    source.succeeded(&clock);
    assert_eq!(shown(), None);
    source.set_fault(Fault::Start, Some("log partition 3: no leader".to_owned()), &clock);
    // The poller still reaches the cluster.
    source.succeeded(&clock);
    assert_eq!(shown().as_deref(), Some("listener: log partition 3: no leader"));
    assert!(source.health().failing_since.is_some());
    source.failed(Fault::Unreachable, "connection refused".to_owned(), &clock);
    assert_eq!(shown().as_deref(), Some("poller: connection refused"), "the first fault is shown");
    source.succeeded(&clock);
    assert_eq!(shown().as_deref(), Some("listener: log partition 3: no leader"));
    source.set_fault(Fault::Start, None, &clock);
    assert_eq!((shown(), source.health().failing_since), (None, None));
}

#[test]
fn a_source_with_another_mode_stays_ready_and_stale_until_that_mode_is_loaded() {
    let clock = Clock::manual(5);
    let source = source(&clock);
    source.succeeded(&clock);
    source.set_health(|health| (health.ready, health.has_other_mode) = (true, true));
    source.set_fault(Fault::Read, Some("may not read".to_owned()), &clock);
    let health = source.health();
    assert!(health.ready && health.is_refused() && health.stale_since.is_some());
    let aside = source.aside(Kind::Table, Arc::new(Silent), &clock);
    aside.set_health(|health| (health.ready, health.shards) = (true, Some(1)));
    source.adopt((&aside, Replaced::default()), "may not read".to_owned(), &clock);
    let health = source.health();
    assert!(health.ready && !health.is_refused() && health.stale_since.is_none() && health.last_error.is_none());
    assert_eq!((health.shards, health.mode_reason.as_deref()), (Some(1), Some("may not read")));
    // Without another mode, a missing right makes the source not ready.
    source.set_health(|health| health.has_other_mode = false);
    source.set_fault(Fault::Read, Some("may not read".to_owned()), &clock);
    assert!(!source.health().ready);
}
