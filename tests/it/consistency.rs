//! A statement sees one cut, whatever writers do meanwhile, and the memory retained for old cuts is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use offsetd::clock::Clock;
use offsetd::config;
use offsetd::model::{Revision, log_partition_for};
use offsetd::sql::{Answer, Engine, SqlError, Statement};
use offsetd::store::Store;
use offsetd::store::event::{Event, EventKind};
use offsetd::store::group::Commit;
use offsetd::store::writer::{ShardWriter, SourceWriter};
use offsetd::work::{EndReason, WorkError};
use tokio::runtime::Runtime;

use crate::support::until;
use crate::synthetic::{self, Committed};

const NOW: i64 = 1_767_225_600_000;
const GROUPS: usize = 12;
const PARTITIONS: usize = 40;
/// Initial offset of each key. The sum of a group's offsets never changes.
const OFFSET: i64 = 1_000_000;

fn name(group: usize) -> String {
    format!("group-{group}")
}

fn event<'a>(group: &'a str, partition: usize, offset: Option<i64>, revision: i64) -> Event<'a> {
    let (topic, partition) = ("t", i32::try_from(partition).unwrap());
    let commit = |committed_offset| Commit {
        committed_offset,
        committed_at: NOW,
        leader_epoch: -1,
        metadata: "",
        expires_at: None,
        topic_id: None,
        first_seen_at: None,
    };
    let kind = match offset {
        Some(offset) => EventKind::Commit { topic, partition, commit: commit(offset) },
        None => EventKind::Delete { topic, partition },
    };
    Event { revision: Revision(revision), at: NOW, group, kind }
}

fn shard(store: &Arc<Store>, group: &str) -> ShardWriter {
    let cluster = &store.clusters()[0];
    let shards = i32::try_from(cluster.own.shards().len()).unwrap();
    SourceWriter::own(store, cluster).shard(log_partition_for(group, shards).unwrap()).unwrap()
}

/// Applies changes of one group as one batch of its log partition, after all earlier batches.
fn apply(store: &Arc<Store>, group: &str, changes: &[(usize, Option<i64>)]) {
    static LOG_OFFSET: AtomicI64 = AtomicI64::new(1 << 32);
    let next = || LOG_OFFSET.fetch_add(1, Ordering::Relaxed);
    let event = |(partition, offset): &(usize, Option<i64>)| event(group, *partition, *offset, next());
    let events: Vec<_> = changes.iter().map(event).collect();
    shard(store, group).apply(&events, Revision(0));
}

/// Moves the log ends, and keeps their sum constant.
fn move_ends(store: &Store, step: usize, clock: &Clock) {
    let end = |_: &str, partition: usize| 2 * OFFSET + i64::try_from((partition + step) % PARTITIONS).unwrap();
    synthetic::ends(&store.clusters()[0], &[("t".to_owned(), PARTITIONS)], end, clock);
}

fn filled() -> (Arc<Store>, Clock) {
    let clock = Clock::manual(NOW);
    let store = synthetic::store(&["c"], 4, clock.clone());
    let keys = (0..GROUPS).flat_map(|group| (0..PARTITIONS).map(move |partition| (group, partition)));
    let commit = |(group, partition)| Committed {
        group: name(group),
        topic: "t".to_owned(),
        partition: i32::try_from(partition).unwrap(),
        offset: OFFSET,
        at: NOW,
        metadata: "",
    };
    synthetic::commit(&store, &store.clusters()[0], &keys.map(commit).collect::<Vec<_>>(), true);
    move_ends(&store, 0, &clock);
    (store, clock)
}

/// Moves offsets within each group, and adds and removes keys and groups, as fast as possible.
fn write(store: &Arc<Store>, clock: &Clock, stop: &AtomicBool) {
    for step in 1.. {
        let at = i64::try_from(step).unwrap();
        for group in 0..GROUPS {
            let (from, to) = (step % PARTITIONS, (step + 1 + group) % PARTITIONS);
            // A round adds to each offset as much as it subtracts.
            let before = shard(store, &name(group));
            let offset = |partition: usize| {
                let found = before.get(&name(group), "t", i32::try_from(partition).unwrap()).unwrap();
                found.entry.unwrap().row.committed_offset
            };
            if from != to {
                apply(store, &name(group), &[(from, Some(offset(from) - 1)), (to, Some(offset(to) + 1))]);
            }
        }
        let guest = format!("guest-{}", step % 50);
        let changes = if step % 100 < 50 { [(0, Some(at)), (1, Some(at))] } else { [(0, None), (1, None)] };
        apply(store, &guest, &changes);
        apply(store, "progress", &[(0, Some(at))]);
        if step % 10 == 0 {
            move_ends(store, step, clock);
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// Stops the writer when dropped, even if the reader panics.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Lab {
    runtime: Runtime,
    engine: Engine,
    store: Arc<Store>,
    clock: Clock,
}

impl Lab {
    fn new(set: impl FnOnce(&mut config::Sql)) -> Self {
        let (store, clock) = filled();
        Self::on(store, clock, set)
    }

    fn on(store: Arc<Store>, clock: Clock, set: impl FnOnce(&mut config::Sql)) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut settings = config::Sql { threads: 2, timeout: Duration::from_secs(600), ..synthetic::config().sql };
        set(&mut settings);
        let engine = Engine::new(Arc::clone(&store), settings).unwrap();
        Self { runtime, engine, store, clock }
    }

    fn start(&self, sql: &str) -> Answer {
        let statement = Statement { sql: sql.to_owned(), ..Statement::default() };
        self.runtime.block_on(self.engine.run(statement)).unwrap_or_else(|error| panic!("{sql}\n{error}"))
    }

    fn next(&self, answer: &mut Answer) -> Option<Result<RecordBatch, SqlError>> {
        self.runtime.block_on(answer.next())
    }

    /// Returns the only row of a statement with integer columns.
    fn row(&self, sql: &str) -> Vec<i64> {
        let mut answer = self.start(sql);
        let mut rows = vec![];
        while let Some(batch) = self.next(&mut answer) {
            let batch = batch.unwrap_or_else(|error| panic!("{sql}\n{error}"));
            for row in 0..batch.num_rows() {
                let value = |column: &Arc<dyn arrow::array::Array>| {
                    assert!(column.is_valid(row), "{sql}");
                    column.as_primitive::<Int64Type>().value(row)
                };
                rows.push(batch.columns().iter().map(value).collect());
            }
        }
        assert_eq!(rows.len(), 1, "{sql}");
        rows.remove(0)
    }
}

/// Expressions that are 0 in every consistent cut, with a description. Each is selected together with the writer's
/// progress.
const DIFFERENCES: [(&str, &str); 6] = [
    (
        "sums that the writer keeps constant, in each group",
        "SELECT count(*) FROM (SELECT sum(committed_offset) AS sum FROM offsets WHERE group_id LIKE 'group-%' \
         GROUP BY group_id) WHERE sum <> 40000000",
    ),
    (
        "sums over two tables",
        "SELECT (SELECT sum(committed_offset) FROM offsets) - (SELECT sum(committed_offset) FROM lag)",
    ),
    (
        "keys and their number",
        "SELECT count(*) FROM (SELECT group_id, count(*) AS keys FROM offsets GROUP BY group_id) o \
         FULL JOIN groups g ON o.group_id = g.group_id WHERE o.keys IS DISTINCT FROM g.partitions",
    ),
    (
        "a table joined with itself",
        "SELECT count(*) FROM offsets a FULL JOIN offsets b ON a.group_id = b.group_id AND a.topic = b.topic \
         AND a.partition = b.partition WHERE a.committed_offset IS DISTINCT FROM b.committed_offset",
    ),
    (
        "lag and its operands",
        "SELECT count(*) FROM lag l JOIN offsets o ON o.group_id = l.group_id AND o.partition = l.partition \
         JOIN partitions p ON p.topic = l.topic AND p.partition = l.partition \
         WHERE coalesce(l.lag, -1) <> p.log_end_offset - o.committed_offset",
    ),
    (
        "log ends with their constant sum, and lag by group",
        "SELECT (SELECT sum(log_end_offset) FROM partitions WHERE topic = 't') - 80000780 \
         + (SELECT count(*) FROM groups g JOIN (SELECT group_id, sum(lag) AS lag FROM lag GROUP BY group_id) l \
         ON g.group_id = l.group_id WHERE g.lag IS DISTINCT FROM l.lag)",
    ),
];

#[test]
fn every_answer_agrees_with_itself_while_a_writer_runs_at_full_speed() {
    let lab = Lab::new(|_| ());
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        scope.spawn(|| write(&lab.store, &lab.clock, &stop));
        let _stopping = Stopping(&stop);
        let mut seen = vec![];
        let mut wrong = vec![];
        for round in 0..30 {
            for (what, difference) in DIFFERENCES {
                let progress = "coalesce((SELECT max(committed_offset) FROM offsets WHERE group_id = 'progress'), 0)";
                let row = lab.row(&format!("SELECT CAST(({difference}) AS BIGINT), {progress}"));
                if row[0] != 0 {
                    wrong.push(format!("{what}: {} in round {round}", row[0]));
                }
                seen.push(row[1]);
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        seen
    });
    assert!(seen.is_sorted(), "later cuts are newer");
    let distinct = seen.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert!(distinct > seen.len() / 2, "the writer ran: {distinct} states in {} answers", seen.len());
}

/// Bytes that a statement computes ahead of its reader.
const UNREAD: usize = 64 * 1024;
/// A statement with many batches, more than are computed ahead.
const LONG: &str = "SELECT a.group_id, b.topic FROM offsets a, offsets b";

fn touch(lab: &Lab, group: usize) {
    apply(&lab.store, &name(group), &[(0, Some(1))]);
}

#[test]
fn a_reader_that_takes_nothing_is_told_and_its_cut_let_go() {
    let lab = Lab::new(|sql| {
        sql.stall_timeout = Duration::from_secs(1);
        sql.max_unread_bytes = UNREAD;
        sql.concurrency = 1;
        sql.queue = 0;
    });
    let mut stalled = lab.start(LONG);
    touch(&lab, 0);
    assert!(lab.store.pins().bytes() > 0, "the previous state is retained for the reader");
    until("its cut to be released", || lab.store.pins().bytes() == 0);
    until("its query slot to be free", || {
        let statement = Statement { sql: "SELECT 1".to_owned(), ..Statement::default() };
        lab.runtime.block_on(lab.engine.run(statement)).is_ok()
    });
    let error = std::iter::from_fn(|| lab.next(&mut stalled)).find_map(Result::err).unwrap();
    assert!(matches!(error, SqlError::Work(WorkError::Ended(EndReason::Stalled { .. }))), "{error}");
    assert!(error.to_string().contains("sql.stall_timeout"), "{error}");
    assert!(lab.next(&mut stalled).is_none());
}

/// Returns the bytes that a reader retains after this number of groups changed.
fn kept(store: &Arc<Store>, groups: usize) -> usize {
    let cut = store.cut("", false).unwrap();
    (0..groups).for_each(|group| apply(store, &name(group), &[(0, Some(1))]));
    let kept = store.pins().bytes();
    drop(cut);
    assert_eq!(store.pins().bytes(), 0);
    kept
}

#[test]
fn beyond_the_cap_on_old_versions_the_statement_that_retains_the_most_is_ended_and_no_other() {
    let (store, clock) = filled();
    // Copied blocks have no spare capacity, so from now on the same changes retain the same number of bytes.
    kept(&store, GROUPS);
    let (five, six) = (kept(&store, 5), kept(&store, 6));
    assert!(0 < five && five < six);
    let lab = Lab::on(store, clock, |sql| (sql.max_held_bytes, sql.max_unread_bytes) = (five, UNREAD));
    let mut oldest = lab.start(LONG);
    (0..5).for_each(|group| touch(&lab, group));
    assert_eq!(lab.store.pins().bytes(), five, "only the first statement retains old state");
    let mut newer = lab.start(LONG);
    touch(&lab, 5);
    until("the oldest statement to release its cut", || lab.store.pins().bytes() < five);
    assert!(lab.store.pins().bytes() > 0, "the newer statement retains its cut");
    // Batches that were computed before the end may still arrive.
    let error = std::iter::from_fn(|| lab.next(&mut oldest)).find_map(Result::err).unwrap();
    assert!(matches!(error, SqlError::Work(WorkError::Ended(EndReason::Retained { .. }))), "{error}");
    assert!(error.to_string().contains("sql.max_held_bytes"), "{error}");
    let mut rows = 0;
    while let Some(batch) = lab.next(&mut newer) {
        rows += batch.unwrap().num_rows();
    }
    assert_eq!(rows, (GROUPS * PARTITIONS).pow(2), "the newer statement reads all its rows");
    until("no bytes to be retained", || lab.store.pins().bytes() == 0);
}

#[cfg(target_os = "linux")]
#[test]
fn threads_of_statements_leave_the_cores_to_others() {
    let lab = Lab::new(|_| ());
    lab.row("SELECT count(*) FROM offsets");
    let read = |file: std::path::PathBuf| std::fs::read_to_string(file).unwrap_or_default();
    // The nice value is field 19; fields are counted after the name, which may contain blanks.
    let nice =
        |stat: &str| stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)?.parse::<i32>().ok());
    until("each thread to have a lower priority", || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let sql: Vec<_> = tasks.filter(|task| read(task.join("comm")).trim() == "work").collect();
        sql.len() >= 2 && sql.iter().filter_map(|task| nice(&read(task.join("stat")))).all(|nice| nice == 10)
    });
}

#[test]
fn question_marks_are_parameters_for_every_caller() {
    let lab = Lab::new(|_| ());
    let sql = "SELECT count(*) FROM offsets WHERE group_id = ? AND partition < ?".to_owned();
    let parameters = vec![offsetd::sql::ScalarValue::Utf8(Some(name(3))), offsetd::sql::ScalarValue::Int64(Some(7))];
    let described = lab.runtime.block_on(lab.engine.describe(Statement { sql: sql.clone(), ..Statement::default() }));
    assert_eq!(described.unwrap().parameters.fields().len(), 2);
    let statement = Statement { sql, parameters, ..Statement::default() };
    let mut answer = lab.runtime.block_on(lab.engine.run(statement)).unwrap();
    let batch = lab.next(&mut answer).unwrap().unwrap();
    assert_eq!(batch.column(0).as_primitive::<Int64Type>().values(), &[7]);
}
