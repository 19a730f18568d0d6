//! A statement that is run again sees the current data, and returns the same rows as a new engine.

use std::sync::Arc;

use offsetd::clock::Clock;
use offsetd::sql::{Engine, ScalarValue, Statement};
use offsetd::store::Store;
use tokio::runtime::Runtime;

use crate::pushdown::lines;
use crate::support::until;
use crate::synthetic::{self, Committed};

const NOW: i64 = 1_767_225_600_000;

struct Lab {
    runtime: Runtime,
    clock: Clock,
    store: Arc<Store>,
    engine: Engine,
}

impl Lab {
    fn new(clusters: &[&str]) -> Self {
        let clock = Clock::manual(NOW);
        let store = synthetic::store(clusters, 4, clock.clone());
        let engine = Engine::new(Arc::clone(&store), synthetic::config().sql).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, clock, store, engine }
    }

    /// Commits two topics with three partitions for a range of groups.
    fn commit(&self, groups: std::ops::Range<usize>, offset: i64) {
        for cluster in &*self.store.clusters() {
            let topics = ["orders", "payments"].map(|topic| (topic.to_owned(), 3));
            synthetic::ends(cluster, &topics, |topic, _| offset + i64::try_from(topic.len()).unwrap(), &self.clock);
            let keys = groups.clone().flat_map(|group| (0..6).map(move |key| (group, key)));
            let commits: Vec<Committed> = keys
                .map(|(group, key)| Committed {
                    group: format!("g{group}"),
                    topic: ["orders", "payments"][key % 2].to_owned(),
                    partition: i32::try_from(key / 2).unwrap(),
                    offset: offset - i64::try_from(group % 7).unwrap(),
                    at: self.clock.now(),
                    metadata: "",
                })
                .collect();
            synthetic::commit(&self.store, cluster, &commits, true);
        }
    }

    fn run(&self, engine: &Engine, sql: &str, parameters: &[ScalarValue]) -> Vec<String> {
        self.runtime.block_on(async {
            let statement = Statement { sql: sql.to_owned(), parameters: parameters.to_vec(), ..Statement::default() };
            let mut answer = engine.run(statement).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
            let mut batches = vec![];
            while let Some(batch) = answer.next().await {
                batches.push(batch.unwrap_or_else(|error| panic!("{sql}: {error}")));
            }
            let mut lines = if batches.is_empty() { vec![] } else { lines(&batches) };
            lines.sort();
            lines
        })
    }

    /// Returns the rows of an engine that has run the statement before, and of a new one.
    fn both(&self, sql: &str, parameters: &[ScalarValue]) -> [Vec<String>; 2] {
        let new = Engine::new(Arc::clone(&self.store), synthetic::config().sql).unwrap();
        [&self.engine, &new].map(|engine| self.run(engine, sql, parameters))
    }
}

const STATEMENTS: [&str; 16] = [
    "SELECT 1 AS one",
    "SELECT count(*) AS n FROM offsets",
    "SELECT count(*) AS n, count(1) AS m FROM lag WHERE group_id IN ('g1', 'g7')",
    "SELECT count(*) AS n FROM lag WHERE topic = 'orders'",
    "SELECT count(*) AS n FROM commits",
    "SELECT * FROM lag WHERE group_id = 'g1'",
    "SELECT topic, sum(lag) AS s, max(lag) AS m FROM lag GROUP BY topic",
    "SELECT group_id, sum(lag) AS s FROM lag GROUP BY group_id ORDER BY s DESC, group_id LIMIT 3",
    "SELECT group_id, topic, partition FROM lag ORDER BY cluster, group_id, topic, partition LIMIT 5",
    "SELECT DISTINCT topic FROM offsets WHERE partition > 0",
    "SELECT group_id FROM groups UNION ALL SELECT topic FROM topics",
    "SELECT group_id, members FROM consumers WHERE group_id LIKE 'g1%'",
    "SELECT g.group_id, l.lag FROM groups g JOIN lag l USING (cluster, group_id) WHERE l.partition = 0",
    "SELECT (SELECT max(lag) FROM lag) AS most, (SELECT count(*) FROM groups) AS n",
    "SELECT now() AS at, count(*) AS n FROM lag",
    "SELECT max(now() - committed_at) AS age FROM offsets",
];

#[test]
fn a_statement_that_is_run_again_reads_the_present() {
    for clusters in [&["east"][..], &["east", "west"]] {
        let lab = Lab::new(clusters);
        let mut before = vec![vec![]; STATEMENTS.len()];
        // From no groups to more than one batch.
        for (round, groups) in [0..0, 0..9, 2..40, 0..5_000].into_iter().enumerate() {
            lab.commit(groups, 100 * i64::try_from(round + 1).unwrap());
            lab.clock.advance(1_000);
            for (sql, before) in STATEMENTS.iter().zip(&mut before) {
                let [again, new] = lab.both(sql, &[]);
                assert_eq!(again, new, "{sql}");
                assert!(round == 0 || again != *before || !sql.contains("(lag)"), "{sql} returned old rows: {again:?}");
                *before = again;
            }
        }
        assert_eq!(lab.run(&lab.engine, STATEMENTS[1], &[]), [format!("|{}|", 30_000 * clusters.len())]);
    }
}

#[test]
fn a_statement_with_other_parameters_is_another() {
    let lab = Lab::new(&["east"]);
    lab.commit(0..9, 100);
    let sql = "SELECT group_id, topic, partition, lag FROM lag WHERE group_id = $1 AND lag >= $2";
    for group in ["g1", "g2", "g1", "missing", "g2"] {
        for lag in [0, 8] {
            let [again, new] = lab.both(sql, &[group.into(), ScalarValue::Int64(Some(lag))]);
            assert_eq!(again, new);
            assert!(
                again.iter().all(|line| line.contains(group)) && again.is_empty() == (group == "missing"),
                "{again:?}"
            );
        }
    }
}

#[test]
fn a_statement_that_was_left_keeps_nothing_for_the_next_one() {
    let lab = Lab::new(&["east"]);
    lab.commit(0..5_000, 100);
    // This statement reads two partitions and shuffles them.
    let sql = "SELECT group_id, topic, sum(committed_offset) AS s FROM offsets GROUP BY group_id, topic";
    for round in 1..4 {
        lab.runtime.block_on(async {
            let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
            let mut answer = lab.engine.run(statement).await.unwrap();
            answer.next().await.unwrap().unwrap();
        });
        lab.commit(0..5_000, 100 + round);
        until("its cut to be released", || lab.store.pins().bytes() == 0);
    }
    let [again, new] = lab.both(sql, &[]);
    assert_eq!(again, new);
    assert_eq!(again.len(), 10_000);
}
