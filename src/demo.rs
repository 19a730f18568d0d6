//! `offsetd demo`: an embedded Kafka cluster with a workload, so that nothing has to be installed.
//!
//! librdkafka's mock cluster ([`cluster`]) holds data topics and a `__consumer_offsets` topic with the bytes that a 4.1
//! broker would write ([`records`]). A deterministic workload runs the groups and topics that `scenario` defines. The
//! server does not know about the demo: it reads the cluster with the same listener as any Kafka cluster. Tests use the
//! cluster without the workload.

use std::{fmt, time::Duration};

use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, model::Millis};

pub mod cluster;
pub mod records;
mod group;
mod scenario;
mod tick;

pub use cluster::DemoError;
use cluster::MockKafka;
use group::Group;
use scenario::{BACKLOG, GROUPS, HISTORY, TICK_MS, TOPICS, TopicSpec};
use tick::{Event, Random, Tick, Topic};

/// Number of brokers of the demo cluster.
const BROKERS: i32 = 3;

/// Number of partitions of `__consumer_offsets`, Kafka's default.
const LOG_PARTITIONS: i32 = 50;

/// A running demo cluster. It exists until this value is dropped, so that the server can stop first; dropping waits for
/// librdkafka's threads.
pub struct Demo {
    kafka: MockKafka,
    workload: JoinHandle<Result<(), DemoError>>,
}

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo").field("kafka", &self.kafka).finish_non_exhaustive()
    }
}

impl Demo {
    /// Starts the cluster, writes five minutes of history for the listener to load, and continues the workload until
    /// `stop`. Blocks for about a second while it writes the history. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The cluster cannot be started, or a record cannot be written.
    pub fn start(stop: CancellationToken) -> Result<Self, DemoError> {
        let kafka = MockKafka::start(BROKERS)?;
        kafka.create_offsets_topic(LOG_PARTITIONS)?;
        for topic in TOPICS {
            kafka.create_topic(topic.name, topic.partitions)?;
        }
        let clock = Clock::system();
        let workload = with_history(clock.now(), &kafka)?;
        let writer = kafka.writer();
        let workload = spawn_blocking(move || run(workload, &writer, &clock, &stop));
        Ok(Self { kafka, workload })
    }

    /// Returns the bootstrap servers: `host:port,…`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        self.kafka.bootstrap_servers()
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

/// The workload: all topics and groups of the scenario, advanced tick by tick.
///
/// Everything depends on the number of the tick and a seed, never on a clock: times are only written into the records.
/// So the history is the same scenario without pauses, and tests can run days of it.
#[derive(Debug)]
struct Workload {
    tick: u64,
    last: Millis,
    random: Random,
    topics: Vec<Topic>,
    groups: Vec<Group>,
}

impl Workload {
    fn new() -> Self {
        let topic = |spec: &'static TopicSpec| Topic { spec, ends: (0..spec.partitions).map(|_| 0).collect() };
        let groups = GROUPS.iter().zip(0..).map(|(spec, number)| Group::new(spec, number)).collect();
        Self { tick: 0, last: 0, random: Random(1), topics: TOPICS.iter().map(topic).collect(), groups }
    }

    /// Runs the next tick and returns the records that it writes, in order. Times never decrease, even if the clock
    /// does.
    fn tick(&mut self, at: Millis) -> Result<Vec<Event>, DemoError> {
        let Self { tick, last, random, topics, groups } = self;
        let mut events = vec![];
        if *tick == 0 {
            topics.iter_mut().for_each(|topic| topic.grow(&mut events, || BACKLOG));
        }
        *last = at.max(*last);
        // Groups run first and commit the log ends of the previous tick, so that a commit is never visible before the
        // records that it covers.
        let mut now = Tick { number: *tick, at: *last, topics, random, events: &mut events };
        groups.iter_mut().try_for_each(|group| group.step(&mut now))?;
        // The shift spreads the growth of the topics over different ticks.
        for (topic, shift) in topics.iter_mut().zip(0..) {
            if (*tick + shift).is_multiple_of(topic.spec.every) {
                topic.grow(&mut events, || random.around(topic.spec.records));
            }
        }
        *tick += 1;
        Ok(events)
    }
}

/// Writes the records of the history, up to `now`.
fn with_history(now: Millis, kafka: &MockKafka) -> Result<Workload, DemoError> {
    let mut workload = Workload::new();
    for tick in 0..HISTORY {
        let ago = i64::try_from((HISTORY - tick) * TICK_MS).unwrap_or(0);
        write(workload.tick(now - ago)?, kafka)?;
    }
    kafka.flush()?;
    Ok(workload)
}

fn write(events: Vec<Event>, kafka: &MockKafka) -> Result<(), DemoError> {
    events.into_iter().try_for_each(|event| match event {
        Event::Log { key, value, at } => kafka.log(&key, value.as_deref(), at),
        Event::Data { topic, partition, count } => kafka.produce(topic, partition, count),
    })
}

fn run(mut workload: Workload, kafka: &MockKafka, clock: &Clock, stop: &CancellationToken) -> Result<(), DemoError> {
    Handle::current().block_on(async {
        let mut ticks = interval(Duration::from_millis(TICK_MS));
        // Missed ticks are skipped, for example after the machine was suspended.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => write(workload.tick(clock.now())?, kafka)?,
            }
        }
    })
}

#[cfg(test)]
mod tests;
