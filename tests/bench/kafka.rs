//! The whole server on a real Kafka, compared with librdkafka that reads the same log without processing it.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use offsetd::model::Millis;
use serde_json::Value;

mod admin;
mod calls;
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../it/kafka/broker.rs"]
mod broker;
mod fill;
pub(crate) mod floor;
mod fresh;
mod partitions;
mod served;
pub(crate) mod used;

use broker::{Broker, Release};
use fill::Load;
pub(crate) use served::this_program;
use served::{Served, get};

use crate::measure::{Goal, Report, middle};

const KAFKA: &str = "4.1";
/// The log is read several times, so it must not be cleaned meanwhile.
const PROPERTIES: &str = "log.cleaner.enable=false\n";
const MIB: f64 = 1024.0 * 1024.0;
/// Time after readiness at which the server's memory is measured.
const SETTLED: Duration = Duration::from_secs(30);

const SMALL: Load =
    Load { name: "S", groups: 50, topics: 200, topics_read: 200, partitions: 10, rounds: 10, single: false };
const LOADS: [Load; 4] = [
    SMALL,
    Load { name: "T", single: true, ..SMALL },
    Load { name: "W", groups: 65_000, topics: 50, topics_read: 1, partitions: 20, rounds: 1, single: false },
    Load { name: "L", groups: 500, ..SMALL },
];

fn now() -> Millis {
    Millis::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Measures the load with this name.
pub(crate) fn load(report: &mut Report, name: &str) {
    measure(report, LOADS.iter().find(|load| load.name == name).unwrap());
}

/// Measures a round of the Admin API over the load with this name.
pub(crate) fn admin(report: &mut Report, name: &str) {
    admin::run(report, LOADS.iter().find(|load| load.name == name).unwrap());
}

/// Measures a cluster of 100,000 partitions.
pub(crate) fn partitions(report: &mut Report) {
    partitions::run(report);
}

fn measure(report: &mut Report, load: &Load) {
    let mut broker = Broker::started_with(Release::of(KAFKA), PROPERTIES);
    let servers = broker.bootstrap_servers();
    fill::topics(&servers, load);
    let mut empty = Served::start(&servers, &[]);
    sleep(SETTLED);
    let base = empty.used().resident;
    empty.stop();
    let records = fill::fill(&servers, load, now());
    let (mut ready, mut floor, mut cpu, mut floor_cpu) = (vec![], vec![], vec![], vec![]);
    let mut listening = vec![];
    // One run of each as a warm-up.
    drop(floor_once(&servers));
    for _ in 0..report.few_rounds() {
        let (took, used) = floor_once(&servers);
        assert_eq!(used["records"].as_u64(), Some(records));
        floor.push(took.as_secs_f64());
        floor_cpu.push(used["cpu_s"].as_f64().unwrap());
        let served = Served::start(&servers, &[]);
        ready.push(served.ready_after.as_secs_f64());
        cpu.push(served.used.cpu_s);
        listening.push(served.listening_after.as_secs_f64() * 1e3);
        served.stop();
    }
    let of = |what: &str| format!("{}: {what}", load.name);
    report.pair(&of("time to ready vs the floor"), "s", &mut ready, &mut floor, Goal::AtMost(1.2));
    report.pair(&of("CPU to ready vs the floor"), "s", &mut cpu, &mut floor_cpu, Goal::AtMost(1.4));
    report.limit(&of("start to listening"), "ms", middle(&mut listening), Goal::AtMost(50.0));
    memory(report, load, &servers, base);
    if load.name == SMALL.name {
        fresh::run(report, load, &mut broker);
    }
}

fn floor_once(servers: &str) -> (Duration, Value) {
    let started = Instant::now();
    let out = Command::new(this_program()).args(["floor", servers]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    (started.elapsed(), serde_json::from_slice(&out.stdout).unwrap())
}

#[expect(clippy::cast_precision_loss, reason = "a few millions")]
fn memory(report: &mut Report, load: &Load, servers: &str, base: f64) {
    let of = |what: &str| format!("{}: {what}", load.name);
    let mut served = Served::start(servers, &[]);
    sleep(SETTLED);
    let used = served.used();
    let per_key = (used.resident - base) / load.keys() as f64;
    // With few keys, the fixed costs dominate.
    let goal = match load.name {
        "L" => Goal::AtMost(72.0),
        "W" => Goal::AtMost(100.0),
        _ => Goal::None,
    };
    report.limit(&of("resident bytes per key, 30 s after ready"), "B", per_key, goal);
    report.limit(&of("peak over steady"), "MiB", (used.peak - used.resident) / MIB, Goal::AtMost(64.0));
    let address = served.address.clone();
    calls::run(report, load, &address);
    sleep(SETTLED);
    let used = served.used();
    let started = Instant::now();
    let mut most: f64 = 0.0;
    let (status, length) = get(&address, "/metrics", |_| most = most.max(served.used().resident));
    assert_eq!(status, 200);
    let rate = length as f64 / 1e6 / started.elapsed().as_secs_f64();
    report.limit(&of(&format!("/metrics, {} MB of text", length / 1_000_000)), "MB/s", rate, Goal::AtLeast(200.0));
    report.limit(&of("memory of a scrape over steady"), "MiB", (most - used.resident) / MIB, Goal::AtMost(32.0));
    sleep(Duration::from_secs(10));
    let after = served.used().resident;
    report.limit(&of("10 s later, over steady"), "MiB", (after - used.resident) / MIB, Goal::AtMost(32.0));
    served.stop();
}
