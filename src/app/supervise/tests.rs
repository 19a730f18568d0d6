//! Tests of tasks that end, and of the effect on all other tasks.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    config::{Config, Flags, Layers},
    source::kafka::Log,
    store::{cluster::Cluster, cut::Settings},
};

fn cluster(name: &str, clock: &Clock) -> Arc<Cluster> {
    let flags =
        Flags { bootstrap_servers: Some("h:1".to_owned()), cluster_name: Some(name.to_owned()), ..Flags::default() };
    let layers = Layers { flags: &flags, env: &BTreeMap::new(), check_property: None };
    Log::open(Config::load(layers).unwrap().config.clusters.remove(0), clock).0
}

fn store(clusters: &[&str], clock: &Clock) -> Arc<Store> {
    let settings = Settings { window: 1, active_within: 1, commits_kept: 100, watch_queue: 1 };
    let clusters = clusters.iter().map(|name| cluster(name, clock)).collect();
    Arc::new(Store::new(clusters, clock.clone(), settings))
}

fn own(store: &Arc<Store>, name: &str, stop: &CancellationToken) -> TaskOwner {
    TaskOwner::new(store, &store.cluster(name).unwrap().own, true, stop)
}

/// A task that panics in its first `times` runs, and then runs until `stop`.
fn failing(times: usize, runs: &Arc<AtomicUsize>, stop: &CancellationToken) -> impl FnMut() -> Run + Send + use<> {
    let (runs, stop) = (Arc::clone(runs), stop.clone());
    move || {
        let (run, stop) = (runs.fetch_add(1, Ordering::SeqCst), stop.clone());
        on_thread("east/listener", move || {
            assert!(run >= times, "the task panics");
            while !stop.is_cancelled() {
                thread::yield_now();
            }
            Ok(())
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_one_cluster_of_several_is_started_again_and_its_cluster_shown_failing() {
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let store = store(&["east", "west"], &clock);
    let (east, west) = (store.cluster("east").unwrap(), store.cluster("west").unwrap());
    [&east, &west].iter().for_each(|cluster| cluster.succeeded(&clock));
    let (of_east, of_west) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut tasks = Supervisor::new(clock);
    tasks.start_restarting(&own(&store, "east", &stop), "listener", failing(2, &of_east, &stop));
    tasks.start_restarting(&own(&store, "west", &stop), "listener", failing(0, &of_west, &stop));
    let mut health = east.watch_health();
    let shown = health.wait_for(|health| health.last_error.is_some()).await.unwrap().last_error.clone().unwrap();
    assert_eq!(shown, "east/listener: panicked: the task panics");
    let asked = CancellationToken::new();
    let third_run = async {
        while of_east.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        asked.cancel();
    };
    let (ended, ()) = tokio::join!(tasks.wait_for_end(&asked), third_run);
    assert!(ended.is_none(), "the process keeps running");
    assert_eq!((of_west.load(Ordering::SeqCst), west.health().last_error.as_deref()), (1, None));
    assert_eq!((east.own.restarts(), west.own.restarts()), ([("east/listener".to_owned(), 2)].into(), BTreeMap::new()));
    stop.cancel();
    tasks.drain(&[], Instant::now() + Duration::from_secs(60)).await;
    assert!(tasks.pending.is_empty());
}

#[tokio::test]
async fn a_part_of_the_only_cluster_ends_the_process_with_its_name() {
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let runs = Arc::new(AtomicUsize::new(0));
    let store = store(&["east"], &clock);
    let mut tasks = Supervisor::new(clock);
    tasks.start_restarting(&own(&store, "east", &stop), "listener", failing(1, &runs, &stop));
    let ended = tasks.wait_for_end(&stop).await.unwrap();
    assert_eq!((ended.task.as_str(), runs.load(Ordering::SeqCst)), ("east/listener", 1));
    assert_eq!(ended.result.unwrap_err().to_string(), "panicked: the task panics");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_source_beside_the_only_cluster_is_started_again_and_that_source_alone_shown_failing() {
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let store = store(&["east"], &clock);
    let east = store.cluster("east").unwrap();
    let id = crate::model::SourceId { cluster: "east".into(), name: "redis".into() };
    let kind = crate::store::source::Kind::Table;
    let source = Arc::new(Source::new((id, "redis".into()), kind, east.own.latest(), &clock));
    [&east.own, &source].iter().for_each(|source| source.succeeded(&clock));
    let runs = Arc::new(AtomicUsize::new(0));
    let mut tasks = Supervisor::new(clock);
    tasks.start_restarting(&TaskOwner::new(&store, &source, false, &stop), "redis", failing(1, &runs, &stop));
    let mut health = source.watch_health();
    let shown = async {
        let failed = health.wait_for(|health| health.last_error.is_some()).await.unwrap().last_error.clone();
        health.wait_for(|health| health.last_error.is_none()).await.unwrap();
        stop.cancel();
        failed
    };
    let (ended, shown) = tokio::join!(tasks.wait_for_end(&stop), shown);
    assert!(ended.is_none() && east.health().last_error.is_none());
    assert_eq!(shown.as_deref(), Some("east/redis: panicked: the task panics"));
}

#[tokio::test]
async fn whether_a_cluster_is_the_only_one_is_decided_when_its_part_fails() {
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let store = store(&["east", "west"], &clock);
    let (runs, fail) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let mut tasks = Supervisor::new(clock);
    let of_east = own(&store, "east", &stop);
    let west = CancellationToken::new();
    let until_cancelled = |token: CancellationToken| move || token.clone().cancelled_owned().map(Ok).boxed();
    tasks.start_restarting(&own(&store, "west", &west), "source", until_cancelled(west.clone()));
    tasks.start_restarting(&of_east, "source", {
        let (runs, fail) = (Arc::clone(&runs), fail.clone());
        move || {
            runs.fetch_add(1, Ordering::SeqCst);
            fail.clone().cancelled_owned().map(|()| Err(TaskFailure::Panicked("x".to_owned()))).boxed()
        }
    });
    // West is removed: its task ends, and the process keeps running.
    store.set_clusters(vec![store.cluster("east").unwrap()]);
    west.cancel();
    fail.cancel();
    let ended = tasks.wait_for_end(&stop).await;
    assert_eq!((ended.unwrap().task.as_str(), runs.load(Ordering::SeqCst)), ("east/source", 1));
}

#[tokio::test]
async fn a_part_of_the_server_ends_the_process_also_where_clusters_are_restarted() {
    let stop = CancellationToken::new();
    let mut tasks = Supervisor::new(Clock::system());
    tasks.start("history", on_thread("history", || Ok(())));
    let ended = tasks.wait_for_end(&stop).await.unwrap();
    assert_eq!((ended.task.as_str(), ended.result.is_ok()), ("history", true));
}

#[tokio::test]
async fn parts_that_do_not_end_in_time_are_ended_and_not_waited_for_again() {
    let stop = CancellationToken::new();
    let mut tasks = Supervisor::new(Clock::system());
    let dropped = CancellationToken::new();
    let guard = dropped.clone().drop_guard();
    tasks.start("stuck", async move {
        std::future::pending::<()>().await;
        drop(guard);
        Ok(())
    });
    tasks.start("other", stop.clone().cancelled_owned().map(Ok));
    tasks.drain(&["stuck"], Instant::now()).await;
    dropped.cancelled().await;
    stop.cancel();
    // The deadline is far away: only the other task is waited for.
    tasks.drain(&[], Instant::now() + Duration::from_secs(600)).await;
    assert!(tasks.pending.is_empty());
}
