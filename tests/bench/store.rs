//! The parts of the server, in this process and without Kafka: the cost of one record, key or call; whether it stays
//! the same with more data; and how the parts affect each other.

pub(crate) mod busy;
pub(crate) mod growth;
pub(crate) mod micro;

use std::ops::Range;
use std::sync::Arc;

use offsetd::clock::Clock;
use offsetd::config;
use offsetd::model::Millis;
use offsetd::model::Revision;
use offsetd::sql::{Engine, Statement};
use offsetd::store::Store;
use offsetd::store::event::{Event, EventKind};
use offsetd::store::group::Commit;
use offsetd::store::writer::{ShardWriter, SourceWriter};
use tokio::runtime::Runtime;

use crate::synthetic;

/// Number of events that a poll thread applies at a time.
const RUN: usize = 256;
const AT: Millis = 1_767_225_600_000;

fn event<'a>(group: &'a str, topic: &'a str, partition: usize, number: i64) -> Event<'a> {
    let commit = Commit {
        committed_offset: number,
        committed_at: AT + number,
        leader_epoch: 0,
        metadata: "",
        expires_at: None,
        topic_id: None,
        first_seen_at: None,
    };
    let kind = EventKind::Commit { topic, partition: i32::try_from(partition).unwrap(), commit };
    Event { revision: Revision(number), at: AT, group, kind }
}

fn deletion<'a>(group: &'a str, topic: &'a str, partition: usize, number: i64) -> Event<'a> {
    let kind = EventKind::Delete { topic, partition: i32::try_from(partition).unwrap() };
    Event { revision: Revision(number), at: AT, group, kind }
}

fn names(what: &str, numbers: Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{what}-{number}")).collect()
}

/// Creates an empty cluster with one log partition.
fn empty() -> (Arc<Store>, ShardWriter) {
    let store = synthetic::store(&["bench"], 1, Clock::system());
    let shard = SourceWriter::own(&store, &store.clusters()[0]).shard(0).unwrap();
    (store, shard)
}

/// The keys of a shard: groups, and the partitions of one topic that each group reads.
#[derive(Clone, Debug)]
struct Keys {
    groups: Vec<String>,
    partitions: usize,
}

impl Keys {
    fn new(groups: usize, partitions: usize) -> Self {
        Self { groups: names("service-consumer", 0..groups), partitions }
    }

    fn len(&self) -> usize {
        self.groups.len() * self.partitions
    }

    /// Commits every key, as changes.
    fn commit(&self, shard: &ShardWriter, first: i64) {
        let each = |number: usize| {
            let group = &self.groups[number / self.partitions];
            event(group, "orders", number % self.partitions, first + i64::try_from(number).unwrap())
        };
        self.apply(shard, each);
    }

    fn delete(&self, shard: &ShardWriter, first: i64) {
        let each = |number: usize| {
            let group = &self.groups[number / self.partitions];
            deletion(group, "orders", number % self.partitions, first + i64::try_from(number).unwrap())
        };
        self.apply(shard, each);
    }

    fn apply<'a>(&'a self, shard: &ShardWriter, each: impl Fn(usize) -> Event<'a>) {
        for from in (0..self.len()).step_by(RUN) {
            let events: Vec<_> = (from..self.len().min(from + RUN)).map(&each).collect();
            shard.apply(&events, Revision(0));
        }
        let next = self.len().checked_sub(1).map_or(0, |last| each(last).revision.0 + 1);
        shard.reached(Revision(next));
    }
}

fn engine(store: &Arc<Store>, threads: usize) -> Engine {
    let settings = config::Sql { threads, target_partitions: threads, ..synthetic::config().sql };
    Engine::new(Arc::clone(store), settings).unwrap()
}

/// Runs a statement; returns the number of rows.
fn rows(runtime: &Runtime, engine: &Engine, sql: &str) -> usize {
    runtime.block_on(async {
        let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
        let mut answer = engine.run(statement).await.unwrap();
        let mut rows = 0;
        while let Some(batch) = answer.next().await {
            rows += batch.unwrap().num_rows();
        }
        rows
    })
}
