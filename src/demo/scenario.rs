//! The form of `scenario.toml`, which says what the topics, groups and stores of the demo do. The file explains the
//! fields.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use serde::Deserialize;
use toml::{Table, Value};

use super::cluster::DemoError;

/// Length of a tick in milliseconds.
pub(super) const TICK_MS: u64 = 250;
/// Number of records in each data partition at the start.
pub(super) const BACKLOG: i64 = 1000;

#[derive(Debug, Deserialize)]
pub(super) struct Scenario {
    pub(super) clusters: Vec<ClusterSpec>,
    pub(super) stores: Vec<StoreSpec>,
}

impl Scenario {
    /// Reads the scenario, which is part of the program.
    pub(super) fn load() -> Result<Self, DemoError> {
        let mut text: Table = toml::from_str(include_str!("scenario.toml"))?;
        let defaults = text.remove("defaults").unwrap_or(Value::Integer(0));
        let clusters = text.get_mut("clusters").and_then(Value::as_array_mut);
        for cluster in clusters.into_iter().flatten() {
            for list in ["topics", "groups"] {
                let items = cluster.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
                for item in items.filter_map(Value::as_table_mut) {
                    for (key, value) in defaults.get(list).and_then(Value::as_table).into_iter().flatten() {
                        item.entry(key).or_insert_with(|| value.clone());
                    }
                }
            }
        }
        Ok(text.try_into()?)
    }
}

/// A number of ticks, written as a duration such as "5s".
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Ticks(pub(super) u64);

impl TryFrom<String> for Ticks {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let millis = humantime::parse_duration(&text)?.as_millis();
        Ok(Self(u64::try_from(millis).unwrap_or(u64::MAX) / TICK_MS))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterSpec {
    pub(super) name: String,
    pub(super) brokers: i32,
    pub(super) log_partitions: i32,
    pub(super) topics: Vec<TopicSpec>,
    pub(super) groups: Vec<GroupSpec>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicSpec {
    pub(super) name: String,
    pub(super) partitions: i32,
    pub(super) records: u64,
    pub(super) every: Ticks,
    pub(super) bytes: usize,
}

impl TopicSpec {
    /// Returns the log end of a partition. It grows by half to one and a half times `records`.
    pub(super) fn end(&self, partition: i32, tick: u64) -> i64 {
        // The shift spreads the growth of the topics over different ticks.
        let shift = random(&self.name).checked_rem(self.every.0).unwrap_or(0);
        let growths = (tick + shift).checked_div(self.every.0).unwrap_or(0);
        let noise = random((partition, growths)) % (self.records / 2 + 1);
        BACKLOG + i64::try_from(growths * self.records + noise).unwrap_or(0)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupSpec {
    pub(super) id: String,
    pub(super) topics: Vec<String>,
    pub(super) protocol: Protocol,
    pub(super) members: Vec<usize>,
    pub(super) changes: Ticks,
    pub(super) assignor: String,
    pub(super) pattern: String,
    pub(super) every: Ticks,
    pub(super) behind: u64,
    pub(super) trouble: Trouble,
    pub(super) well: Ticks,
    pub(super) of: Ticks,
    pub(super) retention_hours: Option<i64>,
    pub(super) metadata: String,
}

impl GroupSpec {
    /// Returns the ticks since the period began, if the group works normally then. If it is in trouble, returns those
    /// since the trouble began.
    pub(super) fn phase(&self, tick: u64) -> Result<u64, u64> {
        let since = tick.checked_rem(self.of.0).unwrap_or(0);
        since.checked_sub(self.well.0).filter(|_| self.of.0 > 0).map_or(Ok(since), Err)
    }

    /// Returns the number of members at a tick.
    pub(super) fn members_at(&self, tick: u64) -> usize {
        let is_gone = matches!(self.trouble, Trouble::Stops | Trouble::Console) && self.phase(tick).is_err();
        let turn = usize::try_from(tick.checked_div(self.changes.0).unwrap_or(0)).unwrap_or(0);
        let turn = turn.checked_rem(self.members.len()).filter(|_| !is_gone);
        turn.and_then(|turn| self.members.get(turn)).copied().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    Simple,
    Classic,
    Static,
    Connect,
    Consumer,
    Share,
    Streams,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Trouble {
    None,
    Slow,
    Stuck,
    Stops,
    Rewinds,
    Abandoned,
    Console,
}

/// A store of offsets outside Kafka.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreSpec {
    pub(super) name: String,
    pub(super) cluster: String,
    #[serde(default)]
    pub(super) expires: bool,
    #[serde(default)]
    pub(super) batches: bool,
    pub(super) every: Ticks,
    pub(super) behind: i64,
    pub(super) group: String,
    pub(super) topics: Vec<String>,
}

/// Returns a number that looks random and is the same in every run.
pub(super) fn random(seed: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    seed.hash(&mut hasher);
    hasher.finish()
}
