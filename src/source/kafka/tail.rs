//! Looks whether anything but markers of transactions lies at the end of a partition of a data topic.
//!
//! The only reading of data topics, and very little of it: short tails that nobody reads
//! ([`crate::store::silent`]), each once for every end, a few a second. A topic that may not be read is
//! left alone.

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
    pace::Pace,
};
use crate::{
    clock::Ticks,
    model::Name,
    source::kafka::ask::AskError,
    store::{
        cluster::Cluster,
        silent::{LONGEST, Tail},
    },
};

/// Looks a second.
const PACE: usize = 10;
/// How often it is seen to what waits.
const TICK: Duration = Duration::from_millis(200);
/// Longest wait for the end of a partition.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long a topic is left alone that could not be read.
const REFUSED: Duration = Duration::from_secs(600);

/// The log of a partition, as far as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Log {
    slot: u32,
    /// When it was first seen.
    since: Ticks,
    end: i64,
}

/// What looks found before one end of a partition.
#[derive(Clone, Copy, Debug)]
struct Found {
    log: Log,
    /// From this offset on there is nothing to read.
    silent_from: i64,
    /// From this offset on there is.
    records_from: i64,
}

impl Found {
    fn new(log: Log) -> Self {
        Self { log, silent_from: i64::MAX, records_from: -1 }
    }

    fn is_known(&self, from: i64) -> bool {
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

/// Looks at the tails of one cluster.
#[derive(Debug)]
pub(super) struct Tails {
    cluster: Arc<Cluster>,
    connector: Connector,
    /// Kept from one round to the next, until a look fails: the client may know too little of a topic that was made anew.
    client: Option<Client>,
    found: BTreeMap<(Name, i32), Found>,
    refused: HashMap<Name, Instant>,
    pace: Pace,
}

impl Tails {
    /// Nothing was looked at yet.
    pub(super) fn new(cluster: Arc<Cluster>, connector: Connector) -> Self {
        let (found, refused) = (BTreeMap::new(), HashMap::new());
        Self { cluster, connector, client: None, found, refused, pace: Pace::new(PACE, now()) }
    }

    /// Looks until the token is cancelled. Blocks: give it a thread.
    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let waiting = self.cluster.tails.waiting();
            let due: Vec<Tail> = waiting.into_iter().filter(|tail| self.is_due(tail)).collect();
            if !due.is_empty() && self.cluster.health().reachable {
                self.look_at(&due, stop);
            }
            self.publish();
            std::thread::park_timeout(TICK);
        }
    }

    fn client(&mut self) -> Result<Client, AskError> {
        match &self.client {
            Some(client) => Ok(client.clone()),
            None => Ok(self.client.insert(self.connector.connect()?).clone()),
        }
    }

    /// The present log of a partition, if its end is known.
    fn log(&self, topic: &str, partition: i32) -> Option<Log> {
        let ends = self.cluster.ends.current();
        let partition = *ends.topic(topic)?.partitions.get(usize::try_from(partition).ok()?)?;
        let value = ends.value(partition);
        (value.log_end >= 0).then_some(Log { slot: partition.slot, since: value.since, end: value.log_end })
    }

    fn is_due(&self, (topic, partition, from): &Tail) -> bool {
        let Some(log) = self.log(topic, *partition) else { return false };
        let is_short = (1..=LONGEST).contains(&log.end.saturating_sub(*from));
        let found = self.found.get(&(Name::clone(topic), *partition)).filter(|found| found.log == log);
        let known = found.is_some_and(|found| found.is_known(*from));
        is_short && !known && !self.refused.contains_key(topic)
    }

    fn look_at(&mut self, due: &[Tail], stop: &CancellationToken) {
        let client = self.client().inspect_err(|error| tracing::debug!(%error, "cannot look at ends"));
        let Ok(client) = client else { return };
        for (topic, partition, from) in due {
            let moment = now();
            self.refused.retain(|_, until| *until > moment);
            if self.refused.contains_key(topic) {
                continue;
            }
            while !self.pace.is_free(now()) && !stop.is_cancelled() {
                std::thread::park_timeout(TICK / 4);
            }
            if stop.is_cancelled() {
                return;
            }
            self.pace.count(1, now());
            let Some(log) = self.log(topic, *partition) else { continue };
            match look(&client, topic, *partition, *from, log.end) {
                Ok(silent) => {
                    let found = self.found.entry((Name::clone(topic), *partition)).or_insert(Found::new(log));
                    if found.log != log {
                        *found = Found::new(log);
                    }
                    found.add(*from, silent);
                }
                Err(error) => {
                    tracing::debug!(
                        cluster = &*self.cluster.name,
                        topic = &**topic,
                        partition,
                        %error,
                        "cannot look at the end"
                    );
                    self.client = None;
                    self.refused.insert(Name::clone(topic), now() + REFUSED);
                }
            }
            client.serve();
        }
    }

    /// Forgets what is of an earlier end, and shows the rest.
    fn publish(&mut self) {
        let mut silent = HashMap::new();
        for ((topic, partition), found) in std::mem::take(&mut self.found) {
            let Some(log) = self.log(&topic, partition).filter(|log| *log == found.log) else { continue };
            if found.silent_from < log.end {
                silent.insert(log.slot, (found.silent_from, log.end));
            }
            self.found.insert((topic, partition), found);
        }
        self.cluster.ends.set_silent(silent);
    }
}

/// Reads committed records from an offset on: is there none before the end?
fn look(client: &Client, topic: &str, partition: i32, from: i64, end: i64) -> Result<bool, AskError> {
    let mut fetcher = Fetcher::new(client, topic, 16)?;
    fetcher.start_at(partition, from)?;
    let until = now() + TIMEOUT;
    while now() < until {
        let batch = fetcher.fetch(TICK);
        let Some(first) = batch.messages().first() else { continue };
        return match first.content() {
            Content::Record { .. } => Ok(false),
            // An end before is that of an open transaction.
            Content::End => Ok(first.offset() >= end),
            Content::Reset => Err(AskError::broker("the offset is not in the log")),
            Content::Failure(error) => Err(AskError::broker(describe(error))),
        };
    }
    Err(AskError::Timeout { after: TIMEOUT })
}

#[cfg(test)]
mod tests;
