//! A writer next to readers, and short-lived groups.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use offsetd::model::Revision;
use offsetd::rpc::Service;
use offsetd::rpc::proto::QueryRequest;
use offsetd::store::Store;
use offsetd::store::writer::ShardWriter;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::{Keys, RUN, deletion, empty, engine, event, names, rows};
use crate::kafka::used::Used;
use crate::measure::{Goal, Report, middle, quantile};
use crate::synthetic;

const MIB: f64 = 1024.0 * 1024.0;
const FOR: Duration = Duration::from_secs(3);
/// Number of keys of the one group that all clients request.
const KEYS: usize = 100_000;
const COMMITS_PER_SECOND: u64 = 20_000;
const QUERIES_PER_SECOND: u64 = 10_000;
const SHORT_LIVED: usize = 10_000_000;

pub(crate) fn run(report: &mut Report) {
    if report.wants("writer during scans") {
        scans(report);
    }
    if report.wants("one group of 100,000 keys") {
        one_group(report);
    }
    if report.wants("short-lived group ids") {
        short_lived(report);
    }
}

/// Returns the commits per second at full speed.
#[expect(clippy::cast_precision_loss, reason = "a few millions")]
fn apply_rate(shard: &ShardWriter, keys: &Keys) -> f64 {
    let (started, mut rounds) = (Instant::now(), 0);
    while started.elapsed() < FOR {
        keys.commit(shard, 1);
        rounds += 1;
    }
    (rounds * keys.len()) as f64 / started.elapsed().as_secs_f64()
}

/// One core writes while the other continuously scans the same store or, as a measure of the machine, another store.
fn scans(report: &mut Report) {
    let (store, shard) = empty();
    let (other_store, other_shard) = empty();
    let keys = Keys::new(5000, 100);
    keys.commit(&shard, 0);
    keys.commit(&other_shard, 0);
    let scan = |store: &Arc<Store>, stop: &AtomicBool| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let engine = engine(store, 1);
        while !stop.load(Ordering::Relaxed) {
            rows(&runtime, &engine, "SELECT sum(committed_offset) FROM offsets");
        }
    };
    let names = ["writer during scans vs alone", "writer during scans vs during scans of another store"];
    let (own, other) = (|stop: &AtomicBool| scan(&store, stop), |stop: &AtomicBool| scan(&other_store, stop));
    compare_writer(report, names, (&shard, &keys), &own, &other);
}

/// Work that runs until the flag is set.
type Until<'a> = &'a (dyn Fn(&AtomicBool) + Sync);

/// Measures a writer's speed next to readers of its store, compared with its speed alone and next to readers of another
/// store.
fn compare_writer(
    report: &mut Report,
    names: [&str; 2],
    (shard, keys): (&ShardWriter, &Keys),
    readers: Until<'_>,
    others: Until<'_>,
) {
    let reference = |readers: Until<'_>| {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| readers(&stop));
            let rate = apply_rate(shard, keys);
            stop.store(true, Ordering::Relaxed);
            rate
        })
    };
    let (mut alone, mut read, mut apart) = (vec![], vec![], vec![]);
    for _ in 0..report.few_rounds() {
        alone.push(apply_rate(shard, keys));
        apart.push(reference(others));
        read.push(reference(readers));
    }
    for (name, reference) in names.into_iter().zip([&mut alone, &mut apart]) {
        report.pair(name, "1/s", &mut read, reference, Goal::AtLeast(0.8));
    }
}

/// Calls `each` this often per second until `stop`; returns the durations.
fn paced(per_second: u64, stop: &AtomicBool, mut each: impl FnMut(u64)) -> Vec<Duration> {
    let (started, mut number, mut took) = (Instant::now(), 0, vec![]);
    while !stop.load(Ordering::Relaxed) {
        let due = u64::try_from(started.elapsed().as_micros()).unwrap() * per_second / 1_000_000;
        while number < due {
            let begun = Instant::now();
            each(number);
            took.push(begun.elapsed());
            number += 1;
        }
        thread::sleep(Duration::from_micros(200));
    }
    took
}

fn one_group(report: &mut Report) {
    let keys = Keys::new(1, KEYS);
    let (store, shard) = empty();
    let (other_store, other_shard) = empty();
    for (store, shard) in [(&store, &shard), (&other_store, &other_shard)] {
        keys.commit(shard, 0);
        synthetic::ends(&store.clusters()[0], &[("orders".to_owned(), KEYS)], |_, _| 1 << 40, &store.clock);
    }
    let (client, other) = (QueryClient::new(&store, &keys), QueryClient::new(&other_store, &keys));
    let of = |what: &str| format!("one group of 100,000 keys, {QUERIES_PER_SECOND} Query/s: {what}");
    let names = [of("commits vs alone"), of("commits vs during Query of another store")];
    let (own, others) = (|stop: &AtomicBool| client.ask(stop), |stop: &AtomicBool| other.ask(stop));
    compare_writer(report, names.each_ref().map(String::as_str), (&shard, &keys), &own, &others);
    let (mut runs, mut pins) = during_queries(&shard, &keys, &client);
    let micros = |took: &mut [Duration]| quantile(took, 0.99).as_secs_f64() * 1e6;
    let what = of(&format!("a batch of commits at {COMMITS_PER_SECOND}/s with its wait, p99"));
    report.limit(&what, "µs", micros(&mut runs), Goal::AtMost(200.0));
    report.limit(&of("a pin, p99"), "µs", micros(&mut pins), Goal::AtMost(100.0));
}

/// A client that queries keys of one group.
struct QueryClient<'a> {
    service: Service,
    keys: &'a Keys,
}

impl<'a> QueryClient<'a> {
    fn new(store: &Arc<Store>, keys: &'a Keys) -> Self {
        let (config, engine) = (synthetic::config(), Arc::new(engine(store, 1)));
        let service = Service::new(engine, config.server, config.history.step, CancellationToken::new());
        Self { service, keys }
    }

    fn ask(&self, stop: &AtomicBool) {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        paced(QUERIES_PER_SECOND, stop, |number| {
            let request = QueryRequest {
                group_id: self.keys.groups[0].clone(),
                topic: "orders".to_owned(),
                partition: i32::try_from(number * 7919 % KEYS as u64).unwrap(),
                ..QueryRequest::default()
            };
            assert!(runtime.block_on(self.service.query_offset(request)).unwrap().entry.is_some());
        });
    }
}

/// Returns the durations of batches of commits and of pins, during queries.
fn during_queries(shard: &ShardWriter, keys: &Keys, client: &QueryClient<'_>) -> (Vec<Duration>, Vec<Duration>) {
    /// Number of commits in a batch.
    const TOGETHER: usize = 20;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| client.ask(&stop));
        let writer = scope.spawn(|| {
            paced(COMMITS_PER_SECOND / TOGETHER as u64, &stop, |number| {
                let first = usize::try_from(number).unwrap() * TOGETHER;
                let of = |at: usize| event(&keys.groups[0], "orders", (first + at) * 31 % KEYS, 1);
                shard.apply(&(0..TOGETHER).map(of).collect::<Vec<_>>(), Revision(0));
            })
        });
        let reader = scope.spawn(|| paced(100, &stop, |_| drop(shard.pin())));
        thread::sleep(FOR);
        stop.store(true, Ordering::Relaxed);
        (writer.join().unwrap(), reader.join().unwrap())
    })
}

/// Consoles and tests create groups that live for a moment: `console-consumer-12345`.
#[expect(clippy::cast_precision_loss, reason = "bytes")]
fn short_lived(report: &mut Report) {
    const HALF: usize = RUN / 2;
    let (_store, shard) = empty();
    let resident = || Used::of(process::id()).resident;
    // A first pass fills the memory that is retained anyway: the last commits and the names.
    let pass = |from: usize, to: usize| {
        for first in (from..to).step_by(HALF) {
            let groups = names("console-consumer", first..first + HALF);
            let commits = groups.iter().map(|group| event(group, "orders", 0, 1));
            let deletions = groups.iter().map(|group| deletion(group, "orders", 0, 2));
            shard.apply(&commits.chain(deletions).collect::<Vec<_>>(), Revision::MAX);
        }
    };
    pass(0, SHORT_LIVED / 100);
    let before = resident();
    let started = Instant::now();
    pass(0, SHORT_LIVED);
    let took = started.elapsed().as_secs_f64();
    report.limit("short-lived group ids, total rate", "1/s", SHORT_LIVED as f64 / took, Goal::None);
    let mut grown = [(resident() - before) / MIB];
    report.limit(
        "short-lived group ids: memory after 10 million of them",
        "MiB",
        middle(&mut grown),
        Goal::AtMost(8.0),
    );
}
