//! Committed offsets by Kafka's Admin API: a round of all groups, compared with a plain loop of Kafka's AdminClient and
//! with Kafka's own tool.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::broker::{Broker, Release};
use super::calls::Clients;
use super::fill::{self, Load};
use super::partitions::number;
use super::served::Served;
use super::used::Used;
use super::{KAFKA, PROPERTIES, now};
use crate::measure::{Goal, Report, middle};
use crate::process::wait_for;

/// Environment variable with a divisor of the load's groups, for a quick trial.
const PART: &str = "BENCH_PART";
const MODE: (&str, &str) = ("OFFSETD_CLUSTERS_DEFAULT_MODE", "admin");
const PACE: &str = "OFFSETD_CLUSTERS_DEFAULT_ADMIN_CALLS_PER_SECOND";
/// Effectively unlimited.
const LIFTED: (&str, &str) = (PACE, "1000000");
const DEFAULT: (&str, &str) = (PACE, "50");
/// Time for which the default rate is measured.
const FOR: Duration = Duration::from_secs(60);
/// Kafka's tool takes minutes with more groups.
const TOOL_GROUPS: usize = 1000;
/// With more groups, a round at the default rate takes longer than the limit.
const PACED_GROUPS: usize = 3000;
const LIMIT: Duration = Duration::from_secs(600);

pub(crate) fn run(report: &mut Report, load: &Load) {
    let part = std::env::var(PART).map_or(1, |part| part.parse().unwrap());
    let load = Load { groups: load.groups / part, ..*load };
    let mut broker = Broker::started_with(Release::of(KAFKA), PROPERTIES);
    let servers = broker.bootstrap_servers();
    fill::topics(&servers, &load);
    fill::fill(&servers, &load, now());
    // The records were written without the coordinators, which return these groups only after they have loaded the log
    // at their start.
    broker.stop();
    broker.start();
    let has_loaded = || match plain_loop(&broker)["offsets"].as_u64() {
        Some(offsets) if offsets == load.keys() => Ok(()),
        offsets => Err(format!("{offsets:?} offsets")),
    };
    wait_for("the coordinators to load", LIMIT, has_loaded);
    let of = |what: &str| format!("{}: {what}", load.name);
    let (mut ours, mut reference) = (vec![], vec![]);
    let (mut our_broker, mut its_broker, mut server, mut calls) = (vec![], vec![], vec![], vec![]);
    for _ in 0..report.few_rounds() {
        let before = broker_cpu(&mut broker);
        reference.push(plain_loop(&broker)["seconds"].as_f64().unwrap());
        its_broker.push(broker_cpu(&mut broker) - before);
        let before = broker_cpu(&mut broker);
        let served = Served::start(&servers, &[MODE, LIFTED]);
        our_broker.push(broker_cpu(&mut broker) - before);
        server.push(served.used.cpu_s);
        calls.push(calls_of(&served.address));
        ours.push(read_seconds(&served));
        served.stop();
    }
    report.pair(&of("round of all groups vs a loop"), "s", &mut ours, &mut reference, Goal::AtMost(1.1));
    report.pair(&of("CPU of the broker, start to ready"), "s", &mut our_broker, &mut its_broker, Goal::None);
    report.limit(&of("CPU of the server, start to ready"), "s", middle(&mut server), Goal::None);
    report.limit(&of("requests to coordinators until ready"), "", middle(&mut calls), Goal::None);
    if load.groups <= TOOL_GROUPS {
        let before = broker_cpu(&mut broker);
        let took = tool(&servers).as_secs_f64();
        report.limit(&of("kafka-consumer-groups.sh --all-groups --describe"), "s", took, Goal::None);
        report.limit(
            &of("CPU of the broker for kafka-consumer-groups.sh"),
            "s",
            broker_cpu(&mut broker) - before,
            Goal::None,
        );
    }
    paced(report, &load, &servers);
}

/// Measures a round at the default rate; with many groups, it is estimated.
fn paced(report: &mut Report, load: &Load, servers: &str) {
    let of = |what: &str| format!("{}: {what}", load.name);
    if load.groups <= PACED_GROUPS {
        let served = Served::start(servers, &[MODE, DEFAULT]);
        report.limit(&of("round at 50 requests a second"), "s", read_seconds(&served), Goal::None);
        return served.stop();
    }
    let served = Served::launch(servers, &[MODE, DEFAULT]);
    let clients = Clients::new(&served.address);
    // A revision is a change, and until everything is loaded each offset is one.
    let done = || number(&clients, "SELECT coalesce(max(position), 0) AS n FROM sources");
    let (started, before) = (Instant::now(), done());
    sleep(FOR);
    let per_second = (done() - before) / started.elapsed().as_secs_f64();
    let round = f64::from(u32::try_from(load.keys()).unwrap()) / per_second;
    report.limit(&of("round at 50 requests a second, estimated from one minute"), "s", round, Goal::None);
    served.stop();
}

fn broker_cpu(broker: &mut Broker) -> f64 {
    Used::of(broker.pid()).cpu_s
}

/// Returns the duration of the first round, in which every group is requested once.
fn read_seconds(served: &Served) -> f64 {
    number(&Clients::new(&served.address), "SELECT max(read_seconds) AS n FROM sources")
}

/// Returns the number of requests to coordinators so far.
fn calls_of(address: &str) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = vec![];
    stream.read_to_end(&mut page).unwrap();
    let page = String::from_utf8_lossy(&page);
    let line = page.lines().find(|line| line.starts_with("offsetd_admin_calls_total{")).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

fn plain_loop(broker: &Broker) -> Value {
    let out = broker.release.java("Loop").arg(broker.bootstrap_servers()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Runs the class behind `kafka-consumer-groups.sh`, and measures it.
fn tool(servers: &str) -> Duration {
    let release = Release::of(KAFKA);
    let dir = release.dir().join("tools");
    if !dir.exists() {
        let artifact = format!("-Dartifact=org.apache.kafka:kafka-tools:{}", release.version());
        let mut maven = Command::new("mvn");
        maven.args(["-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:copy", &artifact]);
        let copied = maven.arg(format!("-DoutputDirectory={}", dir.display())).status().unwrap();
        assert!(copied.success());
    }
    let path: Vec<PathBuf> = ["classes", "libs/*", "tools/*"].map(|part| release.dir().join(part)).into();
    let path = path.iter().map(|part| part.display().to_string()).collect::<Vec<_>>().join(":");
    let started = Instant::now();
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &path]);
    java.args(["org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--bootstrap-server", servers]);
    let status = java.args(["--all-groups", "--describe"]).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    started.elapsed()
}
