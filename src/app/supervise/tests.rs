//! Parts that end, and what becomes of the others.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    config::{Config, Flags, Sources},
    source::kafka::Log,
};

fn cluster(name: &str, clock: &Clock) -> Arc<Cluster> {
    let flags =
        Flags { bootstrap_servers: Some("h:1".to_owned()), cluster_name: Some(name.to_owned()), ..Flags::default() };
    let sources = Sources { flags: &flags, env: &BTreeMap::new(), check_property: None };
    Log::open(Config::load(sources).unwrap().config.clusters.remove(0), clock).0
}

/// A part that fails the first times, as `fault` does, and then runs until `stop`.
fn failing(times: usize, runs: &Arc<AtomicUsize>, stop: &CancellationToken) -> impl FnMut() -> Run + Send + use<> {
    let (runs, stop) = (Arc::clone(runs), stop.clone());
    move || {
        let (run, stop) = (runs.fetch_add(1, Ordering::SeqCst), stop.clone());
        on_thread("east/listener", move || {
            assert!(run >= times, "the part panics");
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
    let (east, west) = (cluster("east", &clock), cluster("west", &clock));
    [&east, &west].iter().for_each(|cluster| cluster.succeeded(&clock));
    let (of_east, of_west) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut parts = Supervisor::new(clock, true, stop.clone());
    parts.start_of(&east, "listener", failing(2, &of_east, &stop));
    parts.start_of(&west, "listener", failing(0, &of_west, &stop));
    let mut health = east.watch_health();
    let shown = health.wait_for(|health| health.last_error.is_some()).await.unwrap().last_error.clone().unwrap();
    assert_eq!(shown, "east/listener: panicked: the part panics");
    let asked = CancellationToken::new();
    let third_run = async {
        while of_east.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
        asked.cancel();
    };
    let (ended, ()) = tokio::join!(parts.until(&asked), third_run);
    assert!(ended.is_none(), "the process goes on");
    assert_eq!((of_west.load(Ordering::SeqCst), west.health().last_error.as_deref()), (1, None));
    assert_eq!((east.restarts(), west.restarts()), ([("east/listener".to_owned(), 2)].into(), BTreeMap::new()));
    stop.cancel();
    parts.drain(&[], Instant::now() + Duration::from_secs(60)).await;
    assert!(parts.pending.is_empty());
}

#[tokio::test]
async fn a_part_of_the_only_cluster_ends_the_process_with_its_name() {
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let runs = Arc::new(AtomicUsize::new(0));
    let mut parts = Supervisor::new(clock.clone(), false, stop.clone());
    parts.start_of(&cluster("east", &clock), "listener", failing(1, &runs, &stop));
    let ended = parts.until(&stop).await.unwrap();
    assert_eq!((ended.part.as_str(), runs.load(Ordering::SeqCst)), ("east/listener", 1));
    assert_eq!(ended.result.unwrap_err().to_string(), "panicked: the part panics");
}

#[tokio::test]
async fn a_part_of_the_server_ends_the_process_also_where_clusters_are_restarted() {
    let stop = CancellationToken::new();
    let mut parts = Supervisor::new(Clock::system(), true, stop.clone());
    parts.start("history", on_thread("history", || Ok(())));
    let ended = parts.until(&stop).await.unwrap();
    assert_eq!((ended.part.as_str(), ended.result.is_ok()), ("history", true));
}

#[tokio::test]
async fn parts_that_do_not_end_in_time_are_ended_and_not_waited_for_again() {
    let stop = CancellationToken::new();
    let mut parts = Supervisor::new(Clock::system(), false, stop.clone());
    let dropped = CancellationToken::new();
    let guard = dropped.clone().drop_guard();
    parts.start("stuck", async move {
        std::future::pending::<()>().await;
        drop(guard);
        Ok(())
    });
    parts.start("other", stop.clone().cancelled_owned().map(Ok));
    parts.drain(&["stuck"], Instant::now()).await;
    dropped.cancelled().await;
    stop.cancel();
    // Without a limit that matters: only the other is waited for.
    parts.drain(&[], Instant::now() + Duration::from_secs(600)).await;
    assert!(parts.pending.is_empty());
}
