//! `offsetd demo`: embedded Kafka clusters with a workload, so that nothing has to be installed.
//!
//! librdkafka's mock clusters ([`cluster`]) hold data topics and a `__consumer_offsets` topic with the bytes that a 4.1
//! broker would write. A deterministic workload runs the topics and groups of `scenario.toml`. The server does not know
//! about the demo: it reads the clusters with the same listener as any Kafka cluster, and the simulated stores with the
//! same poller as any store. Tests use the cluster without the workload.

use std::{collections::BTreeMap, mem, time::Duration};

use itertools::Itertools as _;
use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::{self, Config},
    model::Millis,
    source,
};

pub mod cluster;
mod group;
mod scenario;
mod store;
mod tick;

pub use cluster::DemoError;
use cluster::MockKafka;
use group::Group;
use scenario::{ClusterSpec, Scenario, StoreSpec, TICK_MS};
use store::SimulatedStore;
use tick::{Event, Tick};

/// Number of ticks that are run without pauses at the start: five minutes.
const HISTORY: u64 = 5 * 60 * 1000 / TICK_MS;

/// The running demo clusters. They exist until this value is dropped, so that the server can stop first; dropping waits
/// for librdkafka's threads.
#[derive(Debug)]
pub struct Demo {
    clusters: Vec<(String, MockKafka)>,
    stores: Vec<StoreSpec>,
    workload: JoinHandle<Result<(), DemoError>>,
}

impl Demo {
    /// Starts the clusters, writes five minutes of history for the listener to load, and continues the workload until
    /// `stop`. Blocks for about a second while it writes the history. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// A cluster cannot be started, or a record cannot be written.
    pub fn start(stop: CancellationToken) -> Result<Self, DemoError> {
        let (Scenario { clusters, stores }, clock) = (Scenario::load()?, Clock::system());
        let started: Vec<_> = clusters.into_iter().map(|spec| start(spec, &clock)).try_collect()?;
        let clusters = started.iter().map(|(name, kafka, _)| (name.clone(), kafka.clone())).collect();
        let workload = spawn_blocking(move || Handle::current().block_on(run(started, clock, stop)));
        Ok(Self { clusters, stores, workload })
    }

    /// Returns the bootstrap servers of the first cluster: `host:port,…`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        self.clusters.first().map_or("", |(_, kafka)| kafka.bootstrap_servers())
    }

    /// Adds the other clusters and the simulated stores to a configuration that has only the first cluster. A
    /// configured source goes before a simulated one of the same name.
    pub fn extend_config(&self, config: &mut Config) {
        let Some(first) = config.clusters.first().cloned() else { return };
        config.clusters.extend(self.clusters.iter().skip(1).map(|(name, kafka)| config::Cluster {
            name: name.clone(),
            bootstrap_servers: kafka.bootstrap_servers().to_owned(),
            ..first.clone()
        }));
        let is_free = |spec: &&StoreSpec| config.sources.iter().all(|source| source.name != spec.name);
        let sources = self.stores.iter().filter(is_free).map(|spec| {
            let (clock, stored) = (Clock::system(), BTreeMap::new());
            let listing = SimulatedStore { spec: spec.clone(), clock, writes: 0, written_at: 0, stored };
            source::embedded((&spec.cluster, &spec.name), "simulated", listing, Duration::from_secs(1))
        });
        config.sources.extend(sources.collect::<Vec<_>>());
    }

    /// Waits until the workload ends, by the token or by a failure. Must not be awaited again after it has returned.
    ///
    /// # Errors
    /// The workload failed before it was stopped.
    ///
    /// # Cancel safety
    /// Safe: a new call continues to wait.
    pub async fn ended(&mut self) -> Result<(), DemoError> {
        (&mut self.workload).await.unwrap_or(Err(DemoError::Panicked))
    }
}

/// A cluster and its workload.
type Running = (String, MockKafka, Workload);

/// Starts a cluster with its topics, and writes its history.
fn start(spec: ClusterSpec, clock: &Clock) -> Result<Running, DemoError> {
    let (name, kafka) = (spec.name.clone(), MockKafka::start(spec.brokers)?);
    kafka.create_offsets_topic(spec.log_partitions)?;
    spec.topics.iter().try_for_each(|topic| kafka.create_topic(&topic.name, topic.partitions))?;
    let mut workload = Workload::new(spec);
    workload.write_history(clock.now(), &kafka)?;
    Ok((name, kafka, workload))
}

async fn run(mut clusters: Vec<Running>, clock: Clock, stop: CancellationToken) -> Result<(), DemoError> {
    let mut ticks = interval(Duration::from_millis(TICK_MS));
    // Missed ticks are skipped, for example after the machine was suspended.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        clusters.iter_mut().try_for_each(|(_, kafka, workload)| workload.write_tick(clock.now(), kafka))?;
    }
    Ok(())
}

/// The workload of a cluster: all its topics and groups, advanced tick by tick.
///
/// Everything depends on the number of the tick, never on a clock: times are only written into the records. So the
/// history is the same scenario without pauses, and tests can run days of it.
#[derive(Debug)]
struct Workload {
    now: Tick,
    groups: Vec<Group>,
}

impl Workload {
    fn new(ClusterSpec { topics, groups, .. }: ClusterSpec) -> Self {
        let groups = groups.into_iter().zip(0..).map(|(spec, number)| Group::new(spec, number)).collect();
        Self { now: Tick { number: 0, at: 0, topics, events: vec![] }, groups }
    }

    /// Writes the records of the history, up to `now`.
    fn write_history(&mut self, now: Millis, kafka: &MockKafka) -> Result<(), DemoError> {
        for tick in 0..HISTORY {
            self.write_tick(now - i64::try_from((HISTORY - tick) * TICK_MS).unwrap_or(0), kafka)?;
        }
        kafka.flush()
    }

    /// Runs the next tick and writes its records.
    fn write_tick(&mut self, at: Millis, kafka: &MockKafka) -> Result<(), DemoError> {
        self.tick(at).into_iter().try_for_each(|event| match event {
            Event::Log { key, value, at } => kafka.log(&key, value.as_deref(), at),
            Event::Data { topic, partition, count, bytes } => kafka.produce(&topic, partition, count, bytes),
        })
    }

    /// Runs the next tick and returns the records that it writes, in order. Times never decrease, even if the clock
    /// does.
    fn tick(&mut self, at: Millis) -> Vec<Event> {
        let Self { now, groups } = self;
        (now.number, now.at) = (now.number + 1, at.max(now.at));
        for topic in &now.topics {
            for partition in 0..topic.partitions {
                let before = if now.number == 1 { 0 } else { topic.end(partition, now.number - 1) };
                let count = u32::try_from(topic.end(partition, now.number) - before).unwrap_or(0);
                let (topic, bytes) = (topic.name.clone(), topic.bytes);
                now.events.extend((count > 0).then_some(Event::Data { topic, partition, count, bytes }));
            }
        }
        // Groups commit the log ends of the previous tick, so that a commit is never visible before the records that
        // it covers.
        groups.iter_mut().for_each(|group| group.step(now));
        mem::take(&mut now.events)
    }
}

#[cfg(test)]
mod tests;
