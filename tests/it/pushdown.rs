//! Scans that skip, order and limit rows themselves return the same rows as plain DataFusion on in-memory tables with
//! the same rows.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use offsetd::clock::Clock;
use offsetd::sql::{Engine, SqlError, Statement};
use offsetd::store::Store;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::runtime::Runtime;

use crate::synthetic::{self, Committed};

const NOW: i64 = 1_767_225_600_000;

/// The tables with more than a few rows: name, columns of conditions and orders, and a numeric column.
const TABLES: [(&str, &[&str], &str); 5] = [
    ("offsets", &["cluster", "group_id", "topic", "partition"], "committed_offset"),
    ("lag", &["cluster", "group_id", "topic", "partition"], "lag"),
    ("groups", &["cluster", "group_id"], "lag"),
    ("partitions", &["cluster", "topic", "partition"], "log_end_offset"),
    ("topics", &["cluster", "topic"], "partitions"),
];

const TOPICS: [&str; 6] = ["orders", "orders_eu", "order%", "payments", "pay\\ments", "zebra"];

fn filled() -> Arc<Store> {
    let clock = Clock::manual(NOW);
    let store = synthetic::store(&["east", "west"], 4, clock.clone());
    for (cluster, shift) in store.clusters().iter().zip(0..) {
        let topics: Vec<(String, usize)> = TOPICS.iter().map(|topic| ((*topic).to_owned(), 4)).collect();
        synthetic::ends(cluster, &topics, |topic, number| i64::try_from(topic.len() * 10 + number).unwrap(), &clock);
        let mut commits = vec![];
        for group in 0..24 {
            for (topic, position) in TOPICS.iter().zip(0..).filter(|(_, position)| (group + position + shift) % 3 != 0)
            {
                for partition in 0..(group % 6) {
                    commits.push(Committed {
                        group: format!("{}-{}", ["app", "apple", "ZOO", "消费者", "%_"][group % 5], group / 5),
                        topic: (*topic).to_owned(),
                        partition: i32::try_from((partition + position) % 6).unwrap(),
                        offset: i64::try_from((group * 7 + partition * 13) % 90).unwrap(),
                        at: NOW - 1000 * i64::try_from(group * group).unwrap(),
                        metadata: ["", "it's", "100%"][(group + partition) % 3],
                    });
                }
            }
        }
        synthetic::commit(&store, cluster, &commits, true);
    }
    store
}

/// The engine, and plain DataFusion on the same rows.
pub(crate) struct Both {
    runtime: Runtime,
    engine: Engine,
    plain: SessionContext,
}

impl Both {
    pub(crate) fn new() -> Self {
        Self::with(synthetic::config().sql)
    }

    fn with(settings: offsetd::config::Sql) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let engine = Engine::new(filled(), settings).unwrap();
        let both = Self { runtime, engine, plain: SessionContext::new() };
        for (table, ..) in TABLES {
            let rows = both.ours(&format!("SELECT * FROM {table}"));
            assert!(rows.iter().map(RecordBatch::num_rows).sum::<usize>() > 10, "{table}");
            let copy = MemTable::try_new(rows[0].schema(), vec![rows]).unwrap();
            both.plain.register_table(table, Arc::new(copy)).unwrap();
        }
        both
    }

    /// Returns the schema that is announced before the first batch, and the batches.
    pub(crate) fn try_ours(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>), SqlError> {
        self.runtime.block_on(async {
            let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
            let mut answer = self.engine.run(statement).await?;
            let mut batches = vec![];
            while let Some(batch) = answer.next().await {
                batches.push(batch?);
            }
            Ok((Arc::clone(&answer.schema), batches))
        })
    }

    fn ours(&self, sql: &str) -> Vec<RecordBatch> {
        self.try_ours(sql).unwrap_or_else(|error| panic!("{sql}: {error}")).1
    }

    pub(crate) fn try_theirs(&self, sql: &str) -> Result<(SchemaRef, Vec<RecordBatch>), DataFusionError> {
        self.runtime.block_on(async {
            let task = self.plain.task_ctx();
            let plan = self.plain.sql(sql).await?.create_physical_plan().await?;
            Ok((plan.schema(), collect(plan, task).await?))
        })
    }

    fn theirs(&self, sql: &str) -> Vec<RecordBatch> {
        self.try_theirs(sql).unwrap_or_else(|error| panic!("{sql}: {error}")).1
    }
}

pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let text = pretty_format_batches(batches).unwrap().to_string();
    text.lines().filter(|line| line.starts_with('|')).skip(1).map(|line| line.replace(' ', "")).collect()
}

pub(crate) fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Returns a random condition on the columns of a table.
fn condition(columns: &'static [&'static str]) -> impl Strategy<Value = String> {
    let names = || {
        select(vec![
            "east",
            "west",
            "apple-0",
            "apple-1",
            "ZOO-2",
            "消费者-0",
            "%_-1",
            "orders",
            "order%",
            "zebra",
            "no",
            "",
        ])
    };
    let patterns = || {
        select(vec![
            "app%", "apple-%", "%", "_pp%", "order\\%", "order_%", "pay\\\\%", "消费%", "e%", "%a%", "orders", "",
        ])
    };
    let named: Vec<&str> = columns.iter().copied().filter(|column| *column != "partition").collect();
    let text = || select(named.clone());
    let number: Vec<&str> = if columns.contains(&"partition") { vec!["partition"] } else { vec!["length(cluster)"] };
    let number = move || select(number.clone());
    let operator = || select(vec!["=", "<>", "<", ">="]);
    let leaf = prop_oneof![
        3 => (text(), names()).prop_map(|(column, name)| format!("{column} = {}", quoted(name))),
        1 => (text(), operator(), names()).prop_map(|(column, sign, name)| format!("{column} {sign} {}", quoted(name))),
        2 => (text(), any::<bool>(), prop::collection::vec(names(), 1..6)).prop_map(|(column, not, names)| {
            let names: Vec<String> = names.into_iter().map(quoted).collect();
            format!("{column} {}IN ({})", if not { "NOT " } else { "" }, names.join(", "))
        }),
        2 => (text(), any::<bool>(), any::<bool>(), patterns()).prop_map(|(column, not, any_case, pattern)| {
            let (not, like) = (if not { "NOT " } else { "" }, if any_case { "ILIKE" } else { "LIKE" });
            format!("{column} {not}{like} {}", quoted(pattern))
        }),
        2 => (number(), operator(), -1..6).prop_map(|(column, sign, number)| format!("{column} {sign} {number}")),
        1 => (number(), prop::collection::vec(-1..6, 1..4)).prop_map(|(column, numbers)| {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            format!("{column} IN ({})", numbers.join(", "))
        }),
        1 => text().prop_map(|column| format!("length({column}) > 5")),
        1 => text().prop_map(|column| format!("{column} IS NULL")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            3 => (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} AND {right})")),
            2 => (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} OR {right})")),
            1 => inner.prop_map(|inner| format!("NOT ({inner})")),
        ]
    })
}

#[derive(Clone, Debug)]
struct RandomQuery {
    table: &'static str,
    key: &'static [&'static str],
    number: &'static str,
    condition: String,
    /// Number of key columns to order by.
    order: usize,
    limit: usize,
}

fn random_query() -> impl Strategy<Value = RandomQuery> {
    select(TABLES.to_vec()).prop_flat_map(|(table, key, number)| {
        (condition(key), 0..=key.len(), 0..30_usize).prop_map(move |(condition, order, limit)| RandomQuery {
            table,
            key,
            number,
            condition,
            order,
            limit,
        })
    })
}

static BOTH: LazyLock<std::sync::Mutex<Both>> = LazyLock::new(|| std::sync::Mutex::new(Both::new()));

fn check(query: &RandomQuery) {
    let both = BOTH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let RandomQuery { table, key, number, condition, order, limit } = query;
    // A second run, which may use a cached plan, returns the same rows.
    let ours = |sql: &str| {
        let rows = lines(&both.ours(sql));
        assert_eq!(sorted(lines(&both.ours(sql))), sorted(rows.clone()), "{sql}");
        rows
    };
    let all = format!("SELECT * FROM {table} WHERE {condition}");
    let expected = lines(&both.theirs(&all));
    assert_eq!(sorted(ours(&all)), sorted(expected.clone()), "{all}");

    let count = format!("SELECT count(*) AS n FROM {table} WHERE {condition}");
    assert_eq!(ours(&count), lines(&both.theirs(&count)), "{count}");

    let some = format!("{all} LIMIT {limit}");
    let rows = lines(&both.ours(&some));
    assert_eq!(rows.len(), expected.len().min(*limit), "{some}");
    assert!(rows.iter().all(|row| expected.contains(row)), "{some}");

    // An outer limit must not widen an inner one, and counting must not drop it.
    let few = limit / 2;
    let within = format!("FROM (SELECT * FROM {table} WHERE {condition} LIMIT {few})");
    let kept = expected.len().min(few);
    let rows = lines(&both.ours(&format!("SELECT * {within} ORDER BY {} LIMIT {limit}", key.join(", "))));
    assert_eq!(rows.len(), kept, "{within}");
    assert_eq!(lines(&both.ours(&format!("SELECT count(*) AS n {within}"))), [format!("|{kept}|")], "{within}");

    // A part of the key does not determine the order of the other columns; the whole key determines it completely.
    let (by, whole) = (key[..*order].join(", "), key.join(", "));
    if *order > 0 {
        let ordered = format!("SELECT {by} FROM {table} WHERE {condition} ORDER BY {by}");
        assert_eq!(lines(&both.ours(&ordered)), lines(&both.theirs(&ordered)), "{ordered}");
    }
    let functions = format!("count(*) AS n, max({number}) AS m, sum({number}) FILTER (WHERE {number} > 20) AS s");
    for column in &key[..*order] {
        for by in [(*column).to_owned(), by.clone()] {
            let grouped = format!("SELECT {by}, {functions} FROM {table} WHERE {condition} GROUP BY {by}");
            assert_eq!(sorted(ours(&grouped)), sorted(lines(&both.theirs(&grouped))), "{grouped}");
        }
    }
    let first = format!("{all} ORDER BY {whole} LIMIT {limit}");
    assert_eq!(ours(&first), lines(&both.theirs(&first)), "{first}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_scan_gives_the_rows_that_are_given_without_its_help(query in random_query()) {
        check(&query);
    }
}

/// Returns the line of the plan that reads the table.
fn scan(both: &Both, sql: &str) -> String {
    let text = lines(&both.ours(&format!("EXPLAIN {sql}"))).join("\n");
    let line = text.lines().find(|line| line.contains("LiveScanExec:"));
    line.unwrap_or_else(|| panic!("{sql}\n{text}")).trim_end_matches('|').to_owned()
}

fn plan(both: &Both, sql: &str) -> String {
    lines(&both.ours(&format!("EXPLAIN {sql}"))).join("\n")
}

#[test]
fn explain_shows_what_a_scan_skips() {
    let both = BOTH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cases = [
        ("SELECT * FROM lag", "table=lag,shards=8/8"),
        ("SELECT * FROM lag WHERE cluster = 'west'", "table=lag,shards=4/8,clusters=[west]"),
        (
            "SELECT * FROM lag WHERE cluster = 'west' AND group_id = 'apple-0'",
            "table=lag,shards=1/8,clusters=[west],groups=[apple-0]",
        ),
        (
            "SELECT * FROM offsets WHERE group_id LIKE 'app%' AND topic IN ('orders', 'zebra') AND partition = 3",
            "groups=[app…],topics=[orders,zebra],partitions=[3]",
        ),
        ("SELECT * FROM topics WHERE topic LIKE 'order\\%%'", "topics=[order…]"),
        ("SELECT group_id FROM lag LIMIT 3", "shards=8/8,limit=3"),
        ("SELECT * FROM lag ORDER BY cluster, group_id LIMIT 3", "order=[cluster,group_id,topic,partition],limit=3"),
        ("SELECT * FROM lag WHERE group_id = 'no'", "shards=0/8"),
    ];
    for (sql, expected) in cases {
        let line = scan(&both, sql);
        assert!(line.contains(expected), "{sql}\n{line}");
    }
}

#[test]
fn conditions_and_orders_that_a_scan_takes_over_leave_the_plan() {
    let both = BOTH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for sql in [
        "SELECT * FROM lag WHERE cluster = 'east' AND group_id IN ('apple-0', 'ZOO-2')",
        "SELECT * FROM offsets ORDER BY cluster, group_id, topic, partition",
        "SELECT * FROM offsets WHERE cluster = 'east' AND group_id = 'apple-0' ORDER BY topic, partition LIMIT 5",
        "SELECT * FROM topics WHERE cluster = 'east' ORDER BY topic",
    ] {
        let plan = plan(&both, sql);
        assert!(!plan.contains("FilterExec") && !plan.contains("SortExec"), "{sql}\n{plan}");
    }
    for sql in [
        "SELECT * FROM lag WHERE random() < 0.5",
        "SELECT * FROM lag WHERE lag > 5 AND length(topic) > 6",
        "SELECT * FROM commits WHERE group_id = 'apple-0'",
        "SELECT * FROM lag ORDER BY topic",
        "SELECT * FROM topics ORDER BY cluster DESC",
    ] {
        let plan = plan(&both, sql);
        assert!(plan.contains("FilterExec") || plan.contains("SortExec"), "{sql}\n{plan}");
    }
}

#[test]
fn grouping_by_names_gives_the_groups_that_are_given_without_its_help() {
    let both = &*BOTH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let one = Both::with(offsetd::config::Sql { target_partitions: 1, ..synthetic::config().sql });
    for sql in [
        "SELECT topic, sum(lag) FROM lag GROUP BY topic",
        "SELECT DISTINCT topic FROM offsets WHERE group_id LIKE 'app%'",
        "SELECT cluster, topic, max(lag) FROM lag WHERE lag > 5 GROUP BY topic, cluster HAVING max(lag) > 7",
        "SELECT upper(topic), avg(lag) FILTER (WHERE partition = 0) FROM lag GROUP BY topic",
        "SELECT group_id, sum(lag) FROM (SELECT group_id, lag FROM lag WHERE cluster = 'east' LIMIT 1000) GROUP BY group_id",
        "SELECT topic, committed, n FROM (SELECT topic, sum(committed_offset) AS committed FROM offsets GROUP BY topic)
         JOIN (SELECT topic, count(*) AS n FROM lag GROUP BY topic) USING (topic)",
        "SELECT topic, max(topic) FROM lag GROUP BY topic",
        "SELECT topic, count(DISTINCT lag) FROM lag GROUP BY topic",
        "SELECT cluster, topic, count(*) FROM lag GROUP BY ROLLUP (cluster, topic)",
    ] {
        for both in [both, &one] {
            assert_eq!(sorted(lines(&both.ours(sql))), sorted(lines(&both.theirs(sql))), "{sql}");
        }
    }
    let best = "SELECT topic, max(lag) FROM lag GROUP BY topic ORDER BY 2 DESC, 1 LIMIT 3";
    assert_eq!(lines(&one.ours(best)), lines(&both.theirs(best)));
}

#[test]
fn counting_all_rows_or_those_of_groups_reads_nothing() {
    let both = BOTH.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for sql in [
        "SELECT count(*) AS n FROM offsets",
        "SELECT count(*) AS n FROM lag WHERE cluster = 'east' AND group_id IN ('apple-0', 'ZOO-1')",
        "SELECT count(*) AS n FROM groups",
        "SELECT count(*) AS n FROM partitions WHERE cluster = 'west'",
    ] {
        let plan = plan(&both, sql);
        assert!(!plan.contains("LiveScanExec"), "{sql}\n{plan}");
        assert_eq!(lines(&both.ours(sql)), lines(&both.theirs(sql)), "{sql}");
    }
    // The group id does not determine how many of the group's commits are in the ring.
    let plan = plan(&both, "SELECT count(*) FROM commits WHERE group_id = 'apple-0'");
    assert!(plan.contains("LiveScanExec"), "{plan}");
}
