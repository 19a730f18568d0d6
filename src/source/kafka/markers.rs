//! Finds out whether the last offsets of a partition of a data topic are transaction markers only.
//!
//! This is the only part that reads data topics. It reads the short gaps between a committed offset and the log end in
//! partitions that do not grow ([`crate::store::trailing`]): each gap once per log end, and a few gaps per second. A
//! topic that may not be read is skipped for some time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use tokio_util::sync::CancellationToken;

use super::{
    client::{Client, Connector},
    ffi::{Content, Fetcher, describe},
    now,
};
use crate::{
    clock::Ticks,
    model::Name,
    source::{kafka::live_source::RequestError, rate_limit::RateLimit},
    store::{
        cluster::Cluster,
        trailing::{Gap, LONGEST_GAP},
    },
};

/// Maximum number of reads per second.
const READS_PER_SECOND: usize = 10;
/// Interval of checks for gaps to read.
const TICK: Duration = Duration::from_millis(200);
/// Timeout of one read.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Time during which a topic is skipped after a failed read.
const REFUSED: Duration = Duration::from_secs(600);

/// The log of a partition up to its current end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LogVersion {
    slot: u32,
    /// Time at which the log was first seen.
    since: Ticks,
    end: i64,
}

/// The results of reads before one log end of a partition.
#[derive(Clone, Copy, Debug)]
struct ProbeResults {
    log: LogVersion,
    /// Lowest offset from which on there are no records.
    silent_from: i64,
    /// Highest offset from which on there are records.
    records_from: i64,
}

impl ProbeResults {
    fn new(log: LogVersion) -> Self {
        Self { log, silent_from: i64::MAX, records_from: -1 }
    }

    fn is_decided(&self, from: i64) -> bool {
        from >= self.silent_from || from <= self.records_from
    }

    fn add(&mut self, from: i64, silent: bool) {
        if silent {
            self.silent_from = self.silent_from.min(from);
        } else {
            self.records_from = self.records_from.max(from);
        }
    }
}

/// The reader of the partition ends of one cluster.
#[derive(Debug)]
pub(super) struct MarkerReader {
    cluster: Arc<Cluster>,
    connector: Connector,
    /// The client, which is reused until a read fails: its metadata may be outdated if a topic was created again.
    client: Option<Client>,
    results: BTreeMap<(Name, i32), ProbeResults>,
    refused: HashMap<Name, Instant>,
    pace: RateLimit,
}

impl MarkerReader {
    /// Makes a reader that has not read any partition yet.
    pub(super) fn new(cluster: Arc<Cluster>, connector: Connector) -> Self {
        let (results, refused) = (BTreeMap::new(), HashMap::new());
        Self { cluster, connector, client: None, results, refused, pace: RateLimit::new(READS_PER_SECOND, now()) }
    }

    /// Reads partition ends until the token is cancelled. Blocks; run it on its own thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let waiting = self.cluster.unchecked_gaps.waiting();
            let due: Vec<Gap> = waiting.into_iter().filter(|tail| self.is_due(tail)).collect();
            if !due.is_empty() && self.cluster.health().reachable {
                self.probe_all(&due, stop);
            }
            self.publish();
            std::thread::park_timeout(TICK);
        }
    }

    fn client(&mut self) -> Result<Client, RequestError> {
        match &self.client {
            Some(client) => Ok(client.clone()),
            None => Ok(self.client.insert(self.connector.connect()?).clone()),
        }
    }

    /// Returns the current log of a partition, or `None` if its end is unknown.
    fn log(&self, topic: &str, partition: i32) -> Option<LogVersion> {
        let ends = self.cluster.ends.current();
        let partition = *ends.topic(topic)?.partitions.get(usize::try_from(partition).ok()?)?;
        let value = ends.value(partition);
        (value.log_end >= 0).then_some(LogVersion { slot: partition.slot, since: value.since, end: value.log_end })
    }

    fn is_due(&self, (topic, partition, from): &Gap) -> bool {
        let Some(log) = self.log(topic, *partition) else { return false };
        let is_short = (1..=LONGEST_GAP).contains(&log.end.saturating_sub(*from));
        let results = self.results.get(&(Name::clone(topic), *partition)).filter(|results| results.log == log);
        let known = results.is_some_and(|results| results.is_decided(*from));
        is_short && !known && !self.refused.contains_key(topic)
    }

    fn probe_all(&mut self, due: &[Gap], stop: &CancellationToken) {
        let client =
            self.client().inspect_err(|error| tracing::debug!(%error, "cannot connect to read partition ends"));
        let Ok(client) = client else { return };
        for (topic, partition, from) in due {
            let moment = now();
            self.refused.retain(|_, until| *until > moment);
            if self.refused.contains_key(topic) {
                continue;
            }
            while !self.pace.allows(now()) && !stop.is_cancelled() {
                std::thread::park_timeout(TICK / 4);
            }
            if stop.is_cancelled() {
                return;
            }
            self.pace.record(1, now());
            let Some(log) = self.log(topic, *partition) else { continue };
            match probe(&client, topic, *partition, *from, log.end) {
                Ok(silent) => {
                    let results =
                        self.results.entry((Name::clone(topic), *partition)).or_insert(ProbeResults::new(log));
                    if results.log != log {
                        *results = ProbeResults::new(log);
                    }
                    results.add(*from, silent);
                }
                Err(error) => {
                    tracing::debug!(
                        cluster = &*self.cluster.name,
                        topic = &**topic,
                        partition,
                        %error,
                        "cannot read the end of the partition"
                    );
                    self.client = None;
                    self.refused.insert(Name::clone(topic), now() + REFUSED);
                }
            }
            client.serve();
        }
    }

    /// Drops results of earlier log ends, and publishes the others.
    fn publish(&mut self) {
        let mut silent = HashMap::new();
        for ((topic, partition), results) in std::mem::take(&mut self.results) {
            let Some(log) = self.log(&topic, partition).filter(|log| *log == results.log) else { continue };
            if results.silent_from < log.end {
                silent.insert(log.slot, (results.silent_from, log.end));
            }
            self.results.insert((topic, partition), results);
        }
        self.cluster.ends.set_trailing(silent);
    }
}

/// Returns whether there is no committed record between an offset and the log end.
fn probe(client: &Client, topic: &str, partition: i32, from: i64, end: i64) -> Result<bool, RequestError> {
    let mut fetcher = Fetcher::new(client, topic, 16)?;
    fetcher.start_at(partition, from)?;
    let until = now() + TIMEOUT;
    while now() < until {
        let batch = fetcher.fetch(TICK);
        let Some(first) = batch.messages().first() else { continue };
        return match first.content() {
            Content::Record { .. } => Ok(false),
            // An end before the log end is the start of an open transaction.
            Content::End => Ok(first.offset() >= end),
            Content::Reset => Err(RequestError::broker(format_args!("offset {from} is not in the log"))),
            Content::Failure(error) => Err(RequestError::broker(describe(error))),
        };
    }
    Err(RequestError::Timeout { after: TIMEOUT })
}

#[cfg(test)]
mod tests;
