//! `offsetd demo`: an embedded Kafka that looks alive, so that nothing needs to be installed.
//!
//! librdkafka's mock cluster ([`cluster`]) holds data topics and a `__consumer_offsets` with the
//! bytes that a 4.1 broker would write ([`records`]). A deterministic workload (`workload`, its
//! parts listed in `cast`) moves it. Nothing here knows the server: it is a Kafka like any other,
//! read by the same listener. Tests use the cluster without the workload.

use std::{fmt, io, thread, time::Duration};

use rdkafka::error::KafkaError;
use tokio::{
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    decode::Fault,
    model::{Millis, OFFSETS_TOPIC},
};

pub mod cluster;
pub mod records;
pub mod writer;
mod cast;
mod console;
mod group;
mod newer;
mod random;
mod workload;

use cast::{HISTORY, TICK_MS};
use cluster::MockKafka;
use workload::Workload;
use writer::Writer;

/// Brokers of the demo's cluster.
const BROKERS: i32 = 3;

/// Partitions of its `__consumer_offsets`, as Kafka creates it.
const LOG_PARTITIONS: i32 = 50;

/// What can go wrong with the embedded Kafka.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// librdkafka refuses, or a record was not delivered.
    #[error("the embedded Kafka cannot {action}")]
    Kafka {
        /// What was tried.
        action: &'static str,
        /// Why not.
        #[source]
        source: KafkaError,
    },
    /// Written before [`MockKafka::create_offsets_topic`].
    #[error("the embedded Kafka has no topic {OFFSETS_TOPIC} yet")]
    NoOffsetsTopic,
    /// A value version that does not exist.
    #[error("no such record layout")]
    Layout(#[from] Fault),
    /// No thread for the workload.
    #[error("cannot start the demo's workload")]
    Start(#[source] io::Error),
    /// The workload's thread panicked.
    #[error("the demo's workload died")]
    Died,
}

impl DemoError {
    fn kafka(action: &'static str) -> impl FnOnce(KafkaError) -> Self {
        move |source| Self::Kafka { action, source }
    }
}

/// A running demo cluster. It is there until this is dropped, so that the server can stop first;
/// dropping waits for librdkafka's threads.
pub struct Demo {
    kafka: MockKafka,
    ended: oneshot::Receiver<Result<(), DemoError>>,
}

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demo").field("kafka", &self.kafka).finish_non_exhaustive()
    }
}

impl Demo {
    /// Starts the cluster, writes five minutes of history for the listener to load, and goes on
    /// from there in a thread until `stop`. Blocks for as long as the history takes, about a second.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn start(stop: CancellationToken) -> Result<Self, DemoError> {
        let kafka = MockKafka::start(BROKERS)?;
        kafka.create_offsets_topic(LOG_PARTITIONS)?;
        for topic in cast::TOPICS {
            kafka.create_topic(topic.name, topic.partitions)?;
        }
        let clock = Clock::system();
        let mut writer = kafka.writer();
        let workload = with_history(clock.now(), &mut writer)?;
        let (tell, ended) = oneshot::channel();
        let run = move || {
            // Nobody who asks how it ended is no fault.
            let _ = tell.send(run(workload, writer, &clock, &stop));
        };
        thread::Builder::new().name("demo".to_owned()).spawn(run).map_err(DemoError::Start)?;
        Ok(Self { kafka, ended })
    }

    /// Where clients connect: `host:port,…`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> &str {
        self.kafka.bootstrap_servers()
    }

    /// Waits for the end of the workload: by the token, or of a fault. To be awaited once.
    ///
    /// # Errors
    /// Why it ended without being told.
    ///
    /// # Cancel safety
    /// Safe: asked again, it goes on waiting.
    pub async fn ended(&mut self) -> Result<(), DemoError> {
        (&mut self.ended).await.unwrap_or(Err(DemoError::Died))
    }
}

/// The workload in fast motion: what would have been written by `now`.
fn with_history(now: Millis, writer: &mut Writer) -> Result<Workload, DemoError> {
    let mut workload = Workload::new();
    for tick in 0..HISTORY {
        let ago = i64::try_from((HISTORY - tick) * TICK_MS).unwrap_or(0);
        workload.tick(now - ago, writer)?;
    }
    writer.flush()?;
    Ok(workload)
}

fn run(mut workload: Workload, mut writer: Writer, clock: &Clock, stop: &CancellationToken) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(DemoError::Start)?;
    runtime.block_on(async {
        let mut ticks = interval(Duration::from_millis(TICK_MS));
        // After a suspended laptop wakes up there is nothing to catch up with.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => workload.tick(clock.now(), &mut writer)?,
            }
        }
    })
}

#[cfg(test)]
mod tests;
