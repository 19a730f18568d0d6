//! Statements on a million committed offsets, compared with DataFusion on in-memory tables with the same rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::physical_plan::collect;
use datafusion::prelude::{SessionConfig, SessionContext};
use offsetd::clock::Clock;
use offsetd::sql::{Engine, Statement};
use offsetd::store::Store;
use tokio::runtime::{Builder, Runtime};

use crate::measure::{Goal, Report};
use crate::synthetic::{self, Committed};

const GROUPS: usize = 10_000;
const TOPICS: usize = 500;
/// Number of topics per group.
const TOPICS_READ: usize = 5;
const PARTITIONS: usize = 20;
const THREADS: usize = 2;

/// Creates a store with a million offsets of ten thousand groups.
pub(crate) fn million() -> Arc<Store> {
    let clock = Clock::system();
    let store = synthetic::store(&["bench"], 50, clock.clone());
    let cluster = &store.clusters()[0];
    let topic = |number: usize| format!("team-{}.service-{}.events", number % 20, number);
    let topics: Vec<(String, usize)> = (0..TOPICS).map(|number| (topic(number), PARTITIONS)).collect();
    synthetic::ends(cluster, &topics, |_, number| 1_000_000 + i64::try_from(number).unwrap(), &clock);
    let now = clock.now();
    for group in 0..GROUPS {
        let key = |number: usize| Committed {
            group: format!("service-{group}-consumer"),
            topic: topic((group * 7 + number / PARTITIONS * 31) % TOPICS),
            partition: i32::try_from(number % PARTITIONS).unwrap(),
            offset: i64::try_from(900_000 + (group * 37 + number * 91) % 100_000).unwrap(),
            at: now - i64::try_from((group * 13 + number * 7) % 86_400_000).unwrap(),
            metadata: "",
        };
        let commits: Vec<Committed> = (0..TOPICS_READ * PARTITIONS).map(key).collect();
        synthetic::commit(&store, cluster, &commits, false);
    }
    store
}

struct Both {
    runtime: Runtime,
    engine: Engine,
    plain: SessionContext,
}

impl Both {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
        let settings = offsetd::config::Sql { threads: THREADS, target_partitions: THREADS, ..synthetic::config().sql };
        let engine = Engine::new(million(), settings).unwrap();
        let mut options = ConfigOptions::new();
        options.sql_parser.map_string_types_to_utf8view = false;
        options.execution.target_partitions = THREADS;
        let both = Self { runtime, engine, plain: SessionContext::new_with_config(SessionConfig::from(options)) };
        for table in ["offsets", "lag"] {
            let rows = both.ours(&format!("SELECT * FROM {table}"));
            assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), GROUPS * TOPICS_READ * PARTITIONS);
            let middle = rows.len() / 2;
            let halves = vec![rows[..middle].to_vec(), rows[middle..].to_vec()];
            let copy = MemTable::try_new(rows[0].schema(), halves).unwrap();
            both.plain.register_table(table, Arc::new(copy)).unwrap();
        }
        both
    }

    fn ours(&self, sql: &str) -> Vec<RecordBatch> {
        self.runtime.block_on(async {
            let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
            let mut answer = self.engine.run(statement).await.unwrap();
            let mut batches = vec![];
            while let Some(batch) = answer.next().await {
                batches.push(batch.unwrap());
            }
            batches
        })
    }

    fn theirs(&self, sql: &str) -> Vec<RecordBatch> {
        let context = self.plain.clone();
        let sql = sql.to_owned();
        let run = async move {
            let plan = context.sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
            collect(plan, context.task_ctx()).await.unwrap()
        };
        self.runtime.block_on(async { tokio::spawn(run).await.unwrap() })
    }
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

pub(crate) fn run(report: &mut Report) {
    let both = Both::new();
    let at_most: [(&str, Goal, &str); 6] = [
        (
            "aggregate by topic",
            Goal::AtMost(2.0),
            "SELECT topic, count(*), sum(committed_offset), max(committed_at) FROM offsets GROUP BY topic",
        ),
        ("aggregate of all", Goal::None, "SELECT sum(committed_offset), max(committed_at) FROM offsets"),
        (
            "aggregate by group",
            Goal::None,
            "SELECT group_id, sum(committed_offset) AS s FROM offsets GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
        ),
        (
            "filter on topic",
            Goal::AtMost(1.2),
            "SELECT group_id, partition, committed_offset FROM offsets WHERE topic = 'team-7.service-7.events'",
        ),
        ("lag by topic (derived vs stored)", Goal::None, "SELECT topic, sum(lag), max(lag) FROM lag GROUP BY topic"),
        (
            "worst by lag (derived vs stored)",
            Goal::None,
            "SELECT group_id, topic, partition, lag FROM lag ORDER BY lag DESC LIMIT 20",
        ),
    ];
    for (what, goal, sql) in at_most {
        assert_eq!(rows(&both.ours(sql)), rows(&both.theirs(sql)), "{sql}");
        report.compare(what, goal, || drop(both.ours(sql)), || drop(both.theirs(sql)));
    }
    let group = "SELECT * FROM offsets WHERE group_id = 'service-4711-consumer'";
    let key = "SELECT * FROM offsets WHERE group_id = 'service-4711-consumer' AND topic = 'team-17.service-477.events' AND partition = 3";
    let count = "SELECT count(*) FROM offsets";
    for (what, goal, sql) in [
        ("no table, planning only", Goal::None, "SELECT 1"),
        ("one group", Goal::AtLeast(0.5), group),
        ("one key", Goal::None, key),
        ("count(*)", Goal::AtLeast(0.5), count),
    ] {
        assert_eq!(rows(&both.ours(sql)), rows(&both.theirs(sql)), "{sql}");
        report.faster_in_a_row(what, goal, || drop(both.ours(sql)), || drop(both.theirs(sql)));
    }
}
